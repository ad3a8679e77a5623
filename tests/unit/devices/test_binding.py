# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to be changed so that a guest can have a PCI function, and every reason why it cannot."""

from dataclasses import replace

import pytest
from tests.unit.builders import DATA

from switchover.devices.binding import (
    FunctionRequest,
    Rebinding,
    VirtualFunctions,
    choose_driver,
    find_lack,
    parse_variants,
    plan_rebindings,
    plan_virtual_functions,
    require_address,
)
from switchover.devices.functions import HostDevices, parse_devices
from switchover.record.errors import NotReady, NotSupported, SwitchoverError

DEVICES = parse_devices((DATA / "sysfs.txt").read_text())
PHYSICAL, VIRTUAL, GPU, SOUND = "0000:3b:00.0", "0000:3b:00.2", "0000:5e:00.0", "0000:5e:00.1"


def changed(address: str, **fields: object) -> HostDevices:
    """The same host, one of its functions otherwise."""
    functions = [
        replace(function, **fields) if function.address == address else function  # type: ignore[arg-type]
        for function in DEVICES.functions
    ]
    return replace(DEVICES, functions=tuple(functions))


WITHOUT_VIRTUAL = changed(PHYSICAL, virtual=(), virtual_functions=(0, 8))


def rebind(
    devices: HostDevices, address: str, driver: str = "vfio-pci", *, whole_group: bool = False
) -> list[Rebinding]:
    return plan_rebindings(devices, "rack1", address, driver, whole_group=whole_group)


def make(devices: HostDevices, *requests: FunctionRequest) -> list[VirtualFunctions]:
    return plan_virtual_functions(devices, "rack1", requests)


def test_a_function_goes_from_its_driver_to_vfio() -> None:
    """What it had, driver and override, is part of the plan: it is what is undone to."""
    assert rebind(WITHOUT_VIRTUAL, PHYSICAL) == [Rebinding(PHYSICAL, "vfio-pci", "mlx5_core", "")]
    assert rebind(DEVICES, VIRTUAL) == [Rebinding(VIRTUAL, "vfio-pci", "mlx5_vfio_pci", "mlx5_vfio_pci")]
    unbound = changed(VIRTUAL, driver=None, override="")
    assert rebind(unbound, VIRTUAL, "mlx5_vfio_pci") == [Rebinding(VIRTUAL, "mlx5_vfio_pci", None, "")]


def test_a_function_with_its_driver_is_left_alone() -> None:
    """Somebody bound it already: nothing is changed, so nothing is undone."""
    assert rebind(DEVICES, VIRTUAL, "mlx5_vfio_pci") == []


def test_the_whole_group_goes_first() -> None:
    """Members that hinder are given to vfio-pci, bridges and members of VFIO are not touched."""
    assert rebind(DEVICES, GPU, whole_group=True) == [Rebinding(SOUND, "vfio-pci", "snd_hda_intel", "")]
    assert rebind(DEVICES, SOUND) == [Rebinding(SOUND, "vfio-pci", "snd_hda_intel", "")]


REFUSED = [
    ("no such function", DEVICES, "0000:09:00.0", "vfio-pci", NotSupported, "no PCI function 0000:09:00.0", "lspci"),
    ("a bridge", DEVICES, "0000:5d:02.0", "vfio-pci", NotSupported, "is a bridge", ""),
    ("no IOMMU", changed(VIRTUAL, group=None), VIRTUAL, "vfio-pci", NotSupported, "IOMMU is off", "intel_iommu=on"),
    ("no driver", DEVICES, VIRTUAL, "xe_vfio_pci", NotSupported, "no driver xe_vfio_pci", "modprobe xe_vfio_pci"),
    ("virtual functions", DEVICES, PHYSICAL, "vfio-pci", NotReady, "has 1 virtual functions", "vf = 0"),
    ("group", DEVICES, GPU, "vfio-pci", NotReady, f"{SOUND} is with snd_hda_intel", "whole_group"),
]


