# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans for people and for programs."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from switchover.lab.toolchains import list_unbuilt
from switchover.record.record import VerdictName
from switchover.record.units import format_duration
from switchover.scenarios.case import Case
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.plan import Entry, Plan, list_programs, list_starts

SCHEMA_VERSION = 1


def render_plans(plans: Sequence[Plan], *, commands: bool = False) -> str:
    """A block for each scenario, a line for each case, and the whole."""
    lines: list[str] = []
    for plan in plans:
        lines += [*_render_plan(plan, commands=commands), ""]
    entries = [entry for plan in plans for entry in plan.entries]
    left_out = sum(not entry.decision.runs for entry in entries)
    total = f"{len(entries)} cases, about {format_duration(sum(plan.seconds for plan in plans))}"
    total += f"; {left_out} of them cannot be run" if left_out else ""
    if unbuilt := list_unbuilt(list_programs(plans)):
        total += f"; to be built first: {', '.join(unbuilt)}"
    unasked = sum(not entry.decision.asked for entry in entries)
    whose = "" if unasked == len(entries) else f" of {unasked} of them"
    total += f"; no host{whose} was asked what it can do" if unasked else ""
    return "\n".join([*lines, total])


def _render_plan(plan: Plan, *, commands: bool) -> Iterator[str]:
    scenario = plan.scenario
    yield f"{scenario.source}: {scenario.title}"
    chosen = f"{len(plan.entries)}" + (f" of {plan.of}" if plan.of != len(plan.entries) else "")
    turns = f" × {scenario.repeats} repeats{', interleaved' if scenario.interleave else ''}"
    yield f"  {chosen} cases{turns if scenario.repeats > 1 else ''}, about {format_duration(plan.seconds)}"
    if plan.coverage:
        yield f"  {len(scenario.axes)} axes: {plan.coverage}"
    # of many axes an id in the scenario has all, and no room in a line
    names = [entry.planned.id if scenario.cover else entry.planned.case.id for entry in plan.entries]
    width = max(map(len, names), default=0)
    for entry, name in zip(plan.entries, names, strict=True):
        yield f"  {name:<{width}}  {_render_outlook(entry)}"
        if commands:
            for side, shown in list_starts(entry.planned.case).items():
                if isinstance(shown, str):
                    yield from (f"    {side}:", textwrap.indent(shown.rstrip(), "      "))
                else:
                    yield f"    {side}: {shlex.join(shown)}"


def _render_outlook(entry: Entry) -> str:
    if not entry.decision.runs:
        return f"not-supported: {'; '.join(entry.decision.missing)}"
    expectation = entry.planned.case.expectation
    rule = entry.planned.rule
    name = f" [{rule.name}]" if rule.name and not rule.place else ""  # what has a place is in the scenario
    because = f": {expectation.because}" if expectation.because else ""
    why = entry.planned.outlook.why if expectation.verdict is VerdictName.HUNG else ""
    return f"{entry.seconds:4.0f} s  {render_expected(expectation)}{name}{why and f', {why}'}{because}"


def render_expected(expectation: Expectation) -> str:
    """``failed (destination)``, ``failed (destination) in hop 2``, or ``completed, pre-copy off``."""
    hop = f" in hop {expectation.hop}" if expectation.hop else ""
    side = f" ({expectation.side})" if expectation.side else ""
    pre_copy = f", pre-copy {expectation.pre_copy}" if expectation.pre_copy else ""
    return f"{expectation.verdict}{side}{hop}{pre_copy}{_render_bounds(expectation)}"


def _render_bounds(expectation: Expectation) -> str:
    bounds = (("downtime", expectation.downtime_ms), ("downtime from outside", expectation.outside_downtime_ms))
    if expectation.verdict is not VerdictName.COMPLETED:
        return ""
    return "".join(f", {name} {bound} ms" for name, bound in bounds if bound)


def list_plans(plans: Sequence[Plan], *, commands: bool = False) -> dict[str, Any]:
    """What ``plan --json`` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "seconds": sum(plan.seconds for plan in plans),
        "to_build": list_unbuilt(list_programs(plans)),
        "scenarios": [
            {
                "file": plan.scenario.source,
                "title": plan.scenario.title,
                "question": plan.scenario.question,
                "repeats": plan.scenario.repeats,
                "interleave": plan.scenario.interleave,
                "seconds": plan.seconds,
                **({"coverage": asdict(plan.coverage)} if plan.coverage else {}),
                "cases": [_list_entry(entry, commands=commands) for entry in plan.entries],
            }
            for plan in plans
        ],
    }


def _list_entry(entry: Entry, *, commands: bool) -> dict[str, Any]:
    planned = entry.planned
    expectation = planned.case.expectation
    return {
        "id": planned.case.id,
        "values": dict(planned.values),
        "hosts": list(planned.hosts),
        "gate": {
            "runs": entry.decision.runs,
            "asked": entry.decision.asked,
            "missing": list(entry.decision.missing),
        },
        "expected": {
            "verdict": expectation.verdict,
            "side": expectation.side,
            "reason": expectation.reason,
            "pre_copy": expectation.pre_copy,
            "checks": list(expectation.checks),
            "hop": expectation.hop,
            "downtime_ms": expectation.downtime_ms,
            "outside_downtime_ms": expectation.outside_downtime_ms,
            "because": expectation.because,
            "rule": planned.rule.name,
            "place": planned.rule.place,
        },
        "seconds": entry.seconds,
        "outlook": asdict(planned.outlook),
        **(_describe_starts(planned.case) if commands else {}),
    }


def _describe_starts(case: Case) -> dict[str, dict[str, list[str] | str]]:
    """Command lines and documents each under a key of their own."""
    starts = list_starts(case).items()
    return {
        "commands": {side: shown for side, shown in starts if not isinstance(shown, str)},
        "domains": {side: shown for side, shown in starts if isinstance(shown, str)},
    }
