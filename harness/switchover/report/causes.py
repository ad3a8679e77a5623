# SPDX-License-Identifier: GPL-2.0-or-later
"""Likely causes of what happened to a case, from its record and from what both QEMUs said. Pure.

Texts are those of QEMU 10.x and 11.x; the files named are QEMU's. A cause is likely, never proven.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from switchover.record.checks import CheckId
from switchover.record.planfile import NOT_RUN
from switchover.record.record import Record, VerdictName


@dataclass(frozen=True)
class Evidence:
    """``texts``: the verdict's reason, the mismatch, and what both QEMUs wrote to their standard error and logs."""

    record: Record
    texts: str = ""

    def says(self, *patterns: str) -> bool:
        """Whether one of the regular expressions is found."""
        return any(re.search(pattern, self.texts) for pattern in patterns)

    def has(self, *names: VerdictName) -> bool:
        return self.record.verdict.name in names

    @property
    def as_expected_at_first(self) -> bool:
        """Whether the verdict is the expected one, and only a check after it failed."""
        # the second words are those of records from before version 7
        return any(words in self.record.mismatch for words in ("but checks failed", "and then not in order"))

    def failed(self, *checks: CheckId) -> bool:
        """Whether one of these did not pass."""
        return any(check.id in checks for check in self.record.failed_checks)


@dataclass(frozen=True)
class Cause:
    """``likely``: what it is; ``change``: what to do about it, or to look at; may be empty."""

    likely: str
    change: str = ""


@dataclass(frozen=True)
class CauseRule:
    """``name`` is for the tests."""

    name: str
    fits: Callable[[Evidence], bool]
    cause: Cause


def _says(*patterns: str) -> Callable[[Evidence], bool]:
    return lambda evidence: evidence.says(*patterns)


def _hung(*patterns: str) -> Callable[[Evidence], bool]:
    return lambda evidence: (
        evidence.has(VerdictName.HUNG)
        and bool(any(re.search(pattern, evidence.record.verdict.reason) for pattern in patterns))
    )


def find_causes(evidence: Evidence) -> list[Cause]:
    """Of all rules that fit, those of the first kind: what was said in so many words before what follows from it.

    Where a check is not as it must be, or nothing stood in the way, what QEMU said of other things is no cause.
    """
    kinds = [_OURS, _WORDS, _HANGS, _CHECKS, _CONSEQUENCES]
    if evidence.has(VerdictName.COMPLETED):
        kinds = [_OURS, _CHECKS, _CONSEQUENCES]
    elif evidence.has(VerdictName.CHECKS_FAILED) or evidence.as_expected_at_first:
        kinds = [_OURS, _CHECKS, _WORDS, _CONSEQUENCES]
    for rules in kinds:
        found = [rule.cause for rule in rules if rule.fits(evidence)]
        if found:
            return found
    return []


_OURS = (
    CauseRule("not run", lambda e: e.record.verdict.reason.startswith(NOT_RUN),
              Cause("the run ended before this repeat", "run it again: nothing is known of it")),
    CauseRule("interrupted", lambda e: e.has(VerdictName.INFRASTRUCTURE_ERROR)
              and e.record.verdict.reason.endswith(": interrupted"),
              Cause("the run was interrupted in this repeat", "run it again: nothing is known of it")),
    CauseRule("starved", lambda e: e.has(VerdictName.INFRASTRUCTURE_ERROR)
              and re.search(r"lab host \S+ (did not get to run|was stopped for)", e.record.verdict.reason) is not None,
              Cause("a lab host did not get to run, which the controller saw: QEMU and the device are not to blame",
                    "run it again while this machine is less busy; a longer bound may help, too")),
    CauseRule("host lost", lambda e: e.has(VerdictName.INFRASTRUCTURE_ERROR)
              and e.says(r"does not answer", r"connection .*(broke|closed|lost)", r"Lab host"),
              Cause("a host ended, hangs or cannot be reached; QEMU and the device are not to blame for this verdict",
                    "look at the lab host's console (switchover lab status); memory of the controller may be short")),
    CauseRule("disk full", _says(r"No space left on device", r"cannot be written"),
              Cause("a disk is full", "free some space, on the disk of the run directory or of the host")),
    CauseRule("mdev", lambda e: e.has(VerdictName.INFRASTRUCTURE_ERROR) and e.says(r"makes no mediated device"),
              Cause("the device's kernel module is not loaded, or all its instances are taken",
                    "look for what a killed harness left: switchover clean")),
    CauseRule("kvm", _says(r"Could not access KVM kernel module", r"failed to initialize kvm", r"invalid accelerator"),
              Cause("KVM cannot be used on the host", "switchover hosts shows the accelerator that works")),
    CauseRule("memlock", _says(r"Cannot allocate memory.*vfio", r"vfio.*Cannot allocate memory", r"VFIO_MAP_DMA.*-12"),
              Cause("QEMU may not lock the guest's memory for the device", "raise the memlock limit of the user on "
                    "that host (switchover doctor --for host NAME)")),
)  # fmt: skip
"""The harness, hosts and what they need."""

