# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether interrupts and their threads kept away from CPUs that are to be left alone. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from switchover.irq.analysis import Analysis, InterruptResult
from switchover.irq.state import parse_cpus


@dataclass(frozen=True)
class Presence:
    """What an interrupt did on forbidden CPUs: hard handlers, and times that its threads came to run, by CPU."""

    irq: int
    name: str
    handlers: Mapping[int, int]
    runs: Mapping[int, int]
    allowed: frozenset[int]
    """those of them to which its masks let it go"""

    @property
    def trespasses(self) -> bool:
        return bool(self.handlers or self.runs)


@dataclass(frozen=True)
class Forbidden:
    """``cpus``: the forbidden ones. ``others``: interrupts that were not traced, with how often /proc/interrupts
    counted them there.
    """

    cpus: frozenset[int]
    interrupts: tuple[Presence, ...]
    others: Mapping[int, int]

    @property
    def trespassers(self) -> tuple[Presence, ...]:
        return tuple(one for one in self.interrupts if one.trespasses)


def find_forbidden(analysis: Analysis, cpus: frozenset[int]) -> Forbidden:
    return Forbidden(
        cpus, tuple(_find_presence(result, cpus) for result in analysis.interrupts), _find_others(analysis, cpus)
    )


def _find_presence(result: InterruptResult, cpus: frozenset[int]) -> Presence:
    joined: Counter[int] = Counter()  # all that there is of a trace without entries of handlers
    for (hard, _), count in result.total.matrix.items():
        joined[hard] += count
    handlers, runs = (
        {cpu: counts[cpu] for cpu in sorted(cpus) if counts[cpu]}
        for counts in (result.tally.handlers or joined, result.tally.thread_cpus)
    )
    masks = [mask for one in (result.before, result.after) if one for mask in (one.effective or one.asked,)]
    masks += [thread.cpus for thread in (*result.threads_before, *result.threads_after)]
    return Presence(result.number, result.name, handlers, runs, cpus & frozenset().union(*map(parse_cpus, masks)))


def _find_others(analysis: Analysis, cpus: frozenset[int]) -> dict[int, int]:
    if analysis.end is None:
        return {}
    first, last = analysis.start.before.counters.interrupts, analysis.end.after.counters.interrupts
    grown = {
        irq: sum(counts.get(cpu, 0) - first.get(irq, {}).get(cpu, 0) for cpu in cpus)
        for irq, counts in last.items()
        if irq not in analysis.start.chosen
    }
    return {irq: count for irq, count in sorted(grown.items()) if count > 0}
