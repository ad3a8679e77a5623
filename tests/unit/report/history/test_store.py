# SPDX-License-Identifier: GPL-2.0-or-later
"""The history: what is added is found, nothing is lost by writers at once or killed, and files that are none."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.builders import make_record
from tests.unit.runs import make_line, make_run

from switchover.record.errors import NotReady, UsageError
from switchover.report.history.store import History
from switchover.report.metrics import METRICS_FILE, MetricRow, list_metrics, render_row
from switchover.report.rundata import read_run

STARTED = "2026-11-{:02}T12:00:00+00:00"


def make_row(run: str = "a", day: int = 1, repeat: int = 1, value: float | None = 0.5, **changes: object) -> MetricRow:
    row = MetricRow(
        run=run,
        run_started=STARTED.format(day),
        started=STARTED.format(day),
        scenario="s",
        case="c",
        hop=0,
        repeat=repeat,
        verdict="completed",
        right=True,
        metric="downtime.explained",
        value=value,
        bound=0.01,
        unit="s",
        direction="lower",
        definition=1,
        note="",
        fingerprint={"qemu": "10.0.13"},
    )
    return replace(row, **changes)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


def find_all(path: Path) -> list[MetricRow]:
    with History.open(path) as history:
        return history.find_rows("c", "downtime.explained")


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.builds(
    make_row,
    run=st.sampled_from("ab"),
    day=st.integers(1, 3),
    repeat=st.integers(1, 4),
    value=st.none() | FLOATS | st.integers(-(2**60), 2**60),
    bound=st.none() | FLOATS,
    note=st.text(),
    right=st.booleans(),
    fingerprint=st.dictionaries(st.text(), st.text(), max_size=2),
)


@settings(deadline=None, max_examples=30)
@given(st.lists(ROWS, max_size=12, unique_by=lambda row: (row.run, row.run_started, row.repeat)))
def test_what_is_added_is_found(rows: list[MetricRow]) -> None:
    """As it was, the oldest run first, whatever texts and numbers are in it."""
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent, "h")
        with History.open(path, make=True) as history:
            history.add(rows)
        assert find_all(path) == sorted(rows, key=lambda row: (row.run_started, row.run, row.repeat))


def test_a_run_that_is_added_again(path: Path) -> None:
    """It takes the place of what is there of it, as after a run was continued; other runs stay."""
    with History.open(path, make=True) as history:
        history.add([make_row(repeat=1, value=1.0), make_row(repeat=2, value=2.0), make_row("b", 2)])
        history.add([make_row(repeat=1, value=3.0), make_row(repeat=2, value=4.0)])
        assert [(row.run, row.value) for row in history.find_rows("c", "downtime.explained")] == [
            ("a", 3.0),
            ("a", 4.0),
            ("b", 0.5),
        ]
        assert history.count_runs() == 2
        assert [(one.case, one.hop, one.metric, one.runs, one.rows) for one in history.list_series()] == [
            ("c", 0, "downtime.explained", 2, 3)
        ]


def test_an_older_copy_of_a_run(path: Path) -> None:
    """A run that was continued keeps what it has where a copy from before comes in."""
    whole = [make_row(repeat=number, started=STARTED.format(number)) for number in range(1, 5)]
    with History.open(path, make=True) as history:
        history.add(whole)
        history.add(whole[:2])
    assert find_all(path) == whole


def test_hops_are_series_of_their_own(path: Path) -> None:
    with History.open(path, make=True) as history:
        history.add([make_row(hop=1, value=1.0), make_row(hop=2, value=2.0)])
        assert [row.value for row in history.find_rows("c", "downtime.explained", hop=2)] == [2.0]


@settings(deadline=None, max_examples=30)
@given(st.lists(ROWS, max_size=24, unique_by=lambda row: (row.run, row.run_started, row.repeat)), st.integers(1, 4))
def test_the_last_runs_of_a_number(rows: list[MetricRow], runs: int) -> None:
    """Those that began before a time and have a value, of one case and one number, as a reading of all has them."""
    with tempfile.TemporaryDirectory() as parent, History.open(Path(parent) / "h.sqlite", make=True) as history:
        history.add(rows)
        others = [replace(row, case="d") for row in rows] + [replace(row, metric="m") for row in rows]
        history.add(replace(row, run=f"other {row.run}") for row in others)
        before = STARTED.format(3)
        found = history.find_recent(["downtime.explained", "none"], ["c", "none"], before=before, runs=runs)
    usable = [row for row in rows if row.value is not None and row.run_started < before]
    last = sorted({(row.run_started, row.run) for row in usable})[-runs:]
    kept = [row for row in usable if (row.run_started, row.run) in last]
    assert found == sorted(kept, key=lambda row: (row.run_started, row.run, row.repeat))


def test_what_can_be_imported(tmp_path: Path, path: Path) -> None:
    """A run directory with its metrics or, as of an older version, without; a directory of these; a file of metrics;
    another machine's history.
    """
    (tmp_path / "runs").mkdir()
    first = make_run(tmp_path / "runs", [make_record("a")], [make_line("a")])
    second = make_run(tmp_path / "runs", [make_record("a")], [make_line("a")])
    rows = [row for run in (first, second) for row in list_metrics(read_run(run))]
    (second.path / METRICS_FILE).write_text(
        "".join(f"{render_row(row)}\n" for row in rows if row.run == second.path.name)
    )
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{render_row(row)}\n" for row in rows))
    found: list[MetricRow] = []
    for place, runs in ((first.path, 1), (tmp_path / "runs", 2), (file, 2)):
        with History.open(tmp_path / f"of-{place.name}", make=True) as history:
            assert history.import_from(place) == runs
            found = history.find_rows("a", "downtime.explained")
            assert found == [row for row in rows if row.metric == "downtime.explained"][:runs]
    with History.open(path, make=True) as history:
        assert history.import_from(tmp_path / "of-runs") == 2
        assert history.find_rows("a", "downtime.explained") == found


def test_what_cannot_be_imported(tmp_path: Path, path: Path) -> None:
    """It is named, and what was read before stays."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text(f"{render_row(make_row())}\nno row\n")
    with History.open(path, make=True) as history:
        history.add([make_row("kept")])
        for name, words in (("empty", "no run directory"), ("text", "text:2: "), ("missing", "cannot be read")):
            with pytest.raises(UsageError, match=words):
                history.import_from(tmp_path / name)
        assert [row.run for row in history.find_rows("c", "downtime.explained")] == ["kept"]


