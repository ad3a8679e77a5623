# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU makes of a guest's hardware: its NIC, IOMMU, vCPUs, firmware and further devices. Pure."""

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.hardware_traits import HardwareTraits
from switchover.scenarios.oracle.qemus import is_one_of
from switchover.scenarios.oracle.rule import UNKNOWN_SECTION, make_rule
from switchover.scenarios.oracle.traits import SideTraits, Traits, has_other_standard_devices, list_started

V = VerdictName
_UNMIGRATABLE = frozenset({"nvme", "ufs", "virtio-crypto-pci", "virtio-sound-pci", "vhost-user-vsock-pci", "usb-uas"})
"""Devices that a user may add whose state cannot be saved (``unmigratable`` in hw/ of QEMU 10.0)."""
_TRACKS_BY_IOMMU = is_one_of("11.1.3")
"""QEMUs that let a device migrate beside an emulated IOMMU if dirty pages are tracked somehow."""
_STATELESS = frozenset({"edu", "pvpanic", "isa-debug-exit", "isa-debugcon"})
"""Devices without a section in the stream."""
_LOAD_SECTION = "QEMU, migration/savevm.c: qemu_loadvm_section_start_full"
_PARSE_BLOCK = "QEMU, migration/ram.c: ram_block_from_stream"


def _has_enabled_device(side: SideTraits, *, migrates: bool = True) -> bool:
    """``migrates``: whether its driver on the host offers what QEMU needs; realize looks at that first."""
    return side.any_device(
        lambda device: (
            device.property_of("enable-migration", "auto") == "on"
            and (device.migration and device.stop_copy) == migrates
        )
    )


def _forbids_iommu(side: SideTraits) -> bool:
    """Whether its QEMU takes no IOMMU beside a device that is to migrate; newer ones look at dirty tracking."""
    return bool(side.hardware.iommu) and not _TRACKS_BY_IOMMU(side.qemu)


def _lacks_caching_mode(side: SideTraits, *, newer: bool) -> bool:
    """Found once all devices are there; by ``newer`` QEMUs once the guest's kernel turns the IOMMU on."""
    lacks = side.hardware.iommu == "intel-iommu" and not side.hardware.caching_mode
    told_then = _TRACKS_BY_IOMMU(side.qemu) is newer
    return lacks and told_then and side.has_device and not _has_enabled_device(side, migrates=False)


def _remaps_in_kernel(side: SideTraits) -> bool:
    return side.hardware.intremap and side.guest.accel == "kvm" and side.hardware.irqchip not in ("split", "off")


def _list_sections(hardware: HardwareTraits) -> set[tuple[str, str]]:
    return {device for device in hardware.devices if device[0] not in _STATELESS}


def _lacks_devices(traits: Traits) -> bool:
    source, destination = traits.source.hardware, traits.destination.hardware
    return bool(_list_sections(source) - _list_sections(destination))


def _has_other_slots(traits: Traits) -> bool:
    """Whether a device that the harness makes is on one side only: all that come after it have other slots then."""
    return has_other_standard_devices(traits) or (
        traits.source.guest.has_nic and traits.source.hardware.nic_slot != traits.destination.hardware.nic_slot
    )


def _have_nics(traits: Traits) -> bool:
    return all(side.guest.has_nic for side in traits.sides())


def _has_other_iommu(traits: Traits) -> bool:
    source, destination = traits.source.hardware, traits.destination.hardware
    if source.iommu == destination.iommu:
        return False
    return bool(source.iommu) or destination.iommu.startswith("virtio-")


def _has_other_apic_ids(traits: Traits) -> bool:
    source, destination = traits.source.hardware, traits.destination.hardware
    same_number = traits.source.guest.vcpus == traits.destination.guest.vcpus
    return same_number and bool(source.apic_ids - destination.apic_ids)


def _has_other_firmware(traits: Traits) -> bool:
    """Whether one side has flash; of two images of a BIOS nobody knows the sizes."""
    return (traits.source.hardware.firmware == "ovmf") != (traits.destination.hardware.firmware == "ovmf")


def _lacks_rom(traits: Traits) -> bool:
    source, destination = traits.source.hardware, traits.destination.hardware
    return _have_nics(traits) and source.nic_rom and not destination.nic_rom


def _has_other_nic_config(traits: Traits) -> bool:
    source, destination = traits.source.hardware, traits.destination.hardware
    return _have_nics(traits) and source.nic_config != destination.nic_config


def _lacks_nic_features(traits: Traits) -> bool:
    source, destination = traits.source.hardware, traits.destination.hardware
    return _have_nics(traits) and bool(source.nic_features - destination.nic_features)


def _is_unmigratable(side: SideTraits) -> bool:
    drivers = {driver for driver, _ in side.hardware.devices}
    return bool(drivers & _UNMIGRATABLE) or side.hardware.iommu == "amd-iommu"


