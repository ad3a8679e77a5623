# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's argument list for a guest. Pure."""

from collections.abc import Sequence

from switchover.guests.hardware import (
    double_commas,
    render_early,
    render_firmware,
    render_late,
    render_network,
    render_smp,
    render_standbys,
)
from switchover.guests.spec import GuestFiles, GuestSpec, Launch, VfioDevice

TRACE_PATTERNS = (
    "migrate_set_state",
    "migration_completion_*",
    "*switchover*",
    "vfio_load_*",
    "vfio_migration_*",
    "vfio_query_*",
    "vfio_save_*",
    "vfio_state_pending*",
    "vfio_vmstate_change*",
    "vmstate_downtime_*",
)
"""Trace events to record. Patterns, since names differ between QEMU versions and an unknown pattern is no error."""

GIVEN = ("authorized_keys", "identity", "ssh_host_ed25519_key")
"""What a guest is given through fw_cfg, as ``opt/switchover/NAME``. The lab's guest reads ``identity``, which has the
other two in it; a guest of the user may read them. The names are a part of the machine: a guest that was saved finds
the files of the QEMU that restores it by their place among all names (``select``, docs/specs/fw_cfg.rst of QEMU).
"""


def build_arguments(
    launch: Launch,
    files: GuestFiles,
    *,
    incoming: bool,
    empty_ports: int | None = None,
    more: Sequence[str] = (),
) -> list[str]:
    """QEMU's command line, program included. ``incoming``: wait for ``migrate-incoming`` (``-incoming defer``).

    ``empty_ports``: instead of the devices so many root ports, into which they can be plugged. ``more``: words at the
    end, as they are.
    """
    spec = launch.spec
    return [
        spec.qemu,
        *("-name", f"{spec.name},debug-threads=on"),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *(() if spec.on_reboot == "reset" else ("-no-reboot",)),
        *("-machine", spec.machine, "-accel", spec.accel, "-cpu", spec.cpu),
        *("-smp", render_smp(spec), "-m", f"{spec.memory_mib}M"),
        *render_firmware(spec, files),
        *(() if spec.boots_from_disk else ("-kernel", spec.kernel_file)),
        *(("-initrd", spec.initramfs_file) if spec.initramfs_file and not spec.boots_from_disk else ()),
        *(() if spec.boots_from_disk else ("-append", render_append(spec))),
        *render_early(spec),
        *(_disk(spec) if spec.disk else ()),
        *("-chardev", f"file,id=console,path={files.console}", "-serial", "chardev:console"),
        *("-qmp", f"unix:{files.monitor},server=on,wait=off"),
        *(render_network(spec, files) if spec.bridge else ()),
        *("-device", "virtio-rng-pci"),
        *render_standbys(spec),
        *_fw_cfg(files, *GIVEN),
        *(_devices(launch) if empty_ports is None else _ports(empty_ports)),
        *render_late(spec),
        *("-msg", "timestamp=on", "-D", files.log),
        *(word for pattern in TRACE_PATTERNS if spec.traced for word in ("-trace", pattern)),
        *(("-incoming", "defer") if incoming else ()),
        *more,
    ]


def render_append(spec: GuestSpec) -> str:
    """The kernel command line of a guest that QEMU boots a kernel for."""
    words = f"console=ttyS0 quiet panic=-1 net.ifnames=0 switchover.address={spec.address}/{spec.prefix} {spec.append}"
    return words.strip()


def _disk(spec: GuestSpec) -> list[str]:
    """Not cached where both hosts must see the same bytes. QEMU's image lock stays on: a destination takes it only when
    the source has given it up, so that migration passes, and a second guest on the same disk does not.
    """
    access = "cache=writeback,readonly=on" if spec.disk_readonly else "cache=none"
    first = ",bootindex=1" if spec.boots_from_disk else ""
    return [
        *("-drive", f"if=none,id=disk,file={double_commas(spec.disk)},format={spec.disk_format},{access}"),
        *("-device", f"virtio-blk-pci,drive=disk{first}"),
    ]


def _fw_cfg(files: GuestFiles, *names: str) -> list[str]:
    pairs = (("-fw_cfg", f"name=opt/switchover/{name},file={files.directory}/{name}") for name in names)
    return [word for pair in pairs for word in pair]


def _devices(launch: Launch) -> list[str]:
    """Each behind a root port of its own, as a physical device would be, and as hot-plug needs it; that of an absent
    device is empty.
    """
    words = []
    for number, device in enumerate(launch.devices, start=1):
        words += _port(number)
        words += () if device.id in launch.absent else ("-device", render_device(device, number))
    return words


def _ports(count: int) -> list[str]:
    return [word for number in range(1, count + 1) for word in _port(number)]


def _port(number: int) -> list[str]:
    return ["-device", f"pcie-root-port,id=port{number},chassis={number}"]


def render_device(device: VfioDevice, number: int) -> str:
    """A device for the root port with this number (from 1), for ``-device`` and the monitor's ``device_add``."""
    properties = "".join(f",{name}={double_commas(value)}" for name, value in device.properties.items())
    return f"vfio-pci,id={device.id},sysfsdev={device.sysfsdev},bus=port{number}{properties}"