def make_damaged(path: Path) -> None:
    with History.open(path, make=True) as history:
        history.add([make_row(repeat=number) for number in range(2000)])
    whole = bytearray(path.read_bytes())
    whole[4096:] = b"\xff" * (len(whole) - 4096)
    path.write_bytes(whole)


def make_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")


def make_newer(path: Path) -> None:
    with History.open(path, make=True):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "There is no history"),
        (lambda path: path.write_text(""), "is no history of switchover"),
        (lambda path: path.write_text("no database, but long enough to be one" * 9), "is no history"),
        (make_foreign, "is no history of switchover"),
        (make_newer, "has version 99"),
        (make_damaged, "is damaged"),
    ],
    ids=["missing", "empty", "text", "foreign", "newer", "damaged"],
)
def test_files_that_are_no_history(path: Path, make: object, words: str) -> None:
    """Each is told as what it is, and stays as it is."""
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.exists() else b""
    with pytest.raises(UsageError, match=words):
        find_all(path)
    assert (path.read_bytes() if path.exists() else b"") == before


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the place of a directory: the environment is not ready, and the error names the file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(NotReady, match="cannot be used"), History.open(tmp_path / "file" / "h", make=True):
        pass


def test_a_history_that_nobody_may_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be read, and not added to: the error says so."""
    with History.open(path, make=True) as history:
        history.add([make_row()])
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert find_all(path) == [make_row()]
    with pytest.raises(NotReady, match="readonly"), History.open(path, make=True) as history:
        history.add([make_row("b")])


def test_a_full_disk(path: Path) -> None:
    """What does not fit is not in it, what was there stays, and the error says what to do."""
    with History.open(path, make=True) as history:
        history.add([make_row()])
    much = [make_row("b", repeat=number, note="x" * 999) for number in range(999)]
    with pytest.raises(NotReady, match="free some space"):
        add_to_full(path, much)
    assert find_all(path) == [make_row()]


def add_to_full(path: Path, rows: list[MetricRow]) -> None:
    with History.open(path) as history:
        history._ask("PRAGMA max_page_count = 1")  # no more than there are
        history.add(rows)


def test_somebody_who_writes_for_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one is waited for, and then named as the reason."""
    monkeypatch.setattr("switchover.report.history.store._PATIENCE_S", 0.05)
    with History.open(path, make=True):
        pass
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotReady, match="other process"), History.open(path) as history:
            history.add([make_row()])


