# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal: on disk before the change, undone in reverse order, by the next process if need be."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fakes import FaultyHost

from switchover.devices.mediated import start_mediated_device
from switchover.hosts.host import Address, Completed, Host
from switchover.hosts.journal import (
    UNDO_TIMEOUT_S,
    Change,
    Journal,
    JournalContents,
    parse_journal,
    render_change,
    undo_change,
    undo_dead_journals,
)
from switchover.hosts.local import LocalHost
from switchover.hosts.waiting import wait_until
from switchover.record.errors import CommandFailed, HostLost, NotReady

HARNESS = """
import sys, time
from pathlib import Path
from switchover.hosts.journal import own_journal
from switchover.hosts.local import LocalHost
directory = Path(sys.argv[1])
undo = [["sh", "-c", f'rmdir "{directory / name}"; echo {name} >>"{directory / "order"}"'] for name in "abc"]
with (
    own_journal().change(LocalHost(), "directory a", undo=undo[0], gone=["test", "!", "-e", str(directory / "a")]),
    own_journal().change(LocalHost(), "directory b", undo=undo[1], gone=["test", "!", "-e", str(directory / "b")]),
):
    with own_journal().change(LocalHost(), "directory c", undo=undo[2], gone=["test", "!", "-e", str(directory / "c")]):
        (directory / "c").mkdir()
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    print("made", flush=True)
    time.sleep(60)
"""


def label(_: str, argument: str) -> str:
    """The undo command's last word."""
    return argument.partition(";")[0].split()[-1]


def make_host(**options: object) -> FaultyHost:
    return FaultyHost(label, "", **options)  # type: ignore[arg-type]


def change(journal: Journal, host: Host, what: str) -> AbstractContextManager[object]:
    return journal.change(host, what, undo=["undo", what], gone=["true"])


def reach_local(address: Address) -> AbstractContextManager[Host] | None:
    return contextlib.nullcontext(LocalHost())


def read_only_journal(directory: Path) -> JournalContents:
    (path,) = directory.iterdir()
    return parse_journal(path.read_bytes())


def test_on_disk_before_the_change_and_gone_after_it(tmp_path: Path) -> None:
    """While a change lasts a private file says how it is undone and whose it is; with the last one the file goes."""
    journal, host = Journal(tmp_path), make_host()
    with change(journal, host, "a"):
        assert host.log == []
        contents = read_only_journal(tmp_path)
        assert contents.changes == (Change(1, host.address, "fake", "a", ("undo", "a"), ("true",)),)
        assert str(os.getpid()) in contents.owner
        assert next(tmp_path.iterdir()).stat().st_mode & 0o077 == 0
        with change(journal, host, "b"):
            assert [found.what for found in read_only_journal(tmp_path).changes] == ["a", "b"]
        assert [found.what for found in read_only_journal(tmp_path).changes] == ["a"]
    assert host.log == ["b", "a"]
    assert list(tmp_path.iterdir()) == []
    with change(journal, host, "c"):
        assert [found.what for found in read_only_journal(tmp_path).changes] == ["c"]


def test_a_change_that_cannot_be_written_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the block is not entered, and half a line does not spoil what follows."""
    journal, host = Journal(tmp_path), make_host()
    real = os.write

    def write_some(descriptor: int, data: bytes) -> int:
        if b'"b"' in data:
            return real(descriptor, data[:10])
        if data.startswith(b'{"'):
            return real(descriptor, data)
        raise OSError(28, "No space left on device")

    with change(journal, host, "a"):
        monkeypatch.setattr(os, "write", write_some)
        with pytest.raises(OSError, match="No space"), change(journal, host, "b"):
            pytest.fail("it must not be made")
        monkeypatch.undo()
        with change(journal, host, "c"):
            contents = read_only_journal(tmp_path)
            assert ([found.what for found in contents.changes], contents.damaged) == (["a", "c"], ())


def test_an_undo_that_fails_hides_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error that led there is the one that is raised; the undo's is said and stays; the next undo is still done."""
    journal, host = Journal(tmp_path), make_host(fail_at=0, error=CommandFailed("injected"))
    with pytest.raises(ValueError, match="in use"), change(journal, host, "a"), change(journal, host, "b"):
        raise ValueError("in use")
    assert host.log == ["b", "a"]
    assert "not undone: b on fake: injected" in capsys.readouterr().err
    assert [found.what for found in read_only_journal(tmp_path).changes] == ["b"]


