# SPDX-License-Identifier: GPL-2.0-or-later
"""From a guest's start to its first heartbeat outside: after a migration, and after ``stop`` and ``cont`` in place.

In turns, four ways to stand still. *in place*: the same QEMU, the guest's memory mapped and its code translated, which
is the floor. *unmapped*: the same, but KVM drops its nested mappings meanwhile, so that each page faults again on its
first touch. *untranslated*: the same, but the emulator that the host runs in throws away all code that it translated.
*migration*: a QEMU on another host, to which all is new, and to the emulator that this host runs in.
"""

import argparse
import contextlib
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from switchover.bench.kvm_trace import (
    FAULTS,
    PARTS,
    Window,
    find_window,
    parse_kvm_trace,
    read_kvm_trace,
    start_kvm_trace,
)
from switchover.hosts.heartbeat import Arrival
from switchover.hosts.host import Host
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.waiting import wait_until
from switchover.lab.acquire import acquire_lab
from switchover.lab.starvation import Look, compare_looks, find_processes, read_look, take_window
from switchover.probes.outside import OUTSIDE, Heartbeats
from switchover.probes.probe import Given, RunningProbe
from switchover.record.errors import ExitCode, GuestCrashed, NotReady, NotSupported, Refused
from switchover.record.log import say
from switchover.runner.attempt import Attempt
from switchover.runner.guest_session import GuestSession, start_guest_session
from switchover.runner.host_pair import Endpoint, pair_of_lab
from switchover.runner.listener import RunListener
from switchover.runner.standard import PRE_COPY_ON
from switchover.runner.verdict import judge_attempt

WAYS = IN_PLACE, UNMAPPED, UNTRANSLATED, MIGRATION = ("in place", "unmapped", "untranslated", "migration")
STRETCHES = BEFORE, ENTERING, WINDOW, ON_ITS_WAY = (
    "last heartbeat to downtime",
    "downtime to first entry",
    "first entry to first heartbeat",
    "its way to the outside",
)
"""Of what a migration adds to the downtime: the third is :class:`Window`, until a heartbeat leaves the host; the last
ends when that is stamped."""
_STAND_S = 0.5
"""About as long as the downtime of the migrations."""
_LOOK_S = 0.05
_DEBUGGER_S = 20
_BEATS = 20
"""Heartbeats that are waited for after the guest goes on."""
# the parameter may be changed at any time, and then each VM's mappings go (arch/x86/kvm/mmu/mmu.c, set_nx_huge_pages)
_UNMAP = """
cd /sys/module/kvm/parameters; old=$(cat nx_huge_pages)
case $old in Y) new=N ;; *) new=Y ;; esac
echo "$new" >nx_huge_pages; echo "$old" >nx_huge_pages; [ "$(cat nx_huge_pages)" = "$old" ]
"""


@dataclass(frozen=True)
class Resumption:
    """A guest that stood still and was heard again.

    ``resume_s``: its silence less the time in which no vCPU could run, None where the host's clock stood still then;
    ``blocks``: of code that the emulator of its host translated in the window and up to two looks beside it, None: it
    does not tell, or threw all away meanwhile; ``waited_s``: for which that emulator's threads waited for a CPU of the
    controller in the window; ``stretches``: of a migration, see :data:`STRETCHES`.
    """

    resume_s: float | None
    window: Window
    blocks: int | None = None
    waited_s: float = 0.0
    stretches: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Jit:
    """What an emulator has translated since it threw all away for the last time; ``flushes``: how often it has."""

    blocks: int
    flushes: int


def parse_jit(text: str) -> Jit | None:
    """From ``x-query-jit``; None if it is worded otherwise.

    >>> parse_jit("TB count            1234\\nTB flush count      1\\n")
    Jit(blocks=1234, flushes=1)
    """
    found = dict(re.findall(r"^(TB count|TB flush count)\s+(\d+)", text, re.MULTILINE))
    return Jit(int(found["TB count"]), int(found["TB flush count"])) if len(found) == 2 else None


