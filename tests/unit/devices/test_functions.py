# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI functions, IOMMU groups and mediated devices, from a listing of sysfs."""

import random

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import DATA

from switchover.devices.functions import (
    HostDevices,
    MdevType,
    MediatedInstance,
    PciFunction,
    parse_devices,
    read_devices,
)
from switchover.hosts.local import LocalHost

SYSFS = (DATA / "sysfs.txt").read_text()
UUID = "cc507196-c466-4249-848a-d6932a83df16"
PARENT = "/sys/devices/platform/refdev"


def test_functions() -> None:
    """A function has its driver, group, physical function, SR-IOV and node; one that has none of these says so.

    An override that is not set reads ``(null)``, and is none; virtual functions come by their numbers.
    """
    devices = parse_devices(SYSFS)
    assert devices.find_function("3B:00.0") == PciFunction(
        "0000:3b:00.0",
        "15b3:101d",
        0x020000,
        "mlx5_core",
        "12",
        None,
        (1, 8),
        1,
        "",
        "pci:v000015B3d0000101Dsv000015B3sd00000040bc02sc00i00",
        ("0000:3b:00.2",),
        autoprobe=False,
    )
    assert devices.find_function("0000:3b:00.2") == PciFunction(
        "0000:3b:00.2",
        "15b3:101e",
        0x020000,
        "mlx5_vfio_pci",
        "101",
        "0000:3b:00.0",
        None,
        1,
        "mlx5_vfio_pci",
        "pci:v000015B3d0000101Esv000015B3sd00000040bc02sc00i00",
    )
    assert devices.find_function("00:00.0") == PciFunction(
        "0000:00:00.0", "8086:29c0", 0x060000, None, None, None, None, None
    )
    assert devices.find_function("00:00.1") is None
    assert [function.address for function in devices.functions if function.is_for_vfio] == [
        "0000:3b:00.2",
        "0000:5e:00.0",
    ]
    assert devices.drivers == ("mlx5_core", "mlx5_vfio_pci", "pcieport", "snd_hda_intel", "vfio-pci")


def test_groups() -> None:
    """A group's obstacles are the functions that another driver has; bridges are none."""
    devices = parse_devices(SYSFS)
    assert list(devices.groups) == ["9", "12", "101", "102"]
    assert devices.groups["102"] == (UUID,)
    hindering = {group: [found.address for found in devices.list_hindering(group)] for group in devices.groups}
    assert hindering == {"9": ["0000:5e:00.1"], "12": ["0000:3b:00.0"], "101": [], "102": []}


def test_mediated_devices() -> None:
    """Types have their parent's real path; instances have their type and group."""
    devices = parse_devices(SYSFS)
    assert devices.mdev_types == (
        MdevType(PARENT, "refdev-16vec", "Reference device: 16 MSI-X vectors", 0),
        MdevType(PARENT, "refdev-4vec", "Reference device, 4 MSI-X vectors", 15),
    )
    assert devices.mediated == (MediatedInstance(UUID, PARENT, "refdev-4vec", "102"),)
    assert devices.find_mdev_type("refdev", "refdev-4vec") == devices.find_mdev_type(PARENT + "/", "refdev-4vec")
    assert devices.find_mdev_type("other", "refdev-4vec") is None


@given(st.randoms(use_true_random=False), st.lists(st.text("ab/:.-> 0x", max_size=20), max_size=5))
def test_order_and_other_lines_do_not_matter(shuffler: random.Random, others: list[str]) -> None:
    """Lines may come in any order, among lines of which nothing is known."""
    lines = [*SYSFS.splitlines(), *others]
    shuffler.shuffle(lines)
    assert parse_devices("\n".join(lines)) == parse_devices(SYSFS)


def test_a_host_without_devices() -> None:
    """Nothing there is no error: a host may have no PCI."""
    assert parse_devices("") == HostDevices((), {}, (), ())


def test_this_machine() -> None:
    """The listing runs in a real shell, whatever this machine has."""
    for function in read_devices(LocalHost()).functions:
        assert len(function.address) == 12
        assert function.pci_class > 0
