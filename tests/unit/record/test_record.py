# SPDX-License-Identifier: GPL-2.0-or-later
"""The record on disk: it comes back as it was, and its schema does not drift unseen."""

import contextlib
import json
import re
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_record

from switchover.record.checks import CheckId
from switchover.record.ending import Ending
from switchover.record.errors import UsageError
from switchover.record.measurement import Check, Measurement, NotChecked, make_check
from switchover.record.mismatch import Mismatch, MismatchKind
from switchover.record.record import (
    SCHEMA_VERSION,
    Death,
    HopRecord,
    Race,
    Record,
    Verdict,
    VerdictName,
    exit_code_of,
    parse_record,
    read_record,
    render_record,
)
from switchover.record.units import Direction, Unit
from switchover.report.terminal import render_record as render_terminal
from switchover.report.terminal import render_repeat

DATA = Path(__file__).parent.parent / "data"
NOT_CHECKED = (NotChecked(CheckId.GUEST_CANARY, "guest memory keeps its canary", "head, and md5sum or sha256sum"),)
PROPERTIES: dict[str, dict[str, str]] = {"source": {"x-allow-pre-copy": "off"}, "destination": {}}
ALONE = {"verdict": {"name": "completed", "side": "", "reason": ""}, "mismatch": ""}
EARLIER = ({"verdict": "infrastructure-error", "reason": "hosta does not answer"},)
MISMATCHES = (Mismatch(MismatchKind.FAULT, members=("migration.faults, cut link in active",)),)
DEATHS = (Death("destination", -6),)
OLDER = replace(make_record(), not_checked=NOT_CHECKED, properties=PROPERTIES, alone=ALONE, earlier=EARLIER)
LIMITS = ({"limit_ms": 300, "told_ns": 1, "taken_ns": 1}, {"limit_ms": 1050, "told_ns": 5, "taken_ns": 7})
SEVENTH = replace(OLDER, mismatches=MISMATCHES, deaths=DEATHS)
HOP = HopRecord(
    1,
    Verdict(VerdictName.COMPLETED),
    {"source": "hosta", "destination": "hostb"},
    {"source": {"package": "Debian"}},
    OLDER.measurements,
    OLDER.checks,
    OLDER.downtime,
    OLDER.states,
    PROPERTIES,
    OLDER.clocks,
    OLDER.interventions,
    NOT_CHECKED,
)
INTERVENTIONS = tuple({**one, "at_s": None, "rejected": ""} for one in OLDER.interventions)
WHOLE = replace(SEVENTH, limits=LIMITS, hops=(HOP,), interventions=INTERVENTIONS)
INTERVENTION = {"name": "cancel", "phase": "active", "status": "active", "began_ns": 1, "ended_ns": 2}
SCHEMA = DATA / "record-9.json"
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
TOLD = frozenset(("guest", "lab", "qemu", "source", "destination", "functions", "reason", "parts"))
"""Members that must be of a kind where there are some; Hypothesis takes words from our sources, too."""
OBJECTS = st.dictionaries(st.text().filter(lambda name: name not in TOLD), JSON, max_size=3)
NUMBERS = st.none() | st.integers() | FINITE
RECORDS = st.builds(
    Record,
    case=st.text(),
    repeat=st.integers(min_value=1),
    started=st.text(),
    verdict=st.builds(Verdict, st.sampled_from(VerdictName), st.text(), st.text(), st.sampled_from(Race)),
    settings=OBJECTS,
    fingerprint=OBJECTS,
    seconds=st.dictionaries(st.text(), FINITE, max_size=3),
    measurements=st.lists(
        st.builds(
            Measurement,
            st.text(),
            NUMBERS,
            st.sampled_from(Unit),
            st.sampled_from(Direction),
            st.text(),
            st.text(),
            st.none() | FINITE,
            st.text(),
        ),
        max_size=3,
    ).map(tuple),
    checks=st.lists(
        st.builds(Check, st.sampled_from(CheckId), st.text(), st.booleans(), st.text(), st.text(), subject=st.text()),
        max_size=3,
    ).map(tuple),
    downtime=OBJECTS,
    states=st.dictionaries(st.text(), st.lists(st.text(), max_size=3), max_size=2),
    properties=st.dictionaries(st.text(), st.dictionaries(st.text(), st.text(), max_size=2), max_size=2),
    clocks=OBJECTS,
    expectation=st.dictionaries(st.text(), st.text(), max_size=3),
    mismatch=st.text(),
    mismatches=st.lists(
        st.builds(
            Mismatch,
            st.sampled_from(MismatchKind),
            st.text(),
            st.text(),
            st.text(),
            st.lists(st.text(), max_size=2).map(tuple),
            st.lists(st.text(), max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
    deaths=st.lists(st.builds(Death, st.text(), st.integers(), st.booleans()), max_size=2).map(tuple),
    interventions=st.lists(OBJECTS.map(INTERVENTION.__or__), max_size=2).map(tuple),
    limits=st.lists(OBJECTS.map(LIMITS[0].__or__), max_size=2).map(tuple),
    not_checked=st.lists(st.builds(NotChecked, st.sampled_from(CheckId), st.text(), st.text()), max_size=2).map(tuple),
    alone=st.just({}) | OBJECTS.map(ALONE.__or__),
    earlier=st.lists(OBJECTS, max_size=2).map(tuple),
    ending=st.sampled_from(Ending),
    hops=st.lists(
        st.builds(
            HopRecord,
            st.integers(),
            st.builds(Verdict, st.sampled_from(VerdictName), st.text()),
            st.dictionaries(st.text(), st.text(), max_size=2),
            OBJECTS,
            downtime=OBJECTS,
            checks=st.lists(
                st.builds(Check, st.sampled_from(CheckId), st.text(), st.booleans(), st.text(), st.text()), max_size=2
            ).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
)


@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    """Whatever a record holds, what is written is read back equal, with its verdict as the enumeration's."""
    back = parse_record(render_record(record))
    assert back == record
    assert isinstance(back.verdict.name, VerdictName)
    assert isinstance(back.verdict.race, Race)
    assert all(isinstance(one.kind, MismatchKind) for one in back.mismatches)
    assert all(isinstance(check.id, CheckId) for check in back.checks)
    assert all(isinstance(entry.id, CheckId) for entry in back.not_checked)


def list_keys(value: object, path: str = "") -> list[str]:
    """Every key in a JSON text, with the type of what it holds."""
    match value:
        case dict():
            found = [f"{path} object"] if path else []
            return found + [line for key in sorted(value) for line in list_keys(value[key], f"{path}/{key}")]
        case list():
            return [f"{path} list", *(list_keys(value[0], f"{path}/0") if value else [])]
        case _:
            return [f"{path} {type(value).__name__}"]


def test_the_schema_is_the_golden_one() -> None:
    """Another key or type in ``record.json`` is a change that readers must know: raise the version, then this file."""
    golden = json.loads(SCHEMA.read_text())
    written = json.loads(render_record(WHOLE))
    assert list_keys(written) == list_keys(golden)
    assert golden["schema_version"] == SCHEMA_VERSION


def test_the_golden_record_can_be_read() -> None:
    """A record that was written by version 9 is read for good."""
    record = read_record(SCHEMA)
    assert record == WHOLE
    assert record.measured("downtime.qemu") == 0.256
    assert record.measured("bytes.wire") is None
    assert record.measured("no such") is None


def test_a_record_of_version_8_can_be_read() -> None:
    """In version 8 late heartbeats ended the silence: its numbers of that are of another definition."""
    assert read_record(DATA / "record-8.json") == replace(WHOLE, schema_version=8)


def test_a_record_of_version_7_can_be_read() -> None:
    """In version 7 there were no chains, downtime limits, nor what libvirt sets by itself; guests had less hardware."""
    assert read_record(DATA / "record-7.json") == replace(SEVENTH, schema_version=7)


def test_a_hop_is_read_as_a_record() -> None:
    """Of a single migration: its numbers are found by their names. One that was not tried has no record."""
    hop = WHOLE.at_hop(1)
    assert hop.measured("downtime.qemu") == 0.256
    assert (hop.case, hop.verdict, hop.checks) == (f"{WHOLE.case}, hop 1", HOP.verdict, HOP.checks)
    with pytest.raises(UsageError, match="has no hop 2"):
        WHOLE.at_hop(2)


def test_a_record_of_version_6_can_be_read() -> None:
    """In version 6 an ending and a mismatch were sentences only, by which they are found; nobody told of deaths and
    races.
    """
    assert read_record(DATA / "record-6.json") == replace(OLDER, schema_version=6)
    fields = json.loads((DATA / "record-6.json").read_text()) | {"mismatch": "expected completed, was hung"}
    record = parse_record(json.dumps(fields))
    assert record.mismatches == (Mismatch(MismatchKind.VERDICT, "completed", "hung"),)


@pytest.mark.parametrize(
    ("verdict", "reason", "ending"),
    [
        ("infrastructure-error", "not run: interrupted", Ending.NOT_RUN),
        ("infrastructure-error", "migrate: interrupted", Ending.INTERRUPTED),
        ("infrastructure-error", "interrupted", Ending.INTERRUPTED),
        ("infrastructure-error", "the process of the case died (killed by signal 9)", Ending.LOST),
        ("infrastructure-error", "migrate: x; meanwhile lab host hostb was stopped for 5 of 6 s", Ending.HOST_STARVED),
        ("infrastructure-error", "guest boot: hosta does not answer; it was asked to run: ls", Ending.HOST_LOST),
        ("crashed", "failed: the destination's QEMU was killed by a signal", Ending.KILLED),
        ("crashed", "migrate: source ended with exit status 1.", Ending.BY_ITSELF),
        ("hung", "ack-starved: pending 0 B", Ending.ACK_STARVED),
        ("hung", "not converging: pending 9 MiB", Ending.NOT_CONVERGING),
        ("hung", "no progress at the destination: nothing", Ending.NO_PROGRESS),
        ("hung", "no end: x", Ending.BY_ITSELF),
        ("failed", "not run: interrupted", Ending.BY_ITSELF),
        ("completed", "", Ending.BY_ITSELF),
    ],
)
def test_the_ending_of_an_older_record(verdict: str, reason: str, ending: Ending) -> None:
    """It is found by the sentences of that time; a newer record tells it itself, whatever its sentences are."""
    fields = json.loads((DATA / "record-6.json").read_text())
    fields["verdict"] = {"name": verdict, "side": "", "reason": reason}
    assert parse_record(json.dumps(fields)).ending is ending
    fields |= {"schema_version": 7, "ending": "called-off", "mismatches": []}
    assert parse_record(json.dumps(fields)).ending is Ending.CALLED_OFF


def test_a_record_of_version_5_can_be_read() -> None:
    """In version 5 checks had sentences only, by which their ids are found."""
    assert read_record(DATA / "record-5.json") == replace(OLDER, earlier=(), schema_version=5)


def test_a_check_of_an_older_record_that_nobody_knows() -> None:
    """It is kept with its sentence; and the id of a check of a newer switchover is kept as it is."""
    fields = json.loads((DATA / "record-5.json").read_text())
    fields["checks"][0]["name"] = "device 7 is happy"
    (check,) = parse_record(json.dumps(fields)).checks
    assert (check.id, check.subject, check.name) == (CheckId.UNKNOWN, "", "device 7 is happy")
    fields = json.loads(SCHEMA.read_text())
    fields["checks"][0]["id"] = "device.happy"
    (check,) = parse_record(json.dumps(fields)).checks
    assert check.id == "device.happy"


def make_checks() -> Record:
    """With two devices, one of which lost its seed, and one console."""
    checks = (
        make_check(CheckId.GUEST_BOOT_ID, True, "a", "a"),
        make_check(CheckId.DEVICE_SEED, True, "1", "1", "device 1"),
        make_check(CheckId.DEVICE_SEED, False, "1", "2", "device 2"),
        make_check(CheckId.GUEST_CONSOLE, False, "none", "BUG: x", "source"),
    )
    return replace(make_record(), checks=checks, not_checked=NOT_CHECKED)


def test_a_check_is_had_by_its_id() -> None:
    """And by its subject, which need not be named where there is one only."""
    record = make_checks()
    assert record.check("guest.boot-id") is record.checks[0]
    assert record.check("device.seed", "device 2") is record.checks[2]
    assert record.check(CheckId.GUEST_CONSOLE) is record.check("guest.console", "source") is record.checks[3]
    assert record.failed_checks == record.checks[2:]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (("guest.bootid",), "no check 'guest.bootid'; did you mean 'guest.boot-id'"),
        (("xyz",), "no check 'xyz'; there is: guest.boot-id, device.seed, guest.console"),
        (("guest.canary",), "no check 'guest.canary': it was not made: the guest lacks head, and md5sum"),
        (("device.seed",), "several checks 'device.seed'; there is: 'device 1', 'device 2'"),
        (("device.seed", "device 3"), "no check 'device.seed' of 'device 3'; there is: 'device 1', 'device 2'"),
        (("guest.console", "destination"), "no check 'guest.console' of 'destination'; there is: 'source'"),
        (("guest.boot-id", "source"), "no check 'guest.boot-id' of 'source'; there is: ''"),
    ],
)
def test_a_check_that_a_record_has_not(wanted: tuple[str, ...], words: str) -> None:
    """What there is instead is named; a check that was not made is never taken for one that passed."""
    with pytest.raises(UsageError, match=re.escape(words)):
        make_checks().check(*wanted)


def test_a_record_without_checks_has_none() -> None:
    with pytest.raises(UsageError, match=r"no check 'guest\.boot-id': no check was made\."):
        replace(make_record(), checks=()).check("guest.boot-id")


def test_a_record_of_version_4_can_be_read() -> None:
    """In version 4 no cases shared a guest."""
    record = read_record(DATA / "record-4.json")
    assert record == replace(OLDER, earlier=(), alone={}, schema_version=4)
    assert not record.differs_alone


def test_a_record_of_version_3_can_be_read() -> None:
    """Version 3 knew no properties that were read back, and no driver but QMP."""
    record = read_record(DATA / "record-3.json")
    assert record == replace(make_record(), not_checked=NOT_CHECKED, schema_version=3)


def test_a_record_of_version_2_can_be_read() -> None:
    """Version 2 knew no checks that were not made."""
    record = read_record(DATA / "record-2.json")
    assert record == replace(make_record(), schema_version=2)


def test_a_record_of_version_1_can_be_read() -> None:
    """Version 1 had neither expectation nor interventions; whatever it was of was to complete."""
    record = read_record(DATA / "record-1.json")
    assert record == replace(make_record(), schema_version=1, expectation={}, interventions=())
    assert record.mismatch == ""
    assert exit_code_of([record]) == 0


@pytest.mark.parametrize("name", [name for name in VerdictName if name is not VerdictName.COMPLETED])
def test_what_did_not_complete_in_version_1_was_not_expected(name: VerdictName) -> None:
    """A record of version 1 with another verdict than ``completed`` is not as expected, and its exit code is kept."""
    fields = json.loads((DATA / "record-1.json").read_text())
    fields["verdict"] = {"name": name, "side": "", "reason": "x"}
    record = parse_record(json.dumps(fields))
    assert record.mismatch == f"expected completed, was {name}"
    assert exit_code_of([record]) == (3 if name is VerdictName.INFRASTRUCTURE_ERROR else 1)


def test_a_mismatch_is_not_guessed_in_version_2() -> None:
    """From version 2 on the record itself says whether the case is right."""
    record = replace(make_record(), verdict=Verdict(VerdictName.HUNG), mismatch="")
    assert parse_record(render_record(record)).mismatch == ""


def test_a_newer_record_is_refused() -> None:
    """A record of a version to come is not guessed at."""
    text = render_record(replace(make_record(), schema_version=SCHEMA_VERSION + 1))
    with pytest.raises(UsageError, match=rf"version {SCHEMA_VERSION + 1}; this switchover reads up to") as caught:
        parse_record(text)
    assert caught.value.fix == "update switchover"


def wrong(name: VerdictName, alone: str | None = None) -> Record:
    """A record whose verdict was not the expected one. ``alone``: the mismatch with a guest of its own, if it was run
    again.
    """
    again = {} if alone is None else {"verdict": {}, "mismatch": alone}
    return replace(make_record(), verdict=Verdict(name), mismatch=f"expected something else, was {name}", alone=again)


def right(name: VerdictName) -> Record:
    return replace(make_record(), verdict=Verdict(name), mismatch="")


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([], 0),
        ([right(VerdictName.COMPLETED)], 0),
        ([right(VerdictName.COMPLETED), wrong(VerdictName.INFRASTRUCTURE_ERROR)], 3),
        ([wrong(VerdictName.INFRASTRUCTURE_ERROR), wrong(VerdictName.CHECKS_FAILED)], 1),
        *(([wrong(name)], 1) for name in VerdictName if name != "infrastructure-error"),
        *(([right(name)], 0) for name in VerdictName),
        ([right(VerdictName.HUNG), wrong(VerdictName.COMPLETED)], 1),
        ([right(VerdictName.HUNG), wrong(VerdictName.INFRASTRUCTURE_ERROR)], 3),
        ([wrong(VerdictName.INFRASTRUCTURE_ERROR, "")], 1),
        ([wrong(VerdictName.INFRASTRUCTURE_ERROR, "")] * 2 + [right(VerdictName.COMPLETED)], 1),
        ([wrong(VerdictName.INFRASTRUCTURE_ERROR, "expected something else")], 3),
        ([wrong(VerdictName.HUNG, "")], 1),
    ],
)
def test_the_exit_code_of_records(records: list[Record], code: int) -> None:
    """What was expected is in order, whatever it is; a case that is not right comes before a failed environment. What
    differs alone is not right, be it an infrastructure error: the guest that cases share is a part of what is tested.
    """
    assert exit_code_of(records) == code


FIRST: dict[str, Any] = json.loads(render_record(make_record()))["measurements"][0]


def broken(**changes: Any) -> str:
    return json.dumps(json.loads(render_record(make_record())) | changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        broken(schema_version=None),
        broken(verdict={"name": "no such verdict"}),
        broken(verdict={}),
        broken(verdict=[]),
        broken(measurements=[{"name": "x"}]),
        broken(checks=[{"other": 1}]),
        broken(new_member=1),
        broken(case=None),
        broken(repeat="1"),
        broken(repeat=True),
        broken(repeat=0),
        broken(schema_version="6"),
        broken(seconds={"migrate": "long"}),
        broken(seconds=[1]),
        broken(states={"source": "stop"}),
        broken(expectation=[]),
        broken(mismatch=None),
        broken(interventions=[{}]),
        broken(downtime={"parts": []}),
        broken(downtime=7),
        broken(fingerprint={"guest": "warm"}),
        broken(settings={"source": []}),
        broken(alone={"verdict": {}}),
        broken(started="\ud800"),
        broken(clocks={"source": float("nan")}),
        broken(seconds={"migrate": float("inf")}),
        broken(seconds={"migrate": 10**400}),
        broken(measurements=[{**FIRST, "value": "0.25"}]),
        broken(measurements=[{**FIRST, "unit": 3}]),
        broken(checks=[{"id": "a", "name": "a", "passed": "yes", "expected": "", "observed": ""}]),
        broken(checks=[3]),
        broken(not_checked=[[]]),
        "[" * 100_000,
        '{"schema_version": ' + "[" * 100_000,
        '{"schema_version": ' + "9" * 10_000 + "}",
    ],
)
def test_something_else_is_no_record(text: str) -> None:
    """Text that is no record of ours, or has a value of another type in it, is told as such, and never a bug."""
    with pytest.raises(UsageError, match="not a record of switchover"):
        parse_record(text)


