# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal: every change to a host, on disk before it is made, so that a killed harness can be cleaned up after.

A journal is a file of JSON lines in the state directory, owned by the process that writes it (:mod:`ownership`) and
gone when all that it names is undone. Its lines, in any order but with a change before its end::

    {"journal": 1, "owner": "process 4711: switchover demo", "started": "2026-01-01T00:00:00+00:00"}
    {"change": 1, "address": {…}, "host": "hosta", "what": "tap sw12ab", "undo": ["ip", …], "gone": ["test", …]}
    {"done": 1}
"""

import contextlib
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from switchover.hosts.host import Address, Host, paste
from switchover.hosts.ownership import OwnedFile, describe_process, find_owner, take_file
from switchover.record.errors import HostLost, NotReady, SwitchoverError
from switchover.record.log import LOG, say
from switchover.record.paths import journals_directory

VERSION = 1
UNDO_TIMEOUT_S = 120
"""Seconds that an undo and its proof may take, in the harness that made the change and in one that cleans up after it:
a function that goes back to its driver, or a device that a dying QEMU has open, takes its time."""
Reach = Callable[[Address], AbstractContextManager[Host] | None]
"""A host by its address, for a ``with`` block; None if it ceased to exist, and its changes with it.

May raise :class:`NotReady` (:class:`HostLost` among them): it exists, or may, and cannot be reached.
"""


@dataclass(frozen=True)
class Change:
    """A change to a host, and how it is undone. ``number`` is unique in its journal and grows.

    ``undo`` is a command that is fine if the change was never made, or is undone already; what it returns does not
    matter. ``gone`` is a command that exits with 0 if, and only if, nothing of the change is left.
    """

    number: int
    address: Mapping[str, str]
    host: str
    what: str
    undo: tuple[str, ...]
    gone: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.what} on {self.host}"


class OpenChange:
    """A change while it lasts. ``release``, if set, undoes it instead of the journal's command, and raises if not.

    For what the living harness can undo with less than the next one needs: it holds the process, it knows what ended.
    """

    def __init__(self) -> None:
        self.release: Callable[[], object] | None = None


class Journal:
    """The journal of this process. Its file exists while a change is open. Safe to use from several threads."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._file: OwnedFile | None = None
        self._open: dict[int, Change] = {}
        self._last = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def change(self, host: Host, what: str, *, undo: Sequence[str], gone: Sequence[str]) -> Iterator[OpenChange]:
        """A change that is made inside a ``with`` block and undone at its end, whatever ends it.

        If it cannot be undone, that is said and stays in the journal for the next command; it raises nothing, so that
        it never hides the error that led there.
        """
        change = self._begin(host, what, undo, gone)
        opened = OpenChange()
        try:
            yield opened
        finally:
            try:
                if opened.release:
                    opened.release()
                else:
                    undo_change(host, change)
                self._end(change)
            except Exception as error:
                LOG.debug("release of %s", change, exc_info=True)
                say(f"not undone: {change}: {error}\n  it is in the journal; next: switchover clean")

    def take_as_undone(self, is_gone: Callable[[Address], bool]) -> None:
        """End the changes to hosts that ceased to exist, and took their changes with them."""
        with self._lock:
            gone = [change for change in self._open.values() if is_gone(change.address)]
        for change in gone:
            self._end(change)

    def _begin(self, host: Host, what: str, undo: Sequence[str], gone: Sequence[str]) -> Change:
        if not host.address:
            raise AssertionError(f"{host.name} has no address: what is changed there could not be found again")
        with self._lock:
            if self._file is None:
                self._file = _make_journal(self._directory or journals_directory())
            self._last += 1
            change = Change(self._last, dict(host.address), host.name, what, tuple(undo), tuple(gone))
            _append(self._file.descriptor, render_change(change))
            os.fsync(self._file.descriptor)
            self._open[change.number] = change
        return change

    def _end(self, change: Change) -> None:
        with self._lock:
            if self._open.pop(change.number, None) is None or self._file is None:
                return
            if self._open:
                _append(self._file.descriptor, {"done": change.number})
            else:
                self._file.release()
                self._file = None


