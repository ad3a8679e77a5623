# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's argument list for a guest. Pure."""

from switchover.guests.spec import GuestFiles, GuestSpec, VfioDevice

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


def build_arguments(spec: GuestSpec, files: GuestFiles, *, incoming: bool, empty_ports: int | None = None) -> list[str]:
    """QEMU's command line, program included. ``incoming``: wait for ``migrate-incoming`` (``-incoming defer``).

    ``empty_ports``: instead of the devices so many root ports, into which they can be plugged.
    """
    append = f"console=ttyS0 quiet panic=-1 net.ifnames=0 switchover.address={spec.address}/{spec.prefix} {spec.append}"
    return [
        spec.qemu,
        *("-name", f"{spec.name},debug-threads=on"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", spec.machine, "-accel", spec.accel, "-cpu", spec.cpu),
        *("-smp", str(spec.vcpus), "-m", f"{spec.memory_mib}M"),
        *("-kernel", spec.kernel, "-initrd", spec.initramfs, "-append", append.strip()),
        *("-chardev", f"file,id=console,path={files.console}", "-serial", "chardev:console"),
        *("-qmp", f"unix:{files.monitor},server=on,wait=off"),
        *(_network(spec, files) if spec.bridge else ()),
        *("-device", "virtio-rng-pci"),
        *_fw_cfg(files, "authorized_keys", "ssh_host_ed25519_key"),
        *(_devices(spec.devices) if empty_ports is None else _ports(empty_ports)),
        *("-msg", "timestamp=on", "-D", files.log),
        *(word for pattern in TRACE_PATTERNS if spec.traced for word in ("-trace", pattern)),
        *(("-incoming", "defer") if incoming else ()),
    ]


def _network(spec: GuestSpec, files: GuestFiles) -> list[str]:
    return [
        *("-netdev", f"tap,id=net,ifname={files.tap},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=net,mac={spec.mac},romfile="),
    ]


def _fw_cfg(files: GuestFiles, *names: str) -> list[str]:
    pairs = (("-fw_cfg", f"name=opt/switchover/{name},file={files.directory}/{name}") for name in names)
    return [word for pair in pairs for word in pair]


def _devices(devices: tuple[VfioDevice, ...]) -> list[str]:
    """Each behind a root port of its own, as a physical device would be, and as hot-plug needs it."""
    words = []
    for number, device in enumerate(devices, start=1):
        words += [*_port(number), "-device", render_device(device, number)]
    return words


def _ports(count: int) -> list[str]:
    return [word for number in range(1, count + 1) for word in _port(number)]


def _port(number: int) -> list[str]:
    return ["-device", f"pcie-root-port,id=port{number},chassis={number}"]


def render_device(device: VfioDevice, number: int) -> str:
    """A device for the root port with this number (from 1), for ``-device`` and the monitor's ``device_add``."""
    # QEMU's option parser reads a doubled comma as one
    properties = "".join(f",{name}={value.replace(',', ',,')}" for name, value in device.properties.items())
    return f"vfio-pci,id={device.id},sysfsdev={device.sysfsdev},bus=port{number}{properties}"
