# SPDX-License-Identifier: GPL-2.0-or-later
"""A chain of migrations of one guest: what each hop was to come to, and what the whole came to."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from switchover.checks.faults import list_faults
from switchover.record.measurement import Check
from switchover.record.mismatch import Mismatch
from switchover.record.record import HopRecord, Verdict, VerdictName
from switchover.runner.attempt import Attempt
from switchover.scenarios.case import Case
from switchover.scenarios.expectation import COMPLETES, Expectation, find_mismatches
from switchover.scenarios.oracle import choose_rule, make_traits

EACH_ITS_OWN = {"reason": "a chain of migrations: each hop has its own"}
"""In place of the downtime of a chain."""


@dataclass(frozen=True)
class TriedHop:
    """A hop that was tried. ``case``: the hop by itself; ``hosts``: names by side; ``qemu``: versions by side."""

    case: Case
    attempt: Attempt
    hosts: Mapping[str, str]
    qemu: Mapping[str, Any]


def expect_of_hop(whole: Case, number: int, *, completed: bool = True) -> Expectation:
    """What must come of one hop of a chain, from 1. ``completed``: whether it did, where any hop may be the one that
    ends the chain.
    """
    wanted, hops = whole.expectation, whole.list_hops()
    last = number == len(hops)
    if wanted.verdict is VerdictName.COMPLETED:
        ends = bool(wanted.pre_copy or wanted.downtime_ms or wanted.outside_downtime_ms) or last
    else:
        ends = number == wanted.hop if wanted.hop else last or not completed
    if ends:
        return replace(wanted, hop=0)
    own = choose_rule(make_traits(hops[number - 1])).expectation
    return own if own.verdict is VerdictName.COMPLETED else COMPLETES


def merge_attempts(tried: Sequence[TriedHop]) -> Attempt:
    """What is told of a chain as of a migration: how its last hop ended, and what was found in all."""
    attempts = [hop.attempt for hop in tried]
    return replace(
        attempts[-1],
        states={},
        downtime=EACH_ITS_OWN,
        measurements=(),
        properties={},
        checks=tuple(
            _in_hop(check, number) for number, attempt in enumerate(attempts, start=1) for check in attempt.checks
        ),
        not_checked=tuple(dict.fromkeys(entry for attempt in attempts for entry in attempt.not_checked)),
        interventions=tuple(made for attempt in attempts for made in attempt.interventions),
        deaths=tuple(death for attempt in attempts for death in attempt.deaths),
    )


def _in_hop(check: Check, number: int) -> Check:
    subject = f"{check.subject}, hop {number}" if check.subject else f"hop {number}"
    return replace(check, subject=subject, name=f"{check.name} (hop {number})")


def judge_chain(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a chain whose hops came to these: the last one's, with its number unless all of the chain completed."""
    last = verdicts[-1]
    return last if last.name is VerdictName.COMPLETED else replace(last, hop=len(verdicts))


def find_chain_mismatches(
    case: Case, verdict: Verdict, tried: Sequence[TriedHop], verdicts: Sequence[Verdict]
) -> tuple[Mismatch, ...]:
    """Ways in which a chain is not right: of the hops before the last one that was tried, and of how the chain ended.

    ``verdicts``: those of ``tried``. A hop that could not be tried to its end is none of them.
    """
    found: list[Mismatch] = []
    ended = tried[-1] if len(tried) == len(verdicts) and tried and verdict.hop in (0, len(tried)) else None
    for number, (hop, of_hop) in enumerate(zip(tried, verdicts, strict=True), start=1):
        wanted = case.expectation if hop is ended else COMPLETES
        found += _compare(number, hop, wanted, verdict if hop is ended else of_hop)
    if ended is None:
        hops = case.list_hops()
        faults = list_faults(hops[verdict.hop - 1]) if verdict.hop else ()
        found += find_mismatches(case.expectation, verdict, (), faults)
    return tuple(found)


def _compare(number: int, hop: TriedHop, wanted: Expectation, verdict: Verdict) -> Sequence[Mismatch]:
    attempt = hop.attempt
    return find_mismatches(
        wanted,
        verdict,
        [_in_hop(check, number) for check in attempt.checks],
        [f"{label}, hop {number}" for label in list_faults(hop.case)],
        attempt.deaths,
        attempt.not_checked,
    )


def render_hops(tried: Sequence[TriedHop], verdicts: Sequence[Verdict]) -> tuple[HopRecord, ...]:
    """For the record."""
    return tuple(
        HopRecord(
            number,
            verdict,
            hop.hosts,
            hop.qemu,
            hop.attempt.measurements,
            hop.attempt.checks,
            hop.attempt.downtime,
            hop.attempt.states,
            hop.attempt.properties,
            {side: asdict(clock) for side, clock in hop.attempt.result.clocks.items()} if hop.attempt.result else {},
            tuple(asdict(made) for made in hop.attempt.interventions),
            hop.attempt.not_checked,
            hop.attempt.result.driver if hop.attempt.result else {},
        )
        for number, (hop, verdict) in enumerate(zip(tried, verdicts, strict=True), start=1)
    )
