# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands in messages are those that the user can paste."""

from pathlib import Path

import pytest

from switchover.cli.main import VERBS, main
from switchover.record.invocation import VARIABLE, as_called


def test_commands_as_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of a message is named as the program was called; words that are no command stay."""
    monkeypatch.setenv(VARIABLE, "./switchover")
    text = "fix: switchover lab down a; switchover lab up a (/etc/switchover lab, ./switchover lab, switchover ack)"
    assert as_called(text, VERBS) == (
        "fix: ./switchover lab down a; ./switchover lab up a (/etc/switchover lab, ./switchover lab, switchover ack)"
    )
    monkeypatch.delenv(VARIABLE)
    assert as_called(text, VERBS) == text


def test_errors_name_commands_as_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The fix of an error can be pasted."""
    monkeypatch.setenv(VARIABLE, "../switchover")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["lab", "ssh", "--lab", "none", "hosta"]) == 2
    assert "fix: ../switchover lab up" in capsys.readouterr().err
