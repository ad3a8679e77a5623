# SPDX-License-Identifier: GPL-2.0-or-later
"""What a case does to its migration on purpose. Pure."""

from dataclasses import dataclass

from switchover.migration.phases import Action, Phase, name_moment

KILLED = {Action.KILL_SOURCE: "source", Action.KILL_DESTINATION: "destination"}
"""The side whose QEMU an action kills."""


MOMENT = {"phase", "at_s"}
"""Fields of a fault that say when it is made: one of them does."""
LINK = (Action.CUT_LINK, Action.SLOW_LINK)
"""Of the network between the hosts, which can end by itself."""
DEVICE = (Action.RESET_DEVICE, Action.UNPLUG_DEVICE, Action.PLUG_DEVICE)
"""About one device of the guest."""
HOTPLUG = (Action.UNPLUG_DEVICE, Action.PLUG_DEVICE)

_WHILE_IT_RUNS = (Phase.BEFORE, Phase.SETUP, Phase.ACTIVE, Phase.DEVICE_PRE_COPY)
_ON_THE_WAY = tuple(phase for phase in Phase if phase not in (Phase.BEFORE, Phase.AFTER))
PHASES = {
    # one before the migration would go on while it does, or not: nobody could say what is to happen
    Action.REBOOT_GUEST: _WHILE_IT_RUNS[1:],
    Action.SUSPEND_GUEST: _WHILE_IT_RUNS,
    Action.RESET_DEVICE: _WHILE_IT_RUNS,
    Action.UNPLUG_DEVICE: (Phase.BEFORE, *_ON_THE_WAY),
    Action.PLUG_DEVICE: (*_ON_THE_WAY, Phase.AFTER),
}
"""Phases in which an action makes sense; of the others, all but ``after``. A guest that is stopped does nothing."""


def list_phases(action: Action) -> tuple[Phase, ...]:
    return PHASES.get(action, (Phase.BEFORE, *_ON_THE_WAY))


@dataclass(frozen=True)
class Fault:
    """An action that is done on purpose in a phase of the migration, or at a time."""

    action: Action
    """what is done"""
    phase: Phase | None = None
    """the phase in which it is done: as soon as the migration is seen in this phase"""
    rate_bit: int = 8_000_000
    """of a slowed link, bits per second"""
    at_s: float | None = None
    """instead of a phase, how long after QEMU began the migration it is done, in seconds"""
    seconds: float | None = None
    """of a link that is cut or slowed, the time after which it is whole again, in seconds; without it, it stays so
    until the migration has ended"""
    device: str = ""
    """the id of the device that is reset, unplugged or plugged in; if it is empty, the first"""
    hop: int = 1
    """of a chain of migrations, the number of the hop in which it is done, from 1"""

    @property
    def label(self) -> str:
        """``cut link in active``."""
        return f"{self.action} {name_moment(self.phase, self.at_s)}"

    @property
    def is_on_the_way(self) -> bool:
        """Whether it is made while the migration goes on."""
        return self.phase not in (Phase.BEFORE, Phase.AFTER)