def test_what_proves_nothing_is_not_undone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An undo that succeeds does not count, its proof does; and a failed undo of what is gone is fine."""
    journal = Journal(tmp_path)
    with journal.change(LocalHost(), "a", undo=["false"], gone=["true"]):
        pass
    assert list(tmp_path.iterdir()) == []
    with journal.change(LocalHost(), "b", undo=["true"], gone=["sh", "-c", "echo its own words >&2; false"]):
        pass
    assert "b on local: it is still there\n  why: its own words" in capsys.readouterr().err
    assert [found.what for found in read_only_journal(tmp_path).changes] == ["b"]


def test_a_lost_host_leaves_its_changes_open(tmp_path: Path) -> None:
    """What was on a host that is lost stays in the journal, until it is known that the host is gone for good."""
    journal, host = Journal(tmp_path), make_host(fail_at=0, error=HostLost("gone"))
    with change(journal, host, "a"):
        pass
    assert [found.what for found in read_only_journal(tmp_path).changes] == ["a"]
    journal.take_as_undone(lambda address: address == {"kind": "other"})
    assert len(list(tmp_path.iterdir())) == 1
    journal.take_as_undone(lambda address: address == host.address)
    assert list(tmp_path.iterdir()) == []


def test_the_living_may_release_by_other_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``release`` set the journal's command is not run; a release that raises leaves the change open."""
    journal, host = Journal(tmp_path), make_host()
    with journal.change(host, "a", undo=["undo"], gone=["true"]) as opened:
        opened.release = lambda: host.log.append("by other means")
    assert host.log == ["by other means"]
    assert list(tmp_path.iterdir()) == []

    def fail() -> None:
        raise NotReady("cannot be killed")

    with journal.change(host, "b", undo=["undo"], gone=["true"]) as opened:
        opened.release = fail
    assert "cannot be killed" in capsys.readouterr().err
    assert len(read_only_journal(tmp_path).changes) == 1


def test_a_host_without_an_address_is_a_bug(tmp_path: Path) -> None:
    """What could not be found again is not changed."""
    with pytest.raises(AssertionError, match="no address"), change(Journal(tmp_path), make_host(address={}), "a"):
        pytest.fail("it must not be made")


def test_after_a_kill_the_next_process_undoes_all(tmp_path: Path) -> None:
    """A harness that is killed leaves its changes; the next process undoes the open ones, newest first, once."""
    journals = tmp_path / "state" / "switchover" / "journals"
    harness = subprocess.Popen(
        [sys.executable, "-c", HARNESS, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": "harness", "XDG_STATE_HOME": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
    )
    assert harness.stdout is not None
    assert harness.stdout.readline() == b"made\n"
    assert undo_dead_journals(reach_local, directory=journals) == [], "its owner lives"
    assert undo_dead_journals(reach_local, directory=journals, dry_run=True) == []
    harness.kill()
    harness.communicate(timeout=10)
    (planned,) = undo_dead_journals(reach_local, directory=journals, dry_run=True)
    assert [str(outcome) for outcome in planned.outcomes] == [
        "directory b on local: would be undone",
        "directory a on local: would be undone",
    ]
    assert (tmp_path / "a").exists()
    (dead,) = undo_dead_journals(reach_local, directory=journals)
    assert f"process {harness.pid}" in dead.owner
    assert [str(one) for one in dead.outcomes] == ["directory b on local: undone", "directory a on local: undone"]
    assert not dead.remains
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()
    assert (tmp_path / "order").read_text() == "c\nb\na\n"
    assert list(journals.iterdir()) == []
    assert undo_dead_journals(reach_local, directory=journals) == []


def write_dead_journal(directory: Path, *whats: str, tail: bytes = b"") -> Path:
    path = directory / "20260101.jsonl"
    lines = [
        render_change(Change(number, {"kind": what[:1]}, "host", what, ("undo", what), ("true",)))
        for number, what in enumerate(whats, start=1)
    ]
    path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines) + tail)
    return path


def test_a_host_that_is_gone_took_its_changes(tmp_path: Path) -> None:
    """Changes to a host that ceased to exist are done; each host is asked for once."""
    write_dead_journal(tmp_path, "a1", "b1", "a2")
    host, asked = make_host(), []

    def reach(address: Address) -> AbstractContextManager[Host] | None:
        asked.append(address["kind"])
        return contextlib.nullcontext(host) if address["kind"] == "b" else None

    (dead,) = undo_dead_journals(reach, directory=tmp_path)
    assert [outcome.how for outcome in dead.outcomes] == ["gone with its host", "undone", "gone with its host"]
    assert asked == ["a", "b"]
    assert host.log == ["b1"]
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_cannot_be_reached_keeps_its_changes(tmp_path: Path) -> None:
    """They stay in the journal with the reason; those of other hosts are undone, and are not undone again."""
    path = write_dead_journal(tmp_path, "a1", "b1", "a2")
    host = make_host()
    reachable = ["b"]

    def reach(address: Address) -> AbstractContextManager[Host]:
        if address["kind"] not in reachable:
            raise HostLost("host a does not answer")
        return contextlib.nullcontext(host)

    (dead,) = undo_dead_journals(reach, directory=tmp_path)
    assert dead.remains
    assert "REMAINS: host a does not answer" in str(dead.outcomes[0])
    assert host.log == ["b1"]
    assert [change.what for change in parse_journal(path.read_bytes()).changes] == ["a1", "a2"]
    reachable.append("a")
    (dead,) = undo_dead_journals(reach, directory=tmp_path)
    assert not dead.remains
    assert host.log == ["b1", "a2", "a1"]


