# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices plugged into a guest that runs, and taken from it again, through QEMU's monitor."""

import re
from collections.abc import Sequence

from switchover.guests.arguments import render_device
from switchover.guests.spec import VfioDevice
from switchover.hosts.qmp import QmpSession
from switchover.hosts.waiting import Invariant, wait_until
from switchover.record.errors import Refused

_UNPLUG_S = 30


def plug_device(qmp: QmpSession, device: VfioDevice, number: int) -> None:
    """Into the root port with this number, from 1. :raises Refused: QEMU rejected it, in its own words"""
    # QMP's own device_add wants each property in its type; this one reads them as the command line does
    line = {"command-line": f"device_add {render_device(device, number)}"}
    if words := find_error(qmp.execute("human-monitor-command", line)):
        raise Refused(f"{qmp.name} rejected the device {device.id}.", why=words)


def unplug_device(qmp: QmpSession, device_id: str, invariants: Sequence[Invariant]) -> None:
    """Until QEMU has a device no more, which the guest has to let go.

    :raises Refused: QEMU rejected it, in its own words; :raises Deadline: the guest does not
    """
    seen = len(qmp.events)
    qmp.execute("device_del", {"id": device_id})
    wait_until_deleted(qmp, device_id, seen, invariants)


def wait_until_deleted(qmp: QmpSession, device_id: str, seen: int, invariants: Sequence[Invariant]) -> None:
    """Until QEMU says, in an event after the first ``seen``, that it has a device no more. :raises Deadline: never"""

    def is_gone() -> bool:
        events = qmp.events[seen:]
        return any(one.name == "DEVICE_DELETED" and one.data.get("device") == device_id for one in events)

    wait_until(f"the guest to let {device_id} go", is_gone, timeout=_UNPLUG_S, invariants=invariants)


def find_error(answer: str) -> str:
    """What the human monitor says after ``Error: ``, to the end; empty if it only warns, or says nothing.

    >>> find_error("warning: slow\\r\\nError: vfio x: no such device\\r\\n")
    'vfio x: no such device'
    """
    found = re.search(r"^Error: (.*)", answer, re.MULTILINE | re.DOTALL)
    return found[1].replace("\r", "").strip() if found else ""
