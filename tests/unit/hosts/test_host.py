# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that ended: success passes, everything else is explained."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.host import UNKNOWN_SIGNAL, Completed, check_completed, paste
from switchover.record.errors import CommandFailed, ExitCode


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1))
def test_a_command_can_be_pasted(argv: list[str]) -> None:
    """Whatever the words contain, a shell reads the same words back."""
    assert shlex.split(paste(argv)) == argv


def test_success_passes() -> None:
    """Exit status 0 is the command itself, whatever it wrote to standard error."""
    completed = Completed(("true",), 0, b"out\xff", b"noise")
    assert check_completed("hosta", completed) is completed
    assert completed.text == "out\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exited with 1"),
        (126, "exited with 126"),
        (127, "was not found"),
        (-9, "was killed by signal 9"),
        (UNKNOWN_SIGNAL, "was killed by a signal"),
    ],
)
def test_a_failure_says_how_it_ended(code: int, words: str) -> None:
    """The error has the host, how the command ended, the command to paste and its status."""
    with pytest.raises(CommandFailed) as caught:
        check_completed("hosta", Completed(("sh", "-c", "exit 3"), code, b"", b""))
    assert caught.value.what == f"On hosta, a command {words}: sh -c 'exit 3'"
    assert caught.value.returncode == code
    assert caught.value.exit_code is ExitCode.NOT_READY


def test_a_failure_shows_the_end_of_standard_error() -> None:
    """The last eight lines of standard error explain it, not standard output."""
    lines = "".join(f"line {number}\n" for number in range(20)).encode()
    with pytest.raises(CommandFailed) as caught:
        check_completed("hosta", Completed(("x",), 1, b"out", lines))
    assert [line.strip() for line in caught.value.why.splitlines()] == [f"line {number}" for number in range(12, 20)]


def test_a_failure_without_standard_error_shows_output() -> None:
    """A command that wrote to standard output only is explained by that."""
    with pytest.raises(CommandFailed, match="why: it is broken"):
        check_completed("hosta", Completed(("x",), 1, b"it is broken\n", b""))
