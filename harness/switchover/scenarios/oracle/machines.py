# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of ``-machine`` that differ between the two sides, or that QEMU does not take. Pure.

Most options leave the stream as it is. Some add a device or a block of RAM to the machine: if only the source has it,
nobody takes its section at the destination. The other way round nothing is missed: the destination's device stays as it
is after a reset, and the guest, which has never seen it, does not use it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.rule import UNKNOWN_SECTION, make_rule
from switchover.scenarios.oracle.traits import GuestTraits, Traits, is_by_libvirt

V = VerdictName


@dataclass(frozen=True)
class MachineOption:
    """An option that adds something to the stream. ``section``: of what is met first, as a regular expression."""

    default: str
    section: str = ""
    ram: str = ""
    """Instead of a section, a block of RAM."""
    unless: tuple[str, ...] = ()
    """Other options without which there is none of it either."""
    family: str = ""
    """Machine types that have it; empty: q35 and i440fx."""


OPTIONS: Mapping[str, MachineOption] = {
    "hpet": MachineOption("on", "hpet"),
    "i8042": MachineOption("on", "ps2kbd"),
    "pic": MachineOption("on", "i8259"),
    "pit": MachineOption("on", "i8254"),
    "sata": MachineOption("on", ".*/ich9_ahci", family="q35"),
    "smbus": MachineOption("on", "i2c_bus", family="q35"),
    "usb": MachineOption("off", ".*/[eu]hci"),
    "vmport": MachineOption("on", "vmmouse", unless=("i8042",)),
    "acpi": MachineOption("on", ram="/rom@etc/acpi/tables"),
}
"""Seen by hand: machines with SeaBIOS, TCG, migrated with each of these on one side, and with all other options of
``-machine q35,help`` that take on and off, which leave no trace in the stream (QEMU 10.0.13; 11.1.3)."""
KNOWN = frozenset(
    {
        "accel", "acpi", "append", "aux-ram-share", "boot", "bus-lock-ratelimit", "confidential-guest-support", "cxl",
        "default-bus-bypass-iommu", "dt-compatible", "dtb", "dump-guest-core", "dumpdtb", "fd-bootchk", "firmware",
        "graphics", "hmat", "hpet", "i8042", "igd-passthru", "initrd", "kernel", "kernel-irqchip", "kvm-shadow-mem",
        "max-fw-size", "max-ram-below-4g", "mem-merge", "memory", "memory-backend", "memory-encryption", "nvdimm",
        "nvdimm-persistence", "pcspk-audiodev", "pflash0", "pflash1", "phandle-start", "pic", "pit", "sata", "sgx-epc",
        "shim", "smbios-entry-point-type", "smbus", "smm", "smp", "smp-cache", "suppress-vmdesc", "usb", "vmport",
        "wdat", "x-change-vmfd-on-reset", "x-oem-id", "x-oem-table-id", "x-south-bridge", "xen-platform-dev",
    }
)  # fmt: skip
"""Options that machine types of PCs have in one of the QEMUs that the project names."""
_OFF, _ON = ("off", "no", "false", "n"), ("on", "yes", "true", "y", "auto")


def has_part(guest: GuestTraits, name: str) -> bool:
    """Whether the machine has what an option adds."""
    option, given = OPTIONS[name], guest.machine_options
    if option.family not in guest.machine_type:
        return False
    state = given.get(name, option.default)
    return state not in _OFF and all(given.get(other, "on") not in _OFF for other in option.unless)


def list_lost(traits: Traits) -> Iterator[str]:
    """Options by which only the source has something."""
    return (
        name for name in OPTIONS if has_part(traits.source.guest, name) and not has_part(traits.destination.guest, name)
    )


def _loses(traits: Traits, *, ram: bool) -> bool:
    return any(bool(OPTIONS[name].ram) is ram for name in list_lost(traits))


def _has_blank(guest: GuestTraits) -> bool:
    return any(character.isspace() for character in guest.machine)


def _has_wrong_option(guest: GuestTraits) -> bool:
    """An option that no machine type has, or a value that is none of those with two states."""
    given = guest.machine_options
    wrong = [name for name in given if name not in KNOWN]
    wrong += [name for name in OPTIONS if given.get(name, "on") not in (*_OFF, *_ON)]
    return guest.machine_type.startswith(("q35", "pc")) and bool(wrong)


def _starts(traits: Traits) -> Iterator[GuestTraits]:
    """Guests whose QEMU is started; libvirt compares both sides before it starts one at the destination."""
    yield traits.source.guest
    if not is_by_libvirt(traits):
        yield traits.destination.guest


REFUSED_MACHINES = (
    make_rule(
        "blank-in-machine",
        "There is a blank in what -machine gets, such as between a machine type and another option of QEMU.",
        V.REFUSED,
        reason="Invalid parameter|unsupported machine type|expects 'on' or 'off'|Expected '='|does not support machine "
        "type|not found",
        because="QEMU gets it as one word, and neither a machine type nor an option has a blank in its name; other "
        "options of QEMU cannot be given so",
        source="QEMU, system/vl.c: select_machine; util/keyval.c: keyval_parse_one",
        when=lambda traits: any(_has_blank(guest) for guest in _starts(traits)),
    ),
    make_rule(
        "wrong-machine-option",
        "A machine type is given an option that no machine type has, or one of two states another value.",
        V.REFUSED,
        reason="Property '.*-machine\\..*' not found|expects 'on' or 'off'|Expected '='|does not accept value",
        because="options of -machine are properties of the machine type, and all are set before it is made",
        source="QEMU, system/vl.c: qemu_apply_machine_options",
        when=lambda traits: any(_has_wrong_option(guest) for guest in _starts(traits)),
    ),
)

MACHINE_RAM = (
    make_rule(
        "machine-acpi-at-source-only",
        "The destination's machine has acpi=off, the source's has not.",
        V.FAILED,
        "destination",
        says='Unknown ramblock "/rom@etc/acpi/tables"',
        because="the tables are a block of RAM, and the stream begins with all of these",
        source="QEMU, migration/ram.c: parse_ramblocks",
        when=lambda traits: _loses(traits, ram=True),
    ),
)

MACHINE_PARTS = (
    make_rule(
        "machine-part-at-source-only",
        "An option of -machine (hpet, i8042, pic, pit, sata, smbus, usb, vmport) gives the source's machine a device "
        "that the destination's has not.",
        V.FAILED,
        "destination",
        reason=f"{UNKNOWN_SECTION} '(?:{'|'.join(dict.fromkeys(o.section for o in OPTIONS.values() if o.section))})'",
        because="the section of that device has nobody who takes it",
        source="QEMU, hw/i386/pc.c: pc_basic_device_init; migration/savevm.c: qemu_loadvm_section_start_full",
        when=lambda traits: _loses(traits, ram=False) and not _loses(traits, ram=True),
    ),
)
