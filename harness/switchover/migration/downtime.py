# SPDX-License-Identifier: GPL-2.0-or-later
"""Downtime, explained: from the checkpoint ``src-downtime-start`` to the destination's guest first running. Pure.

Every time is put on the controller's clock. Spans within a host are exact (to QEMU's microseconds); spans that cross
hosts carry the bound of the clocks' offsets. Saving on the source and loading on the destination overlap: they are
shown beside each other and never summed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from switchover.hosts.clock import ClockOffset
from switchover.migration.traces import (
    SectionTime,
    StateTransition,
    TraceEvent,
    find_checkpoints,
    find_running,
    find_sections,
    find_transitions,
)

# name of the part, its meaning, and the moments it lies between
_PARTS = (
    ("stop", "vCPUs paused, devices taken out of RUNNING", "src-downtime-start", "src-vm-stopped"),
    ("pre-switchover", "until QEMU is told to go on, where pause-before-switchover is on", "src-vm-stopped", "go on"),
    ("save iterable", "the rest of RAM, then each VFIO device", "go on", "src-iterable-saved"),
    ("save the rest", "all other devices", "src-iterable-saved", "src-non-iterable-saved"),
    (
        "transfer and load",
        "what the destination still has to receive and load",
        "src-non-iterable-saved",
        "dst-precopy-loadvm-completed",
    ),
    (
        "wait for cont",
        "until the destination is told to start the guest, where it does not by itself",
        "dst-precopy-loadvm-completed",
        "cont",
    ),
    ("start", "devices to RUNNING, vCPUs resumed", "cont", "end"),
)
_WAITS = ("pre-switchover", "wait for cont")
"""Parts that there are only if somebody else decides when to go on."""
_STARTED = "dst-precopy-bh-vm-started"


@dataclass(frozen=True)
class Part:
    """A span of the downtime."""

    name: str
    """the name of the part"""
    meaning: str
    """what happens in it"""
    seconds: float
    """the length in seconds"""
    bound_s: float
    """the error bound of the length, in seconds; 0 if both ends are on one host"""


@dataclass(frozen=True)
class ExplainedDowntime:
    """Length, parts that add up to it, and what happened inside them."""

    seconds: float
    """the length in seconds"""
    bound_s: float
    """the error bound of the length, in seconds"""
    start_ns: int
    """when it began, by the controller's real-time clock"""
    end_ns: int
    """when it ended, by the controller's real-time clock"""
    ends_at: str
    """the trace event that ends it"""
    parts: tuple[Part, ...]
    """the parts of the downtime, which follow each other and add up to `seconds`"""
    saving: tuple[SectionTime, ...]
    """the sections that the source saved in the downtime"""
    loading: tuple[SectionTime, ...]
    """the sections that the destination loaded; in time they overlap with `saving`"""
    transitions: tuple[StateTransition, ...]
    """the changes of device state in the downtime, first those of the source, then those of the destination"""


@dataclass(frozen=True)
class UnexplainedDowntime:
    """No explanation, and why: a number that is missing is missing."""

    reason: str
    """why there is no explanation"""


PAUSED = "the guest was paused when it was migrated"
"""Why such a guest has no downtime."""


