# SPDX-License-Identifier: GPL-2.0-or-later
"""Records interrupts and their threads on a host: state before, the trace as a stream into a file, state after."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from switchover.hosts.host import Host
from switchover.hosts.waiting import stretch
from switchover.irq.recording import Around, Loss, RecordingEnd, RecordingStart, RecordingWriter
from switchover.irq.state import (
    Interrupt,
    IrqState,
    choose_interrupts,
    counters_script,
    parse_counters,
    parse_cpus,
    read_state,
)
from switchover.irq.tracing import Tracefs, TraceInstance, choose_buffer, require_tracefs, start_instance
from switchover.record.errors import Deadline, HostLost, NotSupported, UsageError
from switchover.record.log import say

ATTEMPTS = 3
"""Windows that are recorded before loss is reported."""
GROWTH = 8
"""Of the buffer after a window in which events were lost."""
_DRAIN_S = 120.0


@dataclass(frozen=True)
class Subject:
    """What is to be recorded on a host."""

    host: Host
    tracefs: Tracefs
    state: IrqState
    chosen: tuple[Interrupt, ...]
    rate: float
    """interrupts a second on the busiest CPU, as it was just seen"""

    @property
    def largest_buffer_kib(self) -> int:
        """For each CPU, so that all together take half of the memory that is available."""
        return self.tracefs.memory_kib // 2 // max(1, self.cpus)

    @property
    def cpus(self) -> int:
        return len(parse_cpus(self.state.online))

    @property
    def pids(self) -> tuple[int, ...]:
        numbers = {interrupt.number for interrupt in self.chosen}
        return tuple(thread.pid for thread in self.state.threads if thread.irq in numbers and not thread.secondary)


def survey_subject(host: Host, words: Sequence[str] = (), *, unthreaded: bool = False) -> Subject:
    """Which interrupts of a host can be recorded: those of ``words`` (numbers, parts of names), or all threaded ones.
    With ``unthreaded`` words may mean others, of which only hard handlers are recorded.

    :raises NotSupported: it cannot be traced, or none of its interrupts is threaded
    :raises UsageError: no threaded interrupt is meant by a word
    """
    tracefs = require_tracefs(host)
    began = time.monotonic()
    state = read_state(host)
    if not state.threaded and not (unthreaded and words):
        raise NotSupported(
            f"No interrupt of {host.name} is threaded.",
            why=f"its kernel was booted with: {state.cmdline}",
            fix="boot it with threadirqs on the kernel command line, or use a PREEMPT_RT kernel",
        )
    for word in words:
        if not choose_interrupts(state, [word], unthreaded=unthreaded):
            raise _explain_word(host, state, word)
    chosen = tuple(choose_interrupts(state, words, unthreaded=unthreaded))
    later = parse_counters(host.run(["sh", "-c", counters_script([])], timeout=60).text)
    seconds = max(0.01, time.monotonic() - began)
    numbers = {interrupt.number for interrupt in chosen}
    by_cpu: dict[int, int] = {}
    for number in numbers:
        for cpu, count in later.interrupts.get(number, {}).items():
            by_cpu[cpu] = by_cpu.get(cpu, 0) + count - state.counters.interrupts.get(number, {}).get(cpu, 0)
    return Subject(host, tracefs, state, chosen, max(by_cpu.values(), default=0) / seconds)


def _explain_word(host: Host, state: IrqState, word: str) -> UsageError:
    threaded = ", ".join(f"{one.number} ({','.join(one.actions)})" for one in state.threaded)
    others = choose_interrupts(state, [word], unthreaded=True)
    if not others:
        return UsageError(f"{host.name} has no interrupt {word!r}.", why=f"threaded ones: {threaded}")
    name = f"interrupt {others[0].number} ({','.join(others[0].actions) or others[0].description})"
    return UsageError(
        f"{host.name} has no threaded interrupt {word!r}.",
        why=f"{name} has no thread of its own: its handler runs in hard interrupt context, or, behind a slow bus, in "
        f"the thread of the interrupt it hangs on; threaded ones: {threaded}",
        fix="where it arrives can be looked at with --forbid-cpus",
    )


class OpenRecording:
    """A recording while its window is open. ``losses`` are known once it is closed."""

    def __init__(self, instance: TraceInstance, opened: Around, writer: RecordingWriter, stream: socket.socket) -> None:
        self._instance = instance
        self._opened = opened
        self._writer = writer
        self._stream = stream
        self._over = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._copy, daemon=True, name="trace")
        self._thread.start()
        self.losses: tuple[Loss, ...] = ()

    @property
    def buffer_kib(self) -> int:
        return self._instance.buffer_kib

    @property
    def lost(self) -> int:
        """Events, in the whole window."""
        return sum(loss.events for loss in self.losses)

    def _copy(self) -> None:
        try:
            while data := self._stream.recv(1 << 18):
                self._writer.add(data)
        except Exception as error:
            self._problem = error
        finally:
            self._over.set()

    def wait(self, seconds: float) -> None:
        """Let the window be open for so long.

        :raises HostLost: the trace broke off meanwhile
        """
        if self._over.wait(seconds):
            self._raise_broken()

    def _raise_broken(self) -> None:
        if self._problem:
            raise self._problem
        name = self._instance.host.name
        raise HostLost(
            f"The trace of {name} broke off.",
            why="its connection was lost, or the process that read the trace was ended",
            fix="see that the host is up, then the same command again",
        )

    def close_window(self) -> None:
        """End the window and write the rest.

        :raises HostLost: the host is gone; :raises Deadline: the rest of the trace does not come
        """
        if self._over.is_set():
            self._raise_broken()
        closed = self._instance.switch_off()
        if not self._over.wait(drain := stretch(_DRAIN_S)):
            raise Deadline(f"Waited {drain:g} s for the rest of the trace of {self._instance.host.name}.")
        if self._problem:
            raise self._problem
        self.losses = self._instance.read_losses()
        after = read_state(self._instance.host)
        self._writer.finish(RecordingEnd(after, self._opened, closed, self.losses))
        self._writer.close()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()
        self._thread.join(timeout=10)


@dataclass
class Window:
    """A window that is open on a host, its trace yet to be read."""

    instance: TraceInstance
    opened: Around
    writer: RecordingWriter

    def start_reading(self) -> OpenRecording:
        stream = self.instance.host.open_stream(self.instance.reader)
        return OpenRecording(self.instance, self.opened, self.writer, stream)


@contextlib.contextmanager
def open_window(
    subject: Subject, path: Path, *, window_s: float = 0.0, buffer_kib: int = 0, notes: Sequence[str] = ()
) -> Iterator[Window]:
    """A window whose trace stays in the kernel until it is read; arguments as :func:`start_recording`."""
    host, tracefs = subject.host, subject.tracefs
    buffer_kib = buffer_kib or choose_buffer(subject.rate, tracefs.memory_kib, subject.cpus)
    numbers = tuple(interrupt.number for interrupt in subject.chosen)
    with start_instance(host, tracefs, numbers, subject.pids, buffer_kib=buffer_kib) as instance:
        start = RecordingStart(
            host.name,
            datetime.now(UTC).isoformat(timespec="seconds"),
            window_s,
            instance.clock,
            buffer_kib,
            numbers,
            subject.state,
            (*notes, *(f"others trace there too: {other}" for other in tracefs.others)),
            instance.header,
        )
        with contextlib.closing(RecordingWriter(path, start)) as writer:
            yield Window(instance, instance.switch_on(), writer)


@contextlib.contextmanager
def start_recording(
    subject: Subject, path: Path, *, window_s: float = 0.0, buffer_kib: int = 0, notes: Sequence[str] = ()
) -> Iterator[OpenRecording]:
    """A recording whose window is open during a ``with`` block; ``path`` is whole if the block ends without an error.

    ``buffer_kib``: for each CPU; 0: by the rate of interrupts that was seen.
    """
    with open_window(subject, path, window_s=window_s, buffer_kib=buffer_kib, notes=notes) as window:
        recording = window.start_reading()
        try:
            yield recording
            recording.close_window()
        finally:
            recording.stop()


def record(
    host: Host,
    path: Path,
    seconds: float,
    words: Sequence[str] = (),
    *,
    buffer_kib: int = 0,
    unthreaded: bool = False,
    attempt: Callable[[Subject], None] = lambda subject: None,
) -> tuple[Loss, ...]:
    """Record a window of some seconds. If events are lost, again with a larger buffer; what the last window lost is
    returned and in the file, which then says that it is invalid. ``unthreaded``: as :func:`survey_subject` has it.
    ``attempt`` is called before each window.
    """
    notes: list[str] = []
    losses: tuple[Loss, ...] = ()
    for number in range(1, ATTEMPTS + 1):
        subject = survey_subject(host, words, unthreaded=unthreaded)
        attempt(subject)
        with start_recording(subject, path, window_s=seconds, buffer_kib=buffer_kib, notes=notes) as recording:
            used = recording.buffer_kib
            recording.wait(seconds)
        losses = recording.losses
        if not recording.lost:
            break
        notes.append(f"window {number} lost {recording.lost} events with buffers of {used} KiB")
        buffer_kib = min(used * GROWTH, subject.largest_buffer_kib)
        if buffer_kib <= used:
            say(f"{notes[-1]}; there is no memory for larger ones")
            break
        if number < ATTEMPTS:
            say(f"{notes[-1]}; again with {buffer_kib} KiB")
    return losses