@pytest.mark.parametrize("verdict", ["completed", None])
def test_a_verdict_of_another_shape_is_no_record(verdict: object) -> None:
    """A verdict that is no object is the user's mistake as well."""
    with pytest.raises(UsageError):
        parse_record(broken(verdict=verdict))


def list_places(value: object) -> list[tuple[Any, Any]]:
    """Each container of a JSON value with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in [(value, key), *list_places(inner)]]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_a_record_without_one_of_its_fields_is_a_record_or_the_declared_error(version: int) -> None:
    """Whichever is missing."""
    whole = json.loads((DATA / f"record-{version}.json").read_text())
    for name in whole:
        text = json.dumps({other: value for other, value in whole.items() if other != name})
        with contextlib.suppress(UsageError):
            parse_record(text)


@given(st.sampled_from(range(1, SCHEMA_VERSION + 1)), st.data())
def test_a_mangled_record_is_a_record_or_the_declared_error(version: int, data: st.DataObject) -> None:
    """With any value of any record put in the place of any other, and any bytes cut out or put in, a record is read
    that reports can tell of, or the one declared error is raised.
    """
    fields = json.loads((DATA / f"record-{version}.json").read_text())
    for _ in range(data.draw(st.integers(0, 3))):
        container, key = data.draw(st.sampled_from(list_places(fields)))
        value = data.draw(JSON | st.sampled_from(list_places(fields)).map(lambda place: place[0][place[1]]))
        if data.draw(st.booleans()) and isinstance(container, dict):
            del container[key]
            if not list_places(fields):
                break
        else:
            container[key] = json.loads(json.dumps(value))
    text = json.dumps(fields, ensure_ascii=data.draw(st.booleans())).encode(errors="surrogatepass")
    cut = data.draw(st.integers(0, len(text)))
    mangled = text[:cut] + data.draw(st.just(b"") | st.binary(max_size=4)) + text[cut + data.draw(st.integers(0, 1)) :]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "record.json"
        path.write_bytes(data.draw(st.sampled_from([text, mangled])))
        try:
            record = read_record(path)
        except UsageError:
            return
    assert render_terminal(record)
    assert render_repeat(record)
    assert json.dumps(asdict(record)).encode()
    exit_code_of([record])


def test_a_record_that_is_no_text(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, a directory in the place of the file, or no file at all, are told with the path."""
    path = tmp_path / "record.json"
    for make in (lambda: None, lambda: path.write_bytes(b'{"case": "\xff"}'), path.unlink, path.mkdir):
        make()
        with pytest.raises(UsageError, match=re.escape(str(path))):
            read_record(path)
