# SPDX-License-Identifier: GPL-2.0-or-later
"""Phases of a migration, as the source's events and counters tell them, and what is to be done in one. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from switchover.hosts.qmp import Event
from switchover.record.errors import SwitchoverError

TERMINAL = ("completed", "failed", "cancelled")


class Phase(StrEnum):
    """``before``: the destination listens, the source was not told yet. ``setup``, ``active``, ``pre-switchover``:
    QEMU's status. ``device pre-copy``: active, and VFIO bytes were moved. ``device stop-copy``: a device saves with
    the guest stopped. ``pre-switchover`` exists with the capability ``pause-before-switchover`` only.
    """

    BEFORE = "before"
    SETUP = "setup"
    ACTIVE = "active"
    DEVICE_PRE_COPY = "device pre-copy"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE_STOP_COPY = "device stop-copy"


class Action(StrEnum):
    """``cut link``: all packets between the hosts are lost. ``slow link``: they pass at a rate (``rate_bit``).

    ``kill proxy``: the one on the source's host, of a stream that goes through proxies.

    ``pause guest``: QMP's ``stop``; the guest is to arrive paused, and is let run again then, or where it stayed.
    """

    CANCEL = "cancel"
    KILL_SOURCE = "kill source"
    KILL_DESTINATION = "kill destination"
    CUT_LINK = "cut link"
    SLOW_LINK = "slow link"
    PANIC_GUEST = "panic guest"
    PAUSE_GUEST = "pause guest"
    KILL_PROXY = "kill proxy"


class NotMade(SwitchoverError):
    """An intervention that could not be made, such as the kill of a QEMU that had ended before."""


@dataclass(frozen=True)
class Intervention:
    """Something done to a migration once, as soon as it is seen in a phase. ``act`` raises :class:`NotMade` where it
    cannot be done.
    """

    name: str
    phase: Phase
    act: Callable[[], None]

    @property
    def label(self) -> str:
        """``cancel in active``."""
        return f"{self.name} in {self.phase}"


@dataclass(frozen=True)
class Intervened:
    """An intervention that was made."""

    name: str
    """what was done"""
    phase: Phase
    """the phase of the migration in which it was to be done"""
    status: str | None
    """QEMU's migration status when it began; null if there was none yet"""
    began_ns: int
    """when it began, by the controller's monotonic clock"""
    ended_ns: int
    """when it was done, by the controller's monotonic clock"""


@dataclass(frozen=True)
class Said:
    """A status of a migration that a QEMU told by an event. ``arrived_ns``: CLOCK_MONOTONIC of the controller when the
    event arrived, nanoseconds.
    """

    status: str
    arrived_ns: int


def list_statuses(events: Sequence[Event]) -> tuple[Said, ...]:
    """All statuses, in order, as MIGRATION events tell them."""
    return tuple(Said(str(one.data.get("status")), one.arrived_ns) for one in events if one.name == "MIGRATION")


def last_status(events: Sequence[Event]) -> str | None:
    """The status of a migration as MIGRATION events tell it."""
    statuses = [event.data.get("status") for event in events if event.name == "MIGRATION"]
    return statuses[-1] if statuses else None


def list_device_states(events: Sequence[Event]) -> list[str]:
    """Device states in order, from VFIO_MIGRATION events (they need the device property ``migration-events=on``)."""
    return [str(event.data["device-state"]) for event in events if event.name == "VFIO_MIGRATION"]


def is_in(phase: Phase, events: Sequence[Event], vfio_transferred: int) -> bool:
    """Whether a migration with these events of its source is in ``phase`` now.

    ``vfio_transferred``: of its last ``query-migrate``, 0 if there was none. Once the status is terminal it is in none.
    """
    status = last_status(events)
    match phase:
        case Phase.SETUP | Phase.ACTIVE | Phase.PRE_SWITCHOVER:
            return status == phase
        case Phase.DEVICE_PRE_COPY:
            return status == "active" and vfio_transferred > 0
        case Phase.DEVICE_STOP_COPY:
            return status not in (None, *TERMINAL) and list_device_states(events)[-1:] == ["stop-copy"]
        case Phase.BEFORE:
            return status is None
