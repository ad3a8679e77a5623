# SPDX-License-Identifier: GPL-2.0-or-later
"""The times of a history."""

import pytest

from switchover.bench import history
from switchover.cli.main import main


def test_it_is_imported_and_asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As many numbers as it says, each time into a new file."""
    monkeypatch.setattr(history, "_RUNS", 2)
    assert main(["bench", "history", "--count", "2"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "2,000 numbers of 2 runs"
    assert [line.split("  ")[1] for line in told[1:]] == ["import", "a number of all runs"]