_WORDS = (
    CauseRule("ack without return path", _says(r"'switchover-ack' requires capability 'return-path'"),
              Cause("switchover-ack is on and return-path is not", 'migration.return_path = "on"')),
    CauseRule("A4, A6", _says(r"Received INIT_DATA_SENT but switchover ack is not used"),
              Cause("the source's device sends its initial data in pre-copy, and the destination does not take part in "
                    "switchover-ack: the capability is off there, or the device there offers no PRE_COPY "
                    "(hw/vfio/migration.c)",
                    "set switchover-ack on both sides or on none; compare pre_copy and x-allow-pre-copy of both")),
    CauseRule("A10", _says(r"Switchover ack pending num underflowed"),
              Cause("the destination acks more often than the source expects: one side has the legacy switchover-ack "
                    "of machine types before 11.1", "give both sides the same versioned machine type")),
    CauseRule("A12", _says(r"Switchover ACK was requested by .* during switchover",
                           r"Final precopy reinit check failed"),
              Cause("the device raised new initial data after the decision to switch over",
                    "let the device settle, or migrate again")),
    CauseRule("A13", _says(r"Unknown tag 0xffffffffef100005"),
              Cause("the destination's QEMU is older than 8.1 and does not know switchover-ack",
                    "switch switchover-ack off, or update the destination")),
    CauseRule("A15", _says(r"Machine type received is '.*' and local is '.*'"),
              Cause("the two sides have different machine types (migration/savevm.c)",
                    "give both the same versioned type; an alias such as q35 means another one in each QEMU version")),
    CauseRule("A16", _says(r"Property '[^']*' not found", r"[Pp]roperty .*\.[\w-]+' not found"),
              Cause("this QEMU has no such property", "switchover hosts --json lists the properties of each binary; "
                    "x-allow-pre-copy exists only in QEMUs patched with it")),
    CauseRule("memory differs", _says(r"Size mismatch: \S+"),
              Cause("source and destination have different amounts of memory (migration/ram.c)", "make them equal")),
    CauseRule("B1", _says(r"VFIO migration is not supported in kernel", r"migration is not supported in kernel"),
              Cause("the device's kernel driver offers no migration",
                    "switchover hosts shows the migration flags of devices; a variant driver may have to be bound")),
    CauseRule("B1, off", _says(r"Migration is disabled for VFIO device"),
              Cause("the device was given enable-migration=off", 'device.enable_migration = "on" or "auto"')),
    CauseRule("B2", _says(r"Migration couldn't be initialized for VFIO device",
                          r"VFIO_MIGRATION_STOP_COPY is not supported", r"failed to query migration flags"),
              Cause("the device does not offer STOP_COPY, or its driver failed when it was asked",
                    "look at the kernel log of that host")),
    CauseRule("B3", _says(r"doesn't support device and IOMMU dirty tracking"),
              Cause("neither device nor IOMMU tracks dirty pages: every page counts as dirty",
                    'enable-migration = "on" makes it a warning; then RAM may never converge')),
    CauseRule("B4", _says(r"Multiple VFIO devices migration is supported only if all of them support P2P"),
              Cause("the guest has several devices, and one has no P2P states", "p2p for all of them, or one device")),
    CauseRule("B5", _says(r"not supported with vIOMMU enabled"), Cause("the guest has a vIOMMU", "take it away")),
    CauseRule("B6", _says(r"not supported with large memory VM"),
              Cause("the backend's dirty bitmap is too small for this much memory", "less memory")),
    CauseRule("B7", _says(r"disallowing migration blocker \(--only-migratable\)"),
              Cause("QEMU was started with --only-migratable, and something blocks migration",
                    "the text after it says what")),
    CauseRule("B8", _says(r"VFIO migration is not supported with postcopy migration"),
              Cause("postcopy-ram is on, which QEMU allows with no VFIO device", "switch it off")),
    CauseRule("B9", _says(r"VFIO migration is not supported with background snapshot"),
              Cause("background-snapshot is on, which QEMU allows with no VFIO device", "switch it off")),
    CauseRule("B10", _says(r"disallowing migration blocker \(migration/snapshot in progress\)"),
              Cause("a device was added while a migration goes on", "add it before or after")),
    CauseRule("C1", _says(r"Multifd device transfer requested but unsupported"),
              Cause("x-migration-multifd-transfer=on needs multifd, without compression or mapped-ram",
                    "switch multifd on, on both sides")),
    CauseRule("C2", _says(r"got device state packet but not doing multifd transfer"),
              Cause("only the source transfers device state over multifd; machine types before 10.0 do not",
                    "x-migration-multifd-transfer alike on both sides")),
    CauseRule("C3", _says(r"got DEV_CONFIG_STATE in main migration channel but doing multifd transfer"),
              Cause("only the destination expects device state over multifd",
                    "x-migration-multifd-transfer alike on both sides")),
    CauseRule("C4", _says(r"got DEV_CONFIG_LOAD_READY but was disabled"),
              Cause("x-migration-load-config-after-iter differs between the sides", "make them equal")),
    CauseRule("C5", _says(r"queuing state buffer \d+ would exceed the size max"),
              Cause("the destination may queue too few state buffers",
                    "a larger x-migration-max-queued-buffers-size there")),
    CauseRule("C6", _says(r"Failed to load device config space"),
              Cause("the device's configuration space differs between the sides",
                    "compare firmware and capabilities of both devices; x-skip-vsc-check")),
    CauseRule("D, recover error", _says(r"Recover state is ERROR\. Resetting device"),
              Cause("the device failed a state change and had to be reset (set_state_or_reset)",
                    "look at the kernel log of that host; the guest's driver must set the device up again")),
    CauseRule("D, set_state", _says(r"Failed setting device state to \w+"),
              Cause("the device's driver failed a state change", "look at the kernel log of that host")),
    CauseRule("D, out of sync", _says(r"data_fd out of sync"),
              Cause("the device was reset behind QEMU's back in the middle of the migration",
                    "look for resets in the kernel log of that host")),
    CauseRule("panic", _says(r"Kernel panic - not syncing"),
              Cause("the guest's kernel panicked", "its last words are at the end of the side's console file")),
    CauseRule("oops", _says(r"\bOops: ", r"\bBUG: ", r"general protection fault"),
              Cause("the guest's kernel had an oops", "the trace is in the side's console file")),
)  # fmt: skip
"""What QEMU or the guest's kernel says in so many words, by the rows of the oracle (A … D)."""

