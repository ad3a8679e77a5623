# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt compares of the two domains before it migrates, in its order. Pure.

It is asked as part of ``migrate``, by the source's libvirtd: nothing is started at the destination before. Of a
domain's many parts these are the ones in which a scenario's sides can differ.
"""

from collections.abc import Callable

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.cpus import find_mode, list_features
from switchover.scenarios.oracle.hardware_traits import HardwareTraits
from switchover.scenarios.oracle.rule import Rule, make_rule
from switchover.scenarios.oracle.traits import (
    GuestTraits,
    Traits,
    has_other_machine,
    has_other_memory,
    has_other_standard_devices,
    is_by_libvirt,
)

_STABLE_ABI = "libvirt 11.3, conf/domain_conf.c: virDomainDefCheckABIStability"
_CPU_EQUAL = "libvirt 11.3, conf/cpu_conf.c: virCPUDefIsEqual"
_BECAUSE = "libvirt compares what the guest sees of the two domains before it migrates"


def _compare(
    name: str,
    about: str,
    says: str,
    differ: Callable[[Traits], bool],
    *,
    reason: str = "",
    source: str = _STABLE_ABI,
    aliases: tuple[str, ...] = (),
) -> Rule:
    """A rule about a part of domains in which the two sides ``differ``."""
    return make_rule(
        name,
        f"libvirt migrates, and the two sides have {about}.",
        VerdictName.BLOCKED,
        "source",
        aliases=aliases,
        says=says,
        reason=reason,
        because=_BECAUSE,
        source=source,
        when=lambda traits: is_by_libvirt(traits) and differ(traits),
    )


def differ_in(part: Callable[[GuestTraits], object]) -> Callable[[Traits], bool]:
    """Whether a part of the two guests differs."""
    return lambda traits: part(traits.source.guest) != part(traits.destination.guest)


def _differ_in_hardware(part: Callable[[HardwareTraits], object]) -> Callable[[Traits], bool]:
    return lambda traits: part(traits.source.hardware) != part(traits.destination.hardware)


STABLE_ABI = (
    _compare(
        "libvirt-other-accelerator",
        "different accelerators",
        "Target domain virt type %s does not match source",
        differ_in(lambda guest: guest.accel),
    ),
    _compare(
        "libvirt-other-memory",
        "different amounts of memory",
        "Target domain max memory %s does not match source",
        has_other_memory,
        aliases=("L1 (memory)",),
    ),
    _compare(
        "libvirt-other-vcpus",
        "different numbers of vCPUs",
        "Target domain vCPU max %s does not match source",
        differ_in(lambda guest: guest.vcpus),
    ),
    _compare(
        "libvirt-other-machine",
        "different versioned machine types",
        "Target domain machine type %s does not match source",
        has_other_machine,
        aliases=("L1 (machine)",),
    ),
    _compare(
        "libvirt-other-cpu-mode",
        "CPUs of different kinds: the host's, the most that there can be, or a model",
        "Target CPU mode %s does not match source",
        differ_in(lambda guest: find_mode(guest.cpu)),
        source=_CPU_EQUAL,
    ),
    _compare(
        "libvirt-other-cpu-model",
        "different CPU models",
        "Target CPU model %s does not match source",
        differ_in(lambda guest: guest.cpu_model),
        source=_CPU_EQUAL,
    ),
    _compare(
        "libvirt-other-cpu-features",
        "one CPU model with different features",
        "Target CPU feature %s does not match source",
        differ_in(lambda guest: list_features(guest.cpu)),
        source=_CPU_EQUAL,
    ),
    _compare(
        "libvirt-other-mac",
        "NICs with different MAC addresses",
        "Target network card mac %s does not match source",
        lambda traits: (
            all(side.guest.has_nic for side in traits.sides()) and differ_in(lambda guest: guest.mac)(traits)
        ),
    ),
    _compare(
        "libvirt-other-topology",
        "vCPUs of different topologies",
        "Target CPU %s does not match source %s",
        _differ_in_hardware(lambda hardware: hardware.topology),
        source=_CPU_EQUAL,
    ),
    _compare(
        "libvirt-other-iommu",
        "different emulated IOMMUs, or one of them none",
        "Target domain IOMMU device %s does not match source",
        _differ_in_hardware(lambda hardware: (hardware.iommu, hardware.iommu_properties)),
    ),
    _compare(
        "libvirt-other-interrupt-chip",
        "different values of kernel-irqchip",
        "State of feature 'ioapic' differs",
        _differ_in_hardware(lambda hardware: hardware.irqchip),
        source="libvirt 11.3, conf/domain_conf.c: virDomainDefFeaturesCheckABIStability",
    ),
    _compare(
        "libvirt-other-nic",
        "NICs of which host_mtu, packed, ats, page-per-vq or iommu_platform differs; nothing else of a NIC is compared",
        "",
        _differ_in_hardware(lambda hardware: hardware.nic_options),
        reason="Target (device .* option|network card MTU) .* does not match source",
        source="libvirt 11.3, conf/domain_conf.c: virDomainNetDefCheckABIStability",
    ),
    _compare(
        "libvirt-other-devices",
        "not both the NIC, or not both the disk; root ports are counted too",
        "",
        has_other_standard_devices,
        reason="Target domain (controller|net card|disk) count .* does not match source",
    ),
)
