# SPDX-License-Identifier: GPL-2.0-or-later
"""Likely causes: a case for each rule, and none where nothing is known."""

from dataclasses import replace

import pytest
from tests.unit.builders import make_record

from switchover.record.checks import CheckId
from switchover.record.ending import Ending
from switchover.record.measurement import make_check
from switchover.record.record import Race, Record, Verdict, VerdictName
from switchover.report.causes import RULES, Evidence, find_causes
from switchover.scenarios.expectation import Expectation, find_mismatches

V = VerdictName


def wrong(
    name: VerdictName,
    said: str = "",
    *,
    mismatch: str = "m",
    check: CheckId | None = None,
    expects: str = "completed",
    ending: Ending = Ending.BY_ITSELF,
    **expected: str,
) -> Record:
    checks = (make_check(check, False, "a", "b"),) if check else ()
    wanted = Expectation(VerdictName(expects), expected.get("side", ""), expected.get("reason", ""))
    return replace(
        make_record(),
        verdict=Verdict(name, reason=said),
        mismatch=mismatch,
        mismatches=find_mismatches(wanted, Verdict(name, reason=said), checks),
        checks=checks,
        expectation={"verdict": expects, **expected},
        ending=ending,
    )


def saying(text: str) -> Evidence:
    """A failed migration, of which somebody said this."""
    return Evidence(wrong(V.FAILED), f"before\n{text}\nafter")


EXAMPLES: dict[str, Evidence] = {
    "not run": Evidence(wrong(V.INFRASTRUCTURE_ERROR, ending=Ending.CALLED_OFF)),
    "interrupted": Evidence(wrong(V.INFRASTRUCTURE_ERROR, ending=Ending.INTERRUPTED)),
    "starved": Evidence(wrong(V.INFRASTRUCTURE_ERROR, ending=Ending.HOST_STARVED)),
    "host lost": Evidence(wrong(V.INFRASTRUCTURE_ERROR, ending=Ending.HOST_LOST)),
    "disk full": saying("[Errno 28] No space left on device"),
    "kvm": saying("Could not access KVM kernel module: Permission denied"),
    "memlock": saying("vfio_container_dma_map(0x55) = -12 (Cannot allocate memory)\nvfio: Cannot allocate memory"),
    "cancel": Evidence(
        replace(make_record(), verdict=Verdict(V.FAILED, "source", race=Race.FAILED), mismatch="m"),
        "Channel error: Input/output error",
    ),
    "ack without return path": saying("Capability 'switchover-ack' requires capability 'return-path'"),
    "ack not used": saying("0000:00:03.0: Received INIT_DATA_SENT but switchover ack is not used"),
    "ack underflow": saying("Switchover ack pending num underflowed"),
    "late initial data": saying("Switchover ACK was requested by 1 devices during switchover"),
    "ack unknown": saying("dut: Unknown tag 0xffffffffef100005"),
    "other machine": saying("Machine type received is 'pc-q35-10.0' and local is 'pc-q35-9.2'"),
    "no such property": saying("Property 'vfio-pci.x-allow-pre-copy' not found"),
    "memory differs": saying("Size mismatch: pc.ram: 0x10000000 != 0x20000000: Invalid argument"),
    "no migration in kernel": saying("dut: VFIO migration is not supported in kernel"),
    "enable-migration off": saying("dut: Migration is disabled for VFIO device"),
    "no STOP_COPY": saying("dut: Migration couldn't be initialized for VFIO device, err: 22 (Invalid argument)"),
    "no dirty tracking": saying("dut: VFIO device doesn't support device and IOMMU dirty tracking"),
    "no P2P": saying("Multiple VFIO devices migration is supported only if all of them support P2P migration"),
    "vIOMMU": saying("dut: Migration is currently not supported with vIOMMU enabled"),
    "much memory": saying("Migration is currently not supported with large memory VM due to dirty tracking limitation"),
    "only-migratable": saying("disallowing migration blocker (--only-migratable) for: dut: x"),
    "postcopy": saying("dut: VFIO migration is not supported with postcopy migration"),
    "background snapshot": saying("dut: VFIO migration is not supported with background snapshot"),
    "added while migrating": saying("disallowing migration blocker (migration/snapshot in progress) for: x"),
    "transfer without multifd": saying("dut: Multifd device transfer requested but unsupported in the current config"),
    "transfer at source": saying("dut: got device state packet but not doing multifd transfer"),
    "transfer at destination": saying("got DEV_CONFIG_STATE in main migration channel but doing multifd transfer"),
    "load-config-after-iter differs": saying("dut: got DEV_CONFIG_LOAD_READY but was disabled"),
    "queued buffers": saying("dut: queuing state buffer 7 would exceed the size max of 4096"),
    "config space differs": saying("dut: Failed to load device config space"),
    "state change, reset": saying("Failed setting device state to STOP_COPY. Recover state is ERROR. Resetting device"),
    "state change": saying("dut: Failed setting device state to PRE_COPY. Setting device in recover state RUNNING"),
    "out of sync": saying("dut: data_fd out of sync"),
    "panic": saying("[ 1.0] Kernel panic - not syncing: sysrq triggered crash"),
    "oops": saying("[ 1.0] Oops: 0002 [#1] SMP"),
    "ack-starved": Evidence(wrong(V.HUNG, ending=Ending.ACK_STARVED)),
    "not converging": Evidence(wrong(V.HUNG, ending=Ending.NOT_CONVERGING)),
    "no progress": Evidence(wrong(V.HUNG, ending=Ending.NO_PROGRESS)),
    "too slow": Evidence(wrong(V.HUNG, "migrate: the settling did not end")),
    "fault not made": Evidence(wrong(V.COMPLETED, check=CheckId.MIGRATION_FAULTS)),
    "device fault not made": Evidence(wrong(V.FAILED, check=CheckId.DEVICE_FAULT)),
    "device state": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.DEVICE_CHECKSUM_BY_GUEST)),
    "memory": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.DEVICE_DMA)),
    "another boot": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.GUEST_BOOT_ID)),
    "interrupts": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.DEVICE_INTERRUPTS_AT_A_RATE)),
    "second migration": Evidence(wrong(V.FAILED, check=CheckId.MIGRATION_AGAIN)),
    "two guests": Evidence(wrong(V.FAILED, check=CheckId.GUEST_NOT_ON_DESTINATION)),
    "bytes": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.BYTES_RESIDUAL)),
    "outside": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.DOWNTIME_OUTSIDE)),
    "console": Evidence(wrong(V.CHECKS_FAILED, check=CheckId.GUEST_CONSOLE)),
    "killed": Evidence(wrong(V.CRASHED, ending=Ending.KILLED)),
    "other side": saying("Unable to write to socket: Connection reset by peer"),
    "crashed": Evidence(wrong(V.CRASHED), "QEMU ended with exit status 1."),
    "passed against the expectation": Evidence(wrong(V.COMPLETED, expects="blocked")),
    "another word": Evidence(wrong(V.BLOCKED, "y", expects="blocked", reason="x")),
    "another side": Evidence(wrong(V.FAILED, expects="failed", side="source")),
}


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


