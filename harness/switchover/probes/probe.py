# SPDX-License-Identifier: GPL-2.0-or-later
"""What a probe is: it measures something besides, from before a migration until the guest has arrived."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from switchover.guests.capabilities import LAB_CAPABILITIES, GuestCapabilities, Need
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.hosts.heartbeat import Outlet
from switchover.hosts.host import Host
from switchover.migration.downtime import ExplainedDowntime, UnexplainedDowntime
from switchover.record.checks import CheckId
from switchover.record.measurement import Findings, Measurement
from switchover.scenarios.case import Case, DeviceSpec


@dataclass(frozen=True)
class Given:
    """What a probe has to go by before a migration. ``guest``: the source's, which has these reference ``devices``.

    ``outlets``: of ``source`` and ``destination``, None of a host that has none. ``login``: to the guest; None: a probe
    opens one of its own. ``directory``: keeps files of recordings; None: they are thrown away. ``step``: is told what
    the repeat is about.
    """

    case: Case
    guest: QemuGuest
    devices: tuple[DeviceSpec, ...]
    outlets: Mapping[str, Outlet | None]
    keys: GuestKeys
    capabilities: GuestCapabilities = LAB_CAPABILITIES
    login: Host | None = None
    directory: Path | None = None
    step: Callable[[str], None] = lambda step: None


@dataclass(frozen=True)
class Ended:
    """What is known of a migration that completed. ``paused``: its guest was, and lost no time."""

    case: Case
    explained: ExplainedDowntime | UnexplainedDowntime
    paused: bool


class Seen(Protocol):
    """What a probe has seen."""

    def find(self, ended: Ended) -> Findings:
        """What that comes to. Pure."""


@dataclass(frozen=True)
class Found:
    """What comes to the same, however the migration ended."""

    findings: Findings = field(default_factory=Findings)

    def find(self, ended: Ended) -> Findings:
        return self.findings


class RunningProbe(Protocol):
    """A probe under way, for one migration. One of a kind of its own is a subclass."""

    def settle(self) -> None:
        """Once the guest runs on the destination: nothing more is asked of that host before this returns, so that a
        probe sees the guest as it is when it is left alone. For a short time only.
        """
        return

    def finish(self, arrival: QemuGuest) -> Seen:
        """Once, after a migration that completed; ``arrival``: the guest where it now is."""

    def collect(self) -> Mapping[str, Iterator[Mapping[str, Any]]]:
        """The evidence, whatever the migration came to: lines, by the name of the file that is to have them. What is
        still going on is ended for it. Never stands in the way of a repeat.
        """
        return {}


class Probe(Protocol):
    """A kind of probe; it is a subclass, and a row of :data:`switchover.probes.table.PROBES`."""

    name: str
    """the key of scenarios that asks for it"""
    needs: tuple[Need, ...] = ()
    """of the guest"""
    checks: tuple[CheckId, ...] = ()
    """those that are not made if the guest lacks what the probe needs"""
    finishes_beside: bool = False
    """whether it finishes while the guest is asked; else before that, as one that measures in the guest has to"""
    off: Seen = Found()
    """what there is of it in a case that does not want it"""

    def is_wanted(self, case: Case) -> bool:
        """Whether it is started at all."""

    def is_needed(self, case: Case) -> bool:
        """Whether the case depends on its checks: without them it is not right."""
        return False

    def start(self, given: Given) -> AbstractContextManager[RunningProbe]:
        """For a ``with`` block around the migration, which begins when that may. What is lacking keeps it from running,
        not the migration: then it says why as it finishes.

        :raises NotSupported: without it there is no case
        """

    def list_measurements(self) -> Sequence[Measurement]:
        """Its numbers that a case which does not want it has not, without their values: for the reference."""
        return ()
