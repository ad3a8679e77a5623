# SPDX-License-Identifier: GPL-2.0-or-later
"""What has to be changed on a host so that a guest can have a PCI function, and why it cannot. Pure.

Sources: Documentation/ABI/testing/sysfs-bus-pci (``driver_override``, ``sriov_numvfs``, ``sriov_drivers_autoprobe``),
Documentation/driver-api/vfio.rst (groups) and drivers/vfio/pci/vfio_pci_core.c of Linux.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from switchover.devices.functions import HostDevices, PciFunction
from switchover.record.errors import NotReady, NotSupported

GENERIC = "vfio-pci"
"""The driver that takes any function, and has no migration for any."""


@dataclass(frozen=True)
class FunctionRequest:
    """A PCI function that a guest is to have.

    ``vf``: not the function at ``address`` but its virtual function with this number, from 0. ``vfs``: how many virtual
    functions are made where there are none; 0: as many as are needed. ``driver``: of VFIO, by its name in sysfs;
    empty: the one that the host's kernel names for the function, see :func:`choose_driver`. ``whole_group``: the other
    members of its IOMMU group are taken from the host's drivers too. ``managed``: libvirt binds the function itself.
    """

    address: str
    vf: int | None = None
    vfs: int = 0
    driver: str = ""
    whole_group: bool = False
    managed: bool = False

    def describe(self) -> str:
        return self.address if self.vf is None else f"virtual function {self.vf} of {self.address}"


@dataclass(frozen=True)
class Rebinding:
    """A function's driver, and what it was before. None: no driver; an override that is empty: any driver that fits."""

    address: str
    driver: str
    old_driver: str | None
    old_override: str


@dataclass(frozen=True)
class VirtualFunctions:
    """Virtual functions that are to be made where there are none. ``autoprobe``: as it was, and will be again."""

    physical: str
    count: int
    autoprobe: bool


def parse_variants(text: str) -> list[tuple[str, str]]:
    """Patterns and modules of the drivers of VFIO, from lines of ``modules.alias``; others are left.

    >>> parse_variants("alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci")
    [('vfio_pci:v*d*sv*sd*bc*sc*i*', 'vfio_pci')]
    """
    return re.findall(r"^alias (vfio_pci:\S+) (\S+)$", text, re.MULTILINE)


def choose_driver(modalias: str, variants: Iterable[tuple[str, str]]) -> str:
    """The driver with the closest pattern, as kernels mean their ``vfio_pci:`` aliases: a vendor's before the generic.

    A variant driver has the name of its module (KBUILD_MODNAME in drivers/vfio/pci/*); the generic one alone has not.
    """
    fitting = [(pattern.count("*"), module) for pattern, module in variants if fnmatchcase(f"vfio_{modalias}", pattern)]
    module = min(fitting, default=(0, "vfio_pci"))[1]
    return GENERIC if module == "vfio_pci" else module


def find_lack(devices: HostDevices, host: str, request: FunctionRequest) -> NotSupported | None:
    """What the host lacks for a request; None if nothing that can be seen before it is tried."""
    try:
        if request.vf is None:
            function = _require_function(devices, host, request.address)
        else:
            function = _require_sriov(devices, host, request.address, request.vf + 1)
        _require_group(function, host)
        if request.driver:
            _require_driver(devices, host, request.driver)
    except NotSupported as error:
        return error
    return None


def plan_virtual_functions(
    devices: HostDevices, host: str, requests: Sequence[FunctionRequest]
) -> list[VirtualFunctions]:
    """What has to be made for all these requests together; nothing where there are enough.

    :raises NotSupported: a function has no SR-IOV, or not so many virtual functions
    :raises NotReady: there are some already, but too few
    """
    wanted: dict[str, int] = {}
    for request in requests:
        if request.vf is not None:
            needed = max(request.vf + 1, request.vfs)
            wanted[request.address] = max(needed, wanted.get(request.address, 0))
    plans = []
    for address, count in wanted.items():
        function = _require_sriov(devices, host, address, count)
        made = len(function.virtual)
        numbers = [request.vf for request in requests if request.address == address and request.vf is not None]
        if made > max(numbers):
            continue
        if made:
            raise NotReady(
                f"{address} of {host} has {made} virtual functions, too few for number {max(numbers)}.",
                why="a kernel changes their number only by way of 0, which would take them from whoever uses them",
                fix=f"if nobody does: echo 0 >/sys/bus/pci/devices/{address}/sriov_numvfs on {host}; "
                "for several devices of one host name vfs, the number of all",
            )
        if function.driver is None:
            raise NotSupported(
                f"{address} of {host} has no driver, which alone could make virtual functions.",
                why=f"no driver on the host has taken it ({function.numbers})",
                fix=f"load its driver on {host}: modprobe {function.modalias}",
            )
        plans.append(VirtualFunctions(address, count, function.autoprobe))
    return plans


