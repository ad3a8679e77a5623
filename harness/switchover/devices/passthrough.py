# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI functions of a host for a guest: given to VFIO for a repeat, and back to the drivers that they had."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from switchover.devices.binding import (
    FunctionRequest,
    Rebinding,
    VirtualFunctions,
    choose_driver,
    parse_variants,
    plan_rebindings,
    plan_virtual_functions,
    require_address,
)
from switchover.devices.functions import HostDevices, PciFunction, read_devices
from switchover.devices.migratability import Migratability, read_migratability
from switchover.hosts.host import Host, paste
from switchover.hosts.journal import UNDO_TIMEOUT_S, own_journal
from switchover.hosts.undo import end_processes
from switchover.record.errors import CommandFailed, NotReady

_TIMEOUT_S = 120
"""To make a change: drivers of large devices take their time to let go of one, and to make virtual functions."""

# $1: address, $2: driver. A virtual function is probed in spite of its autoprobe if it has an override
_BIND = r"""
cd /sys/bus/pci
echo "$2" >"devices/$1/driver_override"
if [ -e "devices/$1/driver" ]; then echo "$1" >"devices/$1/driver/unbind"; fi
echo "$1" >drivers_probe
driver=$(readlink "devices/$1/driver") || { echo "$2 did not take it; see dmesg there" >&2; exit 1; }
[ "${driver##*/}" = "$2" ] || { echo "${driver##*/} has it, not $2" >&2; exit 1; }
"""
# $1: address, $2: the driver that it had, or nothing, $3: the override that it had, or nothing
_UNBIND = r"""
cd "/sys/bus/pci/devices/$1" || exit 0
driver=$(readlink driver)
if [ -e driver ] && [ "${driver##*/}" != "$2" ]; then echo "$1" >driver/unbind; fi
echo "$3" >driver_override
if [ -n "$2" ] && [ ! -e driver ]; then echo "$1" >"/sys/bus/pci/drivers/$2/bind"; fi
"""
_UNBOUND = r"""
cd "/sys/bus/pci/devices/$1" || exit 0
driver=$(readlink driver)
read -r override <driver_override
[ "$override" != "(null)" ] || override=
[ "${driver##*/}" = "$2" ] && [ "$override" = "$3" ]
"""
# $1: address, $2: how many, $3: what autoprobe is to be afterwards; drivers of the host are to leave them alone
_CREATE = r"""
cd "/sys/bus/pci/devices/$1"
echo 0 >sriov_drivers_autoprobe
status=0
echo "$2" >sriov_numvfs || status=$?
echo "$3" >sriov_drivers_autoprobe
exit $status
"""
_REMOVE = r"""
cd "/sys/bus/pci/devices/$1" || exit 0
read -r count <sriov_numvfs
[ "$count" = 0 ] || echo 0 >sriov_numvfs
echo "$2" >sriov_drivers_autoprobe
"""
_REMOVED = r"""
cd "/sys/bus/pci/devices/$1" || exit 0
read -r count <sriov_numvfs
read -r autoprobe <sriov_drivers_autoprobe
[ "$count" = 0 ] && [ "$autoprobe" = "$2" ]
"""
# what would be taken from the host itself: interfaces with an address or in a bridge, disks that are mounted
_USES = r"""
for address; do
    cd "/sys/bus/pci/devices/$address" || continue
    find . -path '*/net/*' -name flags | while read -r path; do
        name=${path%/flags} name=${name##*/}
        [ ! -e "${path%/flags}/master" ] || echo "$address: its interface $name is part of another one"
        [ -z "$(ip -o address show dev "$name" scope global)" ] || echo "$address: its interface $name has an address"
    done
    find . -name holders -type d | while read -r path; do
        [ -z "$(ls "$path")" ] || echo "$address: $(ls "$path" | head -n 1) is on its disk"
    done
    find . -name inflight | while read -r path; do
        read -r number <"${path%/inflight}/dev"
        ! grep -q " $number " /proc/self/mountinfo || echo "$address: its disk ${path%/inflight} is mounted"
    done
done
"""


@dataclass(frozen=True)
class PassedFunction:
    """A PCI function that a VFIO driver has. ``migratability``: what that driver says of migration."""

    host: Host
    function: PciFunction
    migratability: Migratability

    @property
    def sysfs(self) -> str:
        """What QEMU's ``vfio-pci,sysfsdev=`` takes."""
        return f"/sys/bus/pci/devices/{self.function.address}"

    def describe(self) -> dict[str, object]:
        """For the fingerprint of a repeat."""
        return {
            "address": self.function.address,
            "numbers": self.function.numbers,
            "driver": self.function.driver,
            "group": self.function.group,
            "physical": self.function.physical,
            "migration": asdict(self.migratability),
        }


@contextlib.contextmanager
def start_virtual_functions(host: Host, requests: Sequence[FunctionRequest]) -> Iterator[None]:
    """The virtual functions that these requests need, for the time of a ``with`` block; those that are there stay.

    No driver of the host takes new ones. They go at the end, when no guest has one any more.

    :raises NotSupported: a function cannot have so many; :raises NotReady: somebody else made too few
    """
    with contextlib.ExitStack() as stack:
        if any(request.vf is not None for request in requests):
            for plan in plan_virtual_functions(read_devices(host), host.name, requests):
                stack.enter_context(_start_creation(host, plan))
        yield


