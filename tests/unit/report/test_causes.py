# SPDX-License-Identifier: GPL-2.0-or-later
"""Likely causes: a case for each rule, and none where nothing is known."""

from dataclasses import replace

import pytest
from tests.unit.builders import make_record

from switchover.record.checks import CheckId
from switchover.record.measurement import make_check
from switchover.record.record import Record, Verdict, VerdictName
from switchover.report.causes import RULES, Evidence, find_causes

V = VerdictName


def wrong(
    name: VerdictName,
    reason: str = "",
    *,
    mismatch: str = "m",
    check: CheckId | None = None,
    expects: str = "completed",
) -> Record:
    checks = (make_check(check, False, "a", "b"),) if check else ()
    return replace(
        make_record(),
        verdict=Verdict(name, reason=reason),
        mismatch=mismatch,
        checks=checks,
        expectation={"verdict": expects},
    )


def saying(text: str) -> Evidence:
    """A failed migration, of which somebody said this."""
    return Evidence(wrong(V.FAILED), f"before\n{text}\nafter")


EXAMPLES: dict[str, Evidence] = {
    "not run": Evidence(wrong(V.INFRASTRUCTURE_ERROR, "not run: interrupted")),
    "interrupted": Evidence(wrong(V.INFRASTRUCTURE_ERROR, "migrate: interrupted")),
    "starved": Evidence(
        wrong(
            V.INFRASTRUCTURE_ERROR,
            "migrate: Waited 60 s; meanwhile lab host hostb was stopped for 58.0 of 60.0 s (its QEMU, by a signal)",
        )
    ),
    "host lost": Evidence(wrong(V.INFRASTRUCTURE_ERROR), "guest boot: hosta does not answer"),
    "disk full": saying("x cannot be written."),
    "mdev": Evidence(wrong(V.INFRASTRUCTURE_ERROR), "hosta makes no mediated device of type refdev-4vec."),
    "kvm": saying("Could not access KVM kernel module: Permission denied"),
    "memlock": saying("vfio_container_dma_map(0x55) = -12 (Cannot allocate memory)\nvfio: Cannot allocate memory"),
    "ack without return path": saying("Capability 'switchover-ack' requires capability 'return-path'"),
    "A4, A6": saying("0000:00:03.0: Received INIT_DATA_SENT but switchover ack is not used"),
    "A10": saying("Switchover ack pending num underflowed"),
    "A12": saying("Switchover ACK was requested by 1 devices during switchover"),
    "A13": saying("dut: Unknown tag 0xffffffffef100005"),
    "A15": saying("Machine type received is 'pc-q35-10.0' and local is 'pc-q35-9.2'"),
    "A16": saying("Property 'vfio-pci.x-allow-pre-copy' not found"),
    "memory differs": saying("Size mismatch: pc.ram: 0x10000000 != 0x20000000: Invalid argument"),
    "B1": saying("dut: VFIO migration is not supported in kernel"),
    "B1, off": saying("dut: Migration is disabled for VFIO device"),
    "B2": saying("dut: Migration couldn't be initialized for VFIO device, err: 22 (Invalid argument)"),
    "B3": saying("dut: VFIO device doesn't support device and IOMMU dirty tracking"),
    "B4": saying("Multiple VFIO devices migration is supported only if all of them support P2P migration"),
    "B5": saying("dut: Migration is currently not supported with vIOMMU enabled"),
    "B6": saying("Migration is currently not supported with large memory VM due to dirty tracking limitation"),
    "B7": saying("disallowing migration blocker (--only-migratable) for: dut: x"),
    "B8": saying("dut: VFIO migration is not supported with postcopy migration"),
    "B9": saying("dut: VFIO migration is not supported with background snapshot"),
    "B10": saying("disallowing migration blocker (migration/snapshot in progress) for: x"),
    "C1": saying("dut: Multifd device transfer requested but unsupported in the current config"),
    "C2": saying("dut: got device state packet but not doing multifd transfer"),
    "C3": saying("dut: got DEV_CONFIG_STATE in main migration channel but doing multifd transfer"),
    "C4": saying("dut: got DEV_CONFIG_LOAD_READY but was disabled"),
    "C5": saying("dut: queuing state buffer 7 would exceed the size max of 4096"),
    "C6": saying("dut: Failed to load device config space"),
    "D, recover error": saying("Failed setting device state to STOP_COPY. Recover state is ERROR. Resetting device"),
    "D, set_state": saying("dut: Failed setting device state to PRE_COPY. Setting device in recover state RUNNING"),
    "D, out of sync": saying("dut: data_fd out of sync"),
    "panic": saying("[ 1.0] Kernel panic - not syncing: sysrq triggered crash"),
    "oops": saying("[ 1.0] Oops: 0002 [#1] SMP"),
    "ack-starved": Evidence(wrong(V.HUNG, "ack-starved: pending 0 B is below the threshold")),
    "not converging": Evidence(wrong(V.HUNG, "not converging: pending 9 MiB stays above the threshold")),
    "no progress": Evidence(wrong(V.HUNG, "no progress at the destination: nothing is sent")),
    "too slow": Evidence(wrong(V.HUNG, "migrate: the settling did not end")),
    "fault not made": Evidence(wrong(V.COMPLETED, check=CheckId.MIGRATION_FAULTS)),
    "device state": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.DEVICE_CHECKSUM_BY_GUEST)),
    "memory": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.DEVICE_DMA)),
    "another boot": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.GUEST_BOOT_ID)),
    "interrupts": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.DEVICE_INTERRUPTS_AT_A_RATE)),
    "second migration": Evidence(wrong(V.FAILED, check=CheckId.MIGRATION_AGAIN)),
    "two guests": Evidence(wrong(V.FAILED, check=CheckId.GUEST_NOT_ON_DESTINATION)),
    "bytes": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.BYTES_RESIDUAL)),
    "outside": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.DOWNTIME_OUTSIDE)),
    "console": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.GUEST_CONSOLE)),
    "killed": Evidence(wrong(V.CRASHED), "the destination's QEMU was killed by a signal"),
    "other side": saying("Unable to write to socket: Connection reset by peer"),
    "crashed": Evidence(wrong(V.CRASHED), "QEMU ended with exit status 1."),
    "passed against the expectation": Evidence(wrong(V.COMPLETED, expects="blocked")),
    "another word": Evidence(wrong(V.BLOCKED, mismatch="expected a reason with 'x', was: y")),
    "another side": Evidence(wrong(V.FAILED, mismatch="expected failed by the source, was by the destination")),
}  # fmt: skip


