# SPDX-License-Identifier: GPL-2.0-or-later
"""Which rules of the oracle held in a run, from its records alone. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from switchover.devices.known_qemus import find_known_qemu
from switchover.guests.spec import GuestSpec
from switchover.record.errors import UsageError
from switchover.record.mismatch import MismatchKind
from switchover.record.record import Record, VerdictName
from switchover.scenarios.case import Case
from switchover.scenarios.expectation import find_mismatches
from switchover.scenarios.oracle import DEFAULT, ORACLE, Qemus, Rule, choose_rule, make_traits
from switchover.scenarios.oracle.rows import COMPLETING
from switchover.scenarios.oracle.seen import Sighting
from switchover.scenarios.recorded import parse_case

SIDES = ("source", "destination")
_SAYS_NOTHING = (VerdictName.NOT_SUPPORTED, VerdictName.INFRASTRUCTURE_ERROR)


def find_sightings(records: Sequence[Record]) -> Iterator[tuple[str, Sighting]]:
    """Of the records of a run, by the name of a rule, each case in which it held; by the name of a row of the oracle,
    those that complete without one. A case is judged again, by the rules of today: one whose expectation was another
    one then may be right by them.
    """
    run_by = _find_run_by(records)
    for record in records:
        try:
            case = parse_case(record)
        except UsageError:
            continue  # it was not run, or is of an older version
        rule = find_rule_of(record, case)
        name = COMPLETING.get(record.case, "") if rule is DEFAULT else rule.name
        if name and _holds(rule, record):
            yield name, Sighting(record.case, describe_programs(record, case, run_by), record.started[:10])


def find_rule_of(record: Record, case: Case) -> Rule:
    """The rule that a case of a record meets, or one that holds only where it is named, and was."""
    traits = make_traits(case, _find_qemus(record, case))
    named = (rule for rule in ORACLE if not rule.automatic and rule.condition(traits) and _is_of(rule, record))
    return next(named, None) or choose_rule(traits)


def _is_of(rule: Rule, record: Record) -> bool:
    """Whether a record was expected to end as a rule says."""
    told, expected = record.expectation, rule.expectation
    return (told.get("verdict"), told.get("reason")) == (expected.verdict, expected.reason)


def _holds(rule: Rule, record: Record) -> bool:
    if record.verdict.name in _SAYS_NOTHING or record.verdict.race:
        return False
    if any(one.kind is MismatchKind.FAULT for one in record.mismatches):
        return False  # what was to be done to the migration was not
    return not find_mismatches(rule.expectation, record.verdict, record.checks, (), record.deaths, record.not_checked)


def list_versions(record: Record, case: Case) -> tuple[str, str]:
    """Versions of the QEMUs of both sides. One that ended before it could be asked is told by its digest."""
    told: Mapping[str, Any] = record.fingerprint.get("qemu", {})
    source, destination = (
        _render_version(told.get(side)) or _find_version(record, side, guest)
        for side, guest in zip(SIDES, (case.source.guest, case.destination.guest), strict=True)
    )
    return source, destination


def _render_version(told: Mapping[str, Any] | None) -> str:
    version = (told or {}).get("qemu", {})
    return ".".join(str(version[part]) for part in ("major", "minor", "micro")) if version else ""


def _find_version(record: Record, side: str, guest: GuestSpec) -> str:
    known = find_known_qemu(guest.qemu)
    digest = record.fingerprint.get(side, {}).get(f"sha256 {guest.qemu}", "")
    return known.version if known is not None and known.digest == digest else ""


def _find_qemus(record: Record, case: Case) -> Qemus:
    """What is kept of the QEMUs of a record, where they are those that it was kept of."""
    versions = list_versions(record, case)
    found = (find_known_qemu(side.guest.qemu) for side in (case.source, case.destination))
    source, destination = (
        known if known is not None and known.version == version else None
        for known, version in zip(found, versions, strict=True)
    )
    return source, destination


def _find_run_by(records: Iterable[Record]) -> dict[str, str]:
    """By the driver that has them, what runs QEMUs in a run, with its version, as far as a record of it says so."""
    found: dict[str, str] = {}
    for record in records:
        name = (record.settings.get("source", {}).get("guest") or {}).get("driver", "")
        version = (record.driver or {}).get("versions", {}).get("source", "")
        told = record.fingerprint.get("run by", {}).get("source", "") or (f"{name} {version}" if version else "")
        if told:
            found[name] = told
    return found


def describe_programs(record: Record, case: Case, run_by: Mapping[str, str]) -> str:
    """``QEMU 10.0.13``, or ``QEMU 10.0.13 to 11.1.3, libvirt 11.3.0``."""
    source, destination = (version or "?" for version in list_versions(record, case))
    patched = " with x-allow-pre-copy" if case.source.guest.qemu == "qemu-x-allow-pre-copy" else ""
    programs = [f"QEMU {source}{patched}" if source == destination else f"QEMU {source} to {destination}"]
    driver = case.source.guest.driver
    if driver != GuestSpec.driver:
        programs.append(run_by.get(driver, driver))
    return ", ".join(programs)