@dataclass
class EmulatorMeter:
    """Looks at the emulator that a lab host runs in, in a thread; made by :func:`watch_emulator`."""

    monitor: QmpSession
    pid: int
    directory: Path
    """for a socket"""
    looks: list[tuple[Look, Jit | None]] = field(default_factory=list)

    def look(self) -> None:
        jit = None
        with contextlib.suppress(Refused):  # a lab host with KVM translates nothing
            jit = parse_jit(self.monitor.execute("x-query-jit")["human-readable-text"])
        if (found := read_look(self.pid)) is not None:
            self.looks.append((found, jit))

    def count(self, begin_s: float, end_s: float) -> tuple[int | None, float]:
        """Blocks and waits of :class:`Resumption` between two times of CLOCK_MONOTONIC."""
        before = [jit for look, jit in self.looks if look.at_s <= begin_s]
        after = [jit for look, jit in self.looks if look.at_s >= end_s]
        first, last = before[-1] if before else None, after[0] if after else None
        blocks = last.blocks - first.blocks if first and last and first.flushes == last.flushes else None
        spans = [compare_looks(one, other) for (one, _), (other, _) in pairwise(self.looks)]
        return blocks, take_window(spans, begin_s, end_s).waited_s

    def forget(self) -> None:
        """Let it throw away all that it has translated, the host's own code too: it does when a debugger stops it after
        a single step (gdbstub/system.c in QEMU, gdb_vm_state_change).
        """
        path = self.directory / "debugger"
        self._command(f"gdbserver unix:{path},server=on,wait=off")
        try:
            with socket.socket(socket.AF_UNIX) as debugger:
                debugger.settimeout(_DEBUGGER_S)
                debugger.connect(str(path))
                for packet in (b"?", b"s", b"D"):
                    debugger.sendall(b"$%b#%02x" % (packet, sum(packet) % 256))
                    reply = b""
                    while not re.search(rb"\$.*#..$", reply):
                        reply += debugger.recv(4096) or b"$#00"
                    debugger.sendall(b"+")
        finally:
            self._command("gdbserver none")

    def _command(self, line: str) -> None:
        self.monitor.execute("human-monitor-command", {"command-line": line})


@contextlib.contextmanager
def watch_emulator(end: Endpoint, loop: LoopThread, directory: Path) -> Iterator[EmulatorMeter]:
    """:raises NotSupported: the host is not one of a lab"""
    if end.lab is None:
        raise NotSupported(f"{end.host.name} is no lab host.")
    pid = find_processes({end.host.name: end.process})[end.host.name]
    over = threading.Event()
    with QmpSession(f"lab host {end.host.name}", LocalHost(), str(end.lab.monitor(end.host.name)), loop) as monitor:
        meter = EmulatorMeter(monitor, pid, directory)

        def work() -> None:
            with contextlib.suppress(GuestCrashed, NotReady):
                while not over.wait(_LOOK_S):
                    meter.look()

        thread = threading.Thread(target=work, daemon=True, name="emulator meter")
        thread.start()
        try:
            yield meter
        finally:
            over.set()
            thread.join()


class _Ear(RunListener):
    """Keeps the probe of the last migration."""

    probe: Heartbeats | None = None

    def probe_ended(self, probe: RunningProbe) -> None:
        if isinstance(probe, Heartbeats):
            self.probe = probe


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    found: dict[str, list[Resumption]] = {way: [] for way in WAYS}
    with (
        acquire_lab() as lab,
        LoopThread() as loop,
        start_guest_session(PRE_COPY_ON.source, pair_of_lab(lab), loop) as guest_session,
    ):
        guest_session.settle_in()
        for number in range(1, arguments.count + 1):
            for way in WAYS if number % 2 else reversed(WAYS):
                one = _take_turn(way, guest_session, loop, scratch)
                if isinstance(one, Resumption):
                    found[way].append(one)
                say(f"#{number} {way}: {one if isinstance(one, str) else describe(one)}")
                if way == MIGRATION and isinstance(one, str):
                    return ExitCode.NOT_AS_EXPECTED  # the guest may be anywhere
    for line in render_summary(found):
        print(line)
    return ExitCode.AS_EXPECTED if all(found.values()) else ExitCode.NOT_READY


