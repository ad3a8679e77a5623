# SPDX-License-Identifier: GPL-2.0-or-later
"""Downtimes against the bounds that a case expects them to keep, each judged with the number's own error."""

from collections.abc import Iterable, Iterator

from switchover.record.checks import CheckId
from switchover.record.measurement import Check, Findings, Measurement, NotChecked, make_check
from switchover.scenarios.bounds import Bound, parse_bound
from switchover.scenarios.expectation import Expectation


def check_bounds(expectation: Expectation, measurements: Iterable[Measurement]) -> Findings:
    """A check for each bound. It is not made where the number is missing, or may lie on either side of the bound by its
    error: then the case, which depends on it, is not right.
    """
    measured = {entry.name: entry for entry in measurements}
    made = [_check(of, bound, measured.get(name)) for of, name, bound in _list_bounds(expectation)]
    return Findings(
        checks=tuple(one for one in made if isinstance(one, Check)),
        not_checked=tuple(one for one in made if isinstance(one, NotChecked)),
    )


def _list_bounds(expectation: Expectation) -> Iterator[tuple[CheckId, str, Bound]]:
    if expectation.downtime_ms:
        yield CheckId.DOWNTIME_BOUND, "downtime.explained", parse_bound(expectation.downtime_ms)
    if expectation.outside_downtime_ms:
        yield CheckId.DOWNTIME_OUTSIDE_BOUND, "downtime.outside", parse_bound(expectation.outside_downtime_ms)


def _check(of: CheckId, bound: Bound, measured: Measurement | None) -> Check | NotChecked:
    if measured is None or measured.value is None:
        note = measured.note if measured else ""
        return NotChecked(of, of.claim, reason=f"the number is missing{note and f': {note}'}", needed=True)
    error = measured.bound or 0.0
    observed = f"{measured.value * 1000:.3f} ± {error * 1000:.3f} ms"
    held = bound.judge(measured.value, error)
    if held is None:
        return NotChecked(of, of.claim, reason=f"{observed} may be {bound} ms or not", needed=True)
    return make_check(of, held, f"{bound} ms", observed)
