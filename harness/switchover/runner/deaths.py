# SPDX-License-Identifier: GPL-2.0-or-later
"""Which QEMUs died in a migration, and whether a fault of the case made them."""

import signal
from collections.abc import Sequence

from switchover.hosts.host import UNKNOWN_SIGNAL
from switchover.migration.phases import Action, Intervened
from switchover.record.record import Death
from switchover.runner.side import Side
from switchover.scenarios.faults import KILLED

_KILLS = (-signal.SIGKILL, UNKNOWN_SIGNAL)
"""Exit statuses of a QEMU that was killed: over SSH and by libvirt nobody is told by which signal."""


def find_deaths(
    source: Side, destination: Side, made: Sequence[Intervened], *, completed: bool, hung: bool
) -> tuple[Death, ...]:
    """QEMUs that ended where no migration ends them.

    A destination whose migration did not complete ends by itself, with exit status 1, and libvirt ends the QEMU that a
    guest has left, with 0. ``hung``: the harness gave the migration up, and may have killed a QEMU to end it.
    """
    killed = {KILLED[Action(one.name)] for one in made if one.name in KILLED}
    deaths = []
    for name, side in (("source", source), ("destination", destination)):
        status = side.guest.exit_status() if side.guest.has_begun else None
        if status is None or _is_usual(name, status, completed=completed):
            continue
        by_fault = name in killed and side.guest.killed and status in _KILLS
        if by_fault or not (hung and side.guest.killed):
            deaths.append(Death(name, status, by_fault))
    return tuple(deaths)


def _is_usual(side: str, status: int, *, completed: bool) -> bool:
    if side == "source":
        return completed and status == 0
    return not completed and status >= 0