_HANGS = (
    CauseRule("ack-starved", _hung(r"ack-starved"),
              Cause("little enough is pending, but the switchover waits for an ack that the destination does not give: "
                    "switchover-ack is on at one side only, or one device offers PRE_COPY and the other does not",
                    "switchover-ack and pre_copy alike on both sides, or switchover-ack off")),
    CauseRule("not converging", _hung(r"not converging"),
              Cause("more is dirtied, or left in the device, than fits into the downtime limit",
                    "a longer migration.downtime_limit_ms, more bandwidth, less load in the guest, or a device that "
                    "keeps less for stop-copy; without dirty tracking all of RAM counts as dirty")),
    CauseRule("no progress", _hung(r"no progress"),
              Cause("no byte moves: the link is cut, or the destination hangs, often while it loads a device",
                    "look at destination.trace for the last section, at that host's kernel log, and at the link")),
    CauseRule("too slow", lambda e: e.has(VerdictName.HUNG)
              and not any(kind in e.record.verdict.reason for kind in ("ack-starved", "not converging", "no progress")),
              Cause("a step took longer than it may", "the reason names the wait; migration.timeout_s bounds it")),
)  # fmt: skip

_DEVICE_STATE = (
    CheckId.DEVICE_GENERATION, CheckId.DEVICE_SCRATCH, CheckId.DEVICE_SEED, CheckId.DEVICE_CHECKSUM,
    CheckId.DEVICE_CHECKSUM_BY_GUEST,
)  # fmt: skip
_BYTES = (
    CheckId.BYTES_VFIO_PRECOPY, CheckId.BYTES_VFIO_STOP_COPY, CheckId.BYTES_VFIO_ADDS_UP, CheckId.BYTES_VFIO_LOADED,
    CheckId.BYTES_VFIO_TRANSFERRED, CheckId.BYTES_RESIDUAL, CheckId.DEVICE_PRECOPY_INITIAL_BYTES,
    CheckId.DEVICE_PRECOPY_INITIAL_FIRST, CheckId.DEVICE_PRECOPY_DIRTY_BYTES,
)  # fmt: skip
_CHECKS = (
    CauseRule("fault not made", lambda e: e.failed(CheckId.MIGRATION_FAULTS),
              Cause("the phase in which something was to be done was over before it was seen, or never came",
                    "make the phase longer (larger sizes, lower save_bytes_per_sec), or choose another")),
    CauseRule("device state", lambda e: e.failed(*_DEVICE_STATE),
              Cause("the device's state did not arrive as it was saved: the device or its driver loses or damages it",
                    "compare the checks' values; loading of the device is in destination.trace")),
    CauseRule("memory", lambda e: e.failed(CheckId.GUEST_CANARY, CheckId.DEVICE_DMA),
              Cause("memory of the guest is not what it was: pages that were dirtied late were not sent, as when DMA "
                    "is not tracked", "look at dirty tracking of the device and the IOMMU")),
    CauseRule("another boot", lambda e: e.failed(CheckId.GUEST_BOOT_ID),
              Cause("the guest that answers is another boot: it crashed and came up again", "look at its console")),
    CauseRule("interrupts", lambda e: e.failed(CheckId.DEVICE_INTERRUPT, CheckId.DEVICE_INTERRUPTS_AT_A_RATE),
              Cause("an interrupt is lost after the migration: the device stayed masked, or its eventfds are not wired",
                    "compare the raised and seen counts; look at the end of destination.trace")),
    CauseRule("second migration", lambda e: e.failed(CheckId.MIGRATION_AGAIN),
              Cause("after the first migration ended, the guest cannot be migrated any more",
                    "the check has the verdict of that migration; second-destination.* are its files")),
    CauseRule("two guests", lambda e: e.failed(CheckId.GUEST_NOT_ON_DESTINATION),
              Cause("the guest runs on both sides, or on the wrong one", "its disks would be damaged: look at both")),
    CauseRule("bytes", lambda e: e.failed(*_BYTES),
              Cause("traces, counters and the device disagree on what was moved",
                    "a number of QEMU or of the device is wrong, or the log lost lines")),
    CauseRule("outside", lambda e: e.failed(CheckId.DOWNTIME_OUTSIDE),
              Cause("the guest was heard while no vCPU ran: a clock or a trace is wrong", "compare outside.jsonl with "
                    "the traces")),
    CauseRule("console", lambda e: e.failed(CheckId.GUEST_CONSOLE),
              Cause("the guest's kernel reported trouble", "read it in the side's console file")),
)  # fmt: skip

