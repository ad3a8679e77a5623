# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case does to its migration on purpose, and what its devices are to do. Pure."""

import re
from dataclasses import dataclass

from switchover.devices.reference import Knobs
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


_SAVING = re.compile(r"PRE_COPY|PRE_COPY_P2P|STOP_COPY|STOP|read:.*")
"""Places for ``fail_at`` that the device of a source comes to in a migration that is let go on."""
_LOADING = re.compile(r"RESUMING|RUNNING_P2P|RUNNING|load|write:.*")
"""The same of the device of a destination."""


def asks_for_fault(knobs: Knobs, side: str) -> bool:
    """Whether a device on this side, ``source`` or ``destination``, is to make a fault: fail somewhere, or spoil what
    it saves or loads. A knob that is about what the other side's device does asks for nothing.
    """
    if side == "source":
        return bool(_SAVING.fullmatch(knobs.fail_at)) or knobs.corrupt == "stream"
    return bool(_LOADING.fullmatch(knobs.fail_at)) or knobs.corrupt == "state"