def test_every_rule_has_an_example() -> None:
    """No rule is without its test, and no two have one name."""
    assert [rule.name for rule in RULES] == list(EXAMPLES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule(rule: object) -> None:
    """A rule fits its example, and its cause is among those that are told."""
    (found,) = [entry for entry in RULES if entry is rule]
    assert found.fits(EXAMPLES[found.name])
    assert found.cause in find_causes(EXAMPLES[found.name])


def test_words_of_the_other_side_come_last() -> None:
    """A broken stream is a consequence: what the other side says of the device is the cause."""
    text = "Connection reset by peer\ndut: got DEV_CONFIG_LOAD_READY but was disabled"
    (cause,) = find_causes(saying(text))
    assert "load-config-after-iter" in cause.likely


@pytest.mark.parametrize("words", ["but checks failed", "and then not in order"])
def test_what_was_said_of_other_things(words: str) -> None:
    """A completion has no cause among QEMU's words, and a check that failed after an expected refusal has its own. The
    second words are those of older records.
    """
    blocker = "dut: VFIO migration is not supported in kernel"
    (passed,) = find_causes(Evidence(wrong(V.COMPLETED, expects="blocked"), blocker))
    assert "stand in the way" in passed.likely
    mismatch = f"blocked as expected, {words}: a second migration completes, with all its checks"
    record = wrong(V.BLOCKED, blocker, mismatch=mismatch, check=CheckId.MIGRATION_AGAIN, expects="blocked")
    (again,) = find_causes(Evidence(record, blocker))
    assert "cannot be migrated any more" in again.likely


def test_nothing_known() -> None:
    """A failure that no rule knows has no cause, and neither has a repeat that is in order."""
    assert find_causes(saying("something else")) == []
    assert find_causes(Evidence(make_record())) == []


def test_causes_are_sentences_for_people() -> None:
    """Each says what it is."""
    assert all(rule.cause.likely for rule in RULES)
