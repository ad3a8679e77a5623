# SPDX-License-Identifier: GPL-2.0-or-later
"""Downtime, explained: from the checkpoint ``src-downtime-start`` to the destination's guest running. Pure.

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
    find_running_again,
    find_sections,
    find_transitions,
)

# name of the part, its meaning, and the checkpoints it lies between
_PARTS = (
    ("stop", "vCPUs paused, devices taken out of RUNNING", "src-downtime-start", "src-vm-stopped"),
    ("save iterable", "the rest of RAM, then each VFIO device", "src-vm-stopped", "src-iterable-saved"),
    ("save the rest", "all other devices", "src-iterable-saved", "src-non-iterable-saved"),
    ("transfer and load", "what the destination still has to receive and load", "src-non-iterable-saved",
     "dst-precopy-loadvm-completed"),
    ("start", "devices to RUNNING, vCPUs resumed", "dst-precopy-loadvm-completed", "end"),
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A span of the downtime."""

    name: str
    """which part"""
    meaning: str
    """what happens in it"""
    seconds: float
    """length, seconds"""
    bound_s: float
    """error bound of the length, seconds; 0: within one host"""


@dataclass(frozen=True)
class ExplainedDowntime:
    """Length, parts that add up to it, and what happened inside them."""

    seconds: float
    """length, seconds"""
    bound_s: float
    """error bound of the length, seconds"""
    start_ns: int
    """when it began, controller's real-time clock"""
    end_ns: int
    """when it ended, controller's real-time clock"""
    ends_at: str
    """the trace event that ends it"""
    parts: tuple[Part, ...]
    """they follow each other and add up to `seconds`"""
    saving: tuple[SectionTime, ...]
    """sections as the source saved them, in the downtime"""
    loading: tuple[SectionTime, ...]
    """sections as the destination loaded them; overlaps with `saving` in time"""
    transitions: tuple[StateTransition, ...]
    """device state changes inside the downtime, of the source, then of the destination"""


@dataclass(frozen=True)
class UnexplainedDowntime:
    """No explanation, and why: a number that is missing is missing."""

    reason: str
    """why there is no explanation"""


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
    ends_at = "dst-precopy-bh-vm-started"
    if ends_at in times:
        times["end"] = times[ends_at]
    elif running := list(find_running_again(destination)):
        ends_at = "vfio_vmstate_change running 1"
        times["end"] = running[-1] - destination_clock.offset_ns
    missing = [name for _, _, *names in _PARTS for name in names if name not in times]
    if missing:
        name = "dst-precopy-bh-vm-started, nor a vfio_vmstate_change running 1" if missing[0] == "end" else missing[0]
        return UnexplainedDowntime(f"the traces have no vmstate_downtime_checkpoint {name}")
    crossing = (source_clock.bound_ns + destination_clock.bound_ns) / 1e9
    start, end = times["src-downtime-start"], times["end"]
    parts = tuple(
        Part(
            name,
            meaning,
            (times[last] - times[first]) / 1e9,
            crossing if first[:3] != last[:3] and last != "end" else 0,
        )
        for name, meaning, first, last in _PARTS
    )
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
