# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples of docs/api.md that take a lab, each as it stands there, in the lab of these tests."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from switchover import Testbed, VerdictName, read_records

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
CASES, SUBJECT, _ = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def borrowed(
    testbed: Testbed, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``open_lab`` finds the lab of the session, which nobody uses now; runs and their numbers go to directories of the
    test.
    """

    @contextlib.contextmanager
    def borrow(name: str | None = None, *, stays: bool = False) -> Iterator[Any]:
        yield testbed.lab

    monkeypatch.setattr("switchover.fronts.testbeds.acquire_lab", borrow)
    file = tmp_path_factory.mktemp("state") / "history.sqlite"
    monkeypatch.setattr("switchover.fronts.testbeds.history_file", lambda: file)
    monkeypatch.setattr("switchover.record.rundir.runs_directory", lambda: tmp_path)


def run(example: str) -> None:
    exec(compile(example, str(PAGE), "exec"), {"__name__": "__main__"})  # noqa: S102


@pytest.mark.quick
def test_cases_of_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both cases are told with what moved when, the parts of the downtime, and where their files are."""
    run(CASES)
    told = capsys.readouterr().out
    off, on = read_records("last")
    for record in (off, on):
        assert record.verdict.name is VerdictName.COMPLETED
        assert f"{record.case}: {' → '.join(record.states['source'])}\n" in told
        assert f"  bytes.vfio.precopy: {record.measured('bytes.vfio.precopy')}\n" in told
    assert told.count("s  save iterable\n") == 2
    (run_directory,) = tmp_path.iterdir()
    assert told.count(f"  its files: {run_directory}/") == 2


def test_a_guest_that_is_the_subject(capsys: pytest.CaptureFixture[str]) -> None:
    """It says by itself what must hold; the records of its two migrations are there."""
    run(SUBJECT)
    assert "8388608 bytes in pre-copy, then rebooted\n" in capsys.readouterr().out
    assert [(record.case, record.repeat) for record in read_records()] == [("there-and-back", 1), ("there-and-back", 2)]
