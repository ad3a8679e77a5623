# SPDX-License-Identifier: GPL-2.0-or-later
"""State of devices over multifd (x-migration-multifd-transfer) on one side only, or without multifd. Pure."""

from switchover.record.record import VerdictName
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import SideTraits, Traits

V = VerdictName


def _transfer(side: SideTraits) -> set[str]:
    return side.all_of("x-migration-multifd-transfer", "auto")


def _lacks_multifd(traits: Traits) -> bool:
    return any(
        "on" in _transfer(side) and "multifd" not in capabilities
        for side, capabilities in zip(traits.sides(), traits.capabilities, strict=True)
    )


MULTIFD = (
    make_rule(
        "multifd-transfer-without-multifd",
        "A device has x-migration-multifd-transfer=on, and multifd is off on its side.",
        V.FAILED,
        aliases=("C1",),
        says="Multifd device transfer requested but unsupported in the current config",
        because="with on, and not auto, there is no other way for its state",
        source="QEMU 10.2, hw/vfio/migration-multifd.c: vfio_multifd_setup",
        when=_lacks_multifd,
    ),
    make_rule(
        "multifd-transfer-at-source-only",
        "A device of the source has x-migration-multifd-transfer=on, and one of the destination off.",
        V.FAILED,
        "destination",
        aliases=("C2",),
        says="got device state packet but not doing multifd transfer",
        because="the destination gets on multifd's channels what it waits for in the main stream",
        source="QEMU 10.2, hw/vfio/migration-multifd.c: vfio_multifd_load_state_buffer",
        when=lambda traits: "on" in _transfer(traits.source) and "off" in _transfer(traits.destination),
    ),
    make_rule(
        "multifd-transfer-at-destination-only",
        "A device of the destination has x-migration-multifd-transfer=on, and one of the source off.",
        V.FAILED,
        "destination",
        aliases=("C3",),
        says="got DEV_CONFIG_STATE in main migration channel but doing multifd transfer",
        because="the destination gets in the main stream what it waits for on multifd's channels",
        source="QEMU 10.2, hw/vfio/migration.c: vfio_load_state",
        when=lambda traits: "on" in _transfer(traits.destination) and "off" in _transfer(traits.source),
    ),
)
