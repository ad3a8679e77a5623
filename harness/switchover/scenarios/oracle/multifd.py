# SPDX-License-Identifier: GPL-2.0-or-later
"""State of devices over multifd (x-migration-multifd-transfer) on one side only, or without multifd. Pure."""

from collections.abc import Callable, Iterator

from switchover.migration.progress import HangKind
from switchover.record.record import VerdictName
from switchover.scenarios.oracle.capabilities import compresses
from switchover.scenarios.oracle.qemus import TRANSFER
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import DeviceTraits, SideTraits, Traits

V = VerdictName
LATE_CONFIG = "x-migration-load-config-after-iter"
"""Of vfio-pci: whether a device's configuration is loaded only after all that is loaded while the guest runs."""
QUEUE_LIMIT = "x-migration-max-queued-buffers-size"
"""Of vfio-pci: how many bytes of a device's state may wait at the destination."""
BUFFER = 4096
"""Bytes that a buffer of a device's state surely has, if the device has state: QEMU's are of 1 MiB."""
_UNSUPPORTED = "Multifd device transfer requested but unsupported in the current config"
_SETUP = "QEMU 10.2, hw/vfio/migration-multifd.c: vfio_multifd_setup"


def _can_transfer(traits: Traits, number: int) -> bool:
    """Whether the state of devices can go over multifd on a side, the source being 0."""
    side, capabilities = traits.sides()[number], traits.capabilities[number]
    tells_start = side.qemu is None or side.qemu.switchover_start
    return tells_start and "multifd" in capabilities and "mapped-ram" not in capabilities and not compresses(traits)


def _asks(side: SideTraits) -> tuple[str, ...]:
    """What each device asks for, ``on``, ``off`` or ``auto``; a QEMU without the property has it off."""
    default = side.qemu.transfer or "off" if side.qemu else "auto"
    given = [device.properties for device in side.devices] + [function.properties for function in side.functions]
    return tuple(dict(properties).get(TRANSFER, default) for properties in given)


def _lacks_transfer(traits: Traits, number: int) -> bool:
    """Whether a device of a side is to send or load its state in a way that is not there."""
    return "on" in _asks(traits.sides()[number]) and not _can_transfer(traits, number)


def _pairs(traits: Traits) -> Iterator[tuple[bool, bool]]:
    """For each device whether its state goes over multifd, by the source and by the destination."""
    source, destination = (
        [asked == "on" or (asked == "auto" and _can_transfer(traits, number)) for asked in _asks(side)]
        for number, side in enumerate(traits.sides())
    )
    return zip(source, destination, strict=False)


def _list_transferring(traits: Traits) -> list[tuple[DeviceTraits, DeviceTraits]]:
    """Devices whose state goes over multifd at both sides, as each side has them."""
    pairs = zip(traits.source.devices, traits.destination.devices, strict=False)
    return [pair for pair, ways in zip(pairs, _pairs(traits), strict=False) if ways == (True, True)]


def _loads_late(source: str, destination: str) -> Callable[[Traits], bool]:
    """Whether the sides of a device say so of when its configuration is loaded; on x86 auto is off."""
    return lambda traits: any(
        [device.property_of(LATE_CONFIG, "off").replace("auto", "off") for device in pair] == [source, destination]
        for pair in _list_transferring(traits)
    )


def _overflows(traits: Traits) -> bool:
    """Whether the destination may hold back less than a single buffer that comes."""
    return any(0 < _read_size(there.property_of(QUEUE_LIMIT, "")) <= BUFFER for _, there in _list_transferring(traits))


def _read_size(text: str) -> int:
    """A number of bytes; 0: none, or not in digits."""
    return int(text) if text.isdecimal() else 0


