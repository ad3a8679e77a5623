# SPDX-License-Identifier: GPL-2.0-or-later
"""What a rule is: an expectation, why it is so, and the cases that it is for. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from switchover.record.checks import CheckId
from switchover.record.record import VerdictName
from switchover.scenarios.expectation import COMPLETES, Expectation
from switchover.scenarios.oracle.traits import Traits

UNKNOWN_SECTION = "Unknown (?:savevm )?section or instance"
"""What a destination says of a section that nobody takes; since 11.1 without the word in the middle."""
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")


def _always(_traits: Traits) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    """An expectation, and the cases that it is for. Rules are of the oracle, or of a scenario."""

    name: str
    """Of the oracle: what the rule is about. Of a scenario: where it stands there, such as ``rules[0]``."""
    expectation: Expectation
    """What must happen. Its reason for that (``because``) ends with the source of the fact."""
    condition: Callable[[Traits], bool] = _always
    """Whether a case is one of those that the rule is for."""
    axes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of a scenario's rule, by the name of an axis, the words of its values that the rule is for."""
    place: str = ""
    """Of a scenario's rule, its file and line."""
    named: str = ""
    """Of a scenario's rule, that of the oracle whose expectation it is; empty: it has its own."""
    only_bounds: bool = False
    """Of a scenario's rule, whether it only sets bounds, and the oracle decides what else is expected."""
    automatic: bool = True
    """Whether the rule holds for each case that meets its condition; else only where a scenario names it."""
    about: str = ""
    """Of the oracle, the cases that the rule is for, in one sentence."""
    source: str = ""
    """Of the oracle, where the fact is written: a file and function of a program, or a mail."""
    aliases: tuple[str, ...] = ()
    """Other names by which scenarios may name the rule."""
    words: Callable[[Traits], str] | None = None
    """Of the oracle, what is said besides, after the text of the expectation, of a case that it depends on."""

    def of(self, traits: Traits) -> "Rule":
        """The rule with the expectation of a case that it is for."""
        said = self.words(traits) if self.words is not None else ""
        if not said:
            return self
        return replace(self, expectation=replace(self.expectation, reason=f"{self.expectation.reason}.*{quote(said)}"))

    def fits(self, values: Mapping[str, str]) -> bool:
        """``values``: the words of a case's values, by the name of the axis."""
        return all(values.get(axis) in words for axis, words in self.axes.items())


DEFAULT = Rule("", COMPLETES)
"""For a case that no rule is about."""


def make_rule(
    name: str,
    about: str,
    verdict: VerdictName,
    side: str = "",
    *,
    because: str,
    source: str,
    aliases: tuple[str, ...] = (),
    says: str = "",
    reason: str = "",
    checks: tuple[CheckId, ...] = (),
    pre_copy: Literal["on", "off", ""] = "",
    when: Callable[[Traits], bool] = _always,
    automatic: bool = True,
    words: Callable[[Traits], str] | None = None,
) -> Rule:
    """A rule of the oracle. ``says``: the text that QEMU or libvirt prints, with ``%s`` for what varies in it;
    ``reason``: instead of it, a regular expression, as in :class:`Expectation`, which also tells what ``checks`` are.
    """
    expectation = Expectation(verdict, side, reason or quote(says), f"{because} ({source})", pre_copy, checks)
    return Rule(name, expectation, when, automatic=automatic, about=about, source=source, aliases=aliases, words=words)


def quote(text: str) -> str:
    """A regular expression for a text in which ``%s`` stands for anything.

    >>> quote("VQ %s (0)")
    'VQ .* \\\\(0\\\\)'
    """
    return _SPECIAL.sub(r"\\\g<0>", text).replace("%s", ".*")


def find_scenario_rule(rules: Sequence[Rule], values: Mapping[str, str]) -> Rule | None:
    """The first of a scenario's rules that fits."""
    return next((rule for rule in rules if rule.fits(values)), None)
