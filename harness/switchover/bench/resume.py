# SPDX-License-Identifier: GPL-2.0-or-later
"""From a guest's start to its first heartbeat outside: after a migration, and after ``stop`` and ``cont`` in place.

In turns, three ways to stand still. *in place*: the same QEMU, the guest's memory mapped and its code translated, which
is the floor. *unmapped*: the same, but KVM drops its nested mappings meanwhile, so that each page faults again on its
first touch. *migration*: a QEMU on another host, to which all is new, and to the emulator that this host runs in.
"""

import argparse
import contextlib
import re
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
from switchover.guests.qemu import QemuGuest
from switchover.hosts.heartbeat import Arrival
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.waiting import wait_until
from switchover.lab.acquire import acquire_lab
from switchover.lab.starvation import Look, compare_looks, find_processes, read_look, take_window
from switchover.record.errors import ExitCode, GuestCrashed, NotReady, NotSupported, Refused
from switchover.record.log import say
from switchover.runner.guest_session import GuestSession, start_guest_session
from switchover.runner.host_pair import Endpoint, pair_of_lab
from switchover.runner.listener import RunListener
from switchover.runner.outside import OutsideProbe, start_outside
from switchover.runner.standard import PRE_COPY_ON
from switchover.runner.verdict import judge_attempt
from switchover.scenarios.case import Case

