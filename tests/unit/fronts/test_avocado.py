# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the plugins of avocado needs no avocado: which release they are for, whose turn it is, what pages say."""

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from switchover.catalogue.outcome import NATIVE, Outcome
from switchover.fronts import avocado_version
from switchover.fronts.avocado_hosts import Place, Turn
from switchover.fronts.avocado_version import find_misfit
from switchover.record.errors import UsageError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        ({"avocado-framework": "112.0", "setuptools": "80.9.0"}, "is for avocado 113, and this is 112.0"),
        ({"avocado-framework": "114.0", "setuptools": "80.9.0"}, "is for avocado 113, and this is 114.0"),
        ({"avocado-framework": "113.0", "setuptools": "82.0.0"}, "needs setuptools below 82 for avocado 113"),
        ({"avocado-framework": "113.0"}, "and this is none"),
        ({}, "needs avocado 113"),
    ],
)
def test_a_release_that_does_not_fit_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], words: str
) -> None:
    _install(monkeypatch, versions)
    assert words in find_misfit()
    assert 'fix: pip install "avocado-framework>=113,<114" "setuptools<82"' in find_misfit()


@pytest.mark.parametrize("versions", [{"avocado-framework": "113.1", "setuptools": "81.0.0"}])
def test_a_release_that_fits_is_none(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    _install(monkeypatch, versions)
    assert find_misfit() == ""


def _install(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(avocado_version, "version", version)


def test_hosts_of_a_job_are_one_name_or_two() -> None:
    assert Place("a , b").pair == ("a", "b")
    assert Place("a").pair == ("a", "a")
    for words in ("a,b,c", "a,", ","):
        with pytest.raises(UsageError, match="SOURCE,DESTINATION"):
            _ = Place(words).pair


def test_hosts_are_one_tests_at_a_time(tmp_path: Path) -> None:
    first, second = Turn(tmp_path / "lock"), Turn(tmp_path / "lock")
    assert first.take("precopy")
    assert not second.take("drivers")
    assert second.find_owner() == "precopy"
    first.give_back()
    assert second.take("drivers")
    second.give_back()


def test_the_page_has_the_status_of_each_outcome() -> None:
    text = (ROOT / "docs" / "avocado.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([A-Z]+) \| (\w+) \|", text, re.MULTILINE))
    assert rows == {NATIVE[outcome].avocado.upper(): str(outcome) for outcome in Outcome}
