# SPDX-License-Identifier: GPL-2.0-or-later
"""Which cases are run in the time that there is: those that were not run for longest. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Standing:
    """How far earlier runs have come. ``of``: how many cases there are; ``run``: how many of them were run; ``oldest``:
    when the one was run that was not run for longest, as text that sorts by time; empty: none was run.
    """

    of: int
    run: int
    oldest: str


def order_by_age(cases: Sequence[str], last: Mapping[str, str]) -> list[str]:
    """Those never run first, then by when each was run last, as text that sorts by time; else in their order."""
    return sorted(cases, key=lambda case: last.get(case, ""))


def choose_within(cases: Sequence[str], seconds: Mapping[str, float], budget_s: float) -> list[str]:
    """The first of ``cases`` that take no longer together than ``budget_s``. None is passed over for a shorter one: it
    would never have its turn.
    """
    chosen: list[str] = []
    for case in cases:
        budget_s -= seconds[case]
        if budget_s < 0:
            break
        chosen.append(case)
    return chosen


def find_standing(cases: Sequence[str], last: Mapping[str, str]) -> Standing:
    times = [last[case] for case in cases if case in last]
    return Standing(len(cases), len(times), min(times, default=""))
