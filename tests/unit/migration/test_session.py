# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of a migration, and when a migration counts as settled; the QEMUs are scripted."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import EXACT, make_sample
from tests.unit.fakes import ScriptedQmp

from switchover.guests.qemu import QemuGuest
from switchover.hosts.clock import ClockOffset
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import Event
from switchover.migration import session, watch
from switchover.migration.phases import Intervention, Phase
from switchover.migration.progress import Hang, HangKind
from switchover.migration.session import (
    SETTLED_RAM,
    SETTLED_SAMPLES,
    MigrationResult,
    Sample,
    find_failed_first,
    is_settled,
    migrate,
)
from switchover.migration.settings import HOLD_LIMIT_MS, MigrationSettings
from switchover.record.errors import GuestCrashed, NotReady, Refused

SETTLED = [make_sample() for _ in range(SETTLED_SAMPLES)]


def test_settled() -> None:
    """RAM drained and VFIO bytes unchanged over the last samples is settled, whatever came before them."""
    assert is_settled(SETTLED)
    assert is_settled([make_sample("setup"), make_sample(remaining=1 << 30, vfio=5), *SETTLED])
    assert is_settled([make_sample(remaining=SETTLED_RAM)] * SETTLED_SAMPLES)


def test_settled_without_a_device() -> None:
    """A guest without a VFIO device settles by its RAM alone."""
    assert is_settled([make_sample(vfio=None)] * SETTLED_SAMPLES)


@pytest.mark.parametrize("position", range(SETTLED_SAMPLES))
@pytest.mark.parametrize(
    "other", [make_sample(remaining=SETTLED_RAM + 1), make_sample(vfio=99), make_sample("device"), make_sample("setup")]
)
def test_not_settled(other: Sample, position: int) -> None:
    """One of the last samples with RAM left, other VFIO bytes or another status is enough to be not settled."""
    samples = [*SETTLED]
    samples[position] = other
    assert not is_settled(samples)


@given(st.integers(0, SETTLED_SAMPLES - 1))
def test_few_samples_are_not_settled(count: int) -> None:
    """Nothing can be said before there are enough samples."""
    assert not is_settled(SETTLED[:count])


