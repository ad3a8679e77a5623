# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a host can be an end of migrations, from its survey. Pure."""

from collections.abc import Callable
from functools import partial

from switchover.devices.abilities import Ability
from switchover.devices.binding import GENERIC, FunctionRequest, find_lack, plan_rebindings, require_address
from switchover.devices.migratability import PRE_COPY, STOP_COPY
from switchover.devices.survey import HostSurvey
from switchover.hosts.checks import Check, Finding, failed, passed, unverifiable
from switchover.hosts.inventory import DeviceEntry
from switchover.hosts.machine import Machine
from switchover.record.errors import NotReady, NotSupported
from switchover.record.units import MIB, format_bytes

PRECOPY_KERNEL = (6, 2)
"""VFIO_MIGRATION_PRE_COPY came with it (include/uapi/linux/vfio.h)."""
GUEST_BYTES = 512 * MIB
"""A guest of 256 MiB and its QEMU."""
_CLOCK_S = 5.0
_PACKAGES = {"setpriv": "util-linux", "sha256sum": "coreutils", "ip": "iproute2", "perl": "perl-base"}
_OPTIONAL = ("perl",)


def host_checks(survey: HostSurvey, devices: list[DeviceEntry] | None = None) -> list[Check]:
    """``devices``: those that the inventory names. Of a host that was not reached nothing but that can be verified."""
    devices = devices or []
    name = survey.name
    blocks = (f"host {name}",)

    def check(title: str, find: Callable[[], Finding]) -> Check:
        return Check(f"{name}: {title}", blocks, find if "host" not in survey.problems else _not_reached)

    def of_machine(title: str, find: Callable[[Machine], Finding]) -> Check:
        return check(title, lambda: _not_read(survey, "machine") if survey.machine is None else find(survey.machine))

    checks = [
        Check(f"{name}: answers over SSH, with its host key", blocks, partial(check_reached, survey)),
        of_machine("kernel", check_kernel),
        of_machine("programs", partial(check_programs, name)),
        of_machine("memory", check_memory),
        of_machine("locked memory", partial(check_memlock, name)),
        of_machine("clock", partial(check_clock, name)),
        of_machine("VFIO", partial(check_vfio, name, any(device.pci for device in devices))),
        of_machine("IOMMU", partial(check_iommu, survey, any(device.pci for device in devices))),
        check("KVM", partial(check_kvm, survey)),
    ]
    asked = [*survey.qemus, *(part.removeprefix("qemu ") for part in survey.problems if part.startswith("qemu "))]
    checks += [check(f"QEMU {qemu}", partial(check_qemu, survey, qemu)) for qemu in asked]
    for device in devices:
        find = check_function if device.pci else check_mdev
        checks.append(check(f"device {device.describe()}", partial(find, survey, device)))
    return checks


def _not_reached() -> Finding:
    return unverifiable("the host was not reached")


def _not_read(survey: HostSurvey, part: str) -> Finding:
    return unverifiable(survey.problems.get(part, "not read"))


def check_reached(survey: HostSurvey) -> Finding:
    if problem := survey.problems.get("host"):
        return failed(
            problem, survey.fix or "see that the host is up and that its address and keys in the inventory are right"
        )
    return passed(survey.origin)


def check_kernel(machine: Machine) -> Finding:
    """Older kernels may have pre-copy from their distribution: a device's flags tell, the number does not."""
    seen = machine.kernel.split()[0] if machine.kernel else "unknown"
    if machine.release >= PRECOPY_KERNEL:
        return passed(seen)
    return unverifiable(f"{seen} is older than 6.2, which brought pre-copy to VFIO; it may have it backported")


def check_programs(name: str, machine: Machine) -> Finding:
    """What the harness runs on hosts. Without perl only the migration flags of devices stay unknown."""
    wanted = ("bash", "setpriv", "socat", "ip", "sha256sum", "perl")
    lacking = [program for program in wanted if program not in machine.programs]
    needed = [program for program in lacking if program not in _OPTIONAL]
    packages = " ".join(dict.fromkeys(_PACKAGES.get(program, program) for program in lacking))
    fix = f"on {name}: apt-get install {packages}"
    if needed:
        return failed(f"missing: {', '.join(lacking)}", fix)
    if lacking:
        return unverifiable("without perl, migration flags of devices cannot be read", fix)
    return passed(", ".join(wanted))


def check_memory(machine: Machine) -> Finding:
    if machine.memory_available is None:
        return unverifiable("the host does not tell")
    seen = f"{format_bytes(machine.memory_available)} available; a guest takes {format_bytes(GUEST_BYTES)}"
    if machine.memory_available >= GUEST_BYTES:
        return passed(seen)
    return failed(seen, "end what uses it, or fewer huge pages: sysctl vm.nr_hugepages=0")


def check_memlock(name: str, machine: Machine) -> Finding:
    """VFIO pins all of a guest's memory, against this limit; root is not bound by it."""
    if machine.uid == 0:
        return passed("root is not bound by a limit")
    if machine.memlock is None:
        return passed("no limit")
    seen = f"{format_bytes(machine.memlock)} for user {machine.uid}; VFIO locks all of a guest's memory"
    if machine.memlock >= GUEST_BYTES:
        return passed(seen)
    return failed(
        seen,
        f"on {name}, as root: echo '* - memlock unlimited' >/etc/security/limits.d/switchover.conf, then log in again",
    )


