# SPDX-License-Identifier: GPL-2.0-or-later
"""The history: rows of metrics of many runs, in a file of SQLite."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from switchover.record.errors import NotReady, UsageError
from switchover.record.rundir import RunDirectory, list_runs
from switchover.report.metrics import METRICS_FILE, MetricRow, list_metrics, read_metrics
from switchover.report.rundata import read_run

APPLICATION_ID = 0x5357484F
"""Tells a history from other files of SQLite."""
VERSION = 1
_PATIENCE_S = 30.0
"""How long another writer is waited for."""

_SCHEMA = f"""
CREATE TABLE runs (id INTEGER PRIMARY KEY, name TEXT NOT NULL, started TEXT NOT NULL, UNIQUE (started, name));
CREATE TABLE fingerprints (id INTEGER PRIMARY KEY, words TEXT NOT NULL UNIQUE);
CREATE TABLE series (
    id INTEGER PRIMARY KEY, "case" TEXT NOT NULL, hop INTEGER NOT NULL, metric TEXT NOT NULL,
    UNIQUE ("case", hop, metric)
);
CREATE TABLE numbers (
    series INTEGER NOT NULL REFERENCES series, run INTEGER NOT NULL REFERENCES runs, repeat INTEGER NOT NULL,
    started TEXT NOT NULL, scenario TEXT NOT NULL, verdict TEXT NOT NULL, right INTEGER NOT NULL,
    value, bound, unit TEXT NOT NULL, direction TEXT NOT NULL, definition INTEGER NOT NULL, note TEXT NOT NULL,
    fingerprint INTEGER NOT NULL REFERENCES fingerprints,
    PRIMARY KEY (series, run, repeat)
) WITHOUT ROWID;
CREATE INDEX numbers_of_run ON numbers (run);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

_ROWS = """
SELECT runs.name, runs.started, numbers.started, scenario, "case", hop, repeat, verdict, right, metric, value, bound,
    unit, direction, definition, note, words
FROM numbers JOIN series ON series.id = series JOIN runs ON runs.id = run
    JOIN fingerprints ON fingerprints.id = fingerprint
"""
_RECENT = """
WHERE verdict = 'completed' AND value IS NOT NULL AND (series, run) IN (
    SELECT series, run FROM (
        SELECT series, run, row_number() OVER (PARTITION BY series ORDER BY started DESC, name DESC) AS age
        FROM (
            SELECT DISTINCT series, run FROM numbers
            WHERE verdict = 'completed' AND value IS NOT NULL AND series IN (
                SELECT id FROM series WHERE metric IN (SELECT value FROM json_each(?))
                    AND "case" IN (SELECT value FROM json_each(?))
            )
        ) JOIN runs ON runs.id = run
        WHERE started < ?
    ) WHERE age <= ?
)
"""


@dataclass(frozen=True)
class Series:
    """A number of a case, over all runs."""

    case: str
    hop: int
    metric: str
    runs: int
    rows: int


