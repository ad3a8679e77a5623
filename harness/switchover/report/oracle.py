# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the oracle as a page. Pure."""

import textwrap
from collections.abc import Iterator

from switchover.report.plan import render_expected
from switchover.scenarios.oracle import GROUPS, Rule

_INTRODUCTION = """\
# The oracle

What QEMU, libvirt, VFIO and the kernel are known to make of a migration. Made by `switchover schema --oracle`; what
the verdicts mean: [concepts.md](concepts.md#verdicts). A case has the expectation of the first rule that is about it,
in the order of this page; a case without one completes. A rule that holds *only where it is named* is about what a case
does not say of itself, such as what a binary can do: a scenario [names it](scenarios.md#what-must-happen),
`oracle = "NAME"`.

*Seen with* are the programs with which a rule was seen to hold, by the lab's tests or by hand. Without them it was read
in the source only. The version of a source is the one that was read.
"""


def render_oracle() -> str:
    """All rules by subject, in Markdown."""
    lines = [_INTRODUCTION]
    for group in GROUPS:
        lines += [f"## {group.title}", ""]
        for rule in group.rules:
            lines += [f"### {rule.name}", "", *_render_rule(rule), ""]
    return "\n".join(lines).rstrip()


def _render_rule(rule: Rule) -> Iterator[str]:
    expectation = rule.expectation
    yield from _wrap(rule.about if rule.automatic else f"{rule.about} *Only where it is named.*")
    yield ""
    reason = f", with a reason that fits `{expectation.reason}`" if expectation.reason else ""
    checks = (
        f"; checks that may fail: {', '.join(f'`{one}`' for one in expectation.checks)}" if expectation.checks else ""
    )
    yield from _wrap(f"- expected: {render_expected(expectation)}{reason}{checks}")
    yield from _wrap(f"- because: {expectation.because}".replace("<", "\\<"))
    if rule.seen:
        yield from _wrap(f"- seen with: {', '.join(f'{program} {version}' for program, version in rule.seen)}")
    if rule.aliases:
        yield from _wrap(f"- also called: {', '.join(f'`{alias}`' for alias in rule.aliases)}")


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
