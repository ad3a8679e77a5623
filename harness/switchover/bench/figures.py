# SPDX-License-Identifier: GPL-2.0-or-later
"""How figures of the harness are told."""

import statistics
from collections.abc import Iterable

from switchover.bench.endurance import Turn
from switchover.record.errors import ExitCode
from switchover.record.log import say
from switchover.report.differences import Difference, count_needed


def tell_turns(what: str, turns: Iterable[Turn]) -> int:
    """Each turn as it ends, then failures and times. Returns the exit code."""
    done: list[Turn] = []
    for turn in turns:
        done.append(turn)
        say(f"{what} {turn.number}: {turn.seconds:.1f} s {turn.failure}".rstrip())
    failures = [turn for turn in done if turn.failure]
    print(f"{len(done)} × {what}: {len(failures)} failures; {render_spread([turn.seconds for turn in done])}")
    for turn in failures:
        print(f"  #{turn.number}: {turn.failure}")
    return ExitCode.NOT_AS_EXPECTED if failures else ExitCode.AS_EXPECTED


def render_spread(values: list[float], digits: int = 1) -> str:
    """Median, extremes and number of times in seconds."""
    if not values:
        return "none"
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"median {middle:5.{digits}f} s  [{low:.{digits}f} … {high:.{digits}f}]  n={len(values)}"


def render_ratio(found: Difference | None) -> str:
    """Of pairs, with its 95 % interval; nothing can be told from fewer than are needed for one."""
    if found is None:
        return "missing"
    if found.low is None or found.high is None or found.p is None:
        return f"{found.shift:.3f}, and no interval: {count_needed(paired=True)} pairs are needed"
    return f"{found.shift:.3f}   95 % [{found.low:.3f} … {found.high:.3f}]  p = {found.p:.2g}"