_CONSEQUENCES = (
    CauseRule("killed", lambda e: e.has(VerdictName.CRASHED) and e.says(r"signal|exit status -\d+"),
              Cause("a QEMU was killed by a signal: by somebody, for want of memory, or it crashed",
                    "dmesg of that host tells a crash (segfault) from want of memory (oom)")),
    CauseRule("other side", _says(r"Connection reset", r"Broken pipe", r"Input/output error",
                                  r"Unable to write to socket", r"Failed to connect", r"Channel error"),
              Cause("the connection broke because the other side ended it: these words are about the stream, not about "
                    "the cause", "read what the other side said: destination.stderr, destination.trace")),
    CauseRule("crashed", lambda e: e.has(VerdictName.CRASHED),
              Cause("a QEMU ended, or a guest crashed", "the end of its stderr and console files")),
    CauseRule("passed against the expectation",
              lambda e: e.has(VerdictName.COMPLETED) and e.record.expectation.get("verdict") != "completed",
              Cause("what was expected to stand in the way does not: a fix in QEMU or the driver, another version, or "
                    "an expectation that was never right",
                    "see which QEMU ran (fingerprint), then correct the [[expect]]")),
    CauseRule("another word", lambda e: "expected a reason with" in e.record.mismatch,
              Cause("it ended as expected, in other words: another version of QEMU, or another cause",
                    "compare both texts")),
    CauseRule("another side", lambda e: " by the " in e.record.mismatch,
              Cause("it ended as expected, but the other side said so first", "compare both sides' stderr and traces")),
)  # fmt: skip
RULES = (*_OURS, *_WORDS, *_HANGS, *_CHECKS, *_CONSEQUENCES)