@pytest.mark.parametrize(
    ("devices", "address", "driver", "kind", "words", "fix"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
def test_why_a_function_cannot_be_had(
    devices: HostDevices, address: str, driver: str, kind: type[SwitchoverError], words: str, fix: str
) -> None:
    """What lacks is not supported, what could be otherwise is not ready; both say what, why, and what to do."""
    with pytest.raises(kind) as caught:
        rebind(devices, address, driver)
    assert "rack1" in caught.value.what
    assert words in str(caught.value)
    assert fix in caught.value.fix


def test_virtual_functions_are_made_once_for_all() -> None:
    """As many as the highest number wants, or as are asked for, by one change; what is there is used."""
    requests = [FunctionRequest(PHYSICAL, vf=0), FunctionRequest(PHYSICAL, vf=2)]
    assert make(WITHOUT_VIRTUAL, *requests) == [VirtualFunctions(PHYSICAL, 3, autoprobe=False)]
    assert make(WITHOUT_VIRTUAL, FunctionRequest(PHYSICAL, vf=0, vfs=5)) == [VirtualFunctions(PHYSICAL, 5, False)]
    assert make(DEVICES, FunctionRequest(PHYSICAL, vf=0, vfs=5)) == []
    assert make(DEVICES, FunctionRequest(GPU)) == []
    assert require_address(DEVICES, "rack1", FunctionRequest(PHYSICAL, vf=0)) == VIRTUAL
    assert require_address(DEVICES, "rack1", FunctionRequest(PHYSICAL)) == PHYSICAL


NOT_MADE = [
    ("too few", DEVICES, FunctionRequest(PHYSICAL, vf=1), NotReady, "1 virtual functions, too few for number 1"),
    ("too many", WITHOUT_VIRTUAL, FunctionRequest(PHYSICAL, vf=8), NotSupported, "at most 8 virtual functions"),
    ("too many by count", WITHOUT_VIRTUAL, FunctionRequest(PHYSICAL, vf=0, vfs=9), NotSupported, "at most 8"),
    ("no SR-IOV", DEVICES, FunctionRequest(GPU, vf=0), NotSupported, f"{GPU} of rack1 has no SR-IOV"),
    ("none there", DEVICES, FunctionRequest("0000:09:00.0", vf=0), NotSupported, "no PCI function"),
    (
        "no driver",
        changed(PHYSICAL, virtual=(), driver=None),
        FunctionRequest(PHYSICAL, vf=0),
        NotSupported,
        "has no driver",
    ),
]


@pytest.mark.parametrize(
    ("devices", "request_", "kind", "words"), [row[1:] for row in NOT_MADE], ids=[row[0] for row in NOT_MADE]
)
def test_why_virtual_functions_are_not_made(
    devices: HostDevices, request_: FunctionRequest, kind: type[SwitchoverError], words: str
) -> None:
    """Those that somebody else made are never taken away: a kernel changes their number by way of 0 only."""
    with pytest.raises(kind) as caught:
        make(devices, request_)
    assert words in caught.value.what
    assert caught.value.fix


def test_what_can_be_said_before() -> None:
    """Before anything is tried: what a host lacks, virtual functions that are not made yet among what it has."""
    assert find_lack(WITHOUT_VIRTUAL, "rack1", FunctionRequest(PHYSICAL, vf=7)) is None
    assert "at most 8" in str(find_lack(WITHOUT_VIRTUAL, "rack1", FunctionRequest(PHYSICAL, vf=8)))
    assert "IOMMU is off" in str(find_lack(changed(PHYSICAL, group=None), "rack1", FunctionRequest(PHYSICAL, vf=0)))
    assert "no driver x_vfio" in str(find_lack(DEVICES, "rack1", FunctionRequest(VIRTUAL, driver="x_vfio")))
    assert find_lack(DEVICES, "rack1", FunctionRequest(VIRTUAL)) is None


ALIASES = """alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core
alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci
alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci
alias vfio_pci:v00001AF4d00001000sv*sd*bc*sc*i* virtio_vfio_pci
"""


def test_the_driver_is_the_one_that_the_kernel_means() -> None:
    """A vendor's driver of VFIO before the generic one, where the kernel has it and only for what it is for."""
    variants = parse_variants(ALIASES)
    assert len(variants) == 3
    virtual, physical = (DEVICES.find_function(address) for address in (VIRTUAL, PHYSICAL))
    assert virtual is not None
    assert physical is not None
    assert choose_driver(virtual.modalias, variants) == "mlx5_vfio_pci"
    assert choose_driver(physical.modalias, variants) == "vfio-pci"
    assert choose_driver(virtual.modalias, variants[:1]) == "vfio-pci"
    assert choose_driver(virtual.modalias, []) == "vfio-pci"
