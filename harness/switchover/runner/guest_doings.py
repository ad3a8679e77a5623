# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest and its device do meanwhile: reboot, suspend, reset; a device that is unplugged, and plugged in."""

import contextlib
from collections.abc import Iterator

from switchover.devices.guest_driver import find_driven
from switchover.guests.qemu import QemuGuest
from switchover.hosts.host import Host
from switchover.hosts.waiting import wait_until
from switchover.migration.phases import NotMade, Rejected
from switchover.record.errors import Deadline, NotReady, Refused, SwitchoverError
from switchover.runner.side import Side

_EVENT_S = 30
# once the shell that was told so has answered: nothing is left to answer it afterwards
_REBOOT = "{ sleep 0.1; reboot -f || reboot; } </dev/null >/dev/null 2>&1 &"
_SUSPEND = r"""
grep -q mem /sys/power/state || { echo "its kernel has no suspend to memory" >&2; exit 1; }
{ sleep 0.1; echo mem >/sys/power/state; } </dev/null >/dev/null 2>&1 &
"""
_KERNEL_LOG = "dmesg | tail -n 12"
# the kernel keeps what it can of a function over its reset (pci_reset_function); the rest is its driver's
_RESET = "echo 1 >../reset && echo 1 >reinit"


def reboot(guest: QemuGuest, login: Host) -> None:
    """Let the guest reboot by its own means, until QEMU resets the machine, or ends.

    :raises NotMade: it cannot be told to, or does not
    """
    seen = len(guest.qmp.events)

    def has_begun() -> bool:
        told = [event.name for event in guest.qmp.events[seen:] if event.data.get("guest")]
        return bool({"RESET", "SHUTDOWN"} & {*told}) or guest.exit_status() is not None

    with _telling(f"The guest of {guest.label} does not reboot."):
        login.run(["sh", "-c", _REBOOT])
        wait_until(f"the guest of {guest.label} to reset the machine", has_begun, timeout=_EVENT_S)


def suspend(guest: QemuGuest, login: Host) -> None:
    """Let the guest suspend itself to memory, until QEMU says that it has.

    :raises NotMade: it cannot, or does not
    """
    seen = len(guest.qmp.events)
    with _telling(f"The guest of {guest.label} does not suspend itself."):
        login.run(["sh", "-c", _SUSPEND])
        try:
            wait_until(
                f"the guest of {guest.label} to suspend itself",
                lambda: any(event.name == "SUSPEND" for event in guest.qmp.events[seen:]),
                timeout=_EVENT_S,
                invariants=[guest.require_alive],
            )
        except Deadline as error:
            raise NotReady(error.what, why=login.run(["sh", "-c", _KERNEL_LOG], timeout=10).text) from error


def reset_device(side: Side, device_id: str, login: Host) -> None:
    """Let the guest reset a reference device, by its kernel, and set it up again, by its driver.

    :raises NotMade: it cannot
    """
    number = [spec.id for spec, _ in side.present].index(device_id)
    with _telling(f"The guest of {side.guest.label} cannot reset the device {device_id}."):
        login.run(["sh", "-c", f"{find_driven(number)} {_RESET}"])


def unplug(side: Side, device_id: str) -> None:
    """:raises Rejected: QEMU or libvirt does not take it away; :raises NotMade: the guest does not let it go"""
    with _asking(f"The device {device_id} is not unplugged."):
        side.unplug(device_id)


def plug(side: Side, device_id: str) -> None:
    """:raises Rejected: QEMU or libvirt does not take it"""
    with _asking(f"The device {device_id} is not plugged in."):
        side.plug(device_id)


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    """While a guest is told something, by itself. :raises NotMade: that fails"""
    try:
        yield
    except SwitchoverError as error:
        raise NotMade(what, why=str(error)) from error


@contextlib.contextmanager
def _asking(what: str) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise Rejected(what, why=error.why) from error
    except (Deadline, NotReady) as error:
        raise NotMade(what, why=str(error)) from error
