# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults made real: a migration cancelled, a QEMU killed, the link cut or slowed, something done by or to the guest."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.hosts.host import Host
from switchover.hosts.journal import own_journal
from switchover.migration.phases import Action, Intervention, NotMade
from switchover.migration.proxies import kill_proxy
from switchover.record.errors import CommandFailed, NotReady, SwitchoverError
from switchover.runner.guest_doings import plug, reboot, reset_device, suspend, unplug
from switchover.runner.side import Side
from switchover.scenarios.case import Case
from switchover.scenarios.faults import Fault


@dataclass(frozen=True)
class Link:
    """The network interface of a host towards the other. Made by :func:`start_link`."""

    host: Host
    interface: str

    def disturb(self, *discipline: str) -> None:
        """Give it a queueing discipline (tc-netem(8)) in place of its own."""
        self.host.run(["tc", "qdisc", "replace", "dev", self.interface, "root", *discipline])

    def restore(self) -> int:
        """Give it its own discipline back; the number of packets that the other one dropped."""
        shown = self.host.run(["tc", "-s", "qdisc", "show", "dev", self.interface, "root"]).text
        self.host.run(["tc", "qdisc", "del", "dev", self.interface, "root"])
        return parse_dropped(shown)


def parse_dropped(shown: str) -> int:
    """Of ``tc -s qdisc show``: how many packets were dropped.

    >>> parse_dropped(" Sent 0 bytes 0 pkt (dropped 17, overlimits 0 requeues 0)")
    17
    """
    found = re.search(r"dropped (\d+)", shown)
    return int(found[1]) if found else 0


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


@dataclass(frozen=True)
class Scene:
    """What faults of a case are made with. ``links``: of both hosts; ``login``: to the guest, from before the
    migration.
    """

    source: Side
    destination: Side
    links: tuple[Link, ...]
    keys: GuestKeys
    login: Host

    def find_place(self, *, completed: bool) -> Side:
        """Where the guest is once the migration has ended."""
        return self.destination if completed else self.source


def make_intervention(fault: Fault, scene: Scene, case: Case) -> Intervention:
    """The fault as something the migration's session does in its phase, or at its time."""
    source, device = scene.source.guest, case.find_device(fault)

    def act() -> None:
        match fault.action:
            case Action.CANCEL:
                source.cancel_migration()
            case Action.KILL_SOURCE:
                _kill(source)
            case Action.KILL_DESTINATION:
                _kill(scene.destination.guest)
            case Action.CUT_LINK:
                for link in scene.links:
                    link.disturb("netem", "loss", "100%")
            case Action.SLOW_LINK:
                for link in scene.links:
                    link.disturb("netem", "rate", f"{fault.rate_bit}bit")
            case Action.PANIC_GUEST:
                _panic(source, scene.keys)
            case Action.PAUSE_GUEST:
                source.pause()
            case Action.KILL_PROXY:
                _kill_proxy(source)
            case Action.REBOOT_GUEST:
                reboot(source, scene.login)
            case Action.SUSPEND_GUEST:
                suspend(source, scene.login)
            case Action.RESET_DEVICE:
                reset_device(scene.source, device, scene.login)
            case Action.UNPLUG_DEVICE:
                unplug(scene.source, device)
            case Action.PLUG_DEVICE:
                plug(scene.source, device)

    end = partial(_end_disturbance, scene.links, drops=fault.action is Action.CUT_LINK)
    return Intervention(fault.action, fault.phase, act, fault.at_s, fault.seconds, end)


def make_last(fault: Fault, scene: Scene, case: Case, *, completed: bool) -> Intervention:
    """A fault of the phase ``after``: a device that the guest gets where it is then."""
    side, device = scene.find_place(completed=completed), case.find_device(fault)
    return Intervention(fault.action, fault.phase, partial(plug, side, device))


def _end_disturbance(links: Sequence[Link], *, drops: bool) -> None:
    """:raises NotMade: no packet was lost of a link that was cut: it cannot have been"""
    dropped = sum(link.restore() for link in links)
    if drops and not dropped:
        raise NotMade("No packet was lost on the link that was cut.")


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
