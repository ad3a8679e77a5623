# SPDX-License-Identifier: GPL-2.0-or-later
"""A repeat leaves a record, whatever happens to it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from tests.unit.builders import EXACT, make_measurement, make_result, make_sample
from tests.unit.fakes import FaultyHost

from switchover.devices.reference import Knobs
from switchover.guests.places import PLACES, GuestPlace
from switchover.guests.qemu import GuestKeys
from switchover.guests.snapshots import Beginning, NotRestored, Snapshot, Snapshots
from switchover.hosts.loop import LoopThread
from switchover.lab.lab import Lab
from switchover.migration.phases import Action, Intervened, Phase
from switchover.migration.progress import Hang, HangKind
from switchover.migration.session import Sample
from switchover.record.checks import CheckId
from switchover.record.ending import Ending
from switchover.record.errors import GuestCrashed, GuestSilent, HostLost, NotSupported, Refused
from switchover.record.measurement import Check, NotChecked, make_check
from switchover.record.mismatch import Mismatch, MismatchKind
from switchover.record.record import Death, Record, VerdictName, read_record
from switchover.record.rundir import RepeatDirectory
from switchover.runner import case_runner
from switchover.runner.attempt import Attempt, make_failed
from switchover.runner.case_runner import RunContext, Stopwatch, run_repeat
from switchover.runner.chain import TriedHop
from switchover.runner.host_pair import Endpoint, HostPair
from switchover.runner.listener import RunListener
from switchover.scenarios.case import Case, SideSpec, in_order, make_case, with_one_device
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.faults import Fault

HOST = FaultyHost(lambda method, argument: method, "")
PAIR = HostPair(Endpoint(HOST, "a"), Endpoint(HOST, "b"), GuestKeys("", "", "", ""))
CASE = make_case(
    "device.pre_copy=on",
    with_one_device(Knobs()),
    faults=(Fault(Action.SLOW_LINK, Phase.ACTIVE),),
    expectation=Expectation(VerdictName.COMPLETED, because="nothing is in its way"),
)


SLOWED = make_check(CheckId.MIGRATION_FAULTS, True, "made", "made", "slow link in active")


def run_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: Attempt | BaseException, case: Case = CASE
) -> Any:
    def execute(
        case: Case,
        pair: HostPair,
        watch: Stopwatch,
        directory: Any,
        found: dict[str, Any],
        _: object,
        tried: list[TriedHop],
    ) -> None:
        watch.begin("start source")
        found["qemu"] = {"source": "10.0.2"}
        watch.begin("migrate")
        if isinstance(outcome, BaseException):
            raise outcome
        tried.append(TriedHop(case, outcome, {}, {}))

    monkeypatch.setattr(case_runner, "_execute", execute)
    return run_repeat(case, 3, PAIR, RepeatDirectory(tmp_path), {"switchover": "0.1.0"})


DOWNTIME = {"seconds": 0.25, "bound_s": 0.001, "parts": [], "saving": []}


def test_a_completed_repeat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The record on disk is the one that is returned, with settings, fingerprint, times and numbers."""
    number = make_measurement("downtime.explained", 0.25)
    made = Intervened("slow link", Phase.ACTIVE, "active", 5, 6)
    result = make_result(interventions=(made,))
    attempt = Attempt(result, {"source": ["stop"]}, DOWNTIME, (number,), checks=(SLOWED,), interventions=(made,))
    record = run_with(monkeypatch, tmp_path, attempt)
    assert record.verdict.name is VerdictName.COMPLETED
    assert (record.case, record.repeat) == ("device.pre_copy=on", 3)
    assert list(record.seconds) == ["start source", "migrate"]
    assert record.fingerprint == {"switchover": "0.1.0", "qemu": {"source": "10.0.2"}}
    assert record.measured("downtime.explained") == 0.25
    assert record.clocks["source"] == {"offset_ns": EXACT.offset_ns, "bound_ns": EXACT.bound_ns, "exchanges": 1}
    assert record.expectation == {
        "verdict": "completed",
        "side": "",
        "reason": "",
        "because": "nothing is in its way",
        "pre_copy": "",
        "checks": (),
        "hop": 0,
        "downtime_ms": "",
        "outside_downtime_ms": "",
    }
    assert record.mismatch == ""
    assert record.interventions == (
        {
            "name": "slow link",
            "phase": "active",
            "status": "active",
            "began_ns": 5,
            "ended_ns": 6,
            "at_s": None,
            "rejected": "",
        },
    )
    (device,) = record.settings["destination"]["devices"]
    assert device["properties"] == {"enable-migration": "on", "migration-events": "on"}
    named = {
        "source",
        "destination",
        "migration",
        "faults",
        "heartbeat_us",
        "outside_needed",
        "login_after",
        "irq_seconds",
        "irq_load",
        "irq_placement",
        "irq_forbid_cpus",
        "then",
    }
    assert set(record.settings) == named
    slow = {"action": "slow link", "phase": "active", "rate_bit": 8_000_000, "hop": 1}
    assert record.settings["faults"] == [{**slow, "at_s": None, "seconds": None, "device": ""}]
    on_disk = read_record(tmp_path / "record.json")
    assert on_disk.verdict == record.verdict
    assert on_disk.measurements == record.measurements
    assert on_disk.interventions == record.interventions