class History:
    """An open history; :meth:`open` makes one. All of it raises what :meth:`open` does."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @staticmethod
    @contextlib.contextmanager
    def open(path: Path, *, make: bool = False) -> Iterator["History"]:
        """``make``: also where there is none.

        :raises UsageError: there is none, it is something else, damaged, or of a newer version
        :raises NotReady: it cannot be read or written, or somebody else writes for longer than 30 s
        """
        if not make and not path.exists():
            raise UsageError(f"There is no history {path}.", fix="switchover history import DIRECTORY")
        with _told(path):
            if make:
                path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(_name_file(path), timeout=_PATIENCE_S, isolation_level=None, uri=True)
        with contextlib.closing(connection), _told(path):
            history = History(connection, path)
            history._prepare(make=make)
            yield history

    def _prepare(self, *, make: bool) -> None:
        if make and self._ask("PRAGMA user_version")[0][0] == 0:
            with self._transaction():
                # another process may have made it meanwhile
                if self._ask("PRAGMA application_id")[0][0] == 0 and not self._ask("SELECT name FROM sqlite_schema"):
                    for statement in _SCHEMA.split(";"):
                        self._connection.execute(statement)
        if self._ask("PRAGMA application_id")[0][0] != APPLICATION_ID:
            raise UsageError(
                f"{self._path} is no history of switchover.", why="it is empty, or another program's database"
            )
        version = self._ask("PRAGMA user_version")[0][0]
        if version > VERSION:
            raise UsageError(
                f"{self._path} has version {version}; this switchover reads up to {VERSION}.", fix="update switchover"
            )
        # a reader and a writer do not wait for each other; without the right to write it stays as it is
        with contextlib.suppress(sqlite3.OperationalError):
            self._ask("PRAGMA journal_mode = WAL")
        self._ask("PRAGMA synchronous = NORMAL")

    def _ask(self, statement: str, values: Iterable[Any] = ()) -> list[Any]:
        return self._connection.execute(statement, tuple(values)).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # SQLite may have taken it back itself, as where a disk is full
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def add(self, rows: Iterable[MetricRow]) -> int:
        """Rows of runs, each run as a whole: in place of what is there of it, unless that goes further, as where an
        older copy of a run that was continued comes from elsewhere. Returns how many runs that were.
        """
        by_run: dict[tuple[str, str], list[MetricRow]] = {}
        for row in rows:
            by_run.setdefault((row.run_started, row.run), []).append(row)
        for (started, name), of_run in by_run.items():
            with self._transaction():
                self._add_run(started, name, of_run)
        return len(by_run)

    def _add_run(self, started: str, name: str, rows: list[MetricRow]) -> None:
        run = self._find_id("runs", {"started": started, "name": name})
        (known,) = self._ask("SELECT ifnull(max(started), ''), count(*) FROM numbers WHERE run = ?", (run,))
        if known > (max(row.started for row in rows), len(rows)):
            return
        self._connection.execute("DELETE FROM numbers WHERE run = ?", (run,))
        series: dict[tuple[str, int, str], int] = {}
        fingerprints: dict[str, int] = {}
        values = []
        for row in rows:
            key = (row.case, row.hop, row.metric)
            if key not in series:
                series[key] = self._find_id("series", {"case": row.case, "hop": row.hop, "metric": row.metric})
            words = msgspec.json.encode(row.fingerprint, order="deterministic").decode()
            if words not in fingerprints:
                fingerprints[words] = self._find_id("fingerprints", {"words": words})
            values.append(
                (series[key], run, row.repeat, row.started, row.scenario, row.verdict, row.right, _fit(row.value),
                 row.bound, row.unit, row.direction, row.definition, row.note, fingerprints[words])
            )  # fmt: skip
        self._connection.executemany(f"INSERT OR REPLACE INTO numbers VALUES ({', '.join('?' * 14)})", values)

    def _find_id(self, table: str, key: Mapping[str, Any]) -> int:
        """Of an entry that is made if it is not there."""
        columns = ", ".join(f'"{name}"' for name in key)
        where = " AND ".join(f'"{name}" = ?' for name in key)
        if not (found := self._ask(f"SELECT id FROM {table} WHERE {where}", key.values())):
            self._ask(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(key))})", key.values())
            found = self._ask(f"SELECT id FROM {table} WHERE {where}", key.values())
        return int(found[0][0])

    def import_from(self, path: Path) -> int:
        """A file of metrics, a run directory, a directory of these, or another history. Returns how many runs.

        Metrics of a run directory without them are made from its records.

        :raises UsageError: it is nothing of these, or cannot be read; what was read before it is in the history
        """
        if path.is_dir():
            directories = [RunDirectory(path)] if (path / "run.json").exists() else list_runs(path)
            if not directories:
                raise UsageError(f"{path} is no run directory, and has none in it.")
            return sum(self.add(_read_directory(directory)) for directory in directories)
        try:
            with path.open("rb") as file:
                is_database = file.read(16) == b"SQLite format 3\0"
        except OSError as error:
            raise UsageError(f"{path} cannot be read.", why=str(error)) from error
        if not is_database:
            return self.add(read_metrics(path))
        with History.open(path) as other:
            return sum(self.add(other._rows("WHERE run = ?", (run,))) for (run,) in other._ask("SELECT id FROM runs"))

    def _rows(self, where: str, values: Iterable[Any]) -> list[MetricRow]:
        order = "ORDER BY runs.started, runs.name, repeat"
        rows, words = [], {}
        for found in self._connection.execute(f"{_ROWS} {where} {order}", tuple(values)):
            *fields, text = found
            if text not in words:
                words[text] = msgspec.json.decode(text)
            fields[8] = bool(fields[8])
            rows.append(MetricRow(*(*fields, words[text])))
        return rows

    def find_rows(self, case: str, metric: str, *, hop: int = 0) -> list[MetricRow]:
        """All rows of a number of a case, the oldest run first; of a chain, of one of its hops."""
        return self._rows('WHERE "case" = ? AND hop = ? AND metric = ?', (case, hop, metric))

    def find_rows_of(self, metrics: Iterable[str]) -> list[MetricRow]:
        """All rows of some numbers, of all cases."""
        names = list(metrics)
        return self._rows(f"WHERE metric IN ({', '.join('?' * len(names))})", names)

    def find_recent(self, metrics: Sequence[str], cases: Sequence[str], *, before: str, runs: int) -> list[MetricRow]:
        """Rows of some numbers of some cases, of each the last so many runs that began before a time and have it."""
        return self._rows(_RECENT, (json.dumps(metrics), json.dumps(cases), before, runs))

    def list_series(self) -> list[Series]:
        """Of what there are numbers, by case, hop and metric."""
        found = self._ask(
            'SELECT "case", hop, metric, count(DISTINCT run), count(*) FROM numbers JOIN series ON series.id = series '
            "GROUP BY series ORDER BY 1, 2, 3"
        )
        return [Series(*fields) for fields in found]

    def count_runs(self) -> int:
        return int(self._ask("SELECT count(*) FROM runs")[0][0])


def _name_file(path: Path) -> str:
    """As SQLite takes it. Where nobody may write, there is nobody to wait for, and no file beside it to write to."""
    name = path.absolute().as_uri()
    if path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return f"{name}?mode=ro&immutable=1"
    return name


def _fit(value: float | int | None) -> float | int | None:
    """SQLite's integers have 64 bits."""
    return float(value) if isinstance(value, int) and abs(value) >> 63 else value


def _read_directory(directory: RunDirectory) -> Iterable[MetricRow]:
    metrics = directory.path / METRICS_FILE
    return read_metrics(metrics) if metrics.exists() else list_metrics(read_run(directory))


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What SQLite says of a file, as an error of ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if kind == sqlite3.SQLITE_NOTADB:
            raise UsageError(f"{path} is no history of switchover.", why=str(error)) from error
        if kind == sqlite3.SQLITE_CORRUPT:
            raise UsageError(
                f"The history {path} is damaged.",
                why=str(error),
                fix="move it away, then switchover history import RUNS",
            ) from error
        fixes = {
            sqlite3.SQLITE_BUSY: "try again when the other process has ended",
            sqlite3.SQLITE_FULL: "free some space on its disk",
        }
        raise NotReady(f"The history {path} cannot be used.", why=str(error), fix=fixes.get(kind, "")) from error
    except OSError as error:
        raise NotReady(f"The history {path} cannot be used.", why=str(error)) from error
