# SPDX-License-Identifier: GPL-2.0-or-later
"""What the scripts of all drivers are made of, and the seam for what one has of its own. Pure."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import asdict
from typing import Protocol

from switchover.devices.binding import GENERIC
from switchover.devices.reference import render_knob
from switchover.guests.spec import GuestFiles, GuestSpec
from switchover.migration.phases import Action
from switchover.migration.settings import MigrationSettings, TransportName
from switchover.record.record import Record
from switchover.repro.shell import quote
from switchover.scenarios.case import AnyDevice, DeviceSpec, FunctionSpec, SideSpec

SIDES = ("source", "destination")
Row = tuple[str, str, str]
"""A variable of the script: name, value, and what is said of it."""


class DriverScript(Protocol):
    """What ``repro.sh`` has of a driver: a module with these names, and one of ``SCRIPTS`` in :mod:`script`."""

    BODY: str
    """The file beside this one with what comes after ``script-common.sh``."""
    WAYS: Mapping[TransportName, str]
    """Files beside this one with the way of the stream, by transport, which come before that; none: the body has it."""
    MEANS: str
    """What the migration is repeated with."""
    USAGE: str
    PROGRAMS: str
    """Those that each host needs."""
    MORE_ROOM: str
    """What is added to what a host needs for the guest."""
    DESTINATION: str
    """The address of the destination where nobody sets another one."""
    VARIABLES: tuple[Row, ...]
    """Those that only this script has, to be set by whoever runs it."""
    LEFT_OUT: tuple[str, ...]
    """Names of variables that all others have."""

    def locate_virtual(self, record: Record, side: str, device: FunctionSpec) -> str:
        """A virtual function, below ``/sys/bus/pci/devices``; empty: the record does not say."""

    def list_settings(self, settings: MigrationSettings) -> list[Row]:
        """Settings of the migration as this body wants them."""

    def list_recorded(self, settings: MigrationSettings, actions: Set[Action], ident: str) -> list[Row]:
        """What else of the case only this script has. ``actions``: its faults; ``ident``: eight digits of its own."""

    def render_side(self, side: str, spec: SideSpec, ident: str) -> Iterator[str]:
        """Functions that make a side ready and start its guest; lines."""


def name_variable(side: str, number: int, device: AnyDevice) -> str:
    """What says which device it is."""
    return f"{side.upper()}_{'FUNCTION' if isinstance(device, FunctionSpec) else 'UUID'}_{number}"


def render_devices(side: str, spec: SideSpec, *, locate: bool = False) -> Iterator[str]:
    """Lines that make the devices of a side, or need its functions. ``locate``: with the latter's paths in sysfs."""
    for number, device in enumerate(spec.devices, start=1):
        variable = name_variable(side, number, device)
        if isinstance(device, FunctionSpec):
            if not device.managed:
                yield f'    need_function "${variable}" {quote(device.vfio_driver or GENERIC)}'
            if locate:
                yield f"    passed_{number}=$passed"
            continue
        yield f'    make_device "${variable}" {quote(device.type)}'
        for knob, setting in asdict(device.knobs).items() if isinstance(device, DeviceSpec) else ():
            yield f"    knob {knob} {quote(render_knob(setting))}"


def render_variables(guest: GuestSpec) -> Iterator[str]:
    """Lines that make the flash which a guest with OVMF writes its variables to."""
    if guest.named_firmware:
        code, variables = guest.firmware_files
        name = GuestFiles("", "").variables
        yield f'    cat {quote(variables)} >"$here{name}" || give_up "there is no OVMF, of which {code} is the code"'


def has_initramfs(guest: GuestSpec) -> bool:
    return bool(guest.initramfs_file) and not guest.boots_from_disk
