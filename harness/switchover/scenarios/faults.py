# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case does to its migration on purpose. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from switchover.migration.phases import Phase


class Action(StrEnum):
    """``cut link``: all packets between the hosts are lost. ``slow link``: they pass at a rate (``rate_bit``).

    ``pause guest``: QMP's ``stop``; the guest is to arrive paused, and is let run again then, or where it stayed.
    """

    CANCEL = "cancel"
    KILL_SOURCE = "kill source"
    KILL_DESTINATION = "kill destination"
    CUT_LINK = "cut link"
    SLOW_LINK = "slow link"
    PANIC_GUEST = "panic guest"
    PAUSE_GUEST = "pause guest"


@dataclass(frozen=True)
class Fault:
    """An action that is done on purpose in a phase of the migration."""

    action: Action
    """what is done"""
    phase: Phase
    """the phase in which it is done: as soon as the migration is seen in this phase"""
    rate_bit: int = 8_000_000
    """the rate of a slowed link, in bits per second"""
