# SPDX-License-Identifier: GPL-2.0-or-later
"""CPUs that differ: how many a guest has, what runs them, and what they can do. QEMU compares none of it. Pure.

What stops such a migration is that a section of a CPU has nobody who takes it, or that KVM refuses registers with bits
that the CPU of the destination does not have.
"""

from collections.abc import Mapping

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.qemus import is_one_of
from switchover.scenarios.oracle.rule import UNKNOWN_SECTION, make_rule
from switchover.scenarios.oracle.traits import GuestTraits, Traits, list_started

V = VerdictName
_XSAVE = frozenset({"xsave", "avx"})
_IVYBRIDGE = _XSAVE | {"fsgsbase", "smep"}
_BROADWELL = _IVYBRIDGE | {"smap"}
_SERVER = _BROADWELL | {"pku"}
_ICELAKE = _SERVER | {"umip", "la57"}
CONTROLS: Mapping[str, frozenset[str]] = {
    "qemu64": frozenset(),
    "qemu32": frozenset(),
    "kvm64": frozenset(),
    "kvm32": frozenset(),
    "core2duo": frozenset(),
    "Conroe": frozenset(),
    "Penryn": frozenset(),
    "Nehalem": frozenset(),
    "Westmere": frozenset(),
    "SandyBridge": _XSAVE,
    "IvyBridge": _IVYBRIDGE,
    "Haswell": _IVYBRIDGE,
    "Broadwell": _BROADWELL,
    "Skylake-Client": _BROADWELL,
    "Skylake-Server": _SERVER,
    "Cascadelake-Server": _SERVER,
    "Cooperlake": _SERVER,
    "Icelake-Server": _ICELAKE,
    "SapphireRapids": _ICELAKE,
    "Opteron_G1": frozenset(),
    "Opteron_G2": frozenset(),
    "Opteron_G3": frozenset(),
    "Opteron_G4": _XSAVE,
    "Opteron_G5": _XSAVE,
    "EPYC": _BROADWELL,
    "host": _BROADWELL,
    "max": _BROADWELL,
}
"""By the model, what it offers that a kernel turns on in CR4 and XCR0, where KVM looks (QEMU 10.0, target/i386/cpu.c:
builtin_x86_defs). Of ``host`` and ``max`` what every host has that has been made for years. Models with versions and
variants (``Skylake-Client-v3``, ``EPYC-Milan``) have what they begin with."""


def list_controls(cpu: str) -> frozenset[str] | None:
    """Of :data:`CONTROLS` what QEMU's ``-cpu`` offers; None: the model is not known.

    >>> sorted(list_controls("Broadwell-noTSX,-smap,xsave=off"))
    ['avx', 'fsgsbase', 'smep']
    """
    model, *features = cpu.split(",")
    names = [name for name in CONTROLS if model == name or model.startswith(f"{name}-")]
    if not names:
        return None
    offered = set(CONTROLS[max(names, key=len)])
    for feature in features:
        name, _, state = feature.lstrip("+-").partition("=")
        if feature.startswith("-") or state == "off":
            offered.discard(name)
        elif feature.startswith("+") or state == "on":
            offered.add(name)
    return frozenset(offered)


def _offers_less(traits: Traits) -> bool:
    """Whether the destination's CPU lacks something that the source's kernel has turned on."""
    source, destination = (list_controls(side.guest.cpu) for side in traits.sides())
    return source is not None and destination is not None and not source <= destination


def _is_host_without_kvm(guest: GuestTraits) -> bool:
    return guest.cpu_model == "host" and guest.accel not in ("kvm", "hvf")


def _needs_kvm(traits: Traits) -> bool:
    return any(_is_host_without_kvm(side.guest) for side in list_started(traits))


def _accelerators(traits: Traits) -> tuple[str, ...]:
    return tuple(side.guest.accel for side in traits.sides())


def _vcpus(traits: Traits) -> tuple[int, ...]:
    return tuple(side.guest.vcpus for side in traits.sides())


def _is_lesser(traits: Traits, *, looks: bool) -> bool:
    """Whether KVM rejects registers at the destination, and its QEMU does or does not look at what KVM says."""
    if _accelerators(traits) != ("kvm", "kvm") or not _offers_less(traits):
        return False
    return looks is not is_one_of("7.2.22")(traits.destination.qemu)


