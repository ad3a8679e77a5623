# SPDX-License-Identifier: GPL-2.0-or-later
"""Downtime as the outside sees it: the silence between a guest's last heartbeat on one side and its first on the other.

Pure. All times are the controller's CLOCK_MONOTONIC: one clock for both sides, so the silence has no clock error. Its
resolution is what the control interval shows, in which the guest ran and nothing migrated.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from switchover.hosts.heartbeat import Arrival
from switchover.migration.downtime import ExplainedDowntime

MIN_CONTROL = 20
"""Heartbeats without which a control interval says nothing."""
_STALLS = 10
RESUME_BOUND_S = 2.0
"""Seconds that a guest may take from its start on the destination to its first heartbeat outside, and for which the
harness leaves its host alone for that.

Measured (docs/concepts.md, ``switchover bench resume``): a lab host under TCG works for up to 0.27 s meanwhile, be the
machine idle or not, mostly in code that its emulator has to translate first. One that gets less than a third of the
CPU that it wants is starved (``lab/starvation.py``), which makes 0.8 s; and the source was last heard up to 0.2 s
before the downtime began. That is doubled for hosts of an inventory, whose pace nobody measures: on lab hosts that
were 2.7 times as slow it took up to 1.25 s. Nested page faults, which every machine has, are 0.02 s of that.
"""


@dataclass(frozen=True)
class Gap:
    """Time between two arrivals, in a row by time. ``lost``: heartbeats sent between the two that never arrived."""

    side: str
    start_ns: int
    seconds: float
    lost: int


@dataclass(frozen=True)
class Control:
    """Heartbeats of a guest that runs undisturbed: what the measurement can tell apart.

    ``median_s`` is the period that was achieved, ``longest_s`` the resolution: a silence that is no longer than that is
    no downtime.
    """

    period_s: float
    """What the sender was told."""
    arrivals: int
    lost: int
    median_s: float
    p99_s: float
    longest_s: float


@dataclass(frozen=True)
class Traffic:
    """Heartbeats over the whole time of the probe. ``lost`` includes those sent at the end, if ``sent`` is known."""

    arrivals: int
    sent: int | None
    lost: int
    duplicated: int
    reordered: int
    stalls: tuple[Gap, ...]
    """The longest gaps above the resolution while the guest ran, on one side; the largest first."""


@dataclass(frozen=True)
class OutsideDowntime:
    """``lost``: heartbeats in the gap that never arrived. 0: the guest sent none in it, it was silent. ``late``: those
    that came in it, and that the guest had sent before.
    """

    seconds: float
    start_ns: int
    end_ns: int
    lost: int
    control: Control
    traffic: Traffic
    late: int = 0


@dataclass(frozen=True)
class UnseenDowntime:
    """The outside did not see it, and why. ``control`` as far as there is one."""

    reason: str
    control: Control | None = None
    traffic: Traffic | None = None
    overlap_s: float | None = None
    """Seconds for which the guest was heard from both sides at once, so that it ran at both; None: it was not."""


def find_outside_downtime(
    arrivals: Sequence[Arrival], period_s: float, migrate_ns: int, sent: int | None = None
) -> OutsideDowntime | UnseenDowntime:
    """From all arrivals of one sender.

    ``migrate_ns``: when the migration began; what arrived before it is the control interval. ``sent``: how many
    heartbeats the sender says it sent.
    """
    ordered = sorted(arrivals, key=lambda arrival: arrival.at_ns)
    control = find_control([arrival for arrival in ordered if arrival.at_ns < migrate_ns], period_s)
    if control is None:
        return UnseenDowntime(f"fewer than {MIN_CONTROL} heartbeats before the migration")
    traffic = count_traffic(ordered, control.longest_s, sent)
    source = [arrival for arrival in ordered if arrival.side == "source"]
    destination = [arrival for arrival in ordered if arrival.side == "destination"]
    for side, seen in (("source", source), ("destination", destination)):
        if not seen:
            return UnseenDowntime(f"no heartbeat from the {side}", control, traffic)
    last, first = source[-1], destination[0]
    if first.at_ns <= last.at_ns:
        overlap = (last.at_ns - first.at_ns) / 1e9
        # two guests go on with the same number; one that was late on its way has a number from before
        twice = max(one.sequence for one in source) >= min(one.sequence for one in destination)
        words = f"heartbeats came from both sides at once, for {overlap:.6f} s"
        return UnseenDowntime(words, control, traffic, overlap if twice else None)
    late = count_late(source, control.longest_s)
    last = source[-1 - late]
    gap = _find_gap(last, first, _missing(ordered))
    return OutsideDowntime(gap.seconds, last.at_ns, first.at_ns, gap.lost, control, traffic, late)


def count_late(arrivals: Sequence[Arrival], resolution_s: float) -> int:
    """How many at the end are late: by its own clock the guest had sent the last of them before the first came.

    What a guest sends just before its vCPUs are paused waits in its NIC until QEMU has stopped its devices.
    """
    sent_ns = arrivals[-1].guest_ns
    for number, (earlier, later) in enumerate(pairwise(arrivals), start=1):
        waited_ns = later.at_ns - earlier.at_ns - round(resolution_s * 1e9)
        if waited_ns > 0 and sent_ns - earlier.guest_ns <= waited_ns:
            return len(arrivals) - number
    return 0


def find_control(arrivals: Sequence[Arrival], period_s: float) -> Control | None:
    """The control interval of arrivals in order of time; None if they are too few."""
    if len(arrivals) < MIN_CONTROL:
        return None
    gaps = sorted((later.at_ns - earlier.at_ns) / 1e9 for earlier, later in pairwise(arrivals))
    return Control(
        period_s=period_s,
        arrivals=len(arrivals),
        lost=len(_missing(arrivals)),
        median_s=statistics.median(gaps),
        p99_s=gaps[min(len(gaps) - 1, len(gaps) * 99 // 100)],
        longest_s=gaps[-1],
    )


def count_traffic(ordered: Sequence[Arrival], resolution_s: float, sent: int | None) -> Traffic:
    """Losses, duplicates and reordering by sequence numbers, and the stalls that are no switchover."""
    seen: set[int] = set()
    duplicated = reordered = 0
    highest = -1
    for arrival in ordered:
        duplicated += arrival.sequence in seen
        reordered += arrival.sequence < highest and arrival.sequence not in seen
        seen.add(arrival.sequence)
        highest = max(highest, arrival.sequence)
    missing = _missing(ordered)
    gaps = [_find_gap(earlier, later, missing) for earlier, later in pairwise(ordered) if earlier.side == later.side]
    stalls = sorted((gap for gap in gaps if gap.seconds > resolution_s), key=lambda gap: -gap.seconds)
    unseen_end = max(0, sent - highest - 1) if sent is not None else 0
    return Traffic(len(ordered), sent, len(missing) + unseen_end, duplicated, reordered, tuple(stalls[:_STALLS]))


def tolerance(outside: OutsideDowntime, explained: ExplainedDowntime) -> float:
    """Seconds by which both may differ without a reason: the resolution, and the clocks' bound in the explained one."""
    return outside.control.longest_s + explained.bound_s