def test_a_script_beside_the_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However a repeat ended there is a script that repeats it; one that cannot be made hides nothing."""
    run_with(monkeypatch, tmp_path, HostLost("gone"))
    assert "# observed: infrastructure-error: migrate: gone" in (tmp_path / "repro.sh").read_text()

    def fail(record: Record) -> str:
        raise AssertionError("a bug")

    monkeypatch.setattr(case_runner, "render_script", fail)
    (tmp_path / "repro.sh").unlink()
    with pytest.raises(KeyboardInterrupt):
        run_with(monkeypatch, tmp_path, KeyboardInterrupt())
    assert not (tmp_path / "repro.sh").exists()


@pytest.mark.parametrize(("expected", "right"), [(VerdictName.HUNG, True), (VerdictName.COMPLETED, False)])
def test_the_expectation_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expected: VerdictName, right: bool
) -> None:
    """A hang that was expected is right; one that was not is recorded as a mismatch."""
    hang = Hang(HangKind.ACK_STARVED, 30, "pending 0 bytes")
    case = replace(CASE, expectation=Expectation(expected))
    record = run_with(monkeypatch, tmp_path, make_failed(make_result(None, hang=hang), {}, checks=(SLOWED,)), case)
    assert record.verdict.name is VerdictName.HUNG
    assert (record.mismatch == "") is right
    assert read_record(tmp_path / "record.json").mismatch == record.mismatch


def test_an_error_where_completion_was_expected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A repeat that ended in an error is measured by the expectation too."""
    record = run_with(monkeypatch, tmp_path, HostLost("gone"))
    assert record.mismatch == "expected completed, was infrastructure-error"


def test_a_guest_that_lacks_something_is_no_mismatch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A case that its guest cannot take part in is neither right nor wrong, as one that the preflight leaves out."""
    record = run_with(monkeypatch, tmp_path, NotSupported("The guest lacks the driver (for the load x)."))
    assert record.verdict.name is VerdictName.NOT_SUPPORTED
    assert "the driver (for the load x)" in record.verdict.reason
    assert record.mismatch == ""


def test_what_was_not_checked_is_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is on disk with what the guest lacks, and does not make the case wrong."""
    lacking = (NotChecked(CheckId.DEVICE_SEED, "device seed is kept", "the driver"),)
    record = run_with(monkeypatch, tmp_path, Attempt(make_result(), {}, {}, checks=(SLOWED,), not_checked=lacking))
    assert (record.verdict.name, record.mismatch) == (VerdictName.COMPLETED, "")
    assert read_record(tmp_path / "record.json").not_checked == lacking