def test_a_host_that_is_gone_for_good_can_be_forgotten(tmp_path: Path) -> None:
    """With ``forget`` its changes end, with what to do by hand if it ever comes back; one that answers is undone."""
    write_dead_journal(tmp_path, "a1", "b1")
    host = make_host()

    def reach(address: Address) -> AbstractContextManager[Host]:
        if address["kind"] == "a":
            raise HostLost("Host a does not answer.", why="No route to host")
        return contextlib.nullcontext(host)

    (dead,) = undo_dead_journals(reach, directory=tmp_path, forget=True)
    assert not dead.remains
    assert [outcome.how for outcome in dead.outcomes] == [
        "undone",
        "forgotten, not undone: Host a does not answer. By hand: undo a1",
    ]
    assert host.log == ["b1"]
    assert list(tmp_path.iterdir()) == []


def test_forget_is_not_for_hosts_that_answer(tmp_path: Path) -> None:
    """What a host that answers does not undo stays, with ``forget`` too."""
    path = write_dead_journal(tmp_path, "a1")
    host = make_host(fail_at=0, error=CommandFailed("injected"))
    (dead,) = undo_dead_journals(lambda address: contextlib.nullcontext(host), directory=tmp_path, forget=True)
    assert dead.remains
    assert path.exists()


def test_one_that_cannot_be_undone_stops_no_other(tmp_path: Path) -> None:
    """It remains with what to do by hand; a host that is lost in the middle is not asked again."""
    path = write_dead_journal(tmp_path, "a1", "a2", "a3")
    host = make_host(fail_at=0, error=CommandFailed("injected"))
    (dead,) = undo_dead_journals(lambda address: contextlib.nullcontext(host), directory=tmp_path)
    assert host.log == ["a3", "a2", "a1"]
    assert "injected; by hand, on host: undo a3" in dead.outcomes[0].remains
    host = make_host(fail_at=0, error=HostLost("the connection broke"))
    write_dead_journal(tmp_path, "a1", "a2", "a3")
    (dead,) = undo_dead_journals(lambda address: contextlib.nullcontext(host), directory=tmp_path)
    assert host.log == ["a3"]
    assert all("the connection broke" in outcome.remains for outcome in dead.outcomes)
    assert path.exists()


def test_damage_is_told_and_stays(tmp_path: Path) -> None:
    """A line in the middle that cannot be read may be a change: all others are undone, the file stays, it is told."""
    path = write_dead_journal(tmp_path, "a1", tail=b'{"change": 2, "what\n{"done": 7}\n')
    host = make_host()
    for expected in (["a1"], []):
        host.log.clear()
        (dead,) = undo_dead_journals(lambda address: contextlib.nullcontext(host), directory=tmp_path)
        assert (dead.damaged, dead.remains) == ((2,), True)
        assert host.log == expected
    assert path.exists()


def test_after_a_torn_line_others_can_follow(tmp_path: Path) -> None:
    """A last line without its end names no change that was made; what is written after it is whole."""
    path = write_dead_journal(tmp_path, "a1", "b1", tail=b'{"change": 3, "ad')

    def reach(address: Address) -> AbstractContextManager[Host]:
        if address["kind"] == "a":
            raise HostLost("gone")
        return contextlib.nullcontext(make_host())

    (dead,) = undo_dead_journals(reach, directory=tmp_path)
    assert (len(dead.outcomes), dead.damaged) == (2, ())
    contents = parse_journal(path.read_bytes())
    assert ([change.what for change in contents.changes], contents.damaged) == (["a1"], ())


def test_two_changes_of_one_number_are_damage(tmp_path: Path) -> None:
    """No journal of ours has them: the second is told, not mistaken for the first."""
    path = write_dead_journal(tmp_path, "a1")
    path.write_bytes(path.read_bytes().replace(b"a1", b"a0") + path.read_bytes())
    contents = parse_journal(path.read_bytes())
    assert ([change.what for change in contents.changes], contents.damaged) == (["a0"], (2,))


def test_an_empty_journal_of_the_dead_just_goes(tmp_path: Path) -> None:
    """A harness that was killed before its first change has left nothing to tell."""
    write_dead_journal(tmp_path)
    assert undo_dead_journals(reach_local, directory=tmp_path) == []
    assert list(tmp_path.iterdir()) == []


