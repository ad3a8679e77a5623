# SPDX-License-Identifier: GPL-2.0-or-later
"""The watch for hangs: when it looks closer, at what, and what it makes of it; the QEMUs and the clock are scripted."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.fakes import FaultyHost, ScriptedQmp
from tests.unit.migration.simulated import GIB, THRESHOLD_S, Simulated

from switchover.guests.qemu import QemuGuest
from switchover.migration import watch
from switchover.migration.progress import PENDING_EVENTS, Hang, HangKind, Pending
from switchover.migration.settings import MigrationSettings
from switchover.migration.watch import HangWatch
from switchover.record.errors import Deadline, GuestCrashed, HostLost, NotReady, Refused

BOUND = 30.0
REPLY = {"ram": {"transferred": 5, "dirty-sync-count": 1, "remaining": 7}, "vfio": {"transferred": 3}}


@dataclass
class Course:
    """Two QEMUs in a migration, and a clock that stands still until it is told."""

    directory: Path
    now: float = 1000.0
    pending: int | None = 5000
    threshold: int | None = 1000
    log_size: int = 0
    exits: int | None = None
    traced: list[tuple[str, bool]] = field(default_factory=list)
    error: Exception | None = None
    mute: bool = False
    exact: bool = True

    def __post_init__(self) -> None:
        self.host = FaultyHost(lambda method, argument: argument, "", outputs=self.answer)

    def answer(self, argv: Sequence[str]) -> bytes:
        if argv[0] == "stat" and self.mute:
            raise HostLost("hostb does not answer.")
        if argv[0] == "stat":
            return f"{self.log_size}\n".encode()
        log = self.directory / "log"
        log.write_text("".join(f"{line}\n" for line in self.lines()))
        return subprocess.run([*argv[:-1], str(log)], capture_output=True, check=True).stdout

    def lines(self) -> Iterator[str]:
        """What the log has from its byte ``log_size`` on: thousands of sizes after the last threshold."""
        yield "." * self.log_size + "qemu: no traces here"
        if self.pending is not None and self.threshold is not None:
            yield (
                "7@1795301138.000002:migrate_transferred transferred 1 time_spent 1 bandwidth 1 "
                f"switchover_bw 1 max_size {self.threshold}"
            )
        kind = "exact" if self.exact else "estimate"
        if self.pending is not None:
            yield from [
                f"7@1795301138.000003:migrate_pending_{kind} {kind} pending size {self.pending} (pre = 0 post=0)"
            ] * 500
            yield f"7@1795301138.000004:migrate_pending_{kind} {kind} pending size 1"

    def trace(self, arguments: dict[str, Any]) -> object:
        if self.error:
            raise self.error
        assert arguments["ignore-unavailable"] is True
        self.traced.append((arguments["name"], arguments["enable"]))
        return {}

    def guest(self, side: str) -> QemuGuest:
        return cast(
            QemuGuest,
            SimpleNamespace(
                host=self.host,
                files=SimpleNamespace(log=f"/{side}.log"),
                qmp=ScriptedQmp({"trace-event-set-state": self.trace}),
                exit_status=lambda: self.exits if side == "destination" else None,
            ),
        )

    def watch(self, settings: MigrationSettings | None = None) -> HangWatch:
        settings = settings or MigrationSettings(hang_s=BOUND, downtime_limit_ms=250)
        return HangWatch(self.guest("source"), self.guest("destination"), settings)


class AtOnce:
    """In place of a thread: what is submitted is done before it is asked for."""

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, look: Callable[[], Pending | None]) -> "Future[Pending | None]":
        future: Future[Pending | None] = Future()
        try:
            future.set_result(look())
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture
def course(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Course]:
    course = Course(tmp_path)

    def look_once(name: str, condition: Callable[[], Pending | None], **_: object) -> Pending:
        if (found := condition()) is None:
            raise Deadline(name)
        return found

    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: course.now))
    monkeypatch.setattr(watch, "wait_until", look_once)
    monkeypatch.setattr(watch, "ThreadPoolExecutor", AtOnce)
    yield course
    course.host.close()


def moving(second: int) -> dict[str, Any]:
    """A reply of a migration that sends."""
    return {"ram": {"transferred": second * 1000, "dirty-sync-count": second}, "vfio": {"transferred": 3}}


def follow(
    course: Course,
    seconds: int = 120,
    *,
    status: str = "active",
    sending: bool = True,
    held: bool = False,
    watching: HangWatch | None = None,
) -> tuple[int, Hang] | None:
    """Ask the watch once a second; the second at which it found a hang, and the hang."""
    watching = watching or course.watch()
    for second in range(1, seconds + 1):
        course.now += 1
        reply = moving(second) if sending else REPLY
        if hang := watching.find_hang(status, reply, 4, held=held):
            return second, hang
    return None


def test_a_switchover_that_does_not_come(course: Course) -> None:
    """Pending stays below the threshold while QEMU goes on sending: ack-starved, soon after the bound."""
    course.pending = 10
    found = follow(course)
    assert found is not None
    second, hang = found
    assert hang.kind is HangKind.ACK_STARVED
    assert BOUND <= second <= BOUND * 5 / 3
    assert "(250 ms" in hang.evidence


def test_a_migration_that_does_not_converge(course: Course) -> None:
    """Pending stays above the threshold, however much is sent: not converging."""
    found = follow(course)
    assert found is not None
    assert found[1].kind is HangKind.NOT_CONVERGING
    assert BOUND <= found[0] <= BOUND * 5 / 3


def test_a_smaller_size_each_time_is_progress(course: Course) -> None:
    """While less and less is pending nothing hangs, for as long as it takes."""
    watching = course.watch()
    for second in range(1, 300):
        course.now += 1
        course.pending = 10**6 - second * 3000
        assert watching.find_hang("active", moving(second), 4, held=False) is None


def follow_simulated(course: Course, guest: Simulated, seconds: float) -> Hang | None:
    """Ask the watch once a second, with what QEMU says of the simulated migration at that moment."""
    watching, began = course.watch(), course.now
    course.threshold = round(guest.bandwidth * THRESHOLD_S)
    for one in guest.passes():
        while (at := course.now - began) < one.end and at < seconds:
            sent = round((at - one.begin) * guest.bandwidth)
            course.exact = at - one.begin < 0.3
            course.pending = round(one.size) - (0 if course.exact else sent)
            reply = {"ram": {"transferred": round(one.sent) + sent, "dirty-sync-count": one.number}}
            if hang := watching.find_hang("active", reply, 4, held=False):
                return hang
            course.now += 1
        if at >= seconds:
            break
    return None


def test_a_huge_guest_that_converges(course: Course) -> None:
    """128 GiB at 1 GiB/s, half as much dirtied meanwhile: it takes 256 s, and is called hung at no moment."""
    assert follow_simulated(course, Simulated(), 300) is None


def test_a_huge_guest_that_does_not_converge(course: Course) -> None:
    """The same guest that dirties as much as is sent: the second and the third pass are as large as the first."""
    hang = follow_simulated(course, Simulated(dirty=1.1 * GIB), 600)
    assert hang is not None
    assert hang.kind is HangKind.NOT_CONVERGING
    assert 1000 + 256 <= course.now <= 1000 + 256 + BOUND


@pytest.mark.parametrize("status", ["setup", "active", "pre-switchover", "device"])
def test_no_progress_at_all(course: Course, status: str) -> None:
    """Nothing is sent, and neither log grows: no progress, in every status, with the status as evidence."""
    found = follow(course, status=status, sending=False)
    assert found is not None
    second, hang = found
    assert hang.kind is HangKind.NO_PROGRESS
    assert BOUND <= second <= BOUND * 5 / 3
    assert hang.evidence == f"status {status}, nothing is sent, and neither QEMU writes to its log"
    assert status == "active" or course.traced == []


def test_a_host_that_says_nothing_is_named(course: Course) -> None:
    """Whether a log grew that could not be asked for is not known, and the evidence does not claim it."""
    course.mute = True
    found = follow(course, status="active", sending=False)
    assert found is not None
    assert found[1].kind is HangKind.NO_PROGRESS
    assert found[1].evidence == "status active, nothing is sent, and fake and fake said nothing when asked"


def test_a_destination_that_has_ended_is_named(course: Course) -> None:
    """A source that waits for a destination that is gone says so."""
    course.exits = 1
    found = follow(course, status="device", sending=False)
    assert found is not None
    assert found[1].evidence == "status device, although the destination's QEMU has ended"


def test_a_device_that_is_saved_is_progress(course: Course) -> None:
    """QEMU answers nothing while it saves a device, and what it says of itself stays the same: its log grows."""
    watching = course.watch()
    for _ in range(300):
        course.now += 1
        course.log_size += 1
        assert watching.find_hang("device", REPLY, 4, held=False) is None


def test_a_device_that_was_saved_and_then_hangs(course: Course) -> None:
    """The bound begins anew with the last line of a log."""
    watching = course.watch()
    for _ in range(60):
        course.now += 1
        course.log_size += 1
        assert watching.find_hang("device", REPLY, 4, held=False) is None
    found = follow(course, status="device", sending=False, watching=watching)
    assert found is not None
    assert BOUND * 2 / 3 <= found[0] <= BOUND * 5 / 3


def test_events_are_progress(course: Course) -> None:
    """A migration whose events go on gets somewhere."""
    watching = course.watch()
    for second in range(120):
        course.now += 1
        assert watching.find_hang("setup", REPLY, second // 5, held=False) is None


def test_a_switchover_that_is_held_back_is_no_hang(course: Course) -> None:
    """While the harness itself holds the switchover back, a size that stays is as intended; silence still is none."""
    assert follow(course, held=True) is None
    assert course.traced == []
    found = follow(course, held=True, sending=False)
    assert found is not None
    assert found[1].kind is HangKind.NO_PROGRESS


def test_nothing_is_traced_before_there_is_reason_to(course: Course) -> None:
    """In the first third of the bound nothing is looked at; a look switches each event on and off again."""
    watching = course.watch()
    assert follow(course, int(BOUND / 3) - 1, watching=watching) is None
    assert (course.traced, course.host.log) == ([], [])
    assert follow(course, 2, watching=watching) is None
    assert course.traced == [(name, enable) for enable in (True, False) for name in PENDING_EVENTS]


@pytest.mark.parametrize(
    "error",
    [NotReady("did not answer within 10 s"), HostLost("gone"), Refused('unknown event "migrate_pending_exact"')],
)
def test_a_source_that_does_not_answer_tells_nothing(course: Course, error: Exception) -> None:
    """A source that is silent, or has no such events, has no pending size, and that alone is no hang."""
    course.error = error
    assert follow(course) is None


def test_a_source_that_ended_is_a_crash(course: Course) -> None:
    """A QEMU that ends under the watch is no hang."""
    course.error = GuestCrashed("closed its monitor")
    with pytest.raises(GuestCrashed):
        follow(course)


def test_a_threshold_that_is_not_told(course: Course) -> None:
    """Without the threshold it cannot be told which hang it is, and so none is told."""
    course.threshold = None
    assert follow(course) is None


def test_a_binary_that_does_not_trace(course: Course) -> None:
    """Without the trace events there is no pending size, and only the deadline ends what does not converge."""
    course.pending = None
    assert follow(course) is None


@pytest.mark.parametrize(
    ("pending", "kind"), [(10, HangKind.ACK_STARVED), (5000, HangKind.NOT_CONVERGING), (None, HangKind.NO_END)]
)
def test_the_reason_at_the_deadline(course: Course, pending: int | None, kind: HangKind) -> None:
    """When the time is over, one look tells the kind; without it the counters are the evidence."""
    course.pending = pending
    hang = course.watch().find_reason("active", REPLY, 180, held=False)
    assert (hang.kind, hang.seconds) == (kind, 180)
    if pending is None:
        assert hang.evidence == "status active, RAM remaining 7 bytes"


def test_the_reason_of_another_status(course: Course) -> None:
    """Nothing is traced of a migration that is not active; a reply without counters is none."""
    hang = course.watch().find_reason(None, {}, 180, held=False)
    assert (hang.kind, hang.evidence) == (HangKind.NO_END, "status None, RAM remaining None bytes")
    assert course.traced == []


def test_the_reason_after_looks_that_saw_progress(course: Course) -> None:
    """A migration that still gets on when its time is over is too slow, and says nothing of its limit; one that does
    not is above it.
    """
    watching = course.watch()
    assert follow(course, 12, watching=watching) is None
    for pending, kind in ((5000, HangKind.NOT_CONVERGING), (2000, HangKind.NO_END)):
        course.pending = pending
        assert watching.find_reason("active", REPLY, 180, held=False).kind is kind


def test_the_reason_while_the_switchover_is_held_back(course: Course) -> None:
    """The limit is that of the harness then: what is pending above it says nothing, and is not looked at."""
    hang = course.watch().find_reason("active", REPLY, 180, held=True)
    assert hang.kind is HangKind.NO_END
    assert hang.evidence == "status active, RAM remaining 7 bytes, and the switchover still held back"
    assert course.traced == []


def test_a_source_that_holds_its_lock(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the source answers nothing, who asks the watch is not kept waiting; closing it ends the look."""
    monkeypatch.undo()
    monkeypatch.setattr(watch, "_LOOK_S", 40)
    asked, locked = threading.Event(), threading.Event()

    def trace(arguments: dict[str, Any]) -> object:
        asked.set()
        locked.wait(30)
        return course.trace(arguments)

    source = course.guest("source")
    cast(Any, source).qmp = ScriptedQmp({"trace-event-set-state": trace})
    course.pending = None
    watching = HangWatch(source, course.guest("destination"), MigrationSettings(hang_s=0.1))
    for second in range(3):
        watching._next_look = 0.0
        assert watching.find_hang("active", moving(second), 4, held=False) is None
    assert asked.wait(10)
    assert course.traced == []
    locked.set()
    start = time.monotonic()
    watching.close()
    assert time.monotonic() - start < 20
    assert course.traced == [(name, enable) for enable in (True, False) for name in PENDING_EVENTS]