def test_a_case_whose_fault_is_not_shown_is_not_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Though all else is as expected; why is told as a value, and comes back from disk."""
    record = run_with(monkeypatch, tmp_path, Attempt(make_result(), {}, {}))
    label = "migration.faults, slow link in active"
    assert record.mismatches == (Mismatch(MismatchKind.FAULT, members=(label,)),)
    assert record.mismatch == f"not shown to have been made: {label}"
    assert read_record(tmp_path / "record.json").mismatches == record.mismatches


def test_deaths_are_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A QEMU that died is in the record, and is the verdict, whatever it was that was seen of the migration."""
    death = Death("destination", -6)
    attempt = make_failed(make_result("cancelled"), {}, checks=(SLOWED,), deaths=(death,))
    record = run_with(monkeypatch, tmp_path, attempt)
    assert (record.verdict.name, record.verdict.side, record.deaths) == (VerdictName.CRASHED, "destination", (death,))
    assert record.mismatch == "expected completed, was crashed"
    assert read_record(tmp_path / "record.json").deaths == (death,)


def test_a_crash_in_the_migration_is_recorded_with_its_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A source that ended in the migration leaves a record without a result, with what was checked after it."""
    check = Check(CheckId.GUEST_NOT_ON_DESTINATION, "guest does not run on the destination", True, "no", "no")
    attempt = make_failed(None, {}, checks=(check,), error=GuestCrashed("ended"), ended="source")
    record = run_with(monkeypatch, tmp_path, attempt)
    assert (record.verdict.name, record.verdict.side) == (VerdictName.CRASHED, "source")
    assert record.checks == (check,)
    assert (record.clocks, record.interventions) == ({}, ())


class FakeGuestSession:
    """Stands where a :class:`GuestSession` is used, and comes to what it is told, one attempt after the other."""

    def __init__(
        self,
        *outcomes: Attempt | Exception,
        heals: Exception | None = None,
        saved: Snapshot | None = None,
        reason: str = "",
    ) -> None:
        self.outcomes = list(outcomes)
        self.heals = heals
        self.log: list[str] = []
        self.cases: list[Case] = []
        self.listener = RunListener()
        self.saved = saved
        self.beginning = Beginning("warm" if saved else "cold", reason)
        self.migrations = 0
        self.pair = PAIR
        self.starts: list[Snapshots | None] = []

    def attempt(self, case: Case, name: str = "destination", recordings: Path | None = None) -> Attempt:
        self.log.append(name)
        self.cases.append(case)
        self.listener.sample(make_sample())
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def heal(self) -> None:
        self.log.append("heal")
        if self.heals:
            raise self.heals

    @contextlib.contextmanager
    def start(
        self, spec: SideSpec, pair: HostPair, loop: LoopThread, listener: RunListener, snapshots: Snapshots | None
    ) -> Iterator[Self]:
        assert replace(spec, guest=CASE.source.guest) == CASE.source
        self.starts.append(snapshots)
        self.listener = listener
        yield self

    @contextlib.contextmanager
    def start_anything(
        self, spec: SideSpec, pair: HostPair, loop: LoopThread, listener: RunListener, snapshots: Snapshots | None
    ) -> Iterator[Self]:
        """As :meth:`start`, whatever is asked for."""
        self.listener = listener
        yield self


SECOND = "migration.again"
STAYED = Check(CheckId.GUEST_ON_SOURCE, "guest runs on the source", True, "yes", "yes")
COMPLETED = Attempt(make_result(), {}, {})
FAILED = make_failed(make_result("failed", error="why"), {}, checks=(STAYED,))


def run_fake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, guest_session: FakeGuestSession, place: GuestPlace | None = None
) -> Record:
    monkeypatch.setattr(case_runner, "start_guest_session", guest_session.start)
    return run_repeat(CASE, 1, PAIR, RepeatDirectory(tmp_path), {}, place=place)


def test_the_record_says_how_the_guest_began(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Booted and why, or restored from what, and which migration of its life it is: the fingerprint has the digests,
    and no path of a file that is gone.
    """
    record = run_fake(monkeypatch, tmp_path, FakeGuestSession(COMPLETED))
    assert record.fingerprint["guest"] == {"start": "cold", "migration": 1}
    record = run_fake(monkeypatch, tmp_path, FakeGuestSession(COMPLETED, reason="it has a disk"))
    assert record.fingerprint["guest"] == {"start": "cold", "reason": "it has a disk", "migration": 1}
    record = run_fake(monkeypatch, tmp_path, FakeGuestSession(COMPLETED, saved=SAVED))
    assert record.fingerprint["guest"] == {
        "start": "warm",
        "key": "c0ffee",
        "sha256": "5eed",
        "bytes": 80,
        "seconds": 20.5,
        "made": "2026-11-22T02:00:00+00:00",
        "held": True,
        "migration": 1,
    }


