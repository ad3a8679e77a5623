# SPDX-License-Identifier: GPL-2.0-or-later
"""Recording: what is chosen, what loss leads to, and a trace that breaks off."""

import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.irq.made import COLUMNS, HEADER, line
from tests.unit.irq.test_state import TEXT
from tests.unit.irq.test_tracing import PROBE
from tests.unit.scripted_host import ScriptedHost

from switchover.irq.analysis import Placement, analyse_file
from switchover.irq.events import BEGIN, END
from switchover.irq.recorder import record, start_recording, survey_subject
from switchover.record.errors import HostLost, NotSupported, UsageError

MARKS = [line(at, 0, ".....", f"tracing_mark_write: {text}", "sh", 9).encode() for at, text in ((1, BEGIN), (9, END))]


class TracedHost(ScriptedHost):
    """Answers as a guest would; its trace is two marks. ``lost``: events that each window loses."""

    def __init__(self, lost: Sequence[int] = (0,), *, state: str = TEXT, probe: str = PROBE, breaks: bool = False):
        super().__init__(self._reply)
        self._lost = list(lost)
        self._state = state
        self._probe = probe
        self._breaks = breaks
        self._ends: list[socket.socket] = []
        self.buffers: list[str] = []
        self.filters: Sequence[str] = ()

    def _reply(self, argv: Sequence[str]) -> str | int:
        script = argv[2] if len(argv) > 2 else ""
        if "current_tracer" in script:
            return self._probe
        if "mkdir" in script:
            self.buffers.append(argv[6])
            self.filters = argv[7:]
            return HEADER
        if "= moment" in script:
            if END in script:
                self._ends[-1].sendall(MARKS[1])
                self._ends[-1].close()
            counters = TEXT[TEXT.index("= interrupts") :]
            return f"{counters}= moment\n{counters}"
        if "/per_cpu/" in script:
            return f"= 0\noverrun: {self._lost.pop(0)}\n"
        if "kernel $(uname" in script or "counters" in script:
            return self._state
        return ""

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.sendall(MARKS[0])
        self._ends.append(theirs)
        if self._breaks:
            threading.Timer(0.1, theirs.close).start()
        return ours


def test_a_window(tmp_path: Path) -> None:
    """One recording, whole and valid, of all threaded interrupts."""
    host = TracedHost()
    assert record(host, tmp_path / "x.gz", 0.01) == analyse_losses(tmp_path / "x.gz")
    analysis = analyse_file(tmp_path / "x.gz")
    assert (analysis.problems, analysis.start.chosen) == ((), (4, 25))
    assert analysis.verdict is Placement.NO_ACTIVATIONS


def test_the_header_is_kept(tmp_path: Path) -> None:
    """What the latency columns are stands in the recording, as the kernel printed it."""
    record(TracedHost(), tmp_path / "x.gz", 0.01)
    start = analyse_file(tmp_path / "x.gz").start
    assert (start.header, start.columns) == (tuple(HEADER.splitlines()), COLUMNS)


def test_an_interrupt_without_a_thread(tmp_path: Path) -> None:
    """It can be chosen only where that is asked for; its filters let no task through."""
    host = TracedHost()
    with pytest.raises(UsageError, match="no threaded interrupt '26'") as caught:
        record(host, tmp_path / "x.gz", 0.01, ["26"])
    assert "interrupt 26 (PCI-MSIX-0000:00:01.0 2-edge) has no thread of its own" in caught.value.why
    assert "--forbid-cpus" in caught.value.fix
    record(host, tmp_path / "x.gz", 0.01, ["26"], unthreaded=True)
    assert list(host.filters) == [
        "irq == 26",
        "(irq == 26) && ret == 2",
        "pid == -1",
        "prev_pid == -1 || next_pid == -1",
    ]
    (result,) = analyse_file(tmp_path / "x.gz").interrupts
    assert (result.number, result.reason) == (26, "it has no thread; 0 hard handlers")


def analyse_losses(path: Path) -> object:
    end = analyse_file(path).end
    assert end is not None
    return end.losses


def test_loss_enlarges_the_buffer(tmp_path: Path) -> None:
    """A window that lost events is recorded again with eight times the room; the file that stays tells of it."""
    host = TracedHost([5, 3, 0])
    record(host, tmp_path / "x.gz", 0.01)
    analysis = analyse_file(tmp_path / "x.gz")
    assert host.buffers == ["1024", "8192", "29333"]
    assert analysis.problems == ()
    assert [note for note in analysis.notes if "lost" in note] == [
        "window 1 lost 5 events with buffers of 1024 KiB",
        "window 2 lost 3 events with buffers of 8192 KiB",
    ]


def test_loss_that_does_not_end(tmp_path: Path) -> None:
    """After three windows the recording stays as it is, and is invalid."""
    record(TracedHost([5, 5, 5]), tmp_path / "x.gz", 0.01)
    analysis = analyse_file(tmp_path / "x.gz")
    assert (analysis.verdict, "5 on CPU 0" in analysis.reason) == (Placement.INVALID, True)


def test_loss_without_memory_for_more(tmp_path: Path) -> None:
    """Buffers together never take more than half of the memory: then one window must do, and is invalid."""
    host = TracedHost([5], probe=PROBE.replace("176000", "6144"))
    record(host, tmp_path / "x.gz", 0.01, buffer_kib=1024)
    assert host.buffers == ["1024"]
    assert analyse_file(tmp_path / "x.gz").verdict is Placement.INVALID


def test_a_trace_that_breaks_off(tmp_path: Path) -> None:
    """Ends the wait at once, with a message; the file says that it did not end, and the instance is undone."""
    host = TracedHost(breaks=True)
    with (
        pytest.raises(HostLost, match="broke off"),
        start_recording(survey_subject(host), tmp_path / "x.gz") as recording,
    ):
        recording.wait(30)
    assert "did not end" in analyse_file(tmp_path / "x.gz").reason
    assert "rmdir" in host.commands[-1][-1]


@pytest.mark.parametrize("instead", ["irq/4-imposter", "kworker"])
def test_no_threaded_interrupt(instead: str) -> None:
    """Nothing is traced; how the kernel was booted is told, and what would mend it."""
    state = "\n".join(line for line in TEXT.splitlines() if "S 2 " not in line).replace("irq/4-imposter", instead)
    with pytest.raises(NotSupported, match="is threaded") as caught:
        survey_subject(TracedHost(state=state))
    assert "threadirqs" in caught.value.fix
    assert "quiet threadirqs" in caught.value.why


def test_an_interrupt_that_is_not_there() -> None:
    """Those that are there are named."""
    with pytest.raises(UsageError, match="'nvme'") as caught:
        survey_subject(TracedHost(), ["nvme"])
    assert "4 (ttyS0)" in caught.value.why


def test_a_host_without_tracefs() -> None:
    with pytest.raises(NotSupported, match="cannot be traced") as caught:
        survey_subject(TracedHost(probe="uid=0\n"))
    assert "no tracefs" in caught.value.why


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """Found out before the window is open; nothing stays on the host."""
    host = TracedHost()
    with pytest.raises(UsageError, match="cannot be written"):
        record(host, tmp_path / "none" / "x.gz", 0.01)
    assert "rmdir" in host.commands[-1][-1]
