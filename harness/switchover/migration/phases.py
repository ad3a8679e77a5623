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
    the guest stopped. ``pre-switchover`` exists with the capability ``pause-before-switchover`` only. ``after``: the
    migration has ended, and the guest is on the destination, or stayed on the source.
    """

    BEFORE = "before"
    SETUP = "setup"
    ACTIVE = "active"
    DEVICE_PRE_COPY = "device pre-copy"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE_STOP_COPY = "device stop-copy"
    AFTER = "after"


class Action(StrEnum):
    """``cut link``: all packets between the hosts are lost. ``slow link``: they pass at a rate (``rate_bit``).

    With ``seconds`` the link is whole again after that time. ``kill proxy``: the one on the source's host, of a stream
    that goes through proxies.

    ``pause guest``: QMP's ``stop``; the guest is to arrive paused, and is let run again then, or where it stayed.
    ``reboot guest``: by the guest itself. ``suspend guest``: by the guest itself, to memory (S3); it is woken where it
    arrived, or stayed. ``reset device``: the guest resets a device, and its driver sets it up again.
    ``unplug device``: the guest is made to give a device back, to be without it; ``plug device``: it gets that device
    where it is then.
    """

    CANCEL = "cancel"
    KILL_SOURCE = "kill source"
    KILL_DESTINATION = "kill destination"
    CUT_LINK = "cut link"
    SLOW_LINK = "slow link"
    PANIC_GUEST = "panic guest"
    PAUSE_GUEST = "pause guest"
    KILL_PROXY = "kill proxy"
    REBOOT_GUEST = "reboot guest"
    SUSPEND_GUEST = "suspend guest"
    RESET_DEVICE = "reset device"
    UNPLUG_DEVICE = "unplug device"
    PLUG_DEVICE = "plug device"


RESTORED = "restore link"
"""What is made of a link by itself, once the time is over for which it was cut or slow."""


class NotMade(SwitchoverError):
    """An intervention that could not be made, such as the kill of a QEMU that had ended before."""


class Rejected(SwitchoverError):
    """An intervention that QEMU or libvirt was asked for, and rejected; ``why``: in its own words."""


def name_moment(phase: str | None, at_s: float | None) -> str:
    """When something is done.

    >>> name_moment(Phase.ACTIVE, None), name_moment(None, 2.5)
    ('in active', 'at 2.5 s')
    """
    return f"in {phase}" if phase is not None else f"at {at_s:g} s"


@dataclass(frozen=True)
class Intervention:
    """Something done to a migration once, as soon as it is seen in a phase, or ``at_s`` seconds after QEMU began it.

    ``act`` raises :class:`NotMade` where it cannot be done, :class:`Rejected` where somebody does not let it be done.
    ``end``: undoes it, ``seconds`` later.
    """

    name: str
    phase: Phase | None
    act: Callable[[], None]
    at_s: float | None = None
    seconds: float | None = None
    end: Callable[[], None] = lambda: None

    @property
    def label(self) -> str:
        """``cancel in active``."""
        return f"{self.name} {name_moment(self.phase, self.at_s)}"


@dataclass(frozen=True)
class Intervened:
    """An intervention that was made."""

    name: str
    """what was done"""
    phase: Phase | None
    """the phase of the migration in which it was to be done; null: it was to be done at a time"""
    status: str | None
    """QEMU's migration status when it began; null if there was none yet"""
    began_ns: int
    """when it began, by the controller's monotonic clock"""
    ended_ns: int
    """when it was done, by the controller's monotonic clock"""
    at_s: float | None = None
    """how long after the migration began it was to be done, in seconds; null: it was to be done in a phase"""
    rejected: str = ""
    """what QEMU or libvirt said that did not let it be done; empty: it was done"""

    @property
    def label(self) -> str:
        """As that of the intervention."""
        return f"{self.name} {name_moment(self.phase, self.at_s)}"


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
        case Phase.AFTER:
            return False


def find_begin(events: Sequence[Event]) -> int | None:
    """When the source began to migrate: its first status, nanoseconds of the controller's clock; None: not yet."""
    return next((event.arrived_ns for event in events if event.name == "MIGRATION"), None)
