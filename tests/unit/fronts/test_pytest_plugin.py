# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin for pytest: words, pairs and workers; all that needs a pytest of its own is in tests/fronts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from switchover.fronts import pytest_run
from switchover.fronts.pytest_plugin import pytest_configure_node, pytest_testnodedown, pytest_xdist_setupnodes
from switchover.fronts.pytest_words import find_word, name_run, split_pair
from switchover.record.paths import history_file


@pytest.mark.parametrize(
    ("argument", "word"),
    [
        ("switchover:precopy*", "precopy*"),
        ("switchover::precopy.device.pre_copy-on", "precopy.device.pre_copy-on"),
        ("../../switchover::fails", "fails"),
        ("switchover", None),
        ("tests/switchover:x.py", None),
        ("test_switchover.py::test_it", None),
    ],
)
def test_arguments(argument: str, word: str | None) -> None:
    """Words of ours, and ids as pytest prints them from any directory, are told from paths."""
    assert find_word(argument) == word


def test_pairs() -> None:
    """One name is both ends; more than two, or an empty one, is not a pair."""
    assert split_pair("a, b") == ("a", "b")
    assert split_pair("a") == ("a", "a")
    for wrong in ("a,b,c", "a,", ""):
        with pytest.raises(pytest.UsageError, match="is not a pair"):
            split_pair(wrong)


class Config:
    """As much of pytest's as workers are made with."""

    def __init__(self, *pairs: str) -> None:
        self.stash = pytest.Stash()
        self._pairs = list(pairs)

    def getoption(self, name: str) -> list[str]:
        assert name == "switchover_pair"
        return self._pairs


def start_worker(config: Any, name: str) -> Any:
    node = SimpleNamespace(config=config, workerinput={}, gateway=SimpleNamespace(id=name))
    pytest_configure_node(node)
    return node


def test_a_worker_has_a_pair_of_its_own() -> None:
    """No two workers have one pair; one that comes for a dead one has its pair; all have one run directory."""
    config: Any = Config("a,b", "c,d")
    first, second = start_worker(config, "gw0"), start_worker(config, "gw1")
    assert (first.workerinput["switchover_pair"], second.workerinput["switchover_pair"]) == ("a,b", "c,d")
    pytest_testnodedown(first, error="killed")
    third = start_worker(config, "gw2")
    assert third.workerinput["switchover_pair"] == "a,b"
    names = {node.workerinput["switchover_run"] for node in (first, second, third)}
    assert names == {name_run(config)}


def test_too_few_pairs() -> None:
    """They are an error before a worker is started; without pairs each worker has a lab."""
    config: Any = Config("a,b")
    with pytest.raises(pytest.UsageError, match="2 workers need as many pairs of hosts; 1 are named"):
        pytest_xdist_setupnodes(config, ["popen", "popen"])
    pytest_xdist_setupnodes(config, ["popen"])
    without: Any = Config()
    pytest_xdist_setupnodes(without, ["popen", "popen"])
    assert "switchover_pair" not in start_worker(without, "gw0").workerinput


@pytest.mark.parametrize(
    ("option", "setting", "named"),
    [
        ("", "", ""),
        ("mine", "ours", "started/mine"),
        ("", "ours", "project/ours"),
        ("off", "ours", None),
        ("", "off", None),
        ("./off", "", "started/off"),
        ("/tmp/x/../absolute", "", "/tmp/x/../absolute"),
    ],
)
def test_which_history_a_session_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, setting: str, named: str | None
) -> None:
    """The option's, from where pytest was started, before the setting's, from where its file is; else the one beside
    the runs; off is none.
    """
    asked: list[Path | None] = []
    monkeypatch.setattr(pytest_run, "keep_numbers", lambda directory, history: asked.append(history))
    config: Any = SimpleNamespace(
        getoption=lambda name: {"switchover_history": option or None}[name],
        getini=lambda name: {"switchover_history": setting}[name],
        invocation_params=SimpleNamespace(dir=tmp_path / "started"),
        inipath=tmp_path / "project" / "pytest.ini",
        rootpath=tmp_path,
    )
    pytest_run.keep_session(config, str(tmp_path))
    assert asked == [None if named is None else tmp_path / named if named else history_file()]