IN_PLACE, UNMAPPED, MIGRATION = WAYS = ("in place", "unmapped", "migration")
_STAND_S = 0.5
"""About as long as the downtime of the migrations."""
_LOOK_S = 0.05
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

    ``resume_s``: its silence less the time in which no vCPU could run; ``blocks``: of code that the emulator of its
    host translated in the window and up to two looks beside it, None: it does not tell, or threw all away meanwhile;
    ``waited_s``: for which that emulator's threads waited for a CPU of the controller in the window.
    """

    resume_s: float
    window: Window
    blocks: int | None = None
    waited_s: float = 0.0


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


@contextlib.contextmanager
def watch_emulator(end: Endpoint, loop: LoopThread) -> Iterator[EmulatorMeter]:
    """:raises NotSupported: the host is not one of a lab"""
    if end.lab is None:
        raise NotSupported(f"{end.host.name} is no lab host.")
    pid = find_processes({end.host.name: end.process})[end.host.name]
    over = threading.Event()
    with QmpSession(f"lab host {end.host.name}", LocalHost(), str(end.lab.monitor(end.host.name)), loop) as monitor:
        meter = EmulatorMeter(monitor, pid)

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

    probe: OutsideProbe | None = None

    def outside(self, probe: OutsideProbe) -> None:
        self.probe = probe


def run(arguments: argparse.Namespace, _scratch: Path) -> int:
    found: dict[str, list[Resumption]] = {way: [] for way in WAYS}
    with (
        acquire_lab() as lab,
        LoopThread() as loop,
        start_guest_session(PRE_COPY_ON.source, pair_of_lab(lab), loop) as guest_session,
    ):
        guest_session.settle_in()
        for number in range(1, arguments.count + 1):
            for way in WAYS if number % 2 else reversed(WAYS):
                one = _take_turn(way, guest_session, PRE_COPY_ON, loop, f"hop {number}")
                if isinstance(one, str):
                    say(f"#{number} {way}: {one}")
                    if way == MIGRATION:
                        return ExitCode.NOT_AS_EXPECTED  # the guest may be anywhere
                    continue
                found[way].append(one)
                said = (
                    f"heard after {one.resume_s * 1e3:.0f} ms, {one.window.seconds * 1e3:.0f} ms from its first entry"
                )
                say(f"#{number} {way}: {said}, {one.window.exits['npf']} page faults")
    for line in render_summary(found):
        print(line)
    return ExitCode.AS_EXPECTED if all(found.values()) else ExitCode.NOT_READY


def _take_turn(way: str, guest_session: GuestSession, case: Case, loop: LoopThread, name: str) -> Resumption | str:
    """In words, why there is nothing to be told."""
    end = guest_session.pair.destination if way == MIGRATION else guest_session.pair.source
    with start_kvm_trace(end.host) as instance, watch_emulator(end, loop) as meter:
        if way == MIGRATION:
            guest_session.listener = ear = _Ear()
            attempt = guest_session.attempt(case, name)
            verdict = judge_attempt(attempt)
            if verdict.name != "completed" or ear.probe is None:
                return f"{verdict.name} {verdict.reason}"
            arrivals = ear.probe.arrivals
            resume_s = next(one.value for one in attempt.measurements if one.name == "downtime.outside.resume")
        else:
            arrivals, resume_s = _stand(guest_session, end, case.heartbeat_us, unmap=way == UNMAPPED), None
        trace = read_kvm_trace(end.host, instance)
    vcpus = {int(cpu["thread-id"]) for cpu in guest_session.side.guest.qmp.execute("query-cpus-fast")}
    try:
        window = find_window(parse_kvm_trace(trace), vcpus, arrived=way == MIGRATION)
    except ValueError as error:
        return str(error)
    seen = find_silence(arrivals)
    if window is None or seen is None or (resume_s is None and window.stood_s is None):
        return "the guest was not heard again"
    silence_s, end_s = seen
    blocks, waited_s = meter.count(end_s - window.seconds, end_s)
    return Resumption(silence_s - (window.stood_s or 0) if resume_s is None else resume_s, window, blocks, waited_s)


def _stand(guest_session: GuestSession, end: Endpoint, period_us: int, *, unmap: bool) -> Sequence[Arrival]:
    """Stop the guest for a while and let it go on."""
    guest: QemuGuest = guest_session.side.guest
    login = guest_session.connection.require(guest)
    with start_outside(guest_session.pair, guest, period_us, login) as probe:
        if probe.receiver is None:
            raise NotReady("The guest cannot be heard.", why=probe.missing)
        receiver = probe.receiver
        guest.pause()
        try:
            time.sleep(_STAND_S)
            heard = receiver.count()["source"]
            if unmap:
                end.host.run(["sh", "-euc", _UNMAP])
        finally:
            guest.resume()
        wait_until(
            "heartbeats",
            lambda: receiver.count()["source"] >= heard + _BEATS,
            timeout=30,
            invariants=[guest.require_alive],
        )
        probe.collect()
        return probe.arrivals


def find_silence(arrivals: Sequence[Arrival]) -> tuple[float, float] | None:
    """The longest time between two arrivals, and when it ended by CLOCK_MONOTONIC; seconds. Pure."""
    times = sorted(arrival.at_ns for arrival in arrivals)
    return max((((later - earlier) / 1e9, later / 1e9) for earlier, later in pairwise(times)), default=None)


def render_summary(found: Mapping[str, Sequence[Resumption]]) -> Iterator[str]:
    """Medians with extremes for each way, and what the differences of the medians say. Pure."""
    yield f"{'':<34}" + "".join(f"{f'{way} (n={len(found[way])})':<28}" for way in WAYS)
    rows: list[tuple[str, str, dict[str, list[float]]]] = [
        ("until it is heard", "ms", {way: [one.resume_s for one in found[way]] for way in WAYS}),
        ("first entry to first heartbeat", "ms", {way: [one.window.seconds for one in found[way]] for way in WAYS}),
        *((f"  {part}", "ms", {way: [one.window.parts[part] for one in found[way]] for way in WAYS}) for part in PARTS),
        ("page faults", "", {way: [float(one.window.exits["npf"]) for one in found[way]] for way in WAYS}),
        ("exits", "", {way: [float(one.window.exits.total()) for one in found[way]] for way in WAYS}),
        (
            "blocks translated, at most",
            "",
            {way: [float(one.blocks) for one in found[way] if one.blocks is not None] for way in WAYS},
        ),
        ("waited for the controller's CPUs", "ms", {way: [one.waited_s for one in found[way]] for way in WAYS}),
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
    alone = middle(UNMAPPED) - middle(IN_PLACE)
    yield f"dropped mappings alone take {alone * 1e3:.0f} ms more, {alone / more:.0%} of that"
    for way in (UNMAPPED, MIGRATION):
        faults, count = middle(way, FAULTS), statistics.median(one.window.exits["npf"] for one in found[way])
        if count:
            yield f"a page fault in {way}: {faults / count * 1e6:.0f} us, without what the guest loses by the exit"
    yield "not told apart: in 'guest', its code, the code's translation, and page walks of the emulator after each exit"
