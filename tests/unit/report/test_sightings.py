# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rules held in a run: by its records, judged by the rules of today."""

from dataclasses import asdict, replace
from typing import Any

import pytest
from tests.unit.builders import make_record
from tests.unit.scenarios.samples import plan

from switchover.devices.known_qemus import find_known_qemu
from switchover.record.mismatch import Mismatch, MismatchKind
from switchover.record.record import Race, Record, Verdict, VerdictName
from switchover.report.sightings import find_sightings
from switchover.scenarios.oracle import find_rule
from switchover.scenarios.oracle.seen import Sighting
from switchover.scenarios.recorded import render_settings

V = VerdictName
MEMORY = "destination.memory_mib = 128"
SIZE = Verdict(V.FAILED, "destination", "failed: Size mismatch: pc.ram: 0x10000000 != 0x8000000: Invalid argument")


def version(text: str) -> dict[str, Any]:
    return {"qemu": dict(zip(("major", "minor", "micro"), map(int, text.split(".")), strict=True)), "package": ""}


def record_of(
    changes: str, verdict: Verdict, versions: tuple[str, str] = ("10.0.13", "10.0.13"), **more: Any
) -> Record:
    (planned,) = plan(f'[axes]\n[[axes.it]]\nname = "x"\nset = {{ {changes} }}\n')
    qemu = {side: version(text) for side, text in zip(("source", "destination"), versions, strict=True) if text}
    whole = {
        "case": "it.x",
        "started": "2026-11-30T17:00:00+00:00",
        "verdict": verdict,
        "checks": (),
        "mismatches": (),
        "mismatch": "",
        "deaths": (),
        "not_checked": (),
        "driver": {},
        "settings": render_settings(planned.case),
        "fingerprint": {"qemu": qemu},
        "expectation": asdict(planned.case.expectation),
        **more,
    }
    return replace(make_record(), **whole)


def test_a_rule_that_held() -> None:
    """With the case, the programs and the day."""
    assert list(find_sightings([record_of(MEMORY, SIZE)])) == [
        ("other-memory", Sighting("it.x", "QEMU 10.0.13", "2026-11-30"))
    ]


@pytest.mark.parametrize(
    "record",
    [
        record_of(MEMORY, Verdict(V.COMPLETED)),
        record_of(MEMORY, replace(SIZE, reason="failed: something else")),
        record_of(MEMORY, replace(SIZE, race=Race.FAILED)),
        record_of(MEMORY, Verdict(V.NOT_SUPPORTED, reason="no KVM")),
        record_of(MEMORY, SIZE, mismatches=(Mismatch(MismatchKind.FAULT, members=("cancel in active",)),)),
        record_of("vcpus = 2", Verdict(V.COMPLETED)),
        record_of(MEMORY, SIZE, settings={}),
    ],
)
def test_what_shows_nothing(record: Record) -> None:
    """Another verdict, other words, a race, a fault that was not made, a case without a rule, one that was not run."""
    assert list(find_sightings([record])) == []


def test_an_expectation_of_then_does_not_count() -> None:
    """A case that was not as expected then is right by the rule of today."""
    then = {"verdict": "completed", "side": "", "reason": "", "because": "", "pre_copy": "", "checks": []}
    told = (Mismatch(MismatchKind.VERDICT, "completed", "failed"),)
    record = record_of(MEMORY, SIZE, expectation=then, mismatches=told, mismatch="expected completed, was failed")
    assert [rule for rule, _ in find_sightings([record])] == ["other-memory"]


def test_programs() -> None:
    """Both QEMUs where they differ; libvirt's version from any case; by its digest a QEMU that did not start."""
    different = record_of(MEMORY + ', destination.qemu = "/q", machine = "pc-q35-10.0"', SIZE, ("10.0.13", "11.1.3"))
    blocked = Verdict(V.BLOCKED, "source", "Target domain max memory 131072 does not match source 262144")
    by_libvirt = record_of(f'driver = "libvirt", {MEMORY}', blocked)
    other = record_of('driver = "libvirt"', Verdict(V.COMPLETED), driver={"versions": {"source": "11.3.0"}})
    known = find_known_qemu("qemu-10.0")
    assert known is not None
    silent = record_of(
        'accel = "tcg"', Verdict(V.REFUSED, reason="start source: CPU model 'host' requires KVM or HVF"), ("", "")
    )
    digests = {f"sha256 {silent.settings['source']['guest']['qemu']}": known.digest}
    named = replace(silent, fingerprint={"source": digests, "destination": digests})
    found = [one.programs for _, one in find_sightings([different, by_libvirt, other, silent, named])]
    assert found == [
        "QEMU 10.0.13 to 11.1.3",
        "QEMU 10.0.13, libvirt 11.3.0",
        "QEMU ?",
        "QEMU 10.0.13",
    ]


def test_a_rule_that_holds_only_where_it_is_named() -> None:
    """It is seen where a scenario expected what it says, and not in a case that expected something else."""
    words = "Property 'vfio-pci.x-allow-pre-copy' not found"
    rule = find_rule("x-allow-pre-copy-on-a-release")
    assert rule is not None
    expected = {"verdict": "refused", "reason": rule.expectation.reason}
    record = record_of(
        'device.allow_pre_copy = "off"', Verdict(V.REFUSED, reason=f"start source: {words}"), expectation=expected
    )
    assert [rule for rule, _ in find_sightings([record])] == ["x-allow-pre-copy-on-a-release"]
    assert list(find_sightings([replace(record, expectation={"verdict": "completed", "reason": ""})])) == []
