# SPDX-License-Identifier: GPL-2.0-or-later
"""The run directory: its layout, writing into it so that no half of a file is ever seen, and reading it again.

Who wants a part of a run asks here, and :func:`switchover.report.rundata.read_run` for the whole.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from switchover.record.errors import NotReady, UsageError
from switchover.record.paths import runs_directory
from switchover.record.record import SCHEMA_VERSION, Record, make_unreadable, read_record, render_record
from switchover.record.shape import parse_json


@dataclass(frozen=True)
class RepeatDirectory:
    """Files of one repeat, ``CASE/NN/`` in the run directory, and ``CASE/NN/alone/`` of one that was repeated alone.

    Files of each migration of a chain are below, in ``hop-N/``.
    """

    path: Path

    def alone(self) -> "RepeatDirectory":
        """For the same repeat with a guest of its own, after one with a guest that cases share."""
        path = self.path / "alone"
        path.mkdir(exist_ok=True)
        return RepeatDirectory(path)

    def hop(self, number: int) -> "RepeatDirectory":
        """For a migration of a chain, by its number from 1."""
        path = self.path / hop_folder(number)
        path.mkdir(exist_ok=True)
        return RepeatDirectory(path)

    def set_aside(self) -> None:
        """Put what is there of an execution into ``earlier-N``, for another one; nothing if there is no record."""
        if not self.record_path.exists():
            return
        entries = [entry for entry in self.path.iterdir() if not entry.name.startswith(_EARLIER)]
        place = self.path / f"{_EARLIER}{len(self.earlier()) + 1}"
        place.mkdir()
        for entry in entries:
            entry.rename(place / entry.name)

    def clear(self) -> None:
        """Take away what is there of an execution, but for those that were set aside."""
        for entry in self.path.iterdir():
            if entry.name.startswith(_EARLIER):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def earlier(self) -> list[Record]:
        """Records that were set aside, in their order."""
        places = sorted(self.path.glob(f"{_EARLIER}*"), key=lambda path: int(path.name.removeprefix(_EARLIER)))
        return [read_record(place / _RECORD) for place in places]

    def write_text(self, name: str, text: str) -> None:
        _write_whole(self.path / name, text)

    def write_lines(self, name: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """JSON lines."""
        self.write_text(name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    def write_record(self, record: Record) -> None:
        self.write_text(_RECORD, render_record(record))

    @property
    def record_path(self) -> Path:
        """Whether it is there or not."""
        return self.path / _RECORD

    def find_record(self) -> Record | None:
        """None: the repeat has none. :raises UsageError: it cannot be read"""
        return read_record(self.record_path) if self.record_path.exists() else None


def hop_folder(number: int) -> str:
    """Name of the folder of a migration of a chain, in that of the repeat."""
    return f"hop-{number}"


_EARLIER = "earlier-"
_RECORD = "record.json"


def folder_of(case: str) -> str:
    """Name of a case's folder. Ids that differ in other characters only share one; long ones end in a digest."""
    name = re.sub(r"^\.+", "_", re.sub(r"[^\w=.,+@-]", "_", case))
    if len(name.encode()) <= _LONGEST:
        return name
    kept = name.encode()[: _LONGEST - 17].decode(errors="ignore")
    return f"{kept}~{hashlib.sha256(case.encode()).hexdigest()[:16]}"


_LONGEST = 200
"""Bytes; file systems take 255, and names are prefixed while a file is written."""


@dataclass(frozen=True)
class RunHead:
    """What ``run.json`` holds, besides ``schema_version``."""

    title: str
    """the title of the run: `demo`, `repro`, or the name of the scenario or directory that was run"""
    command: str
    """the command line that made the run"""
    started: str
    """when it started: date and time in ISO 8601, with zone"""


@dataclass(frozen=True)
class RunDirectory:
    """A directory with ``run.json`` and one folder per case, in it one per repeat."""

    path: Path

    @property
    def word(self) -> str:
        """How a user names the run: by its name, or by its path if it is not where runs are looked for."""
        return self.path.name if self.path.parent == runs_directory() else str(self.path)

    def repeat_path(self, case: str, number: int) -> Path:
        """Whether it is there or not."""
        return self.path / folder_of(case) / f"{number:02}"

    def repeat(self, case: str, number: int) -> RepeatDirectory:
        path = self.repeat_path(case, number)
        path.mkdir(parents=True, exist_ok=True)
        return RepeatDirectory(path)

    def find_record(self, case: str, number: int) -> Record | None:
        """None: the repeat has none. :raises UsageError: it cannot be read"""
        return RepeatDirectory(self.repeat_path(case, number)).find_record()

    def has_record(self, case: str, number: int) -> bool:
        return RepeatDirectory(self.repeat_path(case, number)).record_path.exists()

    def record_paths(self) -> list[Path]:
        """Files of all records, by case and repeat."""
        paths = [path for path in self.path.glob(f"*/*/{_RECORD}") if re.fullmatch("[0-9]{2,9}", path.parts[-2])]
        return sorted(paths, key=lambda path: (path.parts[-3], int(path.parts[-2])))

    def next_repeat(self, case: str) -> tuple[int, RepeatDirectory]:
        """A new one after those that there are, also where several processes ask; and its number."""
        number = 1
        while True:
            path = self.repeat_path(case, number)
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                number += 1
            else:
                return number, RepeatDirectory(path)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """For who executes the run: nobody else does meanwhile. The right to it ends with the process.

        :raises UsageError: somebody does already
        """
        with (self.path / "run.json").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"The run {self.word} has not ended yet.", fix=f"switchover show {self.word}"
                ) from error
            yield

    def write_text(self, name: str, text: str) -> None:
        _write_whole(self.path / name, text)

    def read_head(self) -> RunHead:
        """:raises UsageError: there is no run, or one of a newer version"""
        fields = read_versioned(self.path / "run.json")
        try:
            return RunHead(str(fields["title"]), str(fields["command"]), str(fields["started"]))
        except KeyError as error:
            raise UsageError(f"{self.path / 'run.json'} lacks {error}.") from error

    def records(self) -> list[Record]:
        """All records, by case and repeat. For one that cannot be read stands an infrastructure error that says so
        (:func:`switchover.record.record.make_unreadable`), of a case by the name of its folder.
        """
        return [
            make_unreadable(read.folder, read.repeat, read.why) if isinstance(read, UnreadableRecord) else read
            for read in self.read_all()
        ]

    def read_all(self) -> "list[Record | UnreadableRecord]":
        """What is in place of each record, by case and repeat."""
        return [_read_in_place(path) for path in self.record_paths()]