WRITER = """
import sys
from pathlib import Path
from tests.unit.report.history.test_store import make_row
from switchover.report.history.store import History
with History.open(Path(sys.argv[1]), make=True) as history:
    for number in range(int(sys.argv[3])):
        rows = [make_row(f"{sys.argv[2]}-{number}", 1 + number % 9, repeat) for repeat in range(1, 51)]
        history.add(rows)
        print(number, flush=True)
"""


def start_writer(path: Path, name: str, runs: int) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-c", WRITER, str(path), name, str(runs)]
    environment = {**os.environ, "PYTHONPATH": "harness:."}
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)


def test_two_runs_that_write_at_once(path: Path) -> None:
    """Also where both find no history and make it: nothing of either is lost."""
    writers = [start_writer(path, name, 20) for name in ("one", "two")]
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    runs: dict[str, int] = {}
    for row in find_all(path):
        runs[row.run] = runs.get(row.run, 0) + 1
    assert runs == {f"{name}-{number}": 50 for name in ("one", "two") for number in range(20)}


def test_a_writer_that_is_killed(path: Path) -> None:
    """Each run is there as a whole or not at all, whoever told of it is there, and others go on."""
    writer = start_writer(path, "killed", 100_000)
    assert writer.stdout is not None
    told = [writer.stdout.readline() for _ in range(5)]
    writer.send_signal(signal.SIGKILL)
    rest = writer.communicate()[0].splitlines()
    with History.open(path) as history:
        history.add([make_row("after", 30)])
    runs: dict[str, int] = {}
    for row in find_all(path):
        runs[row.run] = runs.get(row.run, 0) + 1
    assert runs.pop("after") == 1
    assert set(runs.values()) == {50}
    assert runs.keys() >= {f"killed-{number.strip()}" for number in (*told, *rest) if number.strip()}


def test_numbers_that_are_too_large_for_sqlite(path: Path) -> None:
    """Come back as floats."""
    with History.open(path, make=True) as history:
        history.add([make_row(value=1 << 70), make_row(value=-(1 << 63) - 1, repeat=2), make_row(value=7, repeat=3)])
    found = [row.value for row in find_all(path)]
    assert found == [float(1 << 70), -float(1 << 63), 7]
    assert isinstance(found[2], int)


def test_one_fingerprint_is_kept_once(path: Path) -> None:
    """In whatever order its words come."""
    words = {"qemu": "10.0", "commit": "a"}
    with History.open(path, make=True) as history:
        history.add([make_row(fingerprint=words), make_row("b", 2, fingerprint=dict(reversed(words.items())))])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM fingerprints").fetchone() == (1,)


def test_rows_of_some_numbers(path: Path) -> None:
    """Of all cases, and of no other number."""
    with History.open(path, make=True) as history:
        history.add([make_row(), make_row(case="d"), make_row(metric="bytes.wire"), make_row(metric="time.total")])
        found = history.find_rows_of(["downtime.explained", "bytes.wire", "none"])
    assert sorted((row.case, row.metric) for row in found) == [
        ("c", "bytes.wire"),
        ("c", "downtime.explained"),
        ("d", "downtime.explained"),
    ]