def check_clock(name: str, machine: Machine) -> Finding:
    """Offsets are measured in every run; hours of them would make logs unreadable."""
    seen = f"{machine.clock_offset_s:+.2f} s against this machine, ± {machine.clock_bound_s:.2f} s"
    if abs(machine.clock_offset_s) - machine.clock_bound_s <= _CLOCK_S:
        return passed(seen)
    return failed(seen, f"on {name}: timedatectl set-ntp true (or chronyc makestep)")


def check_vfio(name: str, pci: bool, machine: Machine) -> Finding:
    wanted = ["vfio", "vfio_iommu_type1", *(["vfio_pci"] if pci else [])]
    lacking = [module for module in wanted if module not in machine.modules]
    if "iommufd" in machine.modules and "/dev/iommu" in machine.nodes:
        lacking = [module for module in lacking if module != "vfio_iommu_type1"]
    if lacking:
        return failed(f"not loaded: {', '.join(lacking)}", f"on {name}: modprobe -a {' '.join(lacking)}")
    return passed(", ".join(module for module in machine.modules if not module.startswith("kvm")))


def check_iommu(survey: HostSurvey, pci: bool, machine: Machine) -> Finding:
    """Only PCI functions need one; mediated devices are isolated by their parent."""
    if machine.iommus:
        return passed(", ".join((*machine.iommus, *machine.iommu_options)))
    if not pci:
        return passed("off; no PCI function is to be passed through")
    option = "intel_iommu=on" if "Intel" in machine.cpu else "amd_iommu=on"
    return failed(
        "off",
        f"on {survey.name}: VT-d or AMD-Vi on in the firmware; {option} iommu=pt in GRUB_CMDLINE_LINUX of "
        "/etc/default/grub, then update-grub && reboot",
    )


def check_kvm(survey: HostSurvey) -> Finding:
    """Booted in, not only opened."""
    if survey.kvm is None:
        return _not_read(survey, "kvm")
    if survey.kvm.works is None:
        return unverifiable(survey.kvm.reason)
    if survey.kvm.works:
        return passed(survey.kvm.reason)
    cpu = "intel" if survey.machine and "Intel" in survey.machine.cpu else "amd"
    fix = f"on {survey.name}: modprobe kvm_{cpu}; virtualisation on in the firmware; the user in group kvm"
    return failed(survey.kvm.reason, fix)


def check_qemu(survey: HostSurvey, qemu: str) -> Finding:
    abilities = survey.qemus.get(qemu)
    if abilities is None:
        problem = survey.problems.get(f"qemu {qemu}", "not asked")
        return failed(problem, f"on {survey.name}: apt-get install qemu-system-x86, or another path in the inventory")
    seen = f"{abilities.version} ({abilities.package or 'no package'})"
    if not abilities.vfio_pci:
        return failed(f"{seen} has no vfio-pci", "a QEMU that is built with VFIO")
    names = ("enable-migration", "x-enable-migration")
    if not any(abilities.can(Ability.PROPERTY, name) for name in names):
        return failed(f"{seen}: its vfio-pci cannot migrate", "QEMU 8.1 or newer")
    return passed(seen)


def check_function(survey: HostSurvey, device: DeviceEntry) -> Finding:
    """There, in a group that VFIO may have, and able to migrate; of one that is not with VFIO yet, that shows later."""
    if survey.devices is None:
        return _not_read(survey, "devices")
    request = FunctionRequest(device.pci or "", device.vf, driver=device.vfio_driver)
    if lack := find_lack(survey.devices, survey.name, request):
        return failed(f"{lack.what} {lack.why}".strip(), lack.fix)
    try:
        address = require_address(survey.devices, survey.name, request)
    except NotSupported:
        return unverifiable("it is made when it is needed; whether it can migrate shows then")
    function = next(found for found in survey.devices.functions if found.address == address)
    driver = device.vfio_driver or (function.driver if function.driver and function.is_for_vfio else GENERIC)
    try:
        plan = plan_rebindings(survey.devices, survey.name, address, driver, whole_group=False)
    except (NotReady, NotSupported) as error:
        return failed(f"{error.what} {error.why}".strip(), error.fix)
    if plan:
        has = function.driver or "no driver"
        return unverifiable(f"{has} has it, VFIO gets it when it is needed; whether it can migrate shows then")
    migration = survey.migratability.get(function.address)
    if migration is None or migration.flags is None:
        return unverifiable(f"{function.driver}, group {function.group}; migration: {migration and migration.why}")
    if not migration.flags & STOP_COPY:
        return failed(
            f"{function.driver} has no migration for it",
            f"on {survey.name}: bind it to its vendor's VFIO driver (modprobe it)",
        )
    without = "" if migration.flags & PRE_COPY else " (no pre-copy)"
    return passed(f"{function.driver}, group {function.group}; migration: {migration.describe()}{without}")


def check_mdev(survey: HostSurvey, device: DeviceEntry) -> Finding:
    if survey.devices is None or device.mdev is None:
        return _not_read(survey, "devices")
    entry = survey.devices.find_mdev_type(device.mdev.parent, device.mdev.type)
    if entry is None:
        known = sorted({f"{entry.parent} {entry.type}" for entry in survey.devices.mdev_types})
        return failed(
            f"there is no such type; there are: {', '.join(known) or 'none'}",
            f"on {survey.name}: load the parent device's module, then ls {device.mdev.parent}/mdev_supported_types",
        )
    if entry.available == 0:
        return failed("no instance is left", f"on {survey.name}: echo 1 >/sys/bus/mdev/devices/UUID/remove")
    return passed(f"{entry.name}, {'?' if entry.available is None else entry.available} left")
