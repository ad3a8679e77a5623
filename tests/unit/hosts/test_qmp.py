# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP sessions against a monitor that does what it is told, faults included."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.fakes import STAMP, FakeMonitor, HangUp, Silence

from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import LateQmpSession, QmpSession
from switchover.hosts.waiting import paced, wait_until
from switchover.record.errors import Deadline, GuestCrashed, NotReady, Refused


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    with LoopThread() as thread:
        yield thread


def hang_up(_: object) -> object:
    raise HangUp


def say_nothing(_: object) -> object:
    raise Silence


def start_session(monitor: FakeMonitor, loop: LoopThread) -> QmpSession:
    return QmpSession("the source QEMU", LocalHost(), monitor.path, loop, timeout=5)


def test_commands_and_answers(tmp_path: Path, loop: LoopThread) -> None:
    """Arguments reach the monitor, and its return value comes back; the session opens and closes."""
    answers = {"query-status": {"running": True}, "migrate": lambda arguments: [arguments["uri"]]}
    with FakeMonitor(tmp_path / "qmp", answers) as monitor:
        with start_session(monitor, loop) as session:
            assert session.is_open()
            assert session.execute("query-status") == {"running": True}
            assert session.execute("migrate", {"uri": "tcp:127.0.0.1:1"}) == ["tcp:127.0.0.1:1"]
            assert loop.call(session.execute_async("query-status"), timeout=5) == {"running": True}
        assert not session.is_open()
        assert monitor.commands == [
            ("query-status", {}),
            ("migrate", {"uri": "tcp:127.0.0.1:1"}),
            ("query-status", {}),
        ]


def test_an_error_is_a_refusal_in_qemus_words(tmp_path: Path, loop: LoopThread) -> None:
    """QEMU's text is the reason, and the session goes on."""
    with FakeMonitor(tmp_path / "qmp", {"query-status": {}}) as monitor, start_session(monitor, loop) as session:
        with pytest.raises(Refused, match=r"the source QEMU rejected no-such\.") as caught:
            session.execute("no-such")
        assert caught.value.why == "The command no-such has not been found"
        assert session.execute("query-status") == {}


def test_events_are_kept_in_order_with_both_times(tmp_path: Path, loop: LoopThread) -> None:
    """Every event has its data, QEMU's own time, and the controller's time of arrival; they outlive the session."""
    with FakeMonitor(tmp_path / "qmp", {"stop": {}}) as monitor, start_session(monitor, loop) as session:
        before = time.monotonic_ns()
        monitor.emit("STOP")
        monitor.emit("MIGRATION", {"status": "setup"})
        monitor.emit("NOT_KNOWN_TO_US", {"x": 1})
        session.execute("stop")
        after = time.monotonic_ns()
        session.close()
    assert [(event.name, event.data) for event in session.events] == [
        ("STOP", {}),
        ("MIGRATION", {"status": "setup"}),
        ("NOT_KNOWN_TO_US", {"x": 1}),
    ]
    arrivals = [event.arrived_ns for event in session.events]
    assert before <= arrivals[0] <= arrivals[1] <= arrivals[2] <= after
    expected = (STAMP["seconds"] * 1_000_000 + STAMP["microseconds"]) * 1000
    assert {event.qemu_ns for event in session.events} == {expected}


def test_the_transcript_has_every_message(tmp_path: Path, loop: LoopThread) -> None:
    """Greeting, negotiation, commands, answers, errors and events, both directions, with times that do not go back."""
    with FakeMonitor(tmp_path / "qmp", {"stop": {}}) as monitor, start_session(monitor, loop) as session:
        session.execute("stop")
        monitor.emit("STOP")
        with pytest.raises(Refused):
            session.execute("no-such")
    kinds = [
        (line.direction, next(key for key in ("QMP", "execute", "return", "error", "event") if key in line.message))
        for line in session.transcript
    ]
    assert kinds == [
        ("received", "QMP"),
        ("sent", "execute"),
        ("received", "return"),
        ("sent", "execute"),
        ("received", "return"),
        ("received", "event"),
        ("sent", "execute"),
        ("received", "error"),
    ]
    assert session.transcript[3].message["execute"] == "stop"
    times = [line.at_ns for line in session.transcript]
    assert times == sorted(times)


def test_no_answer_in_time(tmp_path: Path, loop: LoopThread) -> None:
    """Without an answer the wait ends with the command's name; a later command still gets its own answer."""
    with (
        FakeMonitor(tmp_path / "qmp", {"query-migrate": say_nothing, "query-status": {"x": 1}}) as monitor,
        start_session(monitor, loop) as session,
    ):
        with pytest.raises(NotReady, match=r"did not answer query-migrate within 0\.2 s"):
            session.execute("query-migrate", timeout=0.2)
        assert session.execute("query-status") == {"x": 1}