def test_a_guest_in_another_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both sides are there, and the fingerprint says so; the settings are those of the case, which is the same one in
    every place.
    """
    guest_session = FakeGuestSession(COMPLETED)
    record = run_fake(monkeypatch, tmp_path, guest_session, PLACES[2])
    (ran,) = guest_session.cases
    assert [side.guest.address for side in (ran.source, ran.destination)] == [PLACES[2].address] * 2
    assert record.fingerprint["guest"] == {"start": "cold", "migration": 1, "place": 3}
    first = run_fake(monkeypatch, tmp_path, FakeGuestSession(COMPLETED), PLACES[0])
    assert first.settings == record.settings
    assert "place" not in first.fingerprint["guest"]


SAVED = Snapshot("c0ffee", "/dev/sdb", "5eed", 80, 20.5, "2026-11-22T02:00:00+00:00", held=True)


class ForgetfulGuests(Snapshots):
    """Keeps what it is to forget."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten: list[tuple[Snapshot, Lab | None]] = []

    def forget(self, saved: Snapshot, lab: Lab | None) -> None:
        self.forgotten.append((saved, lab))


LAB = cast(Lab, SimpleNamespace(name="a lab"))


def run_unrestored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, guest_session: FakeGuestSession, guests: ForgetfulGuests | None
) -> Record:
    monkeypatch.setattr(case_runner, "start_guest_session", guest_session.start)
    pair = replace(PAIR, source=replace(PAIR.source, lab=LAB))
    return run_repeat(CASE, 1, pair, RepeatDirectory(tmp_path), {}, RunContext(snapshots=guests))


def test_a_guest_that_is_not_restored_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was saved is forgotten, and the case is run with another; the record says that it happened and why."""
    guests = ForgetfulGuests()
    guest_session = FakeGuestSession(
        NotRestored("The saved guest could not be restored.", "bad magic", SAVED), COMPLETED
    )
    record = run_unrestored(monkeypatch, tmp_path, guest_session, guests)
    assert record.verdict.name is VerdictName.COMPLETED
    assert guests.forgotten == [(SAVED, LAB)]
    assert guest_session.log == ["destination", "destination"]
    assert guest_session.starts == [guests, guests]
    assert "bad magic" in record.fingerprint["guest_made_again"]


def test_a_guest_is_made_again_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that is not restored a second time is an error of the environment, and no verdict on the product."""
    guests = ForgetfulGuests()
    error = NotRestored("The saved guest could not be restored.", "bad magic", SAVED)
    guest_session = FakeGuestSession(error, error, COMPLETED)
    record = run_unrestored(monkeypatch, tmp_path, guest_session, guests)
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR
    assert "could not be restored" in record.verdict.reason
    assert (len(guests.forgotten), len(guest_session.log)) == (1, 2)