def own_journal() -> Journal:
    """The one journal of this process: what owns a journal is a process, so nobody can forget to pass it on."""
    return _OWN[0]


_OWN = [Journal()]
os.register_at_fork(after_in_child=lambda: _OWN.__setitem__(0, Journal()))


def undo_change(host: Host, change: Change) -> None:
    """Undo a change and prove it, by one command.

    :raises NotReady: something of it is left, or may be
    """
    script = f"{paste(change.undo)}; {paste(change.gone)}"
    completed = host.run(["sh", "-c", script], timeout=UNDO_TIMEOUT_S, check=False)
    if completed.returncode:
        words = completed.stderr.decode(errors="replace").strip().splitlines()
        raise NotReady("it is still there", why=" ".join(words[-3:]))


def render_change(change: Change) -> dict[str, object]:
    fields = asdict(change)
    return {"change": fields.pop("number"), **fields}


def _make_journal(directory: Path) -> OwnedFile:
    stamp = datetime.now(UTC)
    path = directory / f"{stamp:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}.jsonl"
    file = take_file(path)
    if file is None:
        raise AssertionError(f"somebody else owns {path}")
    _append(file.descriptor, {"journal": VERSION, "owner": describe_process(), "started": stamp.isoformat()})
    # the name of the file, too, is on disk before a change
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(descriptor)
    os.close(descriptor)
    return file


def _append(descriptor: int, line: Mapping[str, object]) -> None:
    end = os.lseek(descriptor, 0, os.SEEK_END)
    data = json.dumps(line).encode() + b"\n"
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        os.ftruncate(descriptor, end)  # a disk that is full: half a line would spoil the next
        raise


@dataclass(frozen=True)
class JournalContents:
    """What a journal says: its owner, the changes that are open, and the numbers of lines that cannot be read."""

    owner: str
    changes: tuple[Change, ...]
    damaged: tuple[int, ...]


def parse_journal(data: bytes) -> JournalContents:
    """Never raises. A last line without its end is no damage: its change was not made, since a line comes first."""
    owner = "a process that wrote no name"
    changes: dict[int, Change] = {}
    damaged = []
    *lines, _torn = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue  # where a later process went on after a torn line
        match _parse_line(line):
            case Change() as change if change.number not in changes:
                changes[change.number] = change
            case int(done):
                changes.pop(done, None)
            case str(name):
                owner = name
            case _:
                damaged.append(number)
    return JournalContents(owner, tuple(changes.values()), tuple(damaged))


def _parse_line(line: bytes) -> Change | int | str | None:
    """A change, the number of one that is done, the owner's name, or None for anything else."""
    try:
        fields = json.loads(line)
        match fields:
            case {"journal": int(), "owner": str(owner)}:
                return owner
            case {"done": int(done)}:
                return done
            case {"change": int(number), "host": str(host), "what": str(what)}:
                undo, gone = (tuple(fields[name]) for name in ("undo", "gone"))
                address = dict(fields["address"])
                words = (*undo, *gone, *address, *address.values())
                if undo and gone and all(isinstance(word, str) for word in words):
                    return Change(number, address, host, what, undo, gone)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None


@dataclass(frozen=True)
class Outcome:
    """What became of a change that a dead process left. ``remains``: why it is not undone; empty if it is."""

    change: Change
    how: str
    remains: str = ""

    def __str__(self) -> str:
        return f"{self.change}: {f'REMAINS: {self.remains}' if self.remains else self.how}"


@dataclass(frozen=True)
class DeadJournal:
    """A journal whose owner died, and what became of its changes, newest first."""

    path: Path
    owner: str
    outcomes: tuple[Outcome, ...]
    damaged: tuple[int, ...] = ()

    @property
    def remains(self) -> bool:
        return bool(self.damaged) or any(outcome.remains for outcome in self.outcomes)


