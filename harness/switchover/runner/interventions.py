# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults made real: a migration cancelled, a QEMU killed, the link cut or slowed, the guest panicked or paused."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.hosts.host import Host
from switchover.hosts.journal import own_journal
from switchover.migration.phases import Action, Intervention, NotMade
from switchover.migration.proxies import kill_proxy
from switchover.record.errors import CommandFailed, NotReady, SwitchoverError
from switchover.scenarios.faults import Fault


@dataclass(frozen=True)
class Link:
    """The network interface of a host towards the other. Made by :func:`start_link`."""

    host: Host
    interface: str

    def disturb(self, *discipline: str) -> None:
        """Give it a queueing discipline (tc-netem(8)) in place of its own."""
        self.host.run(["tc", "qdisc", "replace", "dev", self.interface, "root", *discipline])


@contextlib.contextmanager
def start_link(host: Host, interface: str) -> Iterator[Link]:
    """A link for the time of a ``with`` block, after which it has its own discipline again.

    :raises NotReady: the end of this pair names no interface that may be disturbed
    """
    if not interface:
        raise NotReady(f"Faults of the link need a network interface of {host.name}, and none is named.")
    undo = ["tc", "qdisc", "del", "dev", interface, "root"]  # an error if it has its own already
    gone = [
        "sh",
        "-c",
        'shown=$(tc qdisc show dev "$1" root) && case "$shown" in *netem*) exit 1; esac',
        "sh",
        interface,
    ]
    with own_journal().change(host, f"queueing discipline of {interface}", undo=undo, gone=gone):
        yield Link(host, interface)


def make_intervention(
    fault: Fault, source: QemuGuest, destination: QemuGuest, links: tuple[Link, ...], keys: GuestKeys
) -> Intervention:
    """The fault as something the migration's session does in its phase."""

    def act() -> None:
        match fault.action:
            case Action.CANCEL:
                source.cancel_migration()
            case Action.KILL_SOURCE:
                _kill(source)
            case Action.KILL_DESTINATION:
                _kill(destination)
            case Action.CUT_LINK:
                for link in links:
                    link.disturb("netem", "loss", "100%")
            case Action.SLOW_LINK:
                for link in links:
                    link.disturb("netem", "rate", f"{fault.rate_bit}bit")
            case Action.PANIC_GUEST:
                _panic(source, keys)
            case Action.PAUSE_GUEST:
                source.pause()
            case Action.KILL_PROXY:
                _kill_proxy(source)

    return Intervention(fault.action, fault.phase, act)


def _kill(guest: QemuGuest) -> None:
    """:raises NotMade: it ended before, by something else"""
    if (status := guest.exit_status()) is not None:
        raise NotMade(f"{guest.label} had ended with exit status {status} before it was to be killed.")
    guest.kill()


def _kill_proxy(source: QemuGuest) -> None:
    """:raises NotMade: it has none"""
    try:
        kill_proxy(source)
    except CommandFailed as error:
        raise NotMade(f"{source.label} has no proxy that could be killed.", why=error.why) from error


def _panic(guest: QemuGuest, keys: GuestKeys) -> None:
    """The guest's SSH dies with it, which is no error here. :raises NotMade: it lets nobody in who could tell it to"""
    try:
        login = guest.open_ssh(keys)
    except SwitchoverError as error:
        raise NotMade(f"The guest of {guest.label} cannot be told to panic.", why=str(error)) from error
    with contextlib.suppress(SwitchoverError), login as shell:
        shell.run(["sh", "-c", "echo c >/proc/sysrq-trigger"], timeout=2)