TEXT = st.text(max_size=8)
COMMAND = st.lists(TEXT, min_size=1, max_size=3).map(tuple)
LINES = st.lists(st.tuples(TEXT, TEXT, COMMAND, COMMAND, st.booleans()), max_size=6)


def render_lines(drawn: Sequence[tuple[str, str, tuple[str, ...], tuple[str, ...], bool]]) -> list[Change | int]:
    lines: list[Change | int] = []
    for number, (host, what, undo, gone, done) in enumerate(drawn, start=1):
        lines += [Change(number, {"kind": host}, host, what, undo, gone), *([number] if done else [])]
    return lines


def encode(line: Change | int) -> bytes:
    return json.dumps(render_change(line) if isinstance(line, Change) else {"done": line}).encode() + b"\n"


@given(LINES, st.data())
def test_a_journal_that_is_cut_anywhere(
    drawn: list[tuple[str, str, tuple[str, ...], tuple[str, ...], bool]], data: st.DataObject
) -> None:
    """Of a journal that ends after any byte, every whole line counts, and a part of one is no damage."""
    lines = render_lines(drawn)
    whole = b"".join(map(encode, lines))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    told = lines[: cut.count(b"\n")]
    done = {line for line in told if isinstance(line, int)}
    contents = parse_journal(cut)
    assert contents.changes == tuple(line for line in told if isinstance(line, Change) and line.number not in done)
    assert contents.damaged == ()


@given(LINES, st.binary(max_size=40).filter(lambda line: line.strip()), st.data())
def test_a_damaged_line_spoils_no_other(
    drawn: list[tuple[str, str, tuple[str, ...], tuple[str, ...], bool]], garbage: bytes, data: st.DataObject
) -> None:
    """Garbage between lines is told by its number and hides no change; nothing is ever raised."""
    lines = render_lines(drawn)
    parts = [*map(encode, lines)]
    at = data.draw(st.integers(0, len(parts)))
    garbage = b"?" + garbage.replace(b"\n", b"?") + b"\n"
    contents = parse_journal(b"".join([*parts[:at], garbage, *parts[at:]]))
    assert contents.changes == parse_journal(b"".join(parts)).changes
    assert contents.damaged == (at + 1,)


MEMBERS = st.sampled_from(["change", "done", "journal", "owner", "address", "host", "what", "undo", "gone"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(MEMBERS, inner),
)


@given(JSON)
def test_other_lines_are_damage(value: object) -> None:
    """Whatever else a line says in JSON, reading it raises nothing, and what is no line of ours is told."""
    contents = parse_journal(json.dumps(value).encode() + b"\n")
    known = isinstance(value, dict) and ("done" in value or "journal" in value or "change" in value)
    assert known or contents.damaged == (1,)


class Answers(LocalHost):
    """A host whose command ends as told."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        return Completed(tuple(argv), self.returncode, b"", b"")


@pytest.mark.parametrize("returncode", [1, 127, -1, -9])
def test_only_0_proves(returncode: int) -> None:
    """A proof that was killed, or could not be run, proves nothing."""
    with pytest.raises(NotReady, match="still there"):
        undo_change(Answers(returncode), Change(1, {}, "h", "w", ("true",), ("true",)))
    undo_change(Answers(0), Change(1, {}, "h", "w", ("true",), ("true",)))


def test_an_undo_has_the_same_time_everywhere(tmp_path: Path) -> None:
    """A harness that cleans up after another gives an undo as long as the one that made the change gives it."""
    given: list[float] = []

    class Slow(Answers):
        def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
            given.append(timeout)
            return super().run(argv, timeout=timeout, stdin=stdin, check=check)

    host = Slow(0)
    with Journal(tmp_path).change(host, "x", undo=["true"], gone=["true"]):
        left = next(tmp_path.glob("*.jsonl")).read_bytes()
    (tmp_path / "dead.jsonl").write_bytes(left)
    undo_dead_journals(lambda address: contextlib.nullcontext(host), directory=tmp_path)
    with start_mediated_device(host, "/nowhere", "refdev-4vec"):
        made = len(given)
    assert [*given[: made - 1], *given[made:]] == [UNDO_TIMEOUT_S] * 3  # without the command that makes the device
    assert UNDO_TIMEOUT_S == 120


def test_two_threads_share_a_journal(tmp_path: Path) -> None:
    """Changes of several threads at once go into one file, each with a number of its own."""
    import threading

    journal, host = Journal(tmp_path), make_host()
    barrier = threading.Barrier(4)

    def work(name: str) -> None:
        for _ in range(10):
            with change(journal, host, name):
                barrier.wait(timeout=10)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    wait_until("the end of the journal", lambda: not list(tmp_path.iterdir()), timeout=5)
    assert len(host.log) == 40