def undo_dead_journals(
    reach: Reach, *, dry_run: bool = False, forget: bool = False, directory: Path | None = None
) -> list[DeadJournal]:
    """Undo what dead processes left, newest first, and prove it; ``dry_run`` only lists it.

    What cannot be undone now stays in its journal; with ``forget`` only if its host answers, since others may never
    come back. Nothing is raised for it. Journals of live processes are left alone, and so are those that another
    process is just undoing.
    """
    found = []
    for path in sorted((directory or journals_directory()).glob("*.jsonl"), reverse=True):
        if dry_run:
            if find_owner(path) is None and (dead := _list_journal(path)) is not None:
                found.append(dead)
        elif (file := take_file(path)) is not None and (dead := _undo_journal(file, reach, forget=forget)) is not None:
            found.append(dead)
    return found


def _list_journal(path: Path) -> DeadJournal | None:
    with contextlib.suppress(FileNotFoundError):
        contents = parse_journal(path.read_bytes())
        outcomes = tuple(Outcome(change, "would be undone") for change in reversed(contents.changes))
        return DeadJournal(path, contents.owner, outcomes, contents.damaged)
    return None


def _undo_journal(file: OwnedFile, reach: Reach, *, forget: bool) -> DeadJournal | None:
    """None if there was nothing in it, and so nothing to tell."""
    remove = False
    try:
        data = file.path.read_bytes()
        contents = parse_journal(data)
        if data and not data.endswith(b"\n"):
            # what was torn off ends here, so that lines of ours can follow; it names no change that was made
            os.ftruncate(file.descriptor, data.rfind(b"\n") + 1)
        outcomes = []
        with contextlib.ExitStack() as stack:
            reached = _Reached(reach, stack, forget=forget)
            for change in reversed(contents.changes):
                outcome = reached.undo(change)
                outcomes.append(outcome)
                if not outcome.remains:
                    _append(file.descriptor, {"done": change.number})
        dead = DeadJournal(file.path, contents.owner, tuple(outcomes), contents.damaged)
        remove = not dead.remains
        return dead if outcomes or contents.damaged else None
    finally:
        file.release(remove=remove)


class _Reached:
    """The hosts of a journal, each connected to once."""

    def __init__(self, reach: Reach, stack: contextlib.ExitStack, *, forget: bool) -> None:
        self._reach = reach
        self._stack = stack
        self._forget = forget
        self._hosts: dict[str, Host | str | None] = {}

    def undo(self, change: Change) -> Outcome:
        host = self._find(change.address)
        if host is None:
            return Outcome(change, "gone with its host")
        if isinstance(host, str):
            if self._forget:
                return Outcome(change, f"forgotten, not undone: {host.splitlines()[0]} By hand: {paste(change.undo)}")
            fix = "when the host can be reached: switchover clean; if it is gone for good: switchover clean --forget"
            return Outcome(change, "", f"{host}; {fix}")
        try:
            undo_change(host, change)
        except (SwitchoverError, OSError) as error:
            by_hand = f"by hand, on {change.host}: {paste(change.undo)}"
            if isinstance(error, HostLost):
                self._hosts[_key(change.address)] = error.what
            return Outcome(change, "", f"{str(error).strip()}; {by_hand}")
        return Outcome(change, "undone")

    def _find(self, address: Address) -> Host | str | None:
        """The host, None if it is gone, or in words why it cannot be reached."""
        key = _key(address)
        if key not in self._hosts:
            try:
                context = self._reach(address)
                self._hosts[key] = self._stack.enter_context(context) if context is not None else None
            except (SwitchoverError, OSError) as error:
                self._hosts[key] = str(error)
        return self._hosts[key]


def _key(address: Address) -> str:
    return json.dumps(dict(address), sort_keys=True)
