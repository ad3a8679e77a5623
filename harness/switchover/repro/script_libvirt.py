# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``repro.sh`` of a case has that libvirt ran: virsh and two domains in XML. Pure.

The body is ``script-libvirt.sh`` beside this file. libvirt does not migrate within a host, so there are always two.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace

from switchover.guests.domain import DomainIdentity, build_domain
from switchover.guests.spec import GuestFiles, Kernel, Launch
from switchover.migration.libvirt_settings import list_flags, make_parameters
from switchover.migration.phases import Action
from switchover.migration.settings import HOLD_LIMIT_MS, MigrationSettings, TransportName
from switchover.record.record import Record
from switchover.repro.parts import Row, has_initramfs, name_variable, render_devices, render_variables
from switchover.repro.shell import quote, render_here_document, render_variable
from switchover.scenarios.case import FunctionSpec, SideSpec

BODY = "script-libvirt.sh"
WAYS: Mapping[TransportName, str] = {}
MEANS = "libvirt's virsh and a shell"
PROGRAMS = "libvirtd, virsh"
MORE_ROOM = ""
DESTINATION = ""
LEFT_OUT: tuple[str, ...] = ("CPU", "PORT", "RECORDED")
USAGE = """\
Each on its host, the same variables on both, DESTINATION and DESTINATION_URI among them:
                sh repro.sh destination   on the destination's host: devices and files,
                sh repro.sh source        on the source's host: devices, the domain, until the guest has booted, then
                sh repro.sh migrate       on the source's host: migration, verdict.
Anything left:  sh repro.sh clean, on each host.
migrate exits with 0 if the verdict is the recorded one, with 1 if it is another one, with 2 if nothing could be
tried."""
VARIABLES: tuple[Row, ...] = (
    ("DESTINATION_URI", "", "of the destination's libvirtd; empty: qemu+ssh://root@DESTINATION/system"),
    ("OWNER", "", "user that libvirt runs QEMU as, where it is not root"),
)
_OPTIONS = {
    "VIR_MIGRATE_LIVE": "--live",
    "VIR_MIGRATE_PEER2PEER": "--p2p",
    "VIR_MIGRATE_PARALLEL": "--parallel",
    "VIR_MIGRATE_AUTO_CONVERGE": "--auto-converge",
    "VIR_MIGRATE_POSTCOPY": "--postcopy",
    "bandwidth": "--bandwidth",
    "bandwidth.avail.switchover": "--available-switchover-bandwidth",
    "bandwidth.postcopy": "--postcopy-bandwidth",
    "parallel.connections": "--parallel-connections",
    "auto_converge.initial": "--auto-converge-initial",
    "auto_converge.increment": "--auto-converge-increment",
}
"""virsh's words (virsh migrate --help) for libvirt's flags and parameters."""


def locate_virtual(record: Record, side: str, device: FunctionSpec) -> str:
    """By its own address, that of the record: the destination's domain is made at the source, where nobody can look it
    up.
    """
    return str(record.fingerprint.get("functions", {}).get(f"{side} {device.id}", {}).get("address", ""))


def list_settings(settings: MigrationSettings) -> list[Row]:
    return []


def list_recorded(settings: MigrationSettings, actions: Set[Action], ident: str) -> list[Row]:
    return [
        ("DOMAIN", f"switchover-repro-{ident}", "its name"),
        ("OPTIONS", " ".join(list_options(settings)), "virsh migrate's"),
        ("HOLD_LIMIT", str(HOLD_LIMIT_MS), "ms, downtime limit until the switchover is let go"),
    ]


def list_options(settings: MigrationSettings) -> list[str]:
    """Words of ``virsh migrate`` for the settings, but for where to."""
    words = [_OPTIONS[flag] for flag in list_flags(settings)]
    for name, value in make_parameters(settings, "", "").items():
        if name in _OPTIONS:
            words += [_OPTIONS[name], str(value)]
    return words


def render_side(side: str, spec: SideSpec, ident: str) -> Iterator[str]:
    yield f"\nmake_{side}() {{"
    yield from [*render_variables(spec.guest), *render_devices(side, spec)] or ["    :"]
    yield "}"
    names = [name_variable(side, number, device) for number, device in enumerate(spec.devices, start=1)]
    yield from _render_domain(side, spec, ident, names)


def _render_domain(side: str, spec: SideSpec, ident: str, names: list[str]) -> Iterator[str]:
    """A function that prints the domain of a side. ``names``: variables with the devices' UUIDs and addresses."""
    guest = spec.guest
    yield f"\nxml_{side}() {{"
    yield f"    here=$WORK/{side}"
    yield f"    qemu=${{QEMU:-{quote(guest.qemu)}}}"
    yield '    emulator=$(find_emulator "$qemu")'
    if guest.kernel_file:
        yield f"    kernel=${{KERNEL:-{quote(guest.kernel_file)}}}"
    if has_initramfs(guest):
        yield f"    initrd=${{INITRD:-{quote(guest.initramfs_file)}}}"
    yield f"    accel=${{ACCEL:-{quote(guest.accel)}}}"
    yield "    case $accel in kvm) hypervisor=kvm ;; *) hypervisor=qemu ;; esac"
    for number, (device, name) in enumerate(zip(spec.devices, names, strict=True), start=1):
        if isinstance(device, FunctionSpec):
            yield f'    address_{number}=$(render_address "${name}")'
    yield f"    cat {_make_domain(side, spec, ident, names)}"
    yield "}"


def _make_domain(side: str, spec: SideSpec, ident: str, names: list[str]) -> str:
    """A here-document: XML with variables of the shell for what a host may have elsewhere, and without keys."""
    drawn = [uuid.uuid4().hex for _ in names]  # stand for the variables, which are neither UUIDs nor addresses
    devices = tuple(
        device.at(
            f"/sys/bus/pci/devices/{word}:00:00.0"
            if isinstance(device, FunctionSpec)
            else f"/sys/bus/mdev/devices/{word}"
        )
        for device, word in zip(spec.devices, drawn, strict=True)
    )
    guest = replace(
        spec.guest,
        qemu=f"/{render_variable('emulator')}",
        kernel=Kernel(render_variable("kernel") if spec.guest.kernel_file else ""),
        initramfs=render_variable("initrd") if has_initramfs(spec.guest) else "",
        bridge=render_variable("BRIDGE") if spec.guest.bridge else "",
    )
    identity = DomainIdentity(f"switchover-repro-{ident}", str(uuid.uuid5(uuid.NAMESPACE_OID, f"switchover {ident}")))
    files = GuestFiles(render_variable("here"), f"sw{ident}{side[0]}")
    text = build_domain(Launch(guest, devices), files, identity, keys=False)
    text = text.replace(f"/{render_variable('emulator')}", render_variable("emulator"))
    text = re.sub(r'^<domain type="\w+"', f'<domain type="{render_variable("hypervisor")}"', text)
    for number, (name, word) in enumerate(zip(names, drawn, strict=True), start=1):
        address = f'domain="0x{word}" bus="0x00" slot="0x00" function="0x0"'
        text = text.replace(address, render_variable(f"address_{number}")).replace(word, render_variable(name))
    return render_here_document(text)
