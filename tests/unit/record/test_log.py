# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress on standard error: steps with their time, nested."""

import logging
import re
import threading

import pytest

from switchover.record.log import LOG, say, set_up_logging, step


def test_steps_nest(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps have a line at their start and one with their time at their end, indented by depth."""
    with step("outer"):
        with step("inner"):
            say("a line")
        say("another")
    lines = [re.sub(r"\d+\.\d s", "N s", line) for line in capsys.readouterr().err.splitlines()]
    assert lines == ["outer ...", "  inner ...", "    a line", "  inner: N s", "  another", "outer: N s"]


def test_a_step_that_fails_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """A failed step is not reported as done, the error passes, and the depth is right after it."""
    with pytest.raises(ValueError, match="x"), step("outer"):
        raise ValueError("x")
    say("after")
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"outer: failed after \d+\.\d s", lines[1])
    assert lines[2] == "after"


def test_threads_have_a_depth_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """A step in one thread does not indent another."""
    with step("outer"):
        thread = threading.Thread(target=lambda: say("beside"))
        thread.start()
        thread.join()
    assert "beside" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("verbose", "shown"), [(True, True), (False, False)])
def test_commands_are_shown_on_request(capsys: pytest.CaptureFixture[str], verbose: bool, shown: bool) -> None:
    """Details only with verbose, warnings always."""
    handlers, level, propagate = LOG.handlers[:], LOG.level, LOG.propagate
    noisy = {name: logging.getLogger(name).level for name in ("paramiko", "qemu.qmp", "asyncio")}
    try:
        set_up_logging(verbose=verbose)
        LOG.debug("$ true")
        LOG.warning("beware")
        err = capsys.readouterr().err
    finally:
        LOG.handlers[:], LOG.propagate = handlers, propagate
        LOG.setLevel(level)
        for name, old in noisy.items():
            logging.getLogger(name).setLevel(old)
    assert ("$ true" in err) is shown
    assert "beware" in err
