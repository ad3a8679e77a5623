# SPDX-License-Identifier: GPL-2.0-or-later
"""The questions that the oracle began with, numbered by subject: A pre-copy and its ack, B whether a device may
migrate, C how its state goes. Each has rules and cases, or a reason why these binaries and kernels cannot come to it.
Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from switchover.scenarios.oracle.seen import Sighting, Sightings


@dataclass(frozen=True)
class Row:
    """A question. ``rules``: those that answer it; ``cases``: further ones of the catalogue, of what completes without
    a rule.
    """

    name: str
    about: str
    rules: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    corrected: str = ""
    """What was found to be otherwise than it was read at first; empty: nothing."""
    unreachable: str = ""
    """Why no case comes to it, or to the rest of it."""

    @property
    def is_reachable(self) -> bool:
        return bool(self.rules or self.cases)


ROWS = (
    Row("A1", "Pre-copy on both sides, no ack", cases=("precopy-course.course-pre-copy", "mtty.question-pre-copy")),
    Row("A2", "No pre-copy on either side", cases=("precopy-course.course-no-pre-copy",)),
    Row(
        "A3",
        "Pre-copy at the source, a driver without it at the destination, no ack: up to what that driver loads",
        rules=("stream-version-refused",),
        cases=("precopy-course.course-pre-copy-at-source-only",),
    ),
    Row("A4", "An ack on both sides, pre-copy at the source only", rules=("ack-with-pre-copy-at-source-only",)),
    Row(
        "A5", "An ack on both sides, pre-copy at the destination only", rules=("ack-with-pre-copy-at-destination-only",)
    ),
    Row(
        "A6",
        "An ack at the source only, with pre-copy and without",
        rules=("ack-at-source-only", "ack-at-source-only-without-pre-copy"),
    ),
    Row("A7", "An ack at the destination only", cases=("switchover-ack.ack-destination.pre_copy-both.return-path",)),
    Row("A8", "An ack without a return path", rules=("ack-without-return-path",)),
    Row(
        "A9",
        "The one-shot ack at the source, the reusable one at the destination",
        rules=("one-shot-ack-at-source-only",),
    ),
    Row(
        "A10",
        "The reusable ack at the source, the one-shot one at the destination",
        rules=("one-shot-ack-at-destination-only",),
    ),
    Row(
        "A11",
        "An ack between QEMU 10.0 and 11.1 with a machine type that both have, in both directions",
        cases=("ack-versions.ack-11.1-to-10.0", "ack-versions-back"),
        corrected="a guest that 10.0.13 started with a virtio-net does not get to 11.1.3 (other-virtio-queue-size)",
    ),
    Row(
        "A12",
        "A device that announces further initial bytes once QEMU has decided to switch over",
        unreachable="needs VFIO_PRECOPY_INFO_REINIT of the host's kernel (7.1 and newer) and of the device: lab hosts "
        "have 6.12, whose VFIO has no such answer, and mtty never gives it",
    ),
    Row(
        "A13",
        "A stream with an ack for a QEMU before 8.1, which does not know its mark",
        unreachable="needs QEMU 8.0, the only release that loads such devices and knows no ack: Debian has no package "
        "of it; 7.2 fails before that, at the section itself (old-protocol-at-destination)",
    ),
    Row("A14", "A guest that is paused before it migrates", rules=("paused-before",)),
    Row(
        "A15",
        "Machine types that differ, and what else the head of a stream tells",
        rules=("other-machine", "other-memory", "other-virtio-queue-size"),
    ),
    Row(
        "A16",
        "x-allow-pre-copy on a release, and on a patched QEMU left to the machine type",
        rules=(
            "x-allow-pre-copy-on-a-release",
            "x-allow-pre-copy-of-old-machines",
            "x-allow-pre-copy-of-new-machines",
        ),
    ),
    Row(
        "B1",
        "A driver without migration, or enable-migration=off",
        rules=(
            "enable-migration-off",
            "no-migration-in-kernel",
            "generic-vfio-pci-driver",
            "enable-migration-on-without-migration",
            "enable-migration-on-with-generic-driver",
            "device-not-migratable-at-destination",
            "old-protocol-at-source",
            "old-protocol-at-destination",
        ),
    ),
    Row(
        "B2",
        "A driver without STOP_COPY, or that cannot be asked",
        rules=("no-stop-copy-in-kernel", "enable-migration-on-without-stop-copy"),
        unreachable="of a driver that answers a question about its migration with another errno there is none here",
    ),
    Row(
        "B3",
        "Dirty tracking neither by the device nor by an IOMMU, and by a device that nobody can ask for it",
        rules=("no-dirty-tracking", "dma-logging-that-nobody-reads"),
        unreachable="tracking by the IOMMU needs IOMMUFD, which Debian's 6.12 has not",
    ),
    Row(
        "B4",
        "Several devices, one without P2P",
        rules=("several-devices-one-without-p2p", "several-devices-one-without-p2p-blocks"),
    ),
    Row(
        "B5",
        "An emulated IOMMU",
        rules=("viommu-with-enabled-migration", "viommu-with-own-dirty-tracking"),
    ),
    Row(
        "B6",
        "A guest with more memory than a bitmap of the backend is for (11.0 and newer)",
        unreachable="the least such limit, of a bitmap of 256 MiB, is 8 TiB of memory",
    ),
    Row("B7", "-only-migratable and a device that blocks", rules=("only-migratable",)),
    Row("B8", "Postcopy", rules=("postcopy-with-vfio",)),
    Row(
        "B9",
        "A background snapshot",
        rules=("background-snapshot-with-vfio", "background-snapshot-with-return-path"),
    ),
    Row(
        "B10",
        "A device plugged in or unplugged while a migration goes on",
        rules=("device-not-unplugged-meanwhile",),
        corrected="QEMU rejects device_add and device_del themselves ('not allowed while migrating'): no device comes "
        "to add a blocker, and the text about one (migration/snapshot in progress) is not seen",
    ),
    Row(
        "C1",
        "x-migration-multifd-transfer=on where it cannot be",
        rules=(
            "multifd-transfer-without-multifd",
            "multifd-transfer-without-multifd-at-destination",
            "multifd-transfer-without-multifd-at-source",
        ),
        corrected="if neither side can, which of them says it first is a race",
    ),
    Row(
        "C2",
        "State over multifd to a side that waits for it in the main stream",
        rules=("multifd-transfer-at-source-only",),
        corrected="a source that has sent all by then completes, and the guest runs nowhere: seen once, with 1 MiB",
    ),
    Row(
        "C3",
        "State in the main stream to a side that waits for it on multifd",
        rules=("multifd-transfer-at-destination-only",),
    ),
    Row(
        "C4",
        "x-migration-load-config-after-iter on one side only",
        rules=("late-config-at-source-only", "late-config-at-destination-only"),
    ),
    Row("C5", "x-migration-max-queued-buffers-size that is too small", rules=("queued-buffers-exceed-their-limit",)),
    Row(
        "C6",
        "A configuration space that differs, as of a vendor's capability with skip-vsc-check=off",
        rules=("other-device-configuration",),
        unreachable="a vendor's capability itself: no device of the lab has one",
    ),
)

COMPLETING: Mapping[str, str] = {case: row.name for row in ROWS for case in row.cases}
"""By cases that complete without a rule, the row that they answer; where they were seen to is kept by its name."""


def list_sightings(row: Row, seen: Sightings) -> list[Sighting]:
    """Where the rules of a row held, and its further cases completed."""
    return [one for name in (*row.rules, row.name) for one in seen.get(name, ())]


def find_unseen(row: Row, seen: Sightings) -> list[str]:
    """Of a row's rules and further cases those of which nothing was seen."""
    cases = {one.case for one in seen.get(row.name, ())}
    return [*(rule for rule in row.rules if not seen.get(rule)), *(case for case in row.cases if case not in cases)]


def list_cases(row: Row, by_rule: Mapping[str, Iterable[str]]) -> list[str]:
    """Cases of the catalogue that answer a row. ``by_rule``: ids of cases, by the name of a rule."""
    return [*row.cases, *(case for rule in row.rules for case in by_rule.get(rule, ()))]