class Side:
    """A QEMU that behaves; ``log`` is shared with the other side, so that it shows the order of both."""

    def __init__(self, name: str, log: list[str], statuses: Iterator[str]) -> None:
        self.name = name
        self.log = log
        self.parameters: dict[str, object] = {}
        self.capabilities: dict[str, object] = {}
        self.events: list[Event] = []
        self.statuses = statuses
        self.last = "none"
        self.open = True
        self.words = ""
        self.code: int | None = None
        self.trace = "/dev/null"
        self.ends_on_continue = False
        self.run_state = "running"
        self.on_kill: Callable[[], None] = lambda: None
        self.qmp = ScriptedQmp(
            {
                "migrate-set-capabilities": self.set_capabilities,
                "query-migrate-capabilities": lambda _: [
                    {"capability": name, "state": state} for name, state in self.capabilities.items()
                ],
                "migrate-set-parameters": self.set_parameters,
                "query-migrate-parameters": lambda _: dict(self.parameters),
                "migrate-incoming": self.listen,
                "migrate": self.start,
                "migrate-continue": self.proceed,
                "migrate_cancel": self.cancel,
                "trace-event-set-state": lambda _: {},
                "query-migrate": self.query,
                "query-status": lambda _: {"running": self.run_state == "running", "status": self.run_state},
                "cont": self.go_on,
            },
            name,
        )

    def emit(self, status: str) -> None:
        self.last = status
        self.events.append(Event("MIGRATION", {"status": status}, time.monotonic_ns(), 0))

    def set_capabilities(self, arguments: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: capabilities")
        self.capabilities |= {entry["capability"]: entry["state"] for entry in arguments["capabilities"]}
        return {}

    def set_parameters(self, arguments: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: downtime-limit {arguments['downtime-limit']}")
        self.parameters |= arguments
        return {}

    def go_on(self, _: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: cont")
        self.run_state = "running"
        return {}

    def listen(self, _: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: listen")
        return {}

    def start(self, arguments: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: migrate to {arguments['uri']}")
        return {}

    def query(self, _: dict[str, Any]) -> object:
        if self.name == "destination":
            return {"socket-address": [{"type": "inet", "host": "127.0.0.1", "port": "4444"}], "status": "completed"}
        if not any("migrate to" in line for line in self.log):
            return {}  # as QEMU says before its first migration
        status = next(self.statuses, self.last)
        if status != self.last:
            self.emit(status)
        return {"status": status, "ram": {"remaining": 0}, "error-desc": "why it failed" if status == "failed" else ""}

    def proceed(self, arguments: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: continue {arguments['state']}")
        if self.ends_on_continue:
            self.end("completed")
        return {}

    def cancel(self, _: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: cancel")
        self.end("cancelled")
        return {}

    def end(self, status: str) -> None:
        """The migration is in a status for good."""
        self.statuses = iter(())
        self.emit(status)

    def kill(self) -> None:
        self.log.append(f"{self.name}: killed")
        self.code, self.open = -9, False
        self.on_kill()

    def guest(self) -> QemuGuest:
        side = self

        class Session:
            name = side.name
            events = side.events

            def execute(self, command: str, arguments: dict[str, Any] | None = None, *, timeout: float = 60) -> object:
                self._require_open()
                return side.qmp.execute(command, arguments)

            def submit(self, command: str, arguments: dict[str, Any] | None = None) -> Future[object]:
                answer: Future[object] = Future()
                answer.set_result(self.execute(command, arguments))
                return answer

            def _require_open(self) -> None:
                if not side.open:
                    raise GuestCrashed(f"{side.name} closed its monitor")

            async def execute_async(self, command: str) -> object:
                return side.qmp.execute(command)

            def is_open(self) -> bool:
                return side.open

        def require_alive() -> None:
            if side.code is not None:
                raise GuestCrashed(f"{side.name} ended")

        return cast(
            QemuGuest,
            SimpleNamespace(
                side=self.name,
                host=LocalHost(),
                qmp=Session(),
                require_alive=require_alive,
                last_words=lambda: self.words,
                exit_status=lambda: self.code,
                kill=self.kill,
                files=SimpleNamespace(log=self.trace),
            ),
        )


class Pair:
    def __init__(self, *statuses: str) -> None:
        self.log: list[str] = []
        self.source = Side("source", self.log, iter(statuses))
        self.destination = Side("destination", self.log, iter(()))

    def migrate(self, settings: MigrationSettings, **options: Any) -> MigrationResult:
        with LoopThread() as loop:
            return migrate(self.source.guest(), self.destination.guest(), "127.0.0.1", settings, loop, **options)


def test_the_order_with_settle() -> None:
    """Both sides are set before the destination listens, it listens before the start, the switchover is let go last."""
    pair = Pair("setup", *["active"] * SETTLED_SAMPLES, "active", "device", "completed")
    result = pair.migrate(MigrationSettings(downtime_limit_ms=777))
    assert pair.log == [
        "destination: capabilities",
        f"destination: downtime-limit {HOLD_LIMIT_MS}",
        "source: capabilities",
        f"source: downtime-limit {HOLD_LIMIT_MS}",
        "destination: listen",
        "source: migrate to tcp:127.0.0.1:4444",
        "source: downtime-limit 777",
    ]
    assert result.status == "completed"
    assert set(result.clocks) == {"source", "destination"}


def test_the_order_without_settle() -> None:
    """Without settle the limit is the case's own from the start and never changed."""
    pair = Pair("active", "completed")
    assert pair.migrate(MigrationSettings(settle=False, downtime_limit_ms=777)).status == "completed"
    assert [line for line in pair.log if "limit" in line] == [
        "destination: downtime-limit 777",
        "source: downtime-limit 777",
    ]


def test_samples_are_kept_and_shown() -> None:
    """Every reply is kept in its order, and shown as it comes."""
    shown: list[Sample] = []
    pair = Pair("setup", "active", "active", "completed")
    result = pair.migrate(MigrationSettings(settle=False), on_sample=shown.append)
    statuses = [sample.reply.get("status") for sample in result.samples]
    assert [status for status in statuses if status][:4] == ["setup", "active", "active", "completed"]
    assert tuple(shown[: len(result.samples)]) == result.samples


def test_a_failed_migration_has_qemus_words() -> None:
    """A failed migration ends at once, with error-desc of the source, and the destination is not waited for."""
    pair = Pair("active", "failed")
    pair.destination.qmp.answers["query-status"] = lambda _: pytest.fail("the destination was waited for")
    result = pair.migrate(MigrationSettings(settle=False))
    assert (result.status, result.error, result.destination_error) == ("failed", "why it failed", "")


def test_a_destination_that_ended_has_the_last_word() -> None:
    """QEMU ends an incoming side that failed: the source's failure is the result, with what the destination said."""
    pair = Pair("active", "failed")

    def end(_: Sample) -> None:
        pair.destination.open = pair.source.last != "failed"
        pair.destination.words = "qemu: load of migration failed: Invalid argument"

    result = pair.migrate(MigrationSettings(settle=False), on_sample=end)
    assert (result.status, result.destination_status) == ("failed", None)
    assert (result.error, result.destination_error) == ("why it failed", pair.destination.words)


def test_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an end within ``timeout_s`` it is cancelled, the status is None, and it says why it hung."""
    monkeypatch.setattr(watch, "_LOOK_S", 0.1)  # these QEMUs trace nothing
    pair = Pair(*["active"] * 1000)
    result = pair.migrate(MigrationSettings(settle=False, timeout_s=0.5))
    assert result.status is None
    assert result.hang is not None
    assert result.hang.seconds == 0.5
    assert "status active, RAM remaining 0 bytes" in result.hang.evidence
    assert pair.log[-1] == "source: cancel"
    assert pair.source.last == "cancelled"
    assert result.samples
    assert 0.5 <= result.wall_seconds < 3


def test_the_deadline_bounds_settling() -> None:
    """``settle_timeout_s`` is a part of ``timeout_s``: settling does not go on beyond it."""
    pair = Pair(*["setup"] * 1000)
    result = pair.migrate(MigrationSettings(timeout_s=0.3, settle_timeout_s=1.5))
    assert result.wall_seconds < 1


def test_what_does_not_settle_is_let_go() -> None:
    """A migration that does not settle in its time gets the case's own limit and may still complete."""
    pair = Pair()
    pair.source.statuses = (
        "completed" if pair.source.parameters.get("downtime-limit") == 777 else "setup" for _ in itertools.count()
    )
    result = pair.migrate(MigrationSettings(downtime_limit_ms=777, settle_timeout_s=0.3))
    assert result.status == "completed"


def test_a_source_that_ends_is_a_crash() -> None:
    """The end of the source QEMU ends the wait at once."""
    pair = Pair(*["active"] * 1000)
    start = time.monotonic()

    def end_after_two(sample: Sample) -> None:
        if time.monotonic() - start > 0.3:
            pair.source.code = -9

    with pytest.raises(GuestCrashed, match="source ended"):
        pair.migrate(MigrationSettings(settle=False), on_sample=end_after_two)
    assert time.monotonic() - start < 3


def test_a_rejected_start_is_refused() -> None:
    """A blocker's text reaches the caller."""
    pair = Pair()

    def refuse(_: dict[str, Any]) -> object:
        raise Refused("source rejected migrate.", why="VFIO migration is not supported in kernel")

    pair.source.qmp.answers["migrate"] = refuse
    with pytest.raises(Refused, match="not supported in kernel"):
        pair.migrate(MigrationSettings())


def test_an_earlier_migration_does_not_count() -> None:
    """The end of a migration before this one, among the events, does not end this one."""
    pair = Pair(*["active"] * 1000)
    pair.source.emit("completed")
    pair.source.last = "active"  # so that this migration's first reply comes without an event
    assert pair.migrate(MigrationSettings(settle=False, timeout_s=0.3)).status is None


def test_a_destination_without_an_address() -> None:
    """A destination that does not tell where it listens is an error with what it said, before the start."""
    pair = Pair()
    pair.destination.qmp.answers["query-migrate"] = lambda _: {"socket-address": [{"type": "unix", "path": "/x"}]}
    with pytest.raises(NotReady, match="/x"):
        pair.migrate(MigrationSettings())
    assert not any("migrate to" in line for line in pair.log)


def act(pair: Pair, name: str, then: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """An intervention's action that leaves a line in the log."""

    def run() -> None:
        pair.log.append(name)
        then()

    return run


def intervene(pair: Pair, phase: Phase, then: Callable[[], None] = lambda: None) -> Intervention:
    return Intervention(f"in {phase}", phase, act(pair, f"in {phase}", then))


NOW = MigrationSettings(settle=False)


def test_interventions_are_made_once_and_in_their_phase() -> None:
    """Each is made once, however long its phase lasts; before the start is before ``migrate``; its status is kept."""
    pair = Pair("setup", *["active"] * 10, "device", "completed")
    phases = (Phase.ACTIVE, Phase.BEFORE)
    result = pair.migrate(NOW, interventions=[intervene(pair, phase) for phase in phases])
    lines = [line for line in pair.log if line.startswith(("in ", "source: migrate"))]
    assert lines == ["in before", "source: migrate to tcp:127.0.0.1:4444", "in active"]
    assert [(made.name, made.phase, made.status) for made in result.interventions] == [
        ("in before", Phase.BEFORE, None),
        ("in active", Phase.ACTIVE, "active"),
    ]
    assert all(made.began_ns <= made.ended_ns for made in result.interventions)
    assert (result.status, result.missed) == ("completed", ())


def test_an_intervention_whose_phase_does_not_come_is_not_made() -> None:
    """A phase that the migration never was in has no intervention, and the result shows that."""
    pair = Pair("setup", *["active"] * 5, "completed")
    result = pair.migrate(NOW, interventions=[intervene(pair, Phase.PRE_SWITCHOVER)])
    assert "in pre-switchover" not in pair.log
    assert result.interventions == ()
    assert result.missed == ("in pre-switchover in pre-switchover",)


def test_interventions_in_the_devices_phases() -> None:
    """The device's pre-copy is seen by its bytes, its stop-copy by its own event."""
    pair = Pair()
    moved = {"transferred": 0}

    def query(_: dict[str, Any]) -> object:
        return {"status": "active", "ram": {"remaining": 1}, "vfio": dict(moved)}

    def begin(_: dict[str, Any]) -> object:
        pair.source.emit("active")
        return {}

    def stop_copy() -> None:
        pair.source.events.append(Event("VFIO_MIGRATION", {"device-state": "stop-copy"}, 0, 0))

    pair.source.qmp.answers |= {"query-migrate": query, "migrate": begin}
    wanted = [
        intervene(pair, Phase.DEVICE_STOP_COPY, lambda: pair.source.emit("completed")),
        intervene(pair, Phase.DEVICE_PRE_COPY, stop_copy),
        intervene(pair, Phase.ACTIVE, lambda: moved.update(transferred=1)),
    ]
    result = pair.migrate(NOW, interventions=wanted)
    assert [made.phase for made in result.interventions] == [
        Phase.ACTIVE,
        Phase.DEVICE_PRE_COPY,
        Phase.DEVICE_STOP_COPY,
    ]


def test_a_pause_before_the_switchover_is_ended_once() -> None:
    """In pre-switchover the source is told to continue, once, however long it stays there."""
    pair = Pair("active", *["pre-switchover"] * 10, "device", "completed")
    result = pair.migrate(replace(NOW, pause_before_switchover=True))
    assert pair.log.count("source: continue pre-switchover") == 1
    assert result.status == "completed"


def test_an_intervention_in_pre_switchover_comes_before_it_ends() -> None:
    """What is to be done in pre-switchover is done before the source is told to continue, whenever its status came."""
    pair = Pair("active", *["pre-switchover"] * 5, "completed")
    pair.migrate(NOW, interventions=[intervene(pair, Phase.PRE_SWITCHOVER)])
    lines = [line for line in pair.log if line.startswith(("in ", "source: continue"))]
    assert lines == ["in pre-switchover", "source: continue pre-switchover"]


class ChangingEvents(list[Event]):
    """Events of which the next one arrives just after each look at them."""

    def __init__(self, *statuses: str) -> None:
        super().__init__()
        self.coming = list(statuses)

    def __getitem__(self, index: Any) -> Any:
        seen = super().__getitem__(index)
        if self.coming:
            self.append(Event("MIGRATION", {"status": self.coming.pop(0)}, 0, 0))
        return seen


def test_a_status_that_comes_between_two_looks() -> None:
    """A pause that begins between the look for interventions and the look for it does not pass an intervention over."""
    for looks in range(4):
        pair = Pair()
        pair.source.events = ChangingEvents(*["active"] * looks, "pre-switchover")
        pair.source.qmp.answers["query-migrate"] = lambda _: {"status": "active", "ram": {"remaining": 0}}
        pair.source.ends_on_continue = True
        pair.migrate(NOW, interventions=[intervene(pair, Phase.PRE_SWITCHOVER)])
        lines = [line for line in pair.log if line.startswith(("in ", "source: continue"))]
        assert lines == ["in pre-switchover", "source: continue pre-switchover"]


def test_a_cancelled_pause_is_not_continued() -> None:
    """A migration that was cancelled in pre-switchover is not told to continue: QEMU would reject that."""
    pair = Pair("active", "pre-switchover")
    result = pair.migrate(
        NOW, interventions=[intervene(pair, Phase.PRE_SWITCHOVER, lambda: pair.source.end("cancelled"))]
    )
    assert result.status == "cancelled"
    assert not any("continue" in line for line in pair.log)


HUNG = replace(NOW, timeout_s=0.3)


def test_a_hang_that_the_source_does_not_answer_in() -> None:
    """A source that waits for its destination with its lock held does not hear: then the destination is ended."""
    pair = Pair(*["active"] * 1000)

    def silent(_: dict[str, Any]) -> object:
        raise NotReady("source did not answer migrate_cancel within 20 s.")

    pair.source.qmp.answers["migrate_cancel"] = silent
    pair.destination.on_kill = lambda: pair.source.end("failed")
    result = pair.migrate(HUNG)
    assert pair.log[-1] == "destination: killed"
    assert result.hang is not None
    assert (result.status, result.destination_exit, result.destination_status) == (None, -9, None)


def test_a_hang_that_is_not_cancelled_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation that is taken and comes to nothing is given up for the end of the destination."""
    monkeypatch.setattr(session, "_CANCEL_TIMEOUT_S", 0.2)
    pair = Pair(*["active"] * 1000)
    pair.source.qmp.answers["migrate_cancel"] = lambda _: pair.source.emit("cancelling")
    pair.destination.on_kill = lambda: pair.source.end("failed")
    assert pair.migrate(HUNG).hang is not None
    assert pair.log[-1] == "destination: killed"


def test_a_source_that_ends_in_a_hang() -> None:
    """A source that ends while its hung migration is cancelled is a crash."""
    pair = Pair(*["active"] * 1000)

    def die(_: dict[str, Any]) -> object:
        pair.source.code = -11
        return {}

    pair.source.qmp.answers["migrate_cancel"] = die
    with pytest.raises(GuestCrashed, match="source ended"):
        pair.migrate(HUNG)


def test_a_hang_that_is_found_ends_the_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watch finds is the result, long before the deadline; it is told whether the switchover is held back."""

    class Watch:
        def __init__(self, *_: object) -> None:
            pass

        def find_hang(self, status: str | None, reply: object, events: int, *, held: bool) -> Hang | None:
            told.append((status, held))
            return hang if status == "active" and not held else None

    told: list[tuple[str | None, bool]] = []
    hang = Hang(HangKind.ACK_STARVED, 31, "pending 0 bytes")
    monkeypatch.setattr(session, "HangWatch", Watch)
    pair = Pair("setup", *["active"] * 1000)
    result = pair.migrate(MigrationSettings(timeout_s=60))
    assert (result.status, result.hang) == (None, hang)
    assert result.wall_seconds < 5
    assert ("active", True) in told
    assert told[-1] == ("active", False)


def test_what_completes_while_it_is_given_up_has_completed() -> None:
    """A migration that completes just before it is cancelled completed: its guest is at the destination."""
    pair = Pair(*["active"] * 1000)

    def too_late(_: dict[str, Any]) -> object:
        pair.source.end("completed")
        return {}

    pair.source.qmp.answers["migrate_cancel"] = too_late
    result = pair.migrate(HUNG)
    assert (result.status, result.hang) == ("completed", None)


def failed_at(*times: int | None, base: int = 0) -> list[Event]:
    events = [Event("MIGRATION", {"status": "active"}, 0, base), Event("STOP", {}, 0, base)]
    return events + [Event("MIGRATION", {"status": "failed"}, 0, base + at) for at in times if at is not None]


@pytest.mark.parametrize(
    ("source", "destination", "first"),
    [(None, None, ""), (1_000, None, "source"), (None, 1_000, "destination")],
)
def test_one_side_that_failed(source: int | None, destination: int | None, first: str) -> None:
    """Where one side alone failed it was the first; where none did there is none."""
    events = {"source": failed_at(source), "destination": failed_at(destination)}
    assert find_failed_first(events, {"source": EXACT, "destination": EXACT}) == first


@given(
    st.integers(-(10**12), 10**12),
    st.integers(-(10**9), 10**9),
    st.integers(-(10**9), 10**9),
    st.integers(0, 10**8),
    st.integers(0, 10**8),
)
def test_who_failed_first(lead: int, here: int, there: int, bound_here: int, bound_there: int) -> None:
    """Whatever the clocks' offsets are, the first side is told if the time between is beyond their bounds, and only
    then. ``lead``: by how much the source was first.
    """
    clocks = {"source": ClockOffset(here, bound_here, 1), "destination": ClockOffset(there, bound_there, 1)}
    base = 10**15
    events = {"source": failed_at(here, base=base), "destination": failed_at(lead + there, base=base)}
    beyond = abs(lead) > bound_here + bound_there
    assert find_failed_first(events, clocks) == (("source" if lead > 0 else "destination") if beyond else "")


def test_the_first_failure_of_a_side_counts() -> None:
    """A side that tells its failure twice failed the first time."""
    events = {"source": failed_at(500, 5_000), "destination": failed_at(1_000)}
    assert find_failed_first(events, {"source": EXACT, "destination": EXACT}) == "source"


def test_who_failed_first_is_in_the_result() -> None:
    """The result of a failed migration tells it, from the events of both sides since this migration began."""
    pair = Pair("active", "failed")
    pair.destination.emit("failed")  # of another migration, before this one
    assert pair.migrate(NOW).failed_first == "source"


def test_a_guest_that_arrives_paused_is_let_run() -> None:
    """It is told how it arrived, and runs when this returns; one that runs by itself is not told to."""
    pair = Pair("active", "completed")
    assert pair.migrate(MigrationSettings(settle=False)).arrived == "running"
    assert "destination: cont" not in pair.log
    pair = Pair("active", "completed")
    pair.destination.run_state = "paused"
    assert pair.migrate(MigrationSettings(settle=False)).arrived == "paused"
    assert pair.log[-1] == "destination: cont"
    assert Pair("active", "failed").migrate(MigrationSettings(settle=False)).arrived == ""