def _take_turn(way: str, guest_session: GuestSession, loop: LoopThread, scratch: Path) -> Resumption | str:
    """In words, why there is nothing to be told."""
    end = guest_session.pair.destination if way == MIGRATION else guest_session.pair.source
    attempt: Attempt | None = None
    with start_kvm_trace(end.host) as instance, watch_emulator(end, loop, scratch) as meter:
        if way == MIGRATION:
            guest_session.listener = ear = _Ear()
            attempt = guest_session.attempt(PRE_COPY_ON)
            verdict = judge_attempt(attempt)
            if verdict.name != "completed" or ear.probe is None:
                return f"{verdict.name} {verdict.reason}"
            arrivals = ear.probe.arrivals
        else:
            arrivals = _stand(way, guest_session, end.host, meter)
        trace = read_kvm_trace(end.host, instance)
    vcpus = {int(cpu["thread-id"]) for cpu in guest_session.side.guest.qmp.execute("query-cpus-fast")}
    try:
        window = find_window(parse_kvm_trace(trace), vcpus, arrived=way == MIGRATION)
    except ValueError as error:
        return str(error)
    silence = find_silence(arrivals)
    if window is None or silence is None:
        return "the guest was not heard again"
    begin_s, end_s = silence
    resume_s, stretches = None, dict[str, float]()
    if attempt is not None:
        if attempt.result is None or "end_ns" not in attempt.downtime:
            return "the downtime is not explained"
        real_s = time.time() - time.monotonic()
        downtime_s = attempt.downtime["start_ns"] / 1e9, attempt.downtime["end_ns"] / 1e9
        ahead_s = attempt.result.clocks["destination"].offset_ns / 1e9
        stretches = find_stretches((begin_s + real_s, end_s + real_s), downtime_s, window, ahead_s)
        resume_s = sum(stretches.values())
    elif way != UNTRANSLATED and window.stood_s is not None:
        resume_s = end_s - begin_s - window.stood_s
    return Resumption(resume_s, window, *meter.count(end_s - window.seconds, end_s), stretches)


def _stand(way: str, guest_session: GuestSession, host: Host, meter: EmulatorMeter) -> Sequence[Arrival]:
    """Stop the guest for a while and let it go on."""
    guest = guest_session.side.guest
    login = guest_session.connection.require(guest)
    pair, devices = guest_session.pair, guest_session.side.spec.references
    with OUTSIDE.start(Given(PRE_COPY_ON, guest, devices, pair.outlets(), pair.keys, login=login)) as probe:
        receiver = probe.receiver
        if receiver is None:
            raise NotReady("The guest cannot be heard.", why=probe.missing)
        guest.pause()
        try:
            time.sleep(_STAND_S)
            heard = receiver.count()["source"]
            if way == UNMAPPED:
                host.run(["sh", "-euc", _UNMAP])
            if way == UNTRANSLATED:
                meter.forget()
                time.sleep(_STAND_S)
        finally:
            guest.resume()
        wait_until(
            "heartbeats",
            lambda: receiver.count()["source"] >= heard + _BEATS,
            timeout=30,
            invariants=[guest.require_alive],
        )
        probe.end()
        return probe.arrivals


def find_silence(arrivals: Sequence[Arrival]) -> tuple[float, float] | None:
    """From one side to the other, of one side the longest time between two arrivals: when it began and when it ended,
    seconds of CLOCK_MONOTONIC. Pure.
    """
    pairs = pairwise(sorted(arrivals, key=lambda arrival: arrival.at_ns))
    found = max(pairs, key=lambda pair: (pair[0].side != pair[1].side, pair[1].at_ns - pair[0].at_ns), default=None)
    return (found[0].at_ns / 1e9, found[1].at_ns / 1e9) if found else None


def find_stretches(
    silence: tuple[float, float], downtime_s: tuple[float, float], window: Window, ahead_s: float
) -> dict[str, float]:
    """Those of :data:`STRETCHES`, which add up to the silence less the downtime. Pure.

    ``silence`` and ``downtime_s``: begin and end by the controller's real-time clock; ``ahead_s``: by how much that of
    the destination's host is ahead of it.
    """
    ends = (downtime_s[0] - silence[0], window.begin_s - ahead_s - downtime_s[1], window.seconds)
    return dict(zip(STRETCHES, (*ends, silence[1] - (window.end_s - ahead_s)), strict=True))