@contextlib.contextmanager
def start_function(host: Host, request: FunctionRequest) -> Iterator[PassedFunction]:
    """A function with a VFIO driver for the time of a ``with`` block, then with the driver and override it had.

    A managed one keeps its driver: libvirt gives it to VFIO with the guest, and back; if it does not, this does.

    QEMU must have closed it before the block ends: taking it from VFIO waits for that.

    :raises NotSupported: the host has no such function, IOMMU group or driver
    :raises NotReady: somebody uses it, or its group is not viable
    """
    devices = read_devices(host)
    address = require_address(devices, host.name, request)
    function = devices.find_function(address)
    driver = request.driver or choose_driver(function.modalias if function else "", _read_variants(host))
    plan = plan_rebindings(devices, host.name, address, driver, whole_group=request.whole_group, anyway=request.managed)
    if function and function.is_for_vfio:
        _require_free(host, function)
    _require_unused(host, [step.address for step in plan if step.old_driver is not None])
    with contextlib.ExitStack() as stack:
        for step in plan:
            stack.enter_context(_start_rebinding(host, step, by_libvirt=request.managed and step.address == address))
        passed = next(found for found in read_devices(host).functions if found.address == address)
        yield PassedFunction(host, passed, _ask_migration(host, passed))


@contextlib.contextmanager
def _start_rebinding(host: Host, plan: Rebinding, *, by_libvirt: bool) -> Iterator[None]:
    """``by_libvirt``: only its end."""
    before = (plan.address, plan.old_driver or "", plan.old_override)
    undo, gone = (["sh", "-c", script, "sh", *before] for script in (_UNBIND, _UNBOUND))
    what = f"driver {plan.driver} of {plan.address}, which had {plan.old_driver or 'none'}"
    failure = f"{plan.address} of {host.name} cannot be given to {plan.driver}."
    make = [] if by_libvirt else [_BIND, plan.address, plan.driver]
    with _start_change(host, what, undo, gone, make, failure):
        yield


@contextlib.contextmanager
def _start_creation(host: Host, plan: VirtualFunctions) -> Iterator[None]:
    before = (plan.physical, "1" if plan.autoprobe else "0")
    undo, gone = (["sh", "-c", script, "sh", *before] for script in (_REMOVE, _REMOVED))
    what = f"{plan.count} virtual functions of {plan.physical}"
    failure = f"{plan.physical} of {host.name} does not make {plan.count} virtual functions."
    with _start_change(host, what, undo, gone, [_CREATE, plan.physical, str(plan.count), before[1]], failure):
        yield


@contextlib.contextmanager
def _start_change(
    host: Host, what: str, undo: Sequence[str], gone: Sequence[str], make: Sequence[str], failure: str
) -> Iterator[None]:
    """``make``: a script and its arguments, empty if somebody else makes the change. Its shell has a mark, so that one
    of a dead harness is found and ended.

    :raises NotReady: it could not be made, in the words of ``failure``
    """
    mark = f"switchover-{uuid.uuid4().hex[:12]}"
    end_makers, _ = end_processes(mark)
    whole_undo = ["sh", "-c", f"{paste(end_makers)}; {paste(undo)}"]
    with own_journal().change(host, what, undo=whole_undo, gone=gone) as change:
        change.release = lambda: host.run(["sh", "-c", f"{paste(undo)}; {paste(gone)}"], timeout=UNDO_TIMEOUT_S)
        try:
            if make:
                host.run(["sh", "-ec", make[0], mark, *make[1:]], timeout=_TIMEOUT_S)
        except CommandFailed as error:
            fix = f"see what the kernel says of it, on {host.name}: dmesg"
            raise NotReady(failure, why=error.why or error.what, fix=fix) from error
        yield


def _read_variants(host: Host) -> list[tuple[str, str]]:
    script = 'grep "^alias vfio_pci:" "/lib/modules/$(uname -r)/modules.alias"; true'
    return parse_variants(host.run(["sh", "-c", script]).text)


def _ask_migration(host: Host, function: PciFunction) -> Migratability:
    answers = read_migratability(host, HostDevices((function,), {}, (), ()))
    return answers.get(function.address, Migratability(None, why="no driver of VFIO has it"))


def _require_free(host: Host, function: PciFunction) -> None:
    """:raises NotReady: it is with VFIO, and open"""
    if _ask_migration(host, function).in_use:
        raise NotReady(
            f"{function.address} of {host.name} is in use.",
            why=f"somebody has the IOMMU group {function.group} open",
            fix=f"on {host.name}: fuser -v /dev/vfio/{function.group}",
        )


def _require_unused(host: Host, addresses: Sequence[str]) -> None:
    """:raises NotReady: the host itself uses one of the functions, as far as sysfs tells"""
    if not addresses:
        return
    uses = host.run(["sh", "-c", _USES, "sh", *addresses], timeout=60).text.splitlines()
    if uses:
        raise NotReady(
            f"{host.name} uses what the guest is to have.",
            why="; ".join(uses),
            fix="take the address from the interface, or unmount the disk, if the host can do without it",
        )
