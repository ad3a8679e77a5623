# SPDX-License-Identifier: GPL-2.0-or-later
"""``metrics.jsonl``: a row for each number, what compares with what, and lines that are none."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_measurement, make_record
from tests.unit.runs import make_line, make_run

from switchover.record.errors import UsageError
from switchover.record.record import HopRecord, Record, Verdict, VerdictName
from switchover.report.formats import write_reports
from switchover.report.metrics import (
    METRICS_FILE,
    MetricRow,
    list_metrics,
    make_fingerprint,
    parse_row,
    read_metrics,
    render_row,
)
from switchover.report.rundata import read_run

FINGERPRINT: Mapping[str, Any] = {
    "switchover": "0.1.0",
    "commit": "0123456789ab",
    "controller": {"host": "local", "kernel": "6.1", "cpu": "EPYC", "cpus": "2"},
    "source": {"host": "hosta", "kernel": "6.12", "cpu": "TCG", "cpus": "1", "sha256 qemu-system-x86_64": "ab" * 32},
    "destination": {
        "host": "hostb",
        "kernel": "6.12",
        "cpu": "TCG",
        "cpus": "1",
        "sha256 qemu-system-x86_64": "ab" * 32,
    },
    "lab": {"images": {"guest": "1"}, "accelerator": {"accel": "tcg", "cpu": "max", "vcpus": 1}, "pace": 1.0},
    "guest": {"start": "warm", "migration": 1},
    "qemu": {
        "source": {"qemu": {"major": 10, "minor": 0, "micro": 13}, "package": "Debian 1"},
        "destination": {"qemu": {"major": 11, "minor": 1, "micro": 3}, "package": ""},
    },
}


def make_side(address: str = "10.77.0.101", **knobs: object) -> dict[str, object]:
    return {
        "guest": {"name": "guest", "kernel": "", "driver": "qmp", "address": address, "boot_timeout_s": 180},
        "devices": [{"type": "refdev-4vec", "knobs": knobs}],
    }


def make_measured(**changes: object) -> Record:
    record = replace(
        make_record("a"),
        fingerprint=FINGERPRINT,
        settings={"source": make_side(), "destination": make_side(), "migration": {"timeout_s": 180}},
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def compare(one: Record, other: Record) -> bool:
    """Whether the numbers of two records compare."""
    found = [make_fingerprint(record) for record in (one, other)]
    rows = [MetricRow("", "", "", "", "", 0, 1, "", True, "", 1, None, "", "", 1, "", words) for words in found]
    return rows[0].comparable == rows[1].comparable


def test_a_row_for_each_number(tmp_path: Path) -> None:
    """A run leaves a line for each number of each repeat that has numbers, and they come back as they were; what is
    missing is null, with its reason.
    """
    missing = replace(make_measurement("downtime.outside", None), note="no heartbeat arrived")
    record = make_record("a")
    record = replace(record, measurements=(*record.measurements, missing))
    failed = replace(record, repeat=2, measurements=())
    run = read_run(make_run(tmp_path, [record, failed], [make_line("a", 2)]))
    write_reports(run, run.directory)
    rows = list(read_metrics(run.directory.path / METRICS_FILE))
    assert rows == list(list_metrics(run))
    told = [(row.case, row.repeat, row.metric, row.value, row.note) for row in rows]
    assert told == [
        (record.case, record.repeat, one.name, one.value, one.note)
        for record in run.records
        for one in record.measurements
    ]
    assert (rows[-1].value, rows[-1].note) == (None, "no heartbeat arrived")
    assert {(row.run, row.scenario, row.right) for row in rows} == {(run.directory.path.name, "precopy", True)}


def test_hops_of_a_chain_are_rows_of_their_own(tmp_path: Path) -> None:
    """Each migration of a chain has its numbers under its own number, and the chain itself has none."""
    verdict = Verdict(VerdictName.COMPLETED)
    hops = tuple(
        HopRecord(number, verdict, {}, measurements=(make_measurement("downtime.qemu", 0.1 * number),))
        for number in (1, 2)
    )
    run = read_run(make_run(tmp_path, [replace(make_record("a"), measurements=(), hops=hops)], [make_line("a")]))
    assert [(row.hop, row.value) for row in list_metrics(run)] == [(1, 0.1), (2, 0.2)]


def test_what_a_number_was_measured_on() -> None:
    """Of two sides that are alike one word, of others both; nothing for what is not known."""
    words = make_fingerprint(make_measured())
    assert words["qemu"] == "10.0.13 (Debian 1) → 11.1.3"
    assert words["hosts"] == "TCG, 1 CPUs"
    assert (words["start"], words["driver"], words["device"]) == ("warm", "qmp", "refdev-4vec")
    assert words["commit"] == "0123456789ab"
    bare = make_fingerprint(make_measured(fingerprint={}, settings={}))
    assert bare == {"guest_kernel": "of the image"}


@pytest.mark.parametrize(
    ("changed", "compares"),
    [
        ({}, True),
        ({"source": make_side("10.77.0.102")}, True),
        ({"source": make_side(later_knob=0)}, True),
        ({"migration": {"timeout_s": 900}}, True),
        ({"source": make_side(initial_bytes=1)}, False),
    ],
    ids=["nothing", "address", "knob that is off", "bound", "knob"],
)
def test_the_question_is_part_of_what_compares(changed: Mapping[str, object], compares: bool) -> None:
    """Another place of the guest, another bound, and a knob that older records lack and that is off are no other
    question; a knob is.
    """
    one = make_measured()
    assert compare(one, replace(one, settings={**one.settings, **changed})) is compares


@pytest.mark.parametrize(
    "name",
    [
        *("mac", "address", "bridge", "ssh_key", "ssh_host_key", "ssh_user", "hosts", "pci"),
        *("timeout_s", "settle_timeout_s", "hang_s", "boot_timeout_s", "given_bounds"),
    ],
)
def test_where_a_case_ran_is_no_part_of_its_question(name: str) -> None:
    """Nor is how long it might take, wherever in the settings it is said."""
    one = make_measured()
    side = make_side()
    changed = {**side, "guest": {**side["guest"], name: "another"}}  # type: ignore[dict-item]
    assert compare(one, replace(one, settings={**one.settings, "source": changed, name: "another"}))


def test_what_programs_and_devices_are_called() -> None:
    """A QEMU that did not tell its version is known by its file; PCI functions by numbers and driver; images of a lab
    by one digest.
    """
    functions = {"source dut": {"numbers": "15b3:101e", "driver": "mlx5_vfio_pci"}}
    words = make_fingerprint(make_measured(fingerprint={**FINGERPRINT, "qemu": {}, "functions": functions}))
    assert words["qemu"] == words["qemu_digest"] == ("ab" * 6)
    assert words["device"] == "refdev-4vec, 15b3:101e by mlx5_vfio_pci"
    other = {**FINGERPRINT["lab"], "images": {"guest": "2"}}
    assert words["lab"]
    assert words["lab"] != make_fingerprint(make_measured(fingerprint={**FINGERPRINT, "lab": other}))["lab"]


def test_machines_do_not_compare_but_programs_do() -> None:
    """Times of another controller or another start of the guest are of another kind; another QEMU or commit is what
    a trend is to show.
    """
    one = make_measured()

    def changed(**members: object) -> Record:
        return replace(one, fingerprint={**FINGERPRINT, **members})

    assert not compare(one, changed(controller={"cpu": "Xeon", "cpus": "2"}))
    assert not compare(one, changed(source={**FINGERPRINT["source"], "cpus": "2"}))
    assert not compare(one, changed(lab={**FINGERPRINT["lab"], "accelerator": {"accel": "kvm", "cpu": "host"}}))
    assert not compare(one, changed(guest={"start": "cold"}))
    assert not compare(one, changed(guest={"start": "warm", "migration": 2}))
    assert compare(one, changed(qemu={}, commit="other", switchover="9"))


def test_a_number_whose_definition_changed_does_not_compare(tmp_path: Path) -> None:
    """Outside downtime of a record before version 9 has the first version, one of today the second."""
    versions = []
    for schema_version in (8, 9):
        record = make_measured(schema_version=schema_version, measurements=(make_measurement("downtime.outside", 0.3),))
        with_run = read_run_of(record)
        versions.append([row.definition for row in with_run])
    assert versions == [[1], [2]]


def read_run_of(record: Record) -> list[MetricRow]:
    import tempfile

    with tempfile.TemporaryDirectory() as parent:
        run = make_run(Path(parent), [record], [make_line("a")])
        return list(list_metrics(read_run(run)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not a line"),
        ("[]", "not a line"),
        ("{}", "not a line"),
        ('{"run": 1}', "not a line"),
        ("\udcff", "not a line"),
    ],
)
def test_what_is_no_row(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_row(line.encode(errors="surrogateescape"))


def test_a_newer_row_and_its_place(tmp_path: Path) -> None:
    """A line of a newer version, or a damaged one, is told with its file and number."""
    row = MetricRow("r", "", "", "", "c", 0, 1, "completed", True, "m", 1.5, None, "s", "lower", 1, "", {})
    newer = json.dumps(json.loads(render_row(row)) | {"schema_version": 99})
    path = tmp_path / METRICS_FILE
    for second, message in ((newer, "version 99"), ('{"run": ', "not a line")):
        path.write_text(f"{render_row(row)}\n{second}\n")
        with pytest.raises(UsageError, match=rf"{METRICS_FILE}:2: .*{message}"):
            list(read_metrics(path))


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.builds(
    MetricRow,
    value=st.none() | FLOATS | st.integers(-(2**53), 2**53),
    bound=st.none() | FLOATS,
    fingerprint=st.dictionaries(st.text(), st.text(), max_size=2),
    schema_version=st.just(1),
)


@given(ROWS)
def test_a_row_comes_back_as_it_was(row: MetricRow) -> None:
    """Whatever texts and numbers are in it."""
    assert parse_row(render_row(row)) == row
