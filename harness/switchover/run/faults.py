# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done to a migration on purpose: cancelled, a QEMU killed, the link cut or slowed, the guest panicked."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.hosts.host import Host
from switchover.migration.phases import Intervention, Phase
from switchover.record.errors import CommandFailed, HostLost, NotReady, SwitchoverError


class Action(StrEnum):
    """``cut link``: all packets between the hosts are lost. ``slow link``: they pass at a rate (``rate_bit``)."""

    CANCEL = "cancel"
    KILL_SOURCE = "kill source"
    KILL_DESTINATION = "kill destination"
    CUT_LINK = "cut link"
    SLOW_LINK = "slow link"
    PANIC_GUEST = "panic guest"


@dataclass(frozen=True)
class Fault:
    """An action in a phase of the migration. ``rate_bit``: of a slowed link, bits per second."""

    action: Action
    """what is done"""
    phase: Phase
    """when: as soon as the migration is seen in this phase"""
    rate_bit: int = 8_000_000
    """of a slowed link, bits per second"""


@dataclass(frozen=True)
class Link:
    """The network interface of a host towards the other; what is set on it is undone at the end of ``with``."""

    host: Host
    interface: str

    def disturb(self, *discipline: str) -> None:
        """Give it a queueing discipline (tc-netem(8)) in place of its own."""
        self.host.run(["tc", "qdisc", "replace", "dev", self.interface, "root", *discipline])

    def restore(self) -> None:
        """Its own discipline again; no error if it has that already, or if the host is gone."""
        with contextlib.suppress(CommandFailed, HostLost):
            self.host.run(["tc", "qdisc", "del", "dev", self.interface, "root"])


@contextlib.contextmanager
def start_link(host: Host, interface: str) -> Iterator[Link]:
    """:raises NotReady: the end of this pair names no interface that may be disturbed"""
    if not interface:
        raise NotReady(f"No network interface of {host.name} is given that faults may disturb.")
    link = Link(host, interface)
    try:
        yield link
    finally:
        link.restore()


def make_intervention(
    fault: Fault, source: QemuGuest, destination: QemuGuest, links: tuple[Link, ...], keys: GuestKeys
) -> Intervention:
    """The fault as something the migration's session does in its phase."""

    def act() -> None:
        match fault.action:
            case Action.CANCEL:
                source.qmp.execute("migrate_cancel", timeout=180)
            case Action.KILL_SOURCE:
                source.kill()
            case Action.KILL_DESTINATION:
                destination.kill()
            case Action.CUT_LINK:
                for link in links:
                    link.disturb("netem", "loss", "100%")
            case Action.SLOW_LINK:
                for link in links:
                    link.disturb("netem", "rate", f"{fault.rate_bit}bit")
            case Action.PANIC_GUEST:
                _panic(source, keys)

    return Intervention(fault.action, fault.phase, act)


def _panic(guest: QemuGuest, keys: GuestKeys) -> None:
    """The guest's SSH dies with it, which is no error here."""
    with contextlib.suppress(SwitchoverError), guest.open_ssh(keys) as shell:
        shell.run(["sh", "-c", "echo c >/proc/sysrq-trigger"], timeout=2)
