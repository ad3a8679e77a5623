# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a case is not right, as values; sentences for people are made of them last. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class MismatchKind(StrEnum):
    """In which way what happened is not what was to happen."""

    VERDICT = "verdict"
    """Another verdict than the expected one."""
    SIDE = "side"
    """The expected verdict, by another side."""
    HOP = "hop"
    """Of a chain of migrations, the expected verdict in another hop."""
    REASON = "reason"
    """The expected verdict, in other words than the expected ones."""
    CHECKS = "checks"
    """A check failed that may not fail; ``members``: their labels."""
    FAULT = "fault"
    """A fault that the case makes was not shown to have happened; ``members``: labels of the checks that would show
    it."""
    NOT_MADE = "not-made"
    """A check was not made that the case depends on; ``members``: its id."""
    DEATH = "death"
    """A QEMU died that was not to die; ``members``: the sides."""


@dataclass(frozen=True)
class Mismatch:
    """One way in which what happened is not what was to happen."""

    kind: MismatchKind
    """in which way"""
    expected: str = ""
    """what was to be: a verdict, a side, the number of a hop, or the regular expression of a reason"""
    was: str = ""
    """what was instead: a verdict, a side (empty: none in particular), the number of a hop, or a reason"""
    verdict: str = ""
    """the verdict, where it is the expected one"""
    members: tuple[str, ...] = ()
    """checks by `id` or `id, subject`, or sides, that it is about"""
    sentences: tuple[str, ...] = ()
    """of the checks that it is about, for people"""


def render_mismatches(mismatches: Sequence[Mismatch]) -> str:
    """For people, in one line; empty: the case is right."""
    return "; ".join(_render(one) for one in mismatches)


def _render(mismatch: Mismatch) -> str:
    match mismatch.kind:
        case MismatchKind.VERDICT:
            return f"expected {mismatch.expected}, was {mismatch.was}"
        case MismatchKind.SIDE:
            was = f"the {mismatch.was}" if mismatch.was else "no side in particular"
            return f"expected {mismatch.verdict} by the {mismatch.expected}, was by {was}"
        case MismatchKind.HOP:
            return f"expected {mismatch.verdict} in hop {mismatch.expected}, was in hop {mismatch.was}"
        case MismatchKind.REASON:
            return f"expected a reason with {mismatch.expected!r}, was: {mismatch.was or 'none'}"
        case MismatchKind.CHECKS:
            return f"{mismatch.verdict} as expected, but checks failed: {'; '.join(mismatch.sentences)}"
        case MismatchKind.NOT_MADE:
            listed = "; ".join(mismatch.sentences)
            return f"{mismatch.verdict} as expected, and a check that the case needs was not made: {listed}"
        case MismatchKind.FAULT:
            return f"not shown to have been made: {'; '.join(mismatch.members)}"
        case MismatchKind.DEATH:
            return f"the QEMU of the {' and of the '.join(mismatch.members)} died, which was not expected"


def parse_mismatch(fields: Mapping[str, Any]) -> Mismatch:
    """As a record holds it. :raises ValueError, TypeError, KeyError: it is none"""
    lists = {name: tuple(fields.get(name, ())) for name in ("members", "sentences")}
    return Mismatch(**{**fields, "kind": MismatchKind(fields["kind"]), **lists})


_SENTENCES = (
    (MismatchKind.VERDICT, re.compile(r"expected (?P<expected>[a-z-]+), was (?P<was>[a-z-]+)")),
    (
        MismatchKind.SIDE,
        re.compile(r"expected (?P<verdict>[a-z-]+) by the (?P<expected>\w+), was by (?:the )?(?P<was>\w+)"),
    ),
    (MismatchKind.REASON, re.compile(r"expected a reason with (?P<expected>.+?), was: (?P<was>.*)", re.DOTALL)),
    (MismatchKind.CHECKS, re.compile(r"(?P<verdict>[a-z-]+) as expected, and then not in order: ")),
)


def find_in_sentence(text: str) -> tuple[Mismatch, ...]:
    """Of a record from before version 7, which had the sentence only. It is about those records: what today's sentences
    are does not matter here.

    >>> find_in_sentence("expected completed, was hung")[0].was
    'hung'
    """
    for kind, pattern in _SENTENCES:
        if found := pattern.match(text):
            words = found.groupdict(default="")
            was = words.get("was", "")
            was = "" if kind is MismatchKind.SIDE and was == "no" else was
            return (Mismatch(kind, words.get("expected", ""), was, words.get("verdict", "")),)
    return ()