REFUSED_CPUS = (
    make_rule(
        "host-cpu-without-kvm",
        "A guest has the CPU model host, and no accelerator with which it could.",
        V.REFUSED,
        reason=r"CPU model 'host' requires KVM|CPU mode 'host-passthrough' for .* is not supported",
        because="the model is the host's own CPU, which TCG runs no guests on; libvirt says so in words of its own",
        source="QEMU, target/i386/host-cpu.c: host_cpu_realizefn; libvirt 11.3, qemu/qemu_process.c",
        when=_needs_kvm,
    ),
)

CPUS = (
    make_rule(
        "fewer-vcpus-at-destination",
        "The destination's guest has fewer vCPUs than the source's.",
        V.FAILED,
        "destination",
        reason=f"{UNKNOWN_SECTION} '(?:cpu_common|cpu|apic)' \\d+",
        because="every vCPU has sections of its own in the stream, and nobody takes those of the vCPUs that are not "
        "there; which of them is met first differs between versions",
        source="QEMU, migration/savevm.c: qemu_loadvm_section_start_full",
        when=lambda traits: _vcpus(traits)[0] > _vcpus(traits)[1],
    ),
    make_rule(
        "more-vcpus-at-destination",
        "The destination's guest has more vCPUs than the source's.",
        V.FAILED,
        "destination",
        says="Missing section footer for %s",
        because="a vCPU that nobody sends stays as it is after a reset, but the section of the chipset has an entry "
        "for each vCPU, for their hotplug by ACPI, and the destination reads more entries than there are",
        source="QEMU, hw/acpi/cpu.c: vmstate_cpu_hotplug",
        when=lambda traits: _vcpus(traits)[0] < _vcpus(traits)[1],
    ),
    make_rule(
        "kvm-to-tcg",
        "The source's guest runs with KVM, the destination's with TCG.",
        V.FAILED,
        "destination",
        reason=f"{UNKNOWN_SECTION} '(?:kvmclock|kvm-tpr-opt)'",
        because="the clock that KVM gives to a guest has a section, which only a QEMU with KVM takes",
        source="QEMU, hw/i386/kvm/clock.c: kvmclock_vmsd",
        when=lambda traits: _accelerators(traits) == ("kvm", "tcg"),
    ),
    make_rule(
        "lesser-cpu-at-destination",
        "The destination's CPU model lacks what a kernel turns on in control registers of the source's.",
        V.FAILED,
        "destination",
        reason="(?:Putting registers|Restoring resisters) after init: Failed to set",  # 10.0, and 11.1 as it spells it
        because="KVM takes no CR4 or XCR0 with bits for features that the CPU does not offer; QEMU looks at that only "
        "when it starts the guest",
        source="QEMU, accel/kvm/kvm-all.c: do_kvm_cpu_synchronize_post_init",
        when=lambda traits: _is_lesser(traits, looks=True),
    ),
    make_rule(
        "lesser-cpu-at-older-destination",
        "The same with an older QEMU at the destination.",
        V.CRASHED,
        "destination",
        reason="ended with exit status 0",
        because="KVM takes none of the special registers, and 7.2 does not look: the guest goes on with those of a "
        "reset, and resets itself at once",
        source="QEMU 7.2, accel/kvm/kvm-all.c: do_kvm_cpu_synchronize_post_init; target/i386/kvm/kvm.c: kvm_put_sregs",
        when=lambda traits: _is_lesser(traits, looks=False),
    ),
)
"""By QMP. libvirt finds all of it before it migrates."""

_MODES = {"host": "host-passthrough", "max": "maximum"}


def find_mode(cpu: str) -> str:
    """libvirt's ``mode`` of a CPU (guests/domain.py)."""
    return _MODES.get(cpu.partition(",")[0], "custom")


def list_features(cpu: str) -> frozenset[str]:
    """Features that are added to a model or taken from it, with a sign before each.

    >>> sorted(list_features("host,-smep,+x2apic,avx=off"))
    ['+x2apic', '-avx', '-smep']
    """
    signed = set()
    for feature in cpu.split(",")[1:]:
        name, _, state = feature.lstrip("+-").partition("=")
        signed.add(("-" if feature.startswith("-") or state == "off" else "+") + name)
    return frozenset(signed)
