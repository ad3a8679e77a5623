# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case does to its migration on purpose. Pure."""

from dataclasses import dataclass

from switchover.migration.phases import Action, Phase

KILLED = {Action.KILL_SOURCE: "source", Action.KILL_DESTINATION: "destination"}
"""The side whose QEMU an action kills."""


@dataclass(frozen=True)
class Fault:
    """An action that is done on purpose in a phase of the migration."""

    action: Action
    """what is done"""
    phase: Phase
    """the phase in which it is done: as soon as the migration is seen in this phase"""
    rate_bit: int = 8_000_000
    """of a slowed link, bits per second"""
    hop: int = 1
    """of a chain of migrations, the number of the hop in which it is done, from 1"""

    @property
    def label(self) -> str:
        """``cut link in active``."""
        return f"{self.action} in {self.phase}"