def explain_downtime(
    source: Sequence[TraceEvent],
    destination: Sequence[TraceEvent],
    source_clock: ClockOffset,
    destination_clock: ClockOffset,
) -> ExplainedDowntime | UnexplainedDowntime:
    """Explain the downtime of a completed pre-copy migration from both sides' traces."""
    times = {name: at - source_clock.offset_ns for name, at in find_checkpoints(source).items() if _is(name, "src")}
    for name, at in find_checkpoints(destination).items():
        if _is(name, "dst"):
            times[name] = at - destination_clock.offset_ns
    ends_at = _STARTED
    if _STARTED in times:
        times["end"] = times[_STARTED]
    if "dst-precopy-loadvm-completed" in times:
        offset = destination_clock.offset_ns
        running = find_running(destination, times["dst-precopy-loadvm-completed"] + offset)
        # a destination that waits for cont has the checkpoint too, before its guest runs
        if running is not None and running - offset > times.get(_STARTED, 0):
            ends_at = "vfio_vmstate_change running 1"
            times["end"] = running - offset
    _add_going_on(times, source, source_clock)
    _add_cont(times, destination, destination_clock, waits=ends_at != _STARTED)
    missing = [name for _, _, *names in _PARTS for name in names if name not in times]
    if missing:
        name = f"{_STARTED}, nor a vfio_vmstate_change running 1" if missing[0] == "end" else missing[0]
        return UnexplainedDowntime(f"the traces have no vmstate_downtime_checkpoint {name}")
    crossing = (source_clock.bound_ns + destination_clock.bound_ns) / 1e9
    start, end = times["src-downtime-start"], times["end"]
    parts = tuple(
        Part(name, meaning, (times[last] - times[first]) / 1e9, crossing if name == "transfer and load" else 0)
        for name, meaning, first, last in _PARTS
        if name not in _WAITS or times[first] != times[last]
    )
    if reason := _find_backwards(parts):
        return UnexplainedDowntime(reason)
    inside = [
        moved
        for events, clock in ((source, source_clock), (destination, destination_clock))
        for transition in find_transitions(events)
        if start <= (moved := _move(transition, clock)).start_ns <= end
    ]
    return ExplainedDowntime(
        seconds=(end - start) / 1e9,
        bound_s=crossing,
        start_ns=start,
        end_ns=end,
        ends_at=ends_at,
        parts=parts,
        saving=_largest_sections(find_sections(source, "save")),
        loading=_largest_sections(find_sections(destination, "load")),
        transitions=tuple(inside),
    )


def _find_backwards(parts: Sequence[Part]) -> str:
    """Which span ended before it began, by more than clocks explain, or the whole of them; empty if none did."""
    whole = Part("the downtime", "", sum(part.seconds for part in parts), 0)
    for part in (*parts, whole):
        if part.seconds < -part.bound_s:
            bound = f" ± {part.bound_s:.6f} s" if part.bound_s else ""
            return f"{part.name} took {part.seconds:.6f} s{bound} by the traces: a clock was set meanwhile"
    return ""


def _add_going_on(times: dict[str, int], source: Sequence[TraceEvent], clock: ClockOffset) -> None:
    """When the source left ``pre-switchover``; a source that was not there goes on when its vCPUs have stopped."""
    if "src-vm-stopped" not in times:
        return
    times["go on"] = times["src-vm-stopped"]
    statuses = {event.text.removeprefix("new state "): event.at_ns for event in source if event.name == _STATUS}
    if "pre-switchover" in statuses and statuses.get("device", 0) > statuses["pre-switchover"]:
        times["go on"] = statuses["device"] - clock.offset_ns


def _add_cont(times: dict[str, int], destination: Sequence[TraceEvent], clock: ClockOffset, *, waits: bool) -> None:
    """When the destination was told to start its guest: its first sign of it; else it goes on when all is loaded."""
    loaded = times.get("dst-precopy-loadvm-completed")
    if loaded is None:
        return
    signs = (
        event.at_ns - clock.offset_ns
        for event in destination
        if event.name.startswith("vfio_vmstate_change") and " running 1 " in f" {event.text} "
    )
    times["cont"] = next((at for at in signs if at > loaded), loaded) if waits else loaded


_STATUS = "migrate_set_state"


def _is(name: str, side: str) -> bool:
    return name.startswith(f"{side}-")


def _move(transition: StateTransition, clock: ClockOffset) -> StateTransition:
    """The same transition on the controller's clock."""
    end = None if transition.end_ns is None else transition.end_ns - clock.offset_ns
    return StateTransition(transition.device, transition.state, transition.start_ns - clock.offset_ns, end)


def _largest_sections(sections: Sequence[SectionTime]) -> tuple[SectionTime, ...]:
    """Iterable sections one by one, the many others as one."""
    iterable = [section for section in sections if section.kind == "iterable"]
    others = [section.seconds for section in sections if section.kind != "iterable"]
    return (*iterable, SectionTime("non-iterable", f"{len(others)} other sections", sum(others)))
