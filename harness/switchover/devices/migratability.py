# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a device can migrate, asked of its kernel driver: VFIO_DEVICE_FEATURE on the opened device.

No program of ours is on a host: the ioctls are made by perl, which every Debian has (perl-base is essential there).
Opening a VFIO group is exclusive, so a device that somebody uses is not touched: the open fails. Numbers and layouts:
include/uapi/linux/vfio.h.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from switchover.devices.functions import HostDevices
from switchover.hosts.host import Host
from switchover.record.errors import CommandFailed

STOP_COPY, P2P, PRE_COPY = 1, 2, 4
"""VFIO_MIGRATION_STOP_COPY, VFIO_MIGRATION_P2P, VFIO_MIGRATION_PRE_COPY."""
_NAMES = {STOP_COPY: "stop-copy", P2P: "p2p", PRE_COPY: "pre-copy"}

# VFIO_SET_IOMMU is tried with type 1 version 2 (3) and version 1 (1); ENOTTY (25) to a feature: the driver has it not
_PERL = r"""
sub ask {
    my ($name, $group) = @_;
    open(my $container, "+<", "/dev/vfio/vfio") or return "unknown /dev/vfio/vfio: $!";
    open(my $handle, "+<", "/dev/vfio/$group") or return $! == 16 ? "in-use" : "unknown /dev/vfio/$group: $!";
    my $status = pack("LL", 8, 0);
    ioctl($handle, 0x3b67, $status) or return "unknown VFIO_GROUP_GET_STATUS: $!";
    (unpack("LL", $status))[1] & 1 or return "unknown its IOMMU group is not viable";
    my $descriptor = pack("i", fileno($container));
    ioctl($handle, 0x3b68, $descriptor) or return "unknown VFIO_GROUP_SET_CONTAINER: $!";
    ioctl($container, 0x3b66, 3) or ioctl($container, 0x3b66, 1) or return "unknown VFIO_SET_IOMMU: $!";
    my $asked = "$name\0";
    my $device = ioctl($handle, 0x3b6a, $asked) or return "unknown VFIO_GROUP_GET_DEVICE_FD: $!";
    open(my $opened, "+<&=", $device + 0) or return "unknown fdopen: $!";
    my $migration = pack("LLQ", 16, (1 << 16) | 1, 0);
    my $flags = 0;
    if (ioctl($opened, 0x3b75, $migration)) { $flags = (unpack("LLQ", $migration))[2]; }
    elsif ($! != 25) { return "unknown VFIO_DEVICE_FEATURE_MIGRATION: $!"; }
    my $logging = pack("LL", 8, (1 << 18) | (1 << 17) | 6);
    my $logs = ioctl($opened, 0x3b75, $logging) ? 1 : 0;
    return "flags $flags $logs";
}
while (@ARGV) { my ($name, $group) = splice(@ARGV, 0, 2); print "$name ", ask($name, $group), "\n"; }
"""


@dataclass(frozen=True)
class Migratability:
    """What a device's driver says of migration.

    ``flags``: VFIO_DEVICE_FEATURE_MIGRATION's, 0 without migration, None if unknown, and ``why``.
    ``in_use``: somebody has it open, which is why its flags are unknown.
    ``logs_dma``: whether the device itself tracks the pages it dirties (VFIO_DEVICE_FEATURE_DMA_LOGGING_START).
    """

    flags: int | None
    logs_dma: bool | None = None
    why: str = ""
    in_use: bool = False

    def describe(self) -> str:
        """``stop-copy, p2p, pre-copy``; ``none``; ``unknown: in use``."""
        if self.flags is None:
            return f"unknown: {self.why}"
        names = [_NAMES.get(1 << bit, hex(1 << bit)) for bit in range(64) if self.flags >> bit & 1]
        return ", ".join(names) or "none"


def read_migratability(host: Host, devices: HostDevices) -> dict[str, Migratability]:
    """Of every function that a VFIO driver has, and every mediated device, by address or UUID.

    Other functions are not asked: their driver would have to give them up.
    """
    askable = {function.address: function.group for function in devices.functions if function.is_for_vfio}
    askable |= {device.uuid: device.group for device in devices.mediated}
    asked = {name: group for name, group in askable.items() if group is not None}
    answers = {name: Migratability(None, why="it has no IOMMU group") for name in askable if name not in asked}
    if asked:
        answers |= _ask(host, asked)
    return answers


def _ask(host: Host, groups: Mapping[str, str]) -> dict[str, Migratability]:
    words = [word for pair in groups.items() for word in pair]
    try:
        text = host.run(["perl", "-e", _PERL, *words], timeout=60).text
    except CommandFailed as error:
        why = "the host has no perl to ask with" if error.returncode == 127 else error.why or error.what
        return dict.fromkeys(groups, Migratability(None, why=why))
    return parse_migratability(text, list(groups))


def parse_migratability(text: str, names: Sequence[str]) -> dict[str, Migratability]:
    """From lines ``NAME flags FLAGS LOGS``, ``NAME in-use`` or ``NAME unknown WHY``; without a line: unknown."""
    found = dict.fromkeys(names, Migratability(None, why="no answer"))
    for line in text.splitlines():
        match line.split():
            case [name, "flags", flags, logs] if name in found and flags.isdecimal():
                found[name] = Migratability(int(flags), logs == "1")
            case [name, "in-use"] if name in found:
                found[name] = Migratability(None, why="in use", in_use=True)
            case [name, "unknown", *words] if name in found:
                found[name] = Migratability(None, why=" ".join(words))
    return found