def test_the_image_of_a_guest_is_made_again_without_a_place_for_guests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Images are in the store, whoever took one from there."""
    forgotten: list[Snapshot] = []
    monkeypatch.setattr(Snapshots, "forget", lambda self, saved, lab: forgotten.append(saved))
    guest_session = FakeGuestSession(NotRestored("x", "y", SAVED), COMPLETED)
    assert run_unrestored(monkeypatch, tmp_path, guest_session, None).verdict.name is VerdictName.COMPLETED
    assert forgotten == [SAVED]


def test_a_completed_migration_is_not_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After completion there is no second migration; every sample is on disk."""
    guest_session = FakeGuestSession(COMPLETED)
    record = run_fake(monkeypatch, tmp_path, guest_session)
    assert guest_session.log == ["destination"]
    assert guest_session.cases == [CASE]
    assert record.verdict.name is VerdictName.COMPLETED
    assert list(record.seconds) == ["release"]
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "attempt",
    [
        FAILED,
        make_failed(make_result("cancelled"), {}, checks=(STAYED,)),
        make_failed(make_result(None, hang=Hang(HangKind.NO_PROGRESS, 30, "x")), {}, checks=(STAYED,)),
        make_failed(None, {}, checks=(STAYED,), error=GuestCrashed("ended"), ended="destination"),
        make_failed(None, {}, checks=(STAYED,), error=GuestCrashed("panicked")),
    ],
)
def test_a_second_migration_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attempt: Attempt) -> None:
    """After whatever else than completion the guest that stayed is healed and migrates, in order, to a destination of
    its own; the verdict is the first migration's, and its samples are the only ones.
    """
    guest_session = FakeGuestSession(attempt, COMPLETED)
    record = run_fake(monkeypatch, tmp_path, guest_session)
    assert guest_session.log == ["destination", "heal", "second destination"]
    assert guest_session.cases[1] == in_order(CASE)
    assert record.verdict.name is not VerdictName.COMPLETED
    assert [(check.id, check.passed) for check in record.checks] == [(STAYED.id, True), (SECOND, True)]
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "attempt",
    [
        make_failed(None, {}, error=GuestCrashed("ended"), ended="source"),
        make_failed(None, {}, error=Refused("the source QEMU rejected it.", why="blocker", command="migrate")),
    ],
)
def test_no_second_migration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, attempt: Attempt) -> None:
    """Without a source, or where no migration is to be had, a second one is not tried, and no check speaks of it."""
    guest_session = FakeGuestSession(attempt)
    record = run_fake(monkeypatch, tmp_path, guest_session)
    assert guest_session.log == ["destination"]
    assert record.checks == ()


@pytest.mark.parametrize(
    ("second", "observed"),
    [
        (FAILED, "failed: failed: why"),
        (
            Attempt(make_result(), {}, {}, checks=(Check(CheckId.DEVICE_SEED, "seed", False, "1", "2"),)),
            "checks-failed: seed: expected 1",
        ),
        (make_failed(None, {}, error=GuestCrashed("it ended"), ended="source"), "it ended"),
        (HostLost("the host is gone"), "the host is gone"),
    ],
)
def test_a_second_migration_that_is_not_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, second: Attempt | Exception, observed: str
) -> None:
    """A second migration that does not complete, or with failed checks, fails the one check that speaks of it."""
    record = run_fake(monkeypatch, tmp_path, FakeGuestSession(FAILED, second))
    assert record.verdict.reason == "failed: why"
    (check,) = [check for check in record.checks if not check.passed]
    assert check.id == SECOND
    assert observed in check.observed


class ToldKeeper:
    """Keeps what does not complete, from the attempt with this number on."""

    def __init__(self, first: int = 1) -> None:
        self.used = False
        self.told: list[str] = []
        self._first = first

    def keep_if_wrong(self, case: Case, source: Any, destination: Any, outcome: Attempt, *_: Any) -> None:
        self.told.append(case.id)
        self.used = len(self.told) >= self._first and outcome is not COMPLETED


@pytest.mark.parametrize(("first", "log"), [(1, ["destination"]), (2, ["destination", "heal", "second destination"])])
def test_a_case_whose_guests_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: int, log: list[str]
) -> None:
    """Each attempt is told, under the case's name; after one that was kept nothing more is tried with the guests. The
    listener is told each step and each sample of the first migration.
    """
    guest_session = FakeGuestSession(FAILED, FAILED)
    make_attempt = FakeGuestSession.attempt

    def tell(self: FakeGuestSession, case: Case, name: str = "destination", recordings: Path | None = None) -> Attempt:
        attempt = make_attempt(self, case, name)
        self.listener.attempted(case, cast(Any, None), None, attempt)
        return attempt

    monkeypatch.setattr(FakeGuestSession, "attempt", tell)
    monkeypatch.setattr(case_runner, "start_guest_session", guest_session.start)
    keeper, steps, samples = ToldKeeper(first), list[str](), list[Any]()

    class Listener(RunListener):
        def step(self, step: str) -> None:
            steps.append(step)

        def sample(self, sample: Sample) -> None:
            samples.append(sample)

    context = RunContext(Listener(), cast(Any, keeper))
    record = run_repeat(CASE, 1, PAIR, RepeatDirectory(tmp_path), {}, context)
    assert guest_session.log == log
    assert keeper.told == [CASE.id] * first
    assert steps == (["release"] if first == 1 else ["second migration", "release"])
    assert len(samples) == 1
    assert record.mismatch == "expected completed, was failed"


