# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of mediated devices of others that the project knows: what each needs to migrate, and how it behaves then.

What is not in this table is as unknown as a PCI function: a scenario says its type and the properties that vfio-pci
gets, and nothing is claimed of it but what QEMU's events and traces say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from switchover.devices.reference import Knobs

REFERENCE = "refdev-"
"""How the types of the reference device begin (images/modules/refdev)."""


@dataclass(frozen=True)
class KnownType:
    """A type of mediated device that is not the reference device's."""

    name: str
    """Its mdev type, as the kernel lists it."""
    image: str
    """The image with its kernel module, which a lab host is given; other hosts have it by their own means."""
    properties: Mapping[str, str]
    """What vfio-pci gets where a scenario does not say otherwise."""
    model: Knobs
    """What it does in a migration, as the knobs of a reference device that does the same."""
    numbers: str = ""
    """Vendor and device id by which a guest sees it; empty: not known."""
    logs_dma: bool = False
    """Whether it says that it logs what it writes by DMA."""
    pending_shrinks: bool = True
    """Whether what it says is to be read gets less as pre-copy reads it; else it is always the whole state."""
    source: str = field(default="", kw_only=True)
    """Where all this is written."""


_MTTY_HEADER = 24
_MTTY_PORT = 36


def _make_mtty(ports: int) -> KnownType:
    """The kernel's sample: a PCI card of serial ports that loop back. Pre-copy moves the header of its stream only.

    It says that it logs DMA. Without CONFIG_IOMMUFD_DRIVER, as in Debian's kernels, nobody can ask it for that, and a
    migration fails in its switchover: so it is not used, and dirty pages are those that the container tells.
    """
    return KnownType(
        f"mtty-{ports}",
        "mtty",
        {"enable-migration": "on", "migration-events": "on", "x-device-dirty-page-tracking": "off"},
        Knobs(initial_bytes=_MTTY_HEADER, stop_copy_bytes=ports * _MTTY_PORT),
        numbers="4348:3253",
        logs_dma=True,
        pending_shrinks=False,
        source="Linux 6.12, samples/vfio-mdev/mtty.c: struct mtty_data, mtty_precopy_ioctl, mtty_get_data_size",
    )


KNOWN_TYPES: Mapping[str, KnownType] = {one.name: one for one in (_make_mtty(1), _make_mtty(2))}


def find_known_type(name: str) -> KnownType | None:
    """By an mdev type."""
    return KNOWN_TYPES.get(name)


def is_reference(mdev_type: str) -> bool:
    """Whether a type is one of the reference device."""
    return mdev_type.startswith(REFERENCE)