HARDWARE_REFUSED = (
    make_rule(
        "interrupt-remapping-in-kernel",
        "The guest has an emulated IOMMU with intremap=on, and KVM's own interrupt chip.",
        V.REFUSED,
        reason="Interrupt Remapping cannot work with kernel-irqchip=on|interrupt remapping requires split I/O APIC",
        because="interrupts that KVM delivers by itself pass no emulated IOMMU; the machine needs kernel-irqchip=split",
        source="QEMU 10.0, hw/i386/x86-iommu.c: x86_iommu_realize; libvirt 11.3, qemu/qemu_validate.c",
        when=lambda traits: any(_remaps_in_kernel(side) for side in list_started(traits)),
    ),
    make_rule(
        "viommu-with-enabled-migration",
        "The guest has an emulated IOMMU, and a device with enable-migration=on.",
        V.REFUSED,
        says="Migration is currently not supported with vIOMMU enabled",
        because="what would block the migration of another device makes realize of this one fail; 11.0 and newer look "
        "at how dirty pages are tracked instead",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_migration_realize",
        when=lambda traits: any(_forbids_iommu(side) and _has_enabled_device(side) for side in list_started(traits)),
    ),
    make_rule(
        "viommu-without-caching-mode",
        "The guest has an intel-iommu without caching-mode=on, a VFIO device, and a QEMU before 11.",
        V.REFUSED,
        says="We need to set caching-mode=on for intel-iommu to enable device assignment with IOMMU protection",
        because="without it the guest's kernel need not tell of mappings that it adds, which VFIO has to follow",
        source="QEMU 10.0, hw/i386/intel_iommu.c: vtd_machine_done_notify_one",
        when=lambda traits: any(_lacks_caching_mode(side, newer=False) for side in list_started(traits)),
    ),
    make_rule(
        "viommu-without-caching-mode-in-use",
        "The same with a newer QEMU, whose guest turns the IOMMU on.",
        V.CRASHED,
        reason="guest boot: .* ended",
        because="these start, and abort when the guest's kernel turns the IOMMU on: requires caching mode, then vfio: "
        "DMA mapping failed, unable to continue",
        source="QEMU 11.1, hw/i386/intel_iommu.c: vtd_iommu_notify_flag_changed; hw/vfio/listener.c",
        when=lambda traits: _lacks_caching_mode(traits.source, newer=True),
    ),
)
"""In the order in which QEMU meets them: the IOMMU is made first, devices next, and then the machine is done."""

HARDWARE_BLOCKED = (
    make_rule(
        "unmigratable-device",
        "The source has a device whose state cannot be saved, such as nvme or amd-iommu.",
        V.BLOCKED,
        "source",
        reason="non-migratable device",
        because="the device's VMState is marked as one that cannot migrate",
        source="QEMU, migration/savevm.c: qemu_savevm_state_blocked",
        when=lambda traits: _is_unmigratable(traits.source),
    ),
)

HARDWARE_DIFFERENCES = (
    make_rule(
        "other-firmware",
        "One side has OVMF in flash, and the other one has not.",
        V.FAILED,
        "destination",
        says='Unknown ramblock "%s", cannot accept migration',
        because="flash and BIOS are blocks of RAM of other names, which the stream lists first",
        source=_PARSE_BLOCK,
        when=_has_other_firmware,
    ),
    make_rule(
        "nic-rom-at-source-only",
        "The NIC has a ROM at the source, and none at the destination.",
        V.FAILED,
        "destination",
        says='Unknown ramblock "%s", cannot accept migration',
        because="a ROM is a block of RAM, which the stream lists first",
        source=_PARSE_BLOCK,
        when=_lacks_rom,
    ),
    make_rule(
        "other-iommu",
        "The source has an emulated IOMMU that the destination has not, or only the latter has a virtio-iommu-pci.",
        V.FAILED,
        "destination",
        reason=UNKNOWN_SECTION,
        because="the stream has a section for the IOMMU; a virtio-iommu-pci takes the slot of another device besides",
        source=_LOAD_SECTION,
        when=_has_other_iommu,
    ),
    make_rule(
        "other-topology",
        "The vCPUs of the two sides are arranged so that they have other APIC ids.",
        V.FAILED,
        "destination",
        reason=f"{UNKNOWN_SECTION} 'apic'",
        because="the section of an APIC is known by its id, in which each level of the topology has bits of its own",
        source="QEMU, hw/intc/apic_common.c: apic_common_realize",
        when=_has_other_apic_ids,
    ),
    make_rule(
        "other-slots",
        "Only one side has the NIC or the disk, or the NIC has another slot.",
        V.FAILED,
        "destination",
        reason=f"{UNKNOWN_SECTION} '0000:",
        because="sections of PCI devices are named by their slots, and a device in between moves all after it",
        source=_LOAD_SECTION,
        when=_has_other_slots,
    ),
    make_rule(
        "device-at-source-only",
        "The source has a further device that the destination has not.",
        V.FAILED,
        "destination",
        reason="Unknown (savevm section or instance|ramblock)",
        because="the stream has a section for the device, and blocks of RAM if it has a ROM; a device that only the "
        "destination has is not missed",
        source=_LOAD_SECTION,
        when=_lacks_devices,
    ),
    make_rule(
        "other-nic-configuration",
        "The NIC's PCI configuration differs: vectors, queues, page-per-vq, disable-legacy or disable-modern.",
        V.FAILED,
        "destination",
        says="get_pci_config_device: Bad config data",
        because="what a guest cannot write in the configuration space must be the same",
        source="QEMU, hw/pci/pci.c: get_pci_config_device",
        when=_has_other_nic_config,
    ),
    make_rule(
        "nic-features-at-source-only",
        "The NIC offers a feature at the source that it does not offer at the destination.",
        V.FAILED,
        "destination",
        reason="Features 0x[0-9a-f]+ unsupported",
        because="the guest has taken what it was offered, and a device must have all that it has taken; features that "
        "only the destination offers are not missed",
        source="QEMU, hw/virtio/virtio.c: virtio_load",
        when=_lacks_nic_features,
    ),
)
"""In the order of the stream: blocks of RAM, the IOMMU, vCPUs, then devices."""
