# SPDX-License-Identifier: GPL-2.0-or-later
"""What measuring costs: the downtime with all probes on against that with QEMU's counters only, pair by pair."""

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from switchover.scenarios.case import Case, SideSpec

_RESAMPLES = 5000


def without_probes(case: Case) -> Case:
    """The same case, its QEMUs not tracing and its guest sending no heartbeats."""

    def untraced(side: SideSpec) -> SideSpec:
        return replace(side, guest=replace(side.guest, traced=False))

    return replace(
        case, id=f"{case.id},probes=off", source=untraced(case.source), destination=untraced(case.destination),
        heartbeat_us=0,
    )  # fmt: skip


def alternate(case: Case, pairs: int) -> Iterator[Case]:
    """The case with and without probes, in pairs, each the other way round than the one before."""
    for number in range(pairs):
        arms = (case, without_probes(case))
        yield from arms if number % 2 == 0 else reversed(arms)


@dataclass(frozen=True)
class Ratio:
    """Medians of both arms (seconds), their ratio, and its 95 % interval by bootstrap; ``pairs``: how many."""

    on: float
    off: float
    ratio: float
    low: float
    high: float
    pairs: int


def compare_medians(on: Sequence[float], off: Sequence[float], seed: int = 1) -> Ratio:
    """:raises ValueError: an arm has no value"""
    if not on or not off:
        raise ValueError("no value to compare")
    generator = random.Random(seed)
    ratios = sorted(
        statistics.median(generator.choices(on, k=len(on))) / statistics.median(generator.choices(off, k=len(off)))
        for _ in range(_RESAMPLES)
    )
    middle_on, middle_off = statistics.median(on), statistics.median(off)
    low, high = ratios[int(0.025 * _RESAMPLES)], ratios[int(0.975 * _RESAMPLES)]
    return Ratio(middle_on, middle_off, middle_on / middle_off, low, high, min(len(on), len(off)))
