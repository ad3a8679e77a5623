# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest's machine is made of besides memory, disk and VFIO devices, in QEMU's words. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from switchover.guests.spec import GuestFiles, GuestSpec

TOPOLOGY = ("sockets", "dies", "modules", "cores", "threads")
"""Levels of ``-smp`` that x86 has, the outermost first (hw/core/machine-smp.c of QEMU; ``modules`` since 9.1)."""
IOMMUS = ("intel-iommu", "virtio-iommu-pci", "amd-iommu")
"""Emulated IOMMUs of x86, by QEMU's names."""
NIC = "virtio-net-pci"
NIC_OWN = {"netdev": "bridge", "mac": "mac", "id": ""}
"""Properties of the NIC that the harness sets, and the keys that they are for."""
_NIC_DEFAULTS = {"romfile": ""}
_SEPARATOR = re.compile(r"(?<!,)((?:,,)*),(?!,)")


@dataclass(frozen=True)
class Option:
    """What ``-device`` or ``-object`` takes. ``driver``: what comes first, without a name."""

    driver: str
    properties: Mapping[str, str]

    @property
    def id(self) -> str:
        """Empty: it has none."""
        return self.properties.get("id", "")


def double_commas(value: str) -> str:
    """QEMU's option parser reads a doubled comma as one."""
    return value.replace(",", ",,")


def parse_option(text: str) -> Option:
    """``DRIVER[,NAME=VALUE…]``; a name alone is ``on``.

    :raises ValueError: it is not that, in words

    >>> parse_option("virtio-blk-pci,id=b,drive=a,,b").properties
    {'id': 'b', 'drive': 'a,b'}
    """
    if text.startswith("-"):
        raise ValueError(f"write what follows {text.split()[0]} on QEMU's command line")
    words = [word.replace(",,", ",") for word in _split(text)]
    driver = words[0].removeprefix("driver=").removeprefix("qom-type=")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", driver):
        raise ValueError("must begin with the name of a device or an object, then NAME=VALUE, with commas between them")
    properties: dict[str, str] = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not name:
            raise ValueError("has a comma with no property after it; a comma of a value is written twice")
        if name in properties:
            raise ValueError(f"has {name} twice")
        properties[name] = value if equals else "on"
    return Option(driver, properties)


def _split(text: str) -> list[str]:
    """At commas that are not doubled."""
    return _SEPARATOR.sub(lambda match: match[1] + "\0", text).split("\0")


def parse_machine(machine: str) -> tuple[str, dict[str, str]]:
    """The type that ``-machine`` names, and its options.

    >>> parse_machine("q35,kernel-irqchip=split")
    ('q35', {'kernel-irqchip': 'split'})
    """
    name, *options = machine.split(",")
    pairs = (option.partition("=") for option in options)
    return name, {key: value for key, _, value in pairs}


def list_nic(spec: GuestSpec) -> dict[str, str]:
    """Properties that a guest's NIC is given by its case; those that are left out are not there."""
    given = {**({"mq": "on"} if spec.nic_queues > 1 else {}), **spec.nic}
    return {name: value for name, value in given.items() if value}


def render_smp(spec: GuestSpec) -> str:
    """QEMU's ``-smp``.

    >>> render_smp(GuestSpec(vcpus=4, topology={"threads": 2, "cores": 2}))
    '4,sockets=1,cores=2,threads=2'
    """
    if not spec.topology:
        return str(spec.vcpus)
    levels = [name for name in TOPOLOGY if name in spec.topology or name in ("sockets", "cores", "threads")]
    return ",".join([str(spec.vcpus), *(f"{name}={spec.topology.get(name, 1)}" for name in levels)])


def render_firmware(spec: GuestSpec, files: GuestFiles) -> list[str]:
    """Flash with code that cannot be written and variables that can, or an image of a BIOS."""
    if not spec.firmware:
        return []
    if not spec.named_firmware:
        return ["-bios", spec.firmware]
    code, _ = spec.firmware_files
    flash = "if=pflash,format=raw,unit"
    return ["-drive", f"{flash}=0,readonly=on,file={code}", "-drive", f"{flash}=1,file={files.variables}"]


def render_objects(spec: GuestSpec) -> list[str]:
    return [word for text in spec.qemu_objects for word in ("-object", text)]


def is_standby(text: str) -> bool:
    """Whether a further device is the standby NIC of a failover pair (QEMU, docs/system/virtio-net-failover.rst).

    >>> is_standby("virtio-net-pci,id=s,failover=on"), is_standby("virtio-net-pci")
    (True, False)
    """
    try:
        return parse_option(text).properties.get("failover") == "on"
    except ValueError:
        return False


def render_early(spec: GuestSpec) -> list[str]:
    """Objects, which devices name, and the IOMMU: devices that are made before it are not behind it."""
    return [*render_objects(spec), *(("-device", spec.iommu) if spec.iommu else ())]


def render_standbys(spec: GuestSpec) -> list[str]:
    """After the NIC that the guest is asked by, and before devices to pass through: QEMU holds a primary back only if
    its standby is there.
    """
    return [word for text in spec.qemu_devices if is_standby(text) for word in ("-device", text)]


def render_late(spec: GuestSpec) -> list[str]:
    """Further devices: after all others, whose slots QEMU gives in their order; and further words as they are."""
    devices = [word for text in spec.qemu_devices if not is_standby(text) for word in ("-device", text)]
    return [*devices, *spec.qemu_arguments]


def render_network(spec: GuestSpec, files: GuestFiles) -> list[str]:
    """The NIC, and the tap that it is connected to."""
    queues = f",queues={spec.nic_queues}" if spec.nic_queues > 1 else ""
    given = {**_NIC_DEFAULTS, **list_nic(spec)}
    properties = "".join(f",{name}={double_commas(value)}" for name, value in given.items())
    return [
        *("-netdev", f"tap,id=net,ifname={files.tap},script=no,downscript=no{queues}"),
        *("-device", f"{NIC},netdev=net,mac={spec.mac}{properties}"),
    ]
