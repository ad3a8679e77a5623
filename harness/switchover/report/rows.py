# SPDX-License-Identifier: GPL-2.0-or-later
"""The questions that the oracle began with, as a page: what answers each, and when that was last seen."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from switchover.scenarios.expand import PlannedCase, expand
from switchover.scenarios.oracle import ORACLE
from switchover.scenarios.oracle.rows import ROWS, Row, find_unseen, list_cases, list_sightings
from switchover.scenarios.oracle.seen import Sightings, read_seen
from switchover.scenarios.scenario import catalogue_directory, list_scenarios, load_scenario

_MOST_CASES = 4
_INTRODUCTION = """\
# Rows of the oracle

Questions about migrations with VFIO devices, as they were written down before anything was run: A is about pre-copy and
switchover-ack, B about what may migrate at all, C about how a device's state goes. Made by `switchover schema --rows`.
Each has [rules](oracle.md) that say what must happen, and cases of the catalogue that ask for it; or none, with the
reason why these QEMUs (7.2, 10.0, 11.1, and 10.0 with x-allow-pre-copy) and lab hosts (Linux 6.12 without IOMMUFD)
cannot come to it. A case without a rule completes. *Last seen* is from records of runs (`switchover oracle seen RUN…`).
"""


def render_rows(sightings: Sightings | None = None, planned: Sequence[PlannedCase] | None = None) -> str:
    """All rows, in Markdown. ``sightings``: default: those that ship with the rules; ``planned``: the catalogue."""
    seen = read_seen() if sightings is None else sightings
    by_rule = group_cases(plan_catalogue() if planned is None else planned)
    run = [row for row in ROWS if row.is_reachable]
    held = [row for row in run if not find_unseen(row, seen)]
    corrected = sum(bool(row.corrected) for row in ROWS)
    counts = [
        f"{len(ROWS)} rows: {len(held)} seen in all their parts, {len(run) - len(held)} with parts that were read,",
        f"{len(ROWS) - len(run)} that cannot be reached. {corrected} are otherwise than read at first.",
    ]
    lines = [_INTRODUCTION, *counts, "", "| row | question | rules | cases | last seen |", "|---|---|---|---|---|"]
    lines += [_render_row(row, seen, by_rule) for row in ROWS]
    lines += ["", *_render_remarks("Otherwise than it was read at first", "corrected"), ""]
    lines += _render_remarks("What cannot be reached", "unreachable")
    return "\n".join(lines).rstrip()


def plan_catalogue() -> list[PlannedCase]:
    """All cases of the catalogue's scenarios."""
    return [entry for path in list_scenarios(catalogue_directory()) for entry in expand(load_scenario(path))]


def group_cases(planned: Sequence[PlannedCase]) -> Mapping[str, list[str]]:
    """Ids of cases, by the name of the oracle's rule whose expectation they have, also where a scenario names it."""
    found: dict[str, list[str]] = {rule.name: [] for rule in ORACLE}
    for entry in planned:
        found.setdefault(entry.rule.named or entry.rule.name, []).append(entry.id)
    return found


def _render_row(row: Row, seen: Sightings, by_rule: Mapping[str, list[str]]) -> str:
    rules = "<br>".join(f"[{name}](oracle.md#{name})" for name in row.rules)
    cases = list_cases(row, by_rule)
    more = f" and {len(cases) - _MOST_CASES} more" if len(cases) > _MOST_CASES else ""
    named = ", ".join(f"`{case}`" for case in cases[:_MOST_CASES])
    found = list_sightings(row, seen)
    last = max((one.day for one in found), default="not yet") if row.is_reachable else "*unreachable*"
    unseen = [f"`{name}`" for name in find_unseen(row, seen)] if found else []
    missing = f"; not yet: {', '.join(unseen)}" if unseen else ""
    programs = "<br>".join(sorted({one.programs for one in found}))
    words = f"{last}{missing}{f'<br>{programs}' if programs else ''}"
    return f"| {row.name} | {row.about} | {rules or ('none' if row.cases else '')} | {named}{more} | {words} |"


def _render_remarks(title: str, field: str) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    for row in ROWS:
        if text := getattr(row, field):
            yield from textwrap.wrap(f"- **{row.name}**: {text}.", 120, subsequent_indent="  ", break_on_hyphens=False)