def test_what_was_said_of_other_things() -> None:
    """A completion has no cause among QEMU's words, and a check that failed after an expected refusal has its own."""
    blocker = "dut: VFIO migration is not supported in kernel"
    (passed,) = find_causes(Evidence(wrong(V.COMPLETED, expects="blocked"), blocker))
    assert "stand in the way" in passed.likely
    record = wrong(V.BLOCKED, blocker, check=CheckId.MIGRATION_AGAIN, expects="blocked")
    (again,) = find_causes(Evidence(record, blocker))
    assert "cannot be migrated any more" in again.likely


def test_nothing_known() -> None:
    """A failure that no rule knows has no cause, and neither has a repeat that is in order."""
    assert find_causes(saying("something else")) == []
    assert find_causes(Evidence(make_record())) == []


def test_causes_are_sentences_for_people() -> None:
    """Each says what it is."""
    assert all(rule.cause.likely for rule in RULES)


SENTENCES = (
    "not run: interrupted",
    "migrate: interrupted",
    "lab host hostb was stopped for 58 of 60 s",
    "hosta does not answer; it was asked to run: ls",
    "x cannot be written.",
    "ack-starved: pending 0 B",
    "not converging: pending 9 MiB",
    "the destination's QEMU was killed by a signal",
    "expected a reason with 'x'",
    "expected failed by the source, was by the destination",
    "blocked as expected, and then not in order: x",
)


@pytest.mark.parametrize("name", list(V))
@pytest.mark.parametrize("sentence", SENTENCES)
def test_our_own_sentences_decide_nothing(name: VerdictName, sentence: str) -> None:
    """The causes of a record are the same whatever our sentences in it say: other words are no other cause."""
    plain = wrong(name, expects=str(name))
    told = wrong(name, sentence, mismatch=sentence, expects=str(name))
    assert find_causes(Evidence(told, sentence)) == find_causes(Evidence(plain))