def describe(one: Resumption) -> str:
    """A turn in a line. Pure."""
    heard = "" if one.resume_s is None else f"heard after {one.resume_s * 1e3:.0f} ms, "
    tasks = sorted(one.window.tasks.items(), key=lambda task: -task[1])[:3]
    others = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in tasks)
    stretches = ", ".join(f"{name} {seconds * 1e3:.0f} ms" for name, seconds in one.stretches.items())
    seconds = stretches or f"{one.window.seconds * 1e3:.0f} ms from its first entry"
    return f"{heard}{seconds}; other tasks: {others or 'none'}"


def render_summary(found: Mapping[str, Sequence[Resumption]]) -> Iterator[str]:
    """Medians with extremes for each way, and what the differences of the medians say. Pure."""
    yield f"{'':<34}" + "".join(f"{f'{way} (n={len(found[way])})':<28}" for way in WAYS)
    rows: list[tuple[str, str, dict[str, list[float]]]] = [
        (
            "until it is heard",
            "ms",
            {way: [one.resume_s for one in found[way] if one.resume_s is not None] for way in WAYS},
        ),
        *(
            (stretch, "ms", {way: [one.stretches[stretch] for one in found[way] if one.stretches] for way in WAYS})
            for stretch in (BEFORE, ENTERING, ON_ITS_WAY)
        ),
        (WINDOW, "ms", {way: [one.window.seconds for one in found[way]] for way in WAYS}),
        *((f"  {part}", "ms", {way: [one.window.parts[part] for one in found[way]] for way in WAYS}) for part in PARTS),
        ("page faults", "", {way: [float(one.window.exits["npf"]) for one in found[way]] for way in WAYS}),
        ("exits", "", {way: [float(one.window.exits.total()) for one in found[way]] for way in WAYS}),
        (
            "blocks translated, at most",
            "",
            {way: [float(one.blocks) for one in found[way] if one.blocks is not None] for way in WAYS},
        ),
        ("waits for the controller's CPUs", "ms", {way: [one.waited_s for one in found[way]] for way in WAYS}),
        (
            "the window without these",
            "ms",
            {way: [one.window.seconds - one.waited_s for one in found[way]] for way in WAYS},
        ),
    ]
    for name, unit, values in rows:
        yield f"{name:<34}" + "".join(f"{_render(values[way], unit):<28}" for way in WAYS)
    if all(found.values()):
        yield from render_shares(found)


def _render(values: Sequence[float], unit: str) -> str:
    if not values:
        return "missing"
    low, middle, high = (
        value * (1e3 if unit else 1) for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle:.0f} [{low:.0f} … {high:.0f}] {unit}".rstrip()


def render_shares(found: Mapping[str, Sequence[Resumption]]) -> Iterator[str]:
    """What a migration takes more than the floor, by the parts of the window and by what page faults alone do. Pure."""

    def middle(way: str, part: str = "") -> float:
        windows = [one.window for one in found[way]]
        return statistics.median(window.parts[part] if part else window.seconds for window in windows)

    more = middle(MIGRATION) - middle(IN_PLACE)
    yield f"a migration takes {more * 1e3:.0f} ms more than stop and cont in place (medians, from the first entry):"
    if more <= 0:
        return
    for part in PARTS:
        of_it = middle(MIGRATION, part) - middle(IN_PLACE, part)
        yield f"  {part:<24}{of_it * 1e3:6.0f} ms  {of_it / more:5.0%}"
    for way in (UNMAPPED, UNTRANSLATED):
        alone = middle(way) - middle(IN_PLACE)
        yield f"{way}: {alone * 1e3:.0f} ms more than in place, {alone / more:.0%} of that"
    for way in (UNMAPPED, MIGRATION):
        faults, count = middle(way, FAULTS), statistics.median(one.window.exits["npf"] for one in found[way])
        if count:
            yield f"a page fault in {way}: {faults / count * 1e6:.0f} us, without what the guest loses by the exit"
    yield "every part has in it what the emulator translates for it, and its page walks after each exit"