MULTIFD_SETUP = (
    make_rule(
        "multifd-transfer-without-multifd",
        "Devices of both sides have x-migration-multifd-transfer=on, and there is no multifd, or with compression or "
        "mapped-ram, or a machine type of 9.2 or older.",
        V.FAILED,
        says=_UNSUPPORTED,
        because="with on, and not auto, there is no other way for the state; both sides find that as soon as they are "
        "connected, and which says it first is a race",
        source=_SETUP,
        when=lambda traits: _lacks_transfer(traits, 0) and _lacks_transfer(traits, 1),
    ),
    make_rule(
        "multifd-transfer-without-multifd-at-destination",
        "The same of a device of the destination, and of none of the source.",
        V.FAILED,
        "destination",
        aliases=("C1",),
        says=_UNSUPPORTED,
        because="with on, and not auto, there is no other way for its state, and loading it is prepared as soon as the "
        "sides are connected",
        source=_SETUP,
        when=lambda traits: _lacks_transfer(traits, 1),
    ),
    make_rule(
        "multifd-transfer-without-multifd-at-source",
        "The same of a device of the source, and of none of the destination.",
        V.FAILED,
        "source",
        says=_UNSUPPORTED,
        because="with on, and not auto, there is no other way for its state",
        source=_SETUP,
        when=lambda traits: _lacks_transfer(traits, 0),
    ),
)
"""Found when a migration is set up."""

MULTIFD = (
    make_rule(
        "multifd-transfer-at-source-only",
        "A device of the source sends its state over multifd, and the destination's waits for it in the main stream.",
        V.FAILED,
        "destination",
        aliases=("C2",),
        says="got device state packet but not doing multifd transfer",
        because="the destination gets on multifd's channels what it waits for in the main stream; a source that has "
        "sent all by then completes (seen once, with 1 MiB of state): then the guest runs nowhere",
        source="QEMU 10.2, hw/vfio/migration-multifd.c: vfio_multifd_load_state_buffer",
        when=lambda traits: (True, False) in _pairs(traits),
    ),
    make_rule(
        "multifd-transfer-at-destination-only",
        "A device of the source sends its state in the main stream, and the destination's waits for it on multifd.",
        V.FAILED,
        "destination",
        aliases=("C3",),
        says="got DEV_CONFIG_STATE in main migration channel but doing multifd transfer",
        because="the destination gets in the main stream what it waits for on multifd's channels",
        source="QEMU 10.2, hw/vfio/migration.c: vfio_load_state",
        when=lambda traits: (False, True) in _pairs(traits),
    ),
    make_rule(
        "queued-buffers-exceed-their-limit",
        "A device's state goes over multifd, and x-migration-max-queued-buffers-size of the destination is less than "
        "one of its buffers.",
        V.FAILED,
        "destination",
        says="queuing state buffer %s would exceed the size max of %s",
        because="a buffer counts from the moment at which it comes, also if it is the next one to be loaded",
        source="QEMU 10.2, hw/vfio/migration-multifd.c: vfio_load_state_buffer_insert",
        when=_overflows,
    ),
    make_rule(
        "late-config-at-source-only",
        "A device's state goes over multifd, and only the source has x-migration-load-config-after-iter=on.",
        V.FAILED,
        "destination",
        says="got DEV_CONFIG_LOAD_READY but was disabled",
        because="the source says in the main stream when the configuration may be loaded, to a destination that does "
        "not wait for it",
        source="QEMU 10.2, hw/vfio/migration-multifd.c: vfio_load_state_config_load_ready",
        when=_loads_late("on", "off"),
    ),
    make_rule(
        "late-config-at-destination-only",
        "A device's state goes over multifd, and only the destination has x-migration-load-config-after-iter=on.",
        V.HUNG,
        "destination",
        reason=f"^{HangKind.NO_PROGRESS}",
        because="the destination waits for the source to say that the configuration may be loaded, and it never does",
        source="QEMU 10.2, hw/vfio/migration-multifd.c: vfio_load_bufs_thread",
        when=_loads_late("off", "on"),
    ),
)