def find_silence(explained: ExplainedDowntime) -> float:
    """Seconds in which the outside must hear nothing: the downtime without its last part, "start", in which a heartbeat
    that waited in the guest's NIC is sent before its vCPUs run.
    """
    return sum(part.seconds for part in explained.parts[:-1])


def find_noise(outside: OutsideDowntime, explained: ExplainedDowntime) -> str:
    """Why the two cannot be compared: their error is more than half of the silence to be heard. Empty if they can."""
    error, silence = tolerance(outside, explained), find_silence(explained)
    if error <= silence / 2:
        return ""
    resolution = f"resolution {outside.control.longest_s:.6f} s and the clocks' bound {explained.bound_s:.6f} s"
    return f"{resolution} are too coarse for a silence of {silence:.6f} s"


def is_supported(control: Control) -> bool:
    """Whether a period holds here: nothing lost, the rate within 5 %, and 99 of 100 gaps below two periods."""
    return not control.lost and control.median_s <= 1.05 * control.period_s and control.p99_s < 2 * control.period_s


def find_smallest_period(controls: Sequence[Control]) -> Control | None:
    """The supported one with the smallest period above all periods that are not, or not each time."""
    limit = max((control.period_s for control in controls if not is_supported(control)), default=0.0)
    fit = [control for control in controls if control.period_s > limit]
    return min(fit, key=lambda control: control.period_s, default=None)


def _missing(arrivals: Sequence[Arrival]) -> set[int]:
    """Sequence numbers between the lowest and the highest that never arrived."""
    seen = {arrival.sequence for arrival in arrivals}
    return set(range(min(seen), max(seen))) - seen if seen else set()


def _find_gap(earlier: Arrival, later: Arrival, missing: set[int]) -> Gap:
    lost = sum(sequence in missing for sequence in range(earlier.sequence + 1, later.sequence))
    return Gap(later.side, earlier.at_ns, (later.at_ns - earlier.at_ns) / 1e9, lost)
