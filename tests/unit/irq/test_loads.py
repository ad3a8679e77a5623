# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads prove that they ran."""

import socket
import threading
from collections.abc import Sequence

import pytest
from tests.unit.scripted_host import ScriptedHost

from switchover.irq.loads import start_hog
from switchover.record.errors import NotReady


class LoadedHost(ScriptedHost):
    """``says`` first, then ``answers`` when it is told something."""

    def __init__(self, says: str, answers: str = "") -> None:
        super().__init__(lambda argv: "")
        self._says, self._answers = says, answers
        self.started: Sequence[str] = ()

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        self.started = argv
        ours, theirs = socket.socketpair()
        theirs.sendall(self._says.encode())

        def answer() -> None:
            with theirs:
                if theirs.recv(1):
                    theirs.sendall(self._answers.encode())

        threading.Thread(target=answer, daemon=True).start()
        return ours


def test_a_load() -> None:
    """Its policy, priority and CPUs; its own count once it has ended."""
    host = LoadedHost("running\n", "spun 12345\n")
    with start_hog(host, "2", policy="fifo", priority=40) as hog:
        pass
    assert hog.spun_ns == 12345
    assert host.started == ["switchover-hog", "fifo", "40", "2"]


@pytest.mark.parametrize("answers", ["", "spun 0\n", "killed\n"])
def test_a_load_that_did_not_run(answers: str) -> None:
    with pytest.raises(NotReady, match="did not run"), start_hog(LoadedHost("running\n", answers), "2"):
        pass


def test_a_load_that_does_not_start() -> None:
    with pytest.raises(NotReady, match="did not start"), start_hog(LoadedHost("x\n"), "2"):
        pytest.fail("it started")
