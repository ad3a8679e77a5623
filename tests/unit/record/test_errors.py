# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors say what, why and what to do, and have the exit code of their class."""

import pytest

from switchover.record.errors import (
    CommandFailed,
    Deadline,
    ExitCode,
    GuestCrashed,
    GuestSilent,
    HostLost,
    NotReady,
    Refused,
    SwitchoverError,
    UsageError,
)


def test_exit_codes() -> None:
    """The numbers are part of the interface."""
    assert {code.name: int(code) for code in ExitCode} == {
        "AS_EXPECTED": 0,
        "NOT_AS_EXPECTED": 1,
        "USAGE": 2,
        "NOT_READY": 3,
        "BUG": 4,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SwitchoverError, 4),
        (UsageError, 2),
        (NotReady, 3),
        (HostLost, 3),
        (CommandFailed, 3),
        (GuestSilent, 3),
        (Deadline, 3),
        (GuestCrashed, 1),
        (Refused, 1),
    ],
)
def test_each_class_has_its_code(error: type[SwitchoverError], code: int) -> None:
    """A failure of the product under test is 1, of the environment 3, of the user 2."""
    assert error("x").exit_code == code


def test_texts() -> None:
    """Three lines at most, and no line for what is not known."""
    assert str(NotReady("It failed.")) == "It failed."
    assert str(NotReady("It failed.", fix="mend it")) == "It failed.\n  fix: mend it"
    assert str(NotReady("It failed.", why="broken", fix="mend it")) == "It failed.\n  why: broken\n  fix: mend it"
