# SPDX-License-Identifier: GPL-2.0-or-later
"""What hardware of a guest cannot be, whatever QEMU makes of it, and storage that is not shared. Pure."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from switchover.guests.hardware import IOMMUS, NIC_OWN, TOPOLOGY, is_standby, parse_option
from switchover.guests.spec import OVMF, GuestSpec
from switchover.migration.settings import MigrationSettings
from switchover.record.toml import suggest
from switchover.scenarios.case import FAILOVER_PROPERTY, AnyDevice, FunctionSpec, SideSpec

_Found = tuple[tuple[str | int, ...], str]
"""The way to a value of a case, and what is wrong with it: a :data:`switchover.scenarios.limits.Problem`."""
_PORT = re.compile(r"port\d+")
SHARED = (
    "storage that is not shared is not supported: use a path that leads to the same storage on both hosts (NFS, Ceph, "
    'a block device that both see), or disk_readonly = "on" with a copy of the image on each host'
)
_STORAGE_WORD = re.compile(r"storage|nbd|(copy|migrate|move)[_-]?disk")
_STORAGE_CAPABILITIES = ("block", "zero-blocks", "dirty-bitmaps")
_STORAGE_PARAMETERS = ("block-incremental", "block-bitmap-mapping")


def check_firmware(text: str) -> str:
    right = text in ("", OVMF) or text.startswith("/")
    return "" if right else f'must be "{OVMF}", the path of an image on the host, or "" for SeaBIOS'


def check_iommu(text: str) -> str:
    if not text:
        return ""
    try:
        driver = parse_option(text).driver
    except ValueError as error:
        return str(error)
    return "" if driver in IOMMUS else f"begins with no emulated IOMMU of x86{suggest(driver, IOMMUS)}"


def find_hardware_problems(side: SideSpec, name: str) -> Iterator[_Found]:
    """What contradicts itself in the hardware of a side. ``name``: ``source`` or ``destination``."""
    guest, place = side.guest, (name, "guest")
    yield from (((*place, *path), text) for path, text in _find_topology_problems(guest))
    yield from (((*place, *path), text) for path, text in _find_nic_problems(guest))
    taken = {device.id: "a device to pass through" for device in side.devices}
    for path, text in _find_clashes("qemu_devices", guest.qemu_devices, lambda word: _find_owner(word, taken)):
        yield (*place, *path), text
    for path, text in _find_clashes("qemu_objects", guest.qemu_objects, lambda word: ""):
        yield (*place, *path), text
    for device in side.devices:
        if text := _find_wrong_pair(device, guest):
            yield (name, "devices", device.id, "properties", FAILOVER_PROPERTY), text


def _find_wrong_pair(device: AnyDevice, guest: GuestSpec) -> str:
    """What is wrong with the failover pair that a device is the primary of; empty: nothing, or it is of none."""
    if not device.is_primary:
        return ""
    if not isinstance(device, FunctionSpec):
        return "needs a PCI function (pci) that is a NIC: QEMU takes no other primary"
    standbys = [parse_option(text).id for text in guest.qemu_devices if is_standby(text)]
    if (wanted := device.properties[FAILOVER_PROPERTY]) in standbys:
        return ""
    return f'qemu_devices has no standby {wanted!r}: write "virtio-net-pci,id={wanted},failover=on,mac=MAC" there'


def _find_owner(identity: str, taken: dict[str, str]) -> str:
    return "one of the harness's root ports" if _PORT.fullmatch(identity) else taken.get(identity, "")


def _find_topology_problems(guest: GuestSpec) -> Iterator[_Found]:
    wrong = [name for name, number in guest.topology.items() if name not in TOPOLOGY or number < 1]
    for name in wrong:
        known = name in TOPOLOGY
        yield (
            ("topology", name),
            f"must be at least 1 (it is {guest.topology[name]})"
            if known
            else f"is no level of a topology{suggest(name, TOPOLOGY)}",
        )
    product = math.prod(guest.topology.values())
    if guest.topology and not wrong and product != guest.vcpus:
        levels = " × ".join(f"{guest.topology[name]} {name}" for name in TOPOLOGY if name in guest.topology)
        text = f"{levels} are {product} vCPUs, and vcpus is {guest.vcpus}; levels that are not set are 1"
        yield ("topology", next(iter(guest.topology))), text


def _find_nic_problems(guest: GuestSpec) -> Iterator[_Found]:
    for name in guest.nic:
        if name in NIC_OWN:
            own = NIC_OWN[name]
            yield ("nic", name), f"write {own}" if own else "is the harness's"
        elif not guest.bridge:
            yield ("nic", name), 'has no effect with bridge = "": the guest has no NIC'
    if guest.nic_queues > 1:
        if not guest.bridge:
            yield ("nic_queues",), 'has no effect with bridge = "": the guest has no NIC'
        if guest.nic.get("mq") == "off":
            yield ("nic", "mq"), f"contradicts nic_queues = {guest.nic_queues}"


def _find_clashes(key: str, texts: Sequence[str], find_owner: Callable[[str], str]) -> Iterator[_Found]:
    """Options that cannot be read, and ids that something else has."""
    seen: dict[str, int] = {}
    for number, text in enumerate(texts):
        try:
            option = parse_option(text)
        except ValueError as error:
            yield (key,), f"[{number}] {error} (it is {text!r})"
            continue
        if key == "qemu_objects" and not option.id:
            yield (key,), f"[{number}] needs an id (it is {text!r})"
        if not option.id:
            continue
        if owner := find_owner(option.id):
            yield (key,), f"[{number}] has the id {option.id!r}, which {owner} has"
        elif option.id in seen:
            yield (key,), f"[{number}] has the id {option.id!r}, which [{seen[option.id]}] has too"
        seen.setdefault(option.id, number)


def find_unshared_disk(source: SideSpec, destination: SideSpec) -> Iterator[_Found]:
    """A disk that the guest writes, and that is another one at the destination."""
    here, there = source.guest, destination.guest
    if here.disk and there.disk and here.disk != there.disk and not here.disk_readonly:
        yield ("destination", "guest", "disk"), f"{there.disk!r} is not the source's {here.disk!r}: {SHARED}"


def list_storage_keys(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys of a scenario file, table and name, by which somebody wants storage to be moved: there are none."""
    tables = {name: data.get(name) for name in ("migration", "guest", "source", "destination")}
    return [
        (name, key)
        for name, table in tables.items()
        if isinstance(table, Mapping)
        for key in table
        if _STORAGE_WORD.search(str(key))
    ]


def find_storage_problems(settings: MigrationSettings) -> Iterator[_Found]:
    """Settings by which QEMU would move storage, or what it knows of it."""
    for table, names in (
        ("capabilities", _STORAGE_CAPABILITIES),
        ("destination_capabilities", _STORAGE_CAPABILITIES),
        ("parameters", _STORAGE_PARAMETERS),
    ):
        for name in names:
            if getattr(settings, table).get(name):
                yield ("settings", table, name), f"is about moving a guest's storage: {SHARED}"