def require_address(devices: HostDevices, host: str, request: FunctionRequest) -> str:
    """Of the function itself, virtual ones included. :raises NotSupported: there is none"""
    if request.vf is None:
        return _require_function(devices, host, request.address).address
    physical = _require_sriov(devices, host, request.address, request.vf + 1)
    if request.vf >= len(physical.virtual):
        raise NotSupported(f"There is no {request.describe()} on {host}, which has {len(physical.virtual)} of them.")
    return physical.virtual[request.vf]


def plan_rebindings(
    devices: HostDevices, host: str, address: str, driver: str, *, whole_group: bool, anyway: bool = False
) -> list[Rebinding]:
    """What has to be given to another driver, the function itself last; nothing that is with its driver already, unless
    the function is to be there ``anyway``.

    :raises NotSupported: the function, its IOMMU group or the driver is not there
    :raises NotReady: the function or its group cannot be had as the host is now
    """
    function = _require_function(devices, host, address)
    group = _require_group(function, host)
    _require_driver(devices, host, driver)
    if function.virtual:
        raise NotReady(
            f"{address} of {host} has {len(function.virtual)} virtual functions, and VFIO does not take it with them.",
            fix=f"name one of them: vf = 0; or, if nobody uses them: echo 0 >/sys/bus/pci/devices/{address}/"
            f"sriov_numvfs on {host}",
        )
    others = [member for member in devices.list_hindering(group) if member.address != address]
    if others and not whole_group:
        names = "; ".join(f"{member.address} is with {member.driver}" for member in others)
        raise NotReady(
            f"The IOMMU group {group} of {address} on {host} is not viable.",
            why=f"all of a group goes to VFIO or none of it, and {names}",
            fix='whole_group = "on" if the host can do without them meanwhile, or a slot with a group of its own',
        )
    if others:
        _require_driver(devices, host, GENERIC)
    planned = [Rebinding(member.address, GENERIC, member.driver, member.override) for member in others]
    if anyway or function.driver != driver:
        planned.append(Rebinding(address, driver, function.driver, function.override))
    return planned


def _require_function(devices: HostDevices, host: str, address: str) -> PciFunction:
    function = devices.find_function(address)
    if function is None:
        raise NotSupported(f"{host} has no PCI function {address}.", fix=f"on {host}: lspci -D")
    if function.is_bridge:
        raise NotSupported(f"{address} of {host} is a bridge; bridges cannot be passed through.")
    return function


def _require_sriov(devices: HostDevices, host: str, address: str, count: int) -> PciFunction:
    function = _require_function(devices, host, address)
    if function.virtual_functions is None:
        raise NotSupported(
            f"{address} of {host} has no SR-IOV.",
            why=f"without sriov_totalvfs in sysfs it has no virtual functions ({function.numbers})",
            fix="switch it on in the firmware of the device, or name the function without vf",
        )
    possible = function.virtual_functions[1]
    if count > possible:
        raise NotSupported(
            f"{address} of {host} has at most {possible} virtual functions, not {count}.",
            fix="the numbers of virtual functions begin with 0",
        )
    return function


def _require_group(function: PciFunction, host: str) -> str:
    if function.group is None:
        raise NotSupported(
            f"{function.address} of {host} is in no IOMMU group.",
            why="the host's IOMMU is off, or does not have this function",
            fix="VT-d or AMD-Vi on in the firmware; intel_iommu=on or amd_iommu=on on the kernel's command line",
        )
    return function.group


def _require_driver(devices: HostDevices, host: str, driver: str) -> None:
    if driver not in devices.drivers:
        raise NotSupported(
            f"{host} has no driver {driver}.",
            why="it is not in /sys/bus/pci/drivers: its module is not loaded, or this kernel has none",
            fix=f"on {host}: modprobe {driver}",
        )