def test_no_answer_in_time_on_a_slow_host(tmp_path: Path, loop: LoopThread) -> None:
    """A QEMU may take as many times as long as its host is slow."""
    with (
        paced(3),
        FakeMonitor(tmp_path / "qmp", {"query-migrate": say_nothing}) as monitor,
        start_session(monitor, loop) as session,
        pytest.raises(NotReady, match=r"within 0\.6 s"),
    ):
        session.execute("query-migrate", timeout=0.2)


def test_a_monitor_that_hangs_up_in_a_command(tmp_path: Path, loop: LoopThread) -> None:
    """A QEMU that goes away instead of answering is a crash, at once, and for every command after it."""
    with FakeMonitor(tmp_path / "qmp", {"migrate": hang_up}) as monitor, start_session(monitor, loop) as session:
        start = time.monotonic()
        with pytest.raises(GuestCrashed, match="closed its monitor during migrate"):
            session.execute("migrate", timeout=30)
        with pytest.raises(GuestCrashed):
            session.execute("query-status")
        assert time.monotonic() - start < 5
        assert not session.is_open()


def test_a_monitor_that_hangs_up_between_commands(tmp_path: Path, loop: LoopThread) -> None:
    """The end of a QEMU is seen without asking it, and its events stay."""
    with FakeMonitor(tmp_path / "qmp") as monitor, start_session(monitor, loop) as session:
        monitor.emit("SHUTDOWN", {"guest": False})
        wait_until("the event", lambda: session.events, timeout=5)
        monitor.hang_up()
        wait_until("the end", lambda: not session.is_open(), timeout=5)
        with pytest.raises(GuestCrashed):
            session.execute("query-status")
    assert [event.name for event in session.events] == ["SHUTDOWN"]


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b'{"hello": 1}\n', b"[]\n"])
def test_something_else_than_qmp(tmp_path: Path, loop: LoopThread, greeting: bytes) -> None:
    """What answers there and is no monitor is an error that says so."""
    with (
        FakeMonitor(tmp_path / "qmp", greeting=greeting) as monitor,
        pytest.raises(NotReady, match="does not speak QMP"),
    ):
        start_session(monitor, loop)


def test_a_monitor_that_never_greets(tmp_path: Path, loop: LoopThread) -> None:
    """A monitor that stays silent, as one that serves another client, ends in a deadline with its name."""
    with (
        FakeMonitor(tmp_path / "qmp", greeting=b"") as monitor,
        pytest.raises(Deadline, match="the monitor of the source QEMU"),
    ):
        QmpSession("the source QEMU", LocalHost(), monitor.path, loop, timeout=0.3)


def test_nobody_listens(tmp_path: Path, loop: LoopThread) -> None:
    """A socket without a QEMU behind it is waited for, and then an error with its path."""
    with FakeMonitor(tmp_path / "qmp") as monitor:
        pass
    with pytest.raises(NotReady, match="qmp"):
        QmpSession("the QEMU", LocalHost(), monitor.path, loop, timeout=0.3)


def test_an_invariant_explains_better(tmp_path: Path, loop: LoopThread) -> None:
    """When the monitor hangs up while it is greeted, the invariant that knows why is the error."""

    def require_alive() -> None:
        if asked:
            raise GuestCrashed("QEMU ended", why="property not found")
        asked.append(1)

    asked: list[int] = []
    with (
        FakeMonitor(tmp_path / "qmp", greeting=b"x\n") as monitor,
        pytest.raises(GuestCrashed, match="property not found"),
    ):
        QmpSession("the QEMU", LocalHost(), monitor.path, loop, timeout=5, invariants=[require_alive])


def test_an_invariant_ends_the_wait_for_the_socket(tmp_path: Path, loop: LoopThread) -> None:
    """A QEMU that ends before it made its socket is found out by the invariant, not by the deadline."""

    def require_alive() -> None:
        raise GuestCrashed("QEMU ended", why="property not found")

    with pytest.raises(GuestCrashed, match="property not found"):
        QmpSession("the QEMU", LocalHost(), str(tmp_path / "q"), loop, timeout=0.5, invariants=[require_alive])


def test_closing_twice_is_no_error(tmp_path: Path, loop: LoopThread) -> None:
    """Release may come after an explicit close."""
    with FakeMonitor(tmp_path / "qmp") as monitor, start_session(monitor, loop) as session:
        session.close()


def test_a_session_that_is_opened_later(tmp_path: Path, loop: LoopThread) -> None:
    """Nothing was said before it is opened, and a command is told to come too early; then it is as any other."""
    session = LateQmpSession("the destination", LocalHost(), str(tmp_path / "qmp"), loop)
    assert (session.events, session.opened, session.is_open()) == ([], False, False)
    with pytest.raises(NotReady, match="has not started yet, and cannot run query-status"):
        session.execute("query-status")
    session.close()
    with FakeMonitor(tmp_path / "qmp", {"query-status": {"running": False}}):
        session.open(timeout=5)
        assert session.execute("query-status") == {"running": False}
        session.close()
        assert not session.is_open()
