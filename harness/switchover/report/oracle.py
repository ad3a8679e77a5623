# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the oracle as a page. Pure."""

import textwrap
from collections.abc import Iterator, Sequence

from switchover.report.plan import render_expected
from switchover.scenarios.oracle import GROUPS, Rule
from switchover.scenarios.oracle.seen import Sighting, Sightings, read_seen

_MOST_CASES = 3
_INTRODUCTION = """\
# The oracle

What QEMU, libvirt, VFIO and the kernel are known to make of a migration. Made by `switchover schema --oracle`; what
the verdicts mean: [concepts.md](concepts.md#verdicts). A case has the expectation of the first rule that is about it,
in the order of this page; a case without one completes. A rule that holds *only where it is named* is about what a case
does not say of itself: a scenario [names it](scenarios.md#what-must-happen), `oracle = "NAME"`. Rules that depend on a
QEMU look at what that binary said of itself, or hold for the binaries with which it was seen
([scenarios.md](scenarios.md#which-qemu-it-is)).

*Seen* are the programs with which a rule was seen to hold, the cases in which it was, and the day when it was last:
from records of runs (`switchover oracle seen RUN…`). A rule without was read in the source only. The version of a
source is the one that was read.
"""


def render_oracle(sightings: Sightings | None = None) -> str:
    """All rules by subject, in Markdown. ``sightings``: default: those that ship with the rules."""
    seen = read_seen() if sightings is None else sightings
    lines = [_INTRODUCTION, *_render_overview(seen), ""]
    for group in GROUPS:
        lines += [f"## {group.title}", ""]
        for rule in group.rules:
            lines += [f"### {rule.name}", "", *_render_rule(rule, seen.get(rule.name, ())), ""]
    return "\n".join(lines).rstrip()


def _render_overview(seen: Sightings) -> Iterator[str]:
    """A line for each rule."""
    rules = [rule for group in GROUPS for rule in group.rules]
    unseen = sum(not seen.get(rule.name) for rule in rules)
    yield f"{len(rules)} rules, {unseen} of them not seen."
    yield ""
    yield "| rule | expected | seen with | last | source |"
    yield "|---|---|---|---|---|"
    for rule in rules:
        found = seen.get(rule.name, ())
        programs, last = "<br>".join(_list_programs(found)), max((one.day for one in found), default="")
        expected = render_expected(rule.expectation)
        yield f"| [{rule.name}](#{rule.name}) | {expected} | {programs} | {last} | {rule.source.replace('<', '&lt;')} |"


def _list_programs(found: Sequence[Sighting]) -> list[str]:
    return sorted({one.programs for one in found})


def _render_rule(rule: Rule, found: Sequence[Sighting]) -> Iterator[str]:
    expectation = rule.expectation
    yield from _wrap(rule.about if rule.automatic else f"{rule.about} *Only where it is named.*")
    yield ""
    reason = f", with a reason that fits `{expectation.reason}`" if expectation.reason else ""
    checks = (
        f"; checks that may fail: {', '.join(f'`{one}`' for one in expectation.checks)}" if expectation.checks else ""
    )
    yield from _wrap(f"- expected: {render_expected(expectation)}{reason}{checks}")
    yield from _wrap(f"- because: {expectation.because}".replace("<", "\\<"))
    for programs in _list_programs(found):
        cases = [one for one in found if one.programs == programs]
        named = ", ".join(f"`{one.case}`" for one in cases[:_MOST_CASES])
        more = f" and {len(cases) - _MOST_CASES} more" if len(cases) > _MOST_CASES else ""
        yield from _wrap(f"- seen with {programs}, last on {max(one.day for one in cases)}: {named}{more}")
    if rule.aliases:
        yield from _wrap(f"- also called: {', '.join(f'`{alias}`' for alias in rule.aliases)}")


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