def test_a_guest_that_cannot_be_healed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A guest that does not answer when it is healed has no second migration, which is a failed check."""
    guest_session = FakeGuestSession(FAILED, heals=GuestSilent("does not answer"))
    record = run_fake(monkeypatch, tmp_path, guest_session)
    assert guest_session.log == ["destination", "heal"]
    assert [check.id for check in record.failed_checks] == [SECOND]


def test_a_refused_destination_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A destination that QEMU refuses to start is the verdict; there was no migration to repeat."""
    guest_session = FakeGuestSession(Refused("the destination QEMU did not start.", why="no such property"))
    record = run_fake(monkeypatch, tmp_path, guest_session)
    assert guest_session.log == ["destination"]
    assert record.verdict.name is VerdictName.REFUSED


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (Refused("the source QEMU rejected it.", why="blocker", command="migrate"), VerdictName.BLOCKED),
        (GuestCrashed("ended"), VerdictName.CRASHED),
        (HostLost("gone"), VerdictName.INFRASTRUCTURE_ERROR),
    ],
)
def test_errors_become_verdicts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, name: VerdictName
) -> None:
    """An expected error is a verdict by its class and step, recorded and not raised."""
    record = run_with(monkeypatch, tmp_path, error)
    assert record.verdict.name is name
    assert read_record(tmp_path / "record.json").verdict == record.verdict
    assert record.downtime == {"reason": "there was no migration"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a bug")])
def test_an_interruption_and_a_bug_are_recorded_and_raised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    """They end the run, and the record is there."""
    with pytest.raises(type(error)):
        run_with(monkeypatch, tmp_path, error)
    record = read_record(tmp_path / "record.json")
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR
    assert record.verdict.reason.startswith("migrate: ")
    assert record.ending is (Ending.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Ending.BY_ITSELF)


def test_the_stopwatch() -> None:
    """Steps follow one another, each with its own seconds; ending without a step is nothing."""
    watch = Stopwatch()
    watch.end()
    assert watch.seconds == {}
    watch.begin("a")
    watch.begin("b")
    watch.end()
    assert list(watch.seconds) == ["a", "b"]
    assert all(0 <= seconds < 1 for seconds in watch.seconds.values())


def test_lab_hosts_are_watched_over_the_repeat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of the pair, until it is judged; what they lacked decides what a hang is."""
    log: list[object] = []

    class Meter:
        def __init__(self, processes: Mapping[str, str]) -> None:
            log.append(processes)

        def find_starved(self, begin_s: float, end_s: float) -> str:
            log.append((begin_s, end_s))
            return "lab host b was stopped"

        def close(self) -> None:
            log.append("closed")

    monkeypatch.setattr(case_runner, "StarvationMeter", Meter)
    hang = Hang(HangKind.NO_PROGRESS, 30, "nothing is sent", seen_s=100)
    record = run_with(monkeypatch, tmp_path, make_failed(make_result(None, hang=hang), {}))
    assert (record.verdict.name, record.ending) == (VerdictName.INFRASTRUCTURE_ERROR, Ending.HOST_STARVED)
    assert log == [{}, (70, 100), "closed"]
    assert run_with(monkeypatch, tmp_path, HostLost("gone")).verdict.reason.endswith("meanwhile lab host b was stopped")
    with pytest.raises(KeyboardInterrupt):
        run_with(monkeypatch, tmp_path, KeyboardInterrupt())
    assert log[-1] == "closed"
