# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairs that are not used any more in this run, and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from switchover.runner.leases.resources import Choice


@dataclass(frozen=True)
class Quarantine:
    """``reasons``: by pair, in words, in the order in which they were set aside."""

    reasons: Mapping[Choice, str] = field(default_factory=dict)

    def set_aside(self, choice: Choice, reason: str) -> "Quarantine":
        """With one more; the first reason of a pair stays."""
        return self if choice in self.reasons else Quarantine({**self.reasons, choice: reason})

    def explain(self, choices: Iterable[Choice]) -> str:
        """Why these pairs are not used: ``a-b: a QEMU of ours still runs; b-c: …``; empty: none of them is aside."""
        return "; ".join(f"{choice.name}: {self.reasons[choice]}" for choice in choices if choice in self.reasons)