@dataclass(frozen=True)
class UnreadableRecord:
    """A record that is damaged, of a newer version, or not of the repeat whose directory it is in."""

    path: Path
    """of `record.json`"""
    folder: str
    """name of the case's folder, which is its id but for some characters"""
    repeat: int
    """number of the repeat, from 1"""
    why: str
    """what is wrong with it"""


def _read_in_place(path: Path) -> Record | UnreadableRecord:
    folder, number = path.parts[-3], int(path.parts[-2])
    try:
        record = read_record(path)
    except UsageError as error:
        return UnreadableRecord(path, folder, number, f"{error.what} {error.why}".strip())
    if record.repeat != number:
        return UnreadableRecord(path, folder, number, f"{path}: it is of repeat {record.repeat}.")
    return record


def make_run_directory(title: str, parent: Path | None = None, *, name: str = "", command: str = "") -> RunDirectory:
    """A new directory ``DATE-TITLE-ID`` under ``parent`` (default: the state directory).

    ``name``: one that several processes agreed on; it may be there already. ``command``: the command line, if it is not
    that of this process.

    :raises NotReady: the disk is full or cannot be written
    """
    now = datetime.now(UTC)
    path = (parent or runs_directory()) / (name or f"{now:%Y-%m-%dT%H%M%S}-{title}-{uuid.uuid4().hex[:4]}")
    try:
        path.mkdir(parents=True, exist_ok=bool(name))
        if (path / "run.json").exists():
            return RunDirectory(path)
        command = command or " ".join(sys.argv)
        head = {"schema_version": SCHEMA_VERSION, "title": title, "command": command, "started": now.isoformat()}
        _write_whole(path / "run.json", json.dumps(head, indent=1))
    except OSError as error:
        raise NotReady(f"The run directory {path} cannot be written.", why=str(error)) from error
    return RunDirectory(path)


def read_versioned(path: Path) -> dict[str, Any]:
    """A file of the run directory that has ``schema_version``.

    :raises UsageError: it cannot be read, or is of a newer version of switchover
    """
    try:
        fields = parse_json(path.read_text(encoding="utf-8"))
        version = int(fields["schema_version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read.", why=repr(error)) from error
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path} has version {version}; this switchover reads up to {SCHEMA_VERSION}.", fix="update switchover"
        )
    return dict(fields)


def list_runs(parent: Path | None = None) -> list[RunDirectory]:
    """All runs of a directory (default: the state directory), the oldest first."""
    return [RunDirectory(path.parent) for path in sorted((parent or runs_directory()).glob("*/run.json"))]


def find_run(word: str, parent: Path | None = None) -> RunDirectory:
    """A run by its path, its name, the start or any part of its name if only one has it, or ``last``.

    ``parent``: where names are looked for (default: the state directory). :raises UsageError: there is none, or several
    """
    parent = parent or runs_directory()
    if word != "last" and (Path(word) / "run.json").exists():
        return RunDirectory(Path(word))
    names = [run.path.name for run in list_runs(parent)]
    if word == "last" and names:
        return RunDirectory(parent / names[-1])
    for fits in (str.__eq__, str.startswith, str.__contains__):
        found = [name for name in names if fits(name, word)]
        if len(found) == 1:
            return RunDirectory(parent / found[0])
        if found:
            raise UsageError(
                f"{word!r} matches {len(found)} runs.", why=", ".join(found[-3:]), fix="give more of the name"
            )
    raise UsageError(f"There is no run {word!r} in {parent}.", fix="switchover list --runs")


def read_records(run: str | Path = "last") -> list[Record]:
    """Read the records of a run from its directory alone, ordered by case and repeat; no host is asked.

    ``run``: the directory, or of one in the state directory its name, a part of that which no other has, or ``last``.
    A record that is damaged or of a newer version hides no other: in its place is one with the verdict
    infrastructure-error, whose ``mismatch`` says what is wrong with which file.

    :raises UsageError: there is none, or several
    """
    return find_run(str(run)).records()


def _write_whole(path: Path, text: str) -> None:
    """Write a file under another name, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise NotReady(f"{path} cannot be written.", why=str(error), fix="free some space on its disk") from error
