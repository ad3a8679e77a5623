# SPDX-License-Identifier: GPL-2.0-or-later
"""After a migration: what is read from both sides, and asked of the guest."""

import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.expected_checks import EXPECTED_CHECKS
from tests.unit.builders import EXACT, make_answers, make_result, make_truth, read_golden, render_view
from tests.unit.fakes import ScriptedQmp
from tests.unit.scripted_host import ScriptedHost, answer_questions

from switchover.checks import device as device_checks
from switchover.devices.reference import InterruptCounts, Knobs, ReferenceDevice, Truth
from switchover.guests.capabilities import LAB_CAPABILITIES, Need
from switchover.guests.connection import GuestConnection
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.guests.questions import TAKEN, GuestAnswers
from switchover.guests.spec import GuestSpec, Launch
from switchover.hosts.clock import ClockOffset
from switchover.hosts.host import Completed
from switchover.hosts.qmp import Event
from switchover.hosts.waiting import wait_until
from switchover.migration.downtime import UnexplainedDowntime
from switchover.migration.libvirt_report import list_wanted
from switchover.migration.outside import Control, OutsideDowntime, Traffic, UnseenDowntime
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.probes.outside import OUTSIDE, Heard
from switchover.probes.probe import Ended, Found, Probe, RunningProbe
from switchover.probes.table import RunningProbes
from switchover.record.checks import CheckId
from switchover.record.errors import CommandFailed, GuestCrashed, GuestSilent, HostLost, NotReady, Refused
from switchover.record.measurement import Check, Findings, Measurement, NotChecked, make_check
from switchover.record.units import MIB, Direction, Unit
from switchover.runner import examination
from switchover.runner.attempt import Attempt, Migrated, _states_by_device, make_failed
from switchover.runner.examination import Departure, examine, examine_stayed
from switchover.runner.side import Side
from switchover.scenarios.case import Case, DeviceSpec, SideSpec, with_driver, with_one_device
from switchover.scenarios.faults import Fault

KEYS = GuestKeys("", "", "", "")
PLAIN = Case("x")
UNSEEN = UnseenDowntime("no heartbeats")
CLOCKS = {"source": EXACT, "destination": ClockOffset(-880_000_000, 0, 15)}
STATES = {
    "source": ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"],
    "destination": ["resuming", "running-p2p", "running"],
}
REPLY = {
    "downtime": 256,
    "total-time": 10_000,
    "vfio": {"transferred": 65 * MIB},
    "ram": {"precopy-bytes": 10 * MIB, "downtime-bytes": 1000, "transferred": 75 * MIB + 2000, "multifd-bytes": 0},
}
BEFORE = ((make_truth("RUNNING"),), (make_truth("RUNNING"),))
AFTER = (
    make_truth(
        "RUNNING",
        "PRE_COPY",
        "PRE_COPY_P2P",
        "STOP_COPY",
        "STOP",
        precopy_bytes_read=64 * MIB,
        stop_copy_bytes_read=MIB,
        enomsg=255,
        at_ns=1795301509_077010_000,
    ),
    make_truth("RUNNING", "RESUMING", "STOP", "RUNNING_P2P", "RUNNING", bytes_written=65 * MIB),
)


class FakeGuest(ScriptedHost):
    """A guest over SSH, with as many devices as asked for; every interrupt arrives.

    ``error``: what asking it raises, until it is logged in to anew; ``lasting``: and then too.
    """

    def __init__(self, answers: GuestAnswers, error: Exception | None = None, *, lasting: bool = False) -> None:
        super().__init__(lambda argv: answer_questions(argv[-1], self.answer), "guest")
        self.answers = answers
        self.error = error
        self.lasting = lasting
        self.dma = "ok 12"
        self.reinitialised: list[int] = []
        self.asked: list[str] = []

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        if self.error is not None:
            raise self.error
        return super().run(argv, timeout=timeout, stdin=stdin, check=check)

    def answer(self, name: str, script: str) -> str:
        self.asked.append(name)
        if name == "boot":
            return f"{self.answers.boot_id}\n"
        if name == "canary":
            return f"{self.answers.canary}  -\n"
        if name == "macs":
            return "\n".join(self.answers.macs)
        if name == TAKEN:
            return ""
        number = int(script.split("shift ")[1].split(";")[0])
        if ">reinit" in script:
            self.reinitialised.append(number)
        match name.partition("-")[0]:
            case "fire":
                return "1 4\n1 4\n1 5\n1 5\n"
            case "dma":
                return self.dma
        return render_view(self.answers.devices[number])

    def is_connected(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""


class FakeQemu:
    """A side's QEMU, whose log is the golden one of ``name``. ``refuses``: what a login to its guest raises."""

    def __init__(self, name: str, shell: FakeGuest, console: str = "switchover-guest: ready\n") -> None:
        self.side = name
        self.label = f"the {name} QEMU"
        self.host = ScriptedHost(self.answer_host, name)
        self.host_error: Exception | None = None
        self.files = SimpleNamespace(log=name)
        self.spec = SimpleNamespace(traced=True)
        self.launch = Launch(GuestSpec())
        self.console = SimpleNamespace(text=lambda: console)
        self.shell = shell
        self.refuses: Exception | None = None
        self.logins = 0
        self.code: int | None = None
        self.ends_with: int | None = None
        self.has_begun = True
        self.killed = self.resumed = False
        self.running: bool | Exception = name == "destination"  # as after a migration that completed
        self.qmp = ScriptedQmp({"query-status": self.query}, name)

    def answer_host(self, argv: Sequence[str]) -> str:
        if self.host_error is not None and argv[0] == "true":
            raise self.host_error
        return "" if argv[0] == "true" else read_golden(argv[-1])

    def is_dead(self) -> bool:
        return self.code is not None

    def resume(self) -> None:
        self.resumed = self.running = True

    def query(self, _: dict[str, Any]) -> object:
        if isinstance(self.running, Exception):
            raise self.running
        return {"running": self.running}

    def exit_status(self) -> int | None:
        return self.code

    def name_device(self, device_id: str) -> str:
        return device_id

    def require_alive(self) -> None:
        if self.code is not None:
            raise GuestCrashed(f"{self.side} ended")

    def explain_silence(self) -> None:
        self.code = self.ends_with if self.code is None else self.code
        self.require_alive()

    def open_ssh(self, keys: GuestKeys) -> FakeGuest:
        self.logins += 1
        if self.refuses is not None:
            raise self.refuses
        if not self.shell.lasting:
            self.shell.error = None
        return self.shell


def log_in(side: Side) -> GuestConnection:
    """The connection that was there before the migration: to the guest that is on ``side`` after it."""
    connection = GuestConnection(KEYS)
    qemu = cast(Any, side.guest)
    error, refuses = qemu.shell.error, qemu.refuses
    qemu.refuses = None
    connection.open(side.guest)
    qemu.shell.error, qemu.refuses, qemu.logins = error, refuses, 0
    return connection


def read_truths(side: Side) -> tuple[Truth, ...]:
    return tuple(device.read_truth() for device in side.devices)


@pytest.fixture(autouse=True)
def truths_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What devices know is asked of the devices of these tests, QEMU's log of the side's host."""
    monkeypatch.setattr(Side, "read_truths", read_truths)
    monkeypatch.setattr(
        Side,
        "read_truths_and_log",
        lambda side: (read_truths(side), side.guest.host.run(["cat", side.guest.files.log]).text),
    )


UUIDS = {"source": "1fa7cadf-3694-49dc-af72-d202b30c70c9", "destination": "f1fa6810-9b90-4ce8-90d7-3c4ccc74a6f3"}
KNOBS = Knobs(initial_bytes=64 * MIB, stop_copy_bytes=MIB)


def make_device(truth: Truth, name: str) -> ReferenceDevice:
    """A device of the golden migration."""
    mediated = SimpleNamespace(uuid=UUIDS[name])
    return cast(ReferenceDevice, SimpleNamespace(read_truth=lambda: truth, mediated=mediated))


def make_side(
    name: str,
    *truths: Truth,
    shell: FakeGuest | None = None,
    console: str = "switchover-guest: ready\n",
) -> tuple[Side, FakeQemu]:
    """A side with a device for each of ``truths``, and the QEMU in it."""
    qemu = FakeQemu(name, shell or FakeGuest(make_answers(2, devices=len(truths))), console)
    devices = tuple(make_device(truth, name) for truth in truths)
    spec = SideSpec(devices=tuple(DeviceSpec(id=f"dut{number}", knobs=KNOBS) for number in range(len(truths))))
    return Side(spec, devices, cast(QemuGuest, qemu)), qemu


def run_examine(
    source: Side | None = None,
    destination: Side | None = None,
    states: Any = STATES,
    case: Case = PLAIN,
    outside: UnseenDowntime = UNSEEN,
    **changes: Any,
) -> Attempt:
    values = {"status": "completed", "source": REPLY, "clocks": CLOCKS} | changes
    migrated = Migrated(make_result(**values), states)
    source = source or make_side("source", AFTER[0])[0]
    destination = destination or make_side("destination", AFTER[1])[0]
    devices = len(destination.devices)
    before = make_answers(devices=devices)
    return run(source, destination, migrated, before, case, listen(outside))


def run(
    source: Side,
    destination: Side,
    migrated: Migrated,
    before: GuestAnswers,
    case: Case = PLAIN,
    probes: RunningProbes | None = None,
) -> Attempt:
    truths = BEFORE[0] * len(source.devices), BEFORE[1] * len(destination.devices)
    departure = Departure(case, source, destination, before, truths, log_in(destination), [])
    return examine(departure, migrated, probes or listen(UNSEEN))


def listen(outside: OutsideDowntime | UnseenDowntime) -> RunningProbes:
    """Heartbeats that are under way, and will have been heard so."""
    return RunningProbes(((OUTSIDE, cast(RunningProbe, SimpleNamespace(finish=lambda arrival: Heard(outside)))),))


def failed(checks: Sequence[Check]) -> list[str]:
    """What of a record did not pass, in which each check is there once."""
    labels = [check.label for check in checks]
    assert sorted(set(labels)) == sorted(labels)
    return [check.label for check in checks if not check.passed]


def test_what_the_guest_lacks_is_not_checked() -> None:
    """Without console and driver neither is looked at, though there is an oops: the checks of the hosts remain."""
    capabilities = LAB_CAPABILITIES.without(Need.CONSOLE, Need.DRIVER)
    before = replace(make_answers(), devices=(), capabilities=capabilities)
    sides = [
        make_side(name, AFTER[number], console="BUG: x\n")[0] for number, name in enumerate(("source", "destination"))
    ]
    migrated = Migrated(make_result("completed", source=REPLY, clocks=CLOCKS), STATES)
    found = run(sides[0], sides[1], migrated, before)
    assert failed(found.checks) == []
    by_guest = {str(one) for rule in device_checks.CHECKS for one in rule.ids} | {"guest.console"}
    assert {check.label for check in found.checks} == {
        label for label in EXPECTED_CHECKS if label.partition(",")[0] not in by_guest
    }


def test_a_real_migration_is_in_order() -> None:
    """The golden migration passes all checks, with its downtime explained and its bytes counted."""
    found = run_examine()
    assert failed(found.checks) == []
    assert {check.label for check in found.checks} == EXPECTED_CHECKS
    values = {number.name: number.value for number in found.measurements}
    assert values["downtime.explained"] == pytest.approx(0.231569)
    assert values["bytes.vfio.precopy"] == 64 * MIB
    assert found.downtime["parts"][0]["name"] == "stop"


def test_states_are_compared_side_by_side() -> None:
    """Each side's events are compared with its own device's history."""
    found = run_examine(states={"source": STATES["destination"], "destination": STATES["source"]})
    assert [check.passed for check in found.checks if check.id == CheckId.DEVICE_STATES] == [False, False]


def test_states_are_compared_device_by_device() -> None:
    """With two devices each has its own states and its own check, which names it."""
    migrated = Migrated(
        make_result(source=REPLY, clocks=CLOCKS),
        {
            "source": STATES["source"],
            "source dut1": STATES["destination"],
            "destination": STATES["destination"],
            "destination dut1": STATES["destination"],
        },
    )
    sides = make_side("source", AFTER[0], AFTER[0])[0], make_side("destination", AFTER[1], AFTER[1])[0]
    case = Case("x", sides[0].spec, sides[1].spec)
    found = run(sides[0], sides[1], migrated, make_answers(devices=2), case)
    states = {check.subject: check.passed for check in found.checks if check.id == CheckId.DEVICE_STATES}
    assert states == {"source": True, "source dut1": False, "destination": True, "destination dut1": True}
    assert [check.subject for check in found.checks if check.id == CheckId.DEVICE_INTERRUPT] == ["device 1", "device 2"]


def test_an_oops_on_either_console_is_found() -> None:
    """Both consoles are looked at."""
    for name, truth in (("source", AFTER[0]), ("destination", AFTER[1])):
        side, _ = make_side(name, truth, console="BUG: x\n")
        sides: dict[str, Any] = {name: side}
        found = run_examine(**sides)
        assert failed(found.checks) == [f"guest.console, {name}"]


def test_a_passage_without_completion() -> None:
    """A migration that did not complete has its result and states, no numbers, and what the guest that stayed says."""
    result = make_result("failed")
    check = Check(CheckId.GUEST_ON_SOURCE, "guest runs on the source", True, "yes", "yes")
    found = make_failed(result, STATES, checks=(check,))
    assert (found.result, found.states, found.measurements, found.checks) == (result, STATES, (), (check,))
    assert found.downtime == {"reason": "the migration did not complete"}


def test_a_guest_that_was_paused_has_no_downtime() -> None:
    """It lost no time: neither number of it is one, and QEMU's says so; what it arrives as is compared."""
    found = run_examine(arrived="paused")
    assert found.downtime == {"reason": "the guest was paused when it was migrated"}
    values = {number.name: number for number in found.measurements}
    assert values["downtime.explained"].value is None
    assert values["downtime.outside"].note == "the guest was paused when it was migrated"
    assert "paused" in values["downtime.qemu"].note
    assert failed(found.checks) == ["guest.run-state"]


def test_the_course_is_checked_device_by_device() -> None:
    """Each device's claims are its own, with what QEMU held of its properties."""
    held = {"source": {"x-allow-pre-copy": "off"}, "destination": {"x-allow-pre-copy": "off"}}
    migrated = Migrated(make_result(source=REPLY, clocks=CLOCKS), STATES, held)
    sides = make_side("source", AFTER[0])[0], make_side("destination", AFTER[1])[0]
    found = run(sides[0], sides[1], migrated, make_answers())
    assert failed(found.checks) == ["device.precopy.used, source"]
    assert found.properties == held


def test_a_source_that_goes_on_is_found_out() -> None:
    """After a migration that completed its guest must not run at the source any more, whatever it says itself."""
    source, here = make_side("source", AFTER[0])
    here.running = True
    assert failed(run_examine(source).checks) == ["guest.not-on-source"]
    here.code = 0  # libvirt ends it
    assert failed(run_examine(source).checks) == []


@pytest.mark.parametrize(("overlap", "labels"), [(None, []), (0.5, ["guest.one-place"])])
def test_a_guest_that_is_heard_from_both_ends(overlap: float | None, labels: list[str]) -> None:
    """It is a failed check, also of a guest that was paused; where nobody listened there is none."""
    heard = UnseenDowntime("x", traffic=Traffic(9, 9, 0, 0, 0, ()), overlap_s=overlap)
    for arrived in ("running", "paused"):
        found = run_examine(outside=heard, arrived=arrived)
        assert [label for label in failed(found.checks) if label != "guest.run-state"] == labels
        assert CheckId.GUEST_ONE_PLACE in {check.id for check in found.checks}
    assert CheckId.GUEST_ONE_PLACE not in {check.id for check in run_examine().checks}


@pytest.mark.parametrize("count", [0, 1])
def test_a_device_has_to_make_its_fault(count: int) -> None:
    """A device that is to spoil the state it loads says that it has; of one without a fault nothing is claimed."""
    truth = replace(AFTER[1], counters={**AFTER[1].counters, "faults": count})
    spec = with_one_device(replace(KNOBS, corrupt="state"))
    source, destination = (
        replace(make_side(name, which)[0], spec=spec) for name, which in (("source", AFTER[0]), ("destination", truth))
    )
    found = run_examine(source, destination, case=Case("x", spec, spec))
    assert [check.subject for check in found.checks if check.id == CheckId.DEVICE_FAULT] == ["destination"]
    assert failed(found.checks) == ["device.fault, destination"] * (not count)


def test_libvirt_has_to_turn_on_what_the_case_wants() -> None:
    """Without libvirt there is no such check; with it, a capability that is wanted and off fails it."""
    claim, other = "migration.capabilities, source", "migration.parameters, source"
    assert not {claim, other} & {check.label for check in run_examine().checks}
    parameters = list_wanted(MigrationSettings())
    good = ["events", "return-path", "switchover-ack"]
    for held, values, expected in (
        (good, parameters, []),
        (["events"], parameters, [claim]),
        (good, {**parameters, "downtime-limit": 300}, [other]),
        (good, {}, [other]),
    ):
        driver = {"capabilities": {"source": held}, "held": {"source": values} if values else {}}
        found = run_examine(case=with_driver(PLAIN, "libvirt"), driver=driver)
        assert failed(found.checks) == expected
        assert {claim, other} < {check.label for check in found.checks}
        assert "downtime.libvirt" in {number.name for number in found.measurements}


def test_within_one_host_the_clocks_do_not_matter() -> None:
    """On one host spans are exact, whatever its clock's offset to the controller and the offset's bound."""
    (source, here), (destination, there) = make_side("source", AFTER[0]), make_side("destination", AFTER[1])
    there.host = here.host
    clocks = {"source": ClockOffset(5_000, 9_000, 15), "destination": ClockOffset(7_000, 9_000, 15)}
    found = run_examine(source, destination, clocks=clocks)
    number = next(number for number in found.measurements if number.name == "downtime.explained")
    # the golden logs are of two hosts: as if of one, its clock was set back by 0.88 s in the downtime
    assert (number.value, number.bound) == (None, None)
    assert number.note == "transfer and load took -0.816864 s by the traces: a clock was set meanwhile"


def test_within_one_host_the_clock_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its offset to the controller has a bound, and spans have none."""
    (source, here), (destination, there) = make_side("source", AFTER[0]), make_side("destination", AFTER[1])
    there.host = here.host
    clocks = {"source": ClockOffset(5_000, 9_000, 15), "destination": ClockOffset(7_000, 9_000, 15)}
    seen: list[ClockOffset] = []

    def explain(one: object, two: object, *given: ClockOffset) -> UnexplainedDowntime:
        seen.extend(given)
        return UnexplainedDowntime("not asked")

    monkeypatch.setattr(examination, "explain_downtime", explain)
    run_examine(source, destination, clocks=clocks)
    assert seen == [ClockOffset(5_000, 0, 0)] * 2


class RatedGuest(FakeGuest):
    """A guest whose device raises interrupts of its last vector at a rate, until that is set to nothing."""

    rated = True

    def answer(self, name: str, script: str) -> str:
        if name.startswith("fire"):
            return f"1 4\n1 4\n1 {8 if self.rated else 5}\n1 {8 if self.rated else 5}\n"
        return super().answer(name, script)


def test_an_interrupt_is_raised_when_none_comes_at_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than before can be told only then: the rate is stopped first, and goes on afterwards."""
    guest = RatedGuest(make_answers(2))
    told: list[object] = []

    def set_knob(name: str, value: object) -> None:
        told.append(value)
        guest.rated = bool(value)

    side, _ = make_side("destination", AFTER[1], shell=guest)
    rates = (0, 100)
    devices = tuple(replace(spec, knobs=replace(spec.knobs, irq_rates=rates)) for spec in side.spec.references)
    side = replace(side, spec=replace(side.spec, devices=devices))
    cast(Any, side.devices[0]).set_knob = set_knob

    def stop_interrupts(*_: object) -> InterruptCounts:
        set_knob("irq_rates", ())
        return InterruptCounts((5,), (5,), (9,), (9,), (9,))

    monkeypatch.setattr(examination, "stop_interrupts", stop_interrupts)
    found = run_examine(destination=side)
    (fired,) = [check for check in found.checks if check.id == CheckId.DEVICE_INTERRUPT]
    assert (fired.passed, fired.observed) == (True, "(5, 5)")
    assert told == [(), rates]
    assert guest.rated


SEEN = OutsideDowntime(0.3, 0, 1, 0, Control(0.01, 100, 0, 0.01, 0.012, 0.015), Traffic(500, 500, 0, 0, 0, ()))


def test_probes_are_finished_before_the_guest_is_asked_or_meanwhile() -> None:
    """As each of them says, with the guest where it arrived. What those that go before have found is told last;
    each knows how the downtime is explained.
    """
    asked, log, ended = threading.Event(), list[str](), list[Ended]()
    sides = make_side("source", AFTER[0])[0], make_side("destination", AFTER[1])[0]
    shell = cast(Any, sides[1].guest).shell
    tell = shell.answer

    def answer(name: str, script: str) -> str:
        asked.set()
        return str(tell(name, script))

    shell.answer = answer

    class Saw(Found):
        def find(self, how: Ended) -> Findings:
            ended.append(how)
            return self.findings

    def make(name: CheckId, *, beside: bool) -> tuple[Probe, RunningProbe]:
        def finish(arrival: QemuGuest) -> Found:
            assert arrival is sides[1].guest
            log.append(f"{name} {'when' if asked.wait(10 if beside else 0) else 'before'} the guest is asked")
            number = Measurement(str(name), 1, Unit.SECONDS, Direction.LOWER, "", "")
            return Saw(Findings((make_check(name, True, "", ""),), (number,), (NotChecked(name, ""),)))

        return cast(Probe, SimpleNamespace(finishes_beside=beside)), cast(RunningProbe, SimpleNamespace(finish=finish))

    first, beside = make(CheckId.IRQ_LOAD, beside=False), make(CheckId.IRQ_ARRIVES, beside=True)
    migrated = Migrated(make_result(source=REPLY, clocks=CLOCKS), STATES)
    fails = with_one_device(replace(KNOBS, fail_at="STOP_COPY"))
    case = Case("x", fails)
    found = run(*sides, migrated, make_answers(), case, RunningProbes((first, beside)))
    assert log == ["irq.load before the guest is asked", "irq.arrives when the guest is asked"]
    labels = [check.id for check in found.checks if check.id not in EXPECTED_CHECKS]
    assert labels[-3:] == [CheckId.DEVICE_FAULT, CheckId.IRQ_ARRIVES, CheckId.IRQ_LOAD]
    assert [number.name for number in found.measurements][-2:] == ["irq.arrives", "irq.load"]
    assert [entry.id for entry in found.not_checked] == ["irq.arrives", "irq.load"]
    assert [(how.case, asdict(how.explained), how.paused) for how in ended] == [(case, found.downtime, False)] * 2


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize(("outside", "made"), [(SEEN, True), (UNSEEN, False)])
def test_the_outside_is_checked_or_said_not_to_be(needed: bool, outside: Any, made: bool) -> None:
    """A case whose heartbeats are not heard has a check that was not made, and depends on it if it asked for them; one
    with the probe off, or a guest that was paused, has none at all.
    """
    sides = [make_side(name, AFTER[number])[0] for number, name in enumerate(("source", "destination"))]
    case = replace(PLAIN, outside_needed=needed)

    def look(case: Case, **changes: Any) -> Attempt:
        migrated = Migrated(make_result("completed", source=REPLY, clocks=CLOCKS, **changes), STATES)
        return run(sides[0], sides[1], migrated, make_answers(), case, listen(outside))

    found = look(case)
    assert ([check.passed for check in found.checks if check.id == CheckId.DOWNTIME_OUTSIDE] == [True]) is made
    missing = [(entry.id, entry.why, entry.needed) for entry in found.not_checked]
    assert missing == ([] if made else [(CheckId.DOWNTIME_OUTSIDE, UNSEEN.reason, needed)])
    for other in (look(replace(PLAIN, heartbeat_us=0)), look(case, arrived="paused")):
        assert other.not_checked == ()
        assert CheckId.DOWNTIME_OUTSIDE not in {check.id for check in other.checks}


SURVIVES = "guest.connection-survives"
LETS_IN = "guest.new-login"


def arrive(
    error: Exception | None = None, refuses: Exception | None = None, *, lasting: bool = False, case: Case = PLAIN
) -> tuple[Attempt, FakeQemu]:
    """A guest at the destination whose connection from before fails with ``error``, and a new login ``refuses``."""
    destination, qemu = make_side("destination", AFTER[1], shell=FakeGuest(make_answers(2), error, lasting=lasting))
    qemu.refuses = refuses
    return run_examine(destination=destination, case=case), qemu


def test_the_connection_from_before_is_used() -> None:
    """The guest is asked over the connection that was there before the migration, and not logged in to."""
    found, qemu = arrive()
    assert failed(found.checks) == []
    assert qemu.logins == 0
    assert {SURVIVES, LETS_IN} & {check.label for check in found.checks} == {SURVIVES}


@pytest.mark.parametrize("error", [HostLost("The connection to guest broke."), CommandFailed("no answer")])
def test_a_connection_that_does_not_survive(error: Exception) -> None:
    """It fails a check of its own; the guest is asked over a new login, so that the others are made."""
    found, qemu = arrive(error)
    assert failed(found.checks) == [SURVIVES]
    (check,) = [check for check in found.checks if not check.passed]
    assert str(error) in check.observed
    assert qemu.logins == 1
    assert LETS_IN in {check.label for check in found.checks}
    assert sum(check.id.startswith(("guest.", "device.")) for check in found.checks) >= 8


def doing(action: Action) -> Case:
    """With its one device under the id that it has here."""
    return Case("x", SideSpec(devices=(DeviceSpec("dut0"),)), faults=(Fault(action, Phase.ACTIVE),))


def test_a_guest_that_rebooted_is_logged_in_to() -> None:
    """Its connection from before and its canary ended with the boot, and its device has another state."""
    shell = FakeGuest(replace(make_answers(9), boot_id="another"))
    destination, qemu = make_side("destination", AFTER[1], shell=shell)
    found = run_examine(destination=destination, case=doing(Action.REBOOT_GUEST))
    made = {check.id for check in found.checks}
    assert qemu.logins == 1
    assert "canary" not in shell.asked
    assert not made & {CheckId.GUEST_CONNECTION_SURVIVES, CheckId.GUEST_BOOT_ID, CheckId.GUEST_CANARY}
    assert not made & {CheckId.DEVICE_SEED, CheckId.DEVICE_GENERATION}
    assert {CheckId.DEVICE_CHECKSUM_BY_GUEST, CheckId.DEVICE_INTERRUPT, CheckId.MIGRATION_FAULTS} <= made


def test_a_guest_that_was_suspended_is_as_before() -> None:
    """Over its connection, with its boot and its canary; its driver sets its device up again, which was reset."""
    shell = FakeGuest(make_answers(2))
    destination, qemu = make_side("destination", AFTER[1], shell=shell)
    found = run_examine(destination=destination, case=doing(Action.SUSPEND_GUEST), arrived="suspended")
    made = {check.id: check.passed for check in found.checks}
    assert (qemu.logins, shell.reinitialised) == (0, [0])
    assert made[CheckId.GUEST_RUN_STATE]
    assert made[CheckId.GUEST_BOOT_ID]
    assert made[CheckId.GUEST_CANARY]
    assert CheckId.DEVICE_SEED not in made


def test_a_device_that_the_guest_does_not_have() -> None:
    """Is not asked for; one that was plugged in is waited for."""
    away = replace(doing(Action.PLUG_DEVICE), faults=(Fault(Action.UNPLUG_DEVICE, Phase.BEFORE),))
    for case, absent, asked in ((away, {"dut0"}, 0), (doing(Action.PLUG_DEVICE), set(), 1)):
        shell = FakeGuest(make_answers(2))
        destination, qemu = make_side("destination", AFTER[1], shell=shell)
        qemu.launch = replace(qemu.launch, absent=frozenset(absent))
        made = {check.id for check in run_examine(destination=destination, case=case).checks}
        assert len([name for name in shell.asked if name.startswith("device-")]) == asked
        assert (CheckId.DEVICE_INTERRUPT in made) is bool(asked)
        assert (TAKEN in shell.asked) is bool(asked)


def test_a_case_about_logins() -> None:
    """With ``login_after`` the guest is logged in to anew, though its connection has survived."""
    found, qemu = arrive(case=Case("x", login_after=True))
    assert failed(found.checks) == []
    assert {SURVIVES, LETS_IN} <= {check.label for check in found.checks}
    assert qemu.logins == 1
    refused = GuestSilent("lets nobody in")
    assert failed(arrive(refuses=refused, case=Case("x", login_after=True))[0].checks) == [LETS_IN]


@pytest.mark.parametrize("lasting", [False, True])
def test_a_guest_that_is_silent_fails_a_check(lasting: bool) -> None:
    """A guest that does not answer after a migration is a failed check of the product, not of the environment."""
    silent = GuestSilent("The guest of the destination QEMU does not answer over SSH.")
    found, _ = arrive(HostLost("broke"), None if lasting else silent, lasting=lasting)
    assert failed(found.checks) == [SURVIVES, LETS_IN]
    observed = [check.observed for check in found.checks if not check.passed]
    assert ("broke" if lasting else "does not answer over SSH") in observed[-1]


def test_a_host_that_is_lost_is_no_failed_check() -> None:
    """A host that goes away while the guest is asked is an error of the environment, which passes."""
    with pytest.raises(HostLost, match="gone"):
        arrive(HostLost("broke"), HostLost("gone"))
    destination, qemu = make_side(
        "destination", AFTER[1], shell=FakeGuest(make_answers(2), HostLost("x"), lasting=True)
    )
    qemu.host_error = HostLost("gone")
    with pytest.raises(HostLost, match="gone"):
        run_examine(destination=destination)


def test_a_guest_that_dies_while_it_is_asked_is_a_crash() -> None:
    """Not a connection that is lost, nor an interrupt."""
    with pytest.raises(GuestCrashed):
        arrive(HostLost("broke"), GuestCrashed("QEMU ended"))


def test_what_went_on_by_itself_is_looked_at() -> None:
    """Pages that a device wrote by DMA are verified in the same exchange, of such a device only."""
    writes = DeviceSpec(id="dut0", knobs=replace(KNOBS, dma_pages_per_sec=5))
    for text, expected in (("ok 12", []), ("wrong 12 1\n3 0 0x1 0x2", ["device.dma, device 1"])):
        shell = FakeGuest(make_answers(2))
        shell.dma = text
        side, _ = make_side("destination", AFTER[1], shell=shell)
        assert failed(run_examine(destination=replace(side, spec=SideSpec(devices=(writes,)))).checks) == expected
        assert shell.asked == ["boot", "canary", "device-0", "macs", "fire-0", "dma-0"]
    assert "dma-0" not in arrive()[1].shell.asked


def test_a_guest_that_is_another_one() -> None:
    """A guest at the destination that says other things than before is found out."""
    shell = FakeGuest(replace(make_answers(2), canary="other"))
    found = run_examine(destination=make_side("destination", AFTER[1], shell=shell)[0])
    assert failed(found.checks) == ["guest.canary"]


def stay(
    *, resets: int = 0, answers: GuestAnswers | None = None, devices: int = 1
) -> tuple[Side, FakeQemu, Side, FakeQemu, FakeGuest]:
    """Both sides after a migration that did not complete: the guest runs on the source, the destination waits."""
    shell = FakeGuest(answers or make_answers(1, devices=devices))
    source, here = make_side("source", *[make_truth("RUNNING", resets=resets)] * devices, shell=shell)
    destination, there = make_side("destination", *[make_truth("RESUMING")] * devices)
    here.running, there.running = True, False
    return source, here, destination, there, shell


def look(source: Side, destination: Side, devices: int = 1) -> list[Check]:
    return list(stay_put(source, destination, log_in(source), devices).checks)


def stay_put(source: Side, destination: Side, connection: GuestConnection, devices: int = 1) -> Attempt:
    truths = (make_truth("RUNNING", resets=0),) * devices
    before = make_answers(1, devices=devices)
    return examine_stayed(Departure(PLAIN, source, destination, before, (truths, truths), connection, []))


@pytest.mark.parametrize("devices", [1, 2])
def test_a_guest_that_stayed(devices: int) -> None:
    """It runs on the source and nowhere else, is the same, its devices have their state, and their interrupts fire."""
    source, _, destination, _, shell = stay(devices=devices)
    checks = look(source, destination, devices)
    assert failed(checks) == []
    assert [check.label for check in checks[:2]] == [
        "guest.not-on-destination",
        "guest.on-source",
    ]
    assert len(checks) == 2 + 3 + 5 * devices + devices + 1
    assert shell.reinitialised == []


def test_a_guest_that_runs_twice() -> None:
    """A guest that runs on both sides is found out, whatever it says itself."""
    source, _, destination, there, _ = stay()
    there.running = True
    assert failed(look(source, destination)) == ["guest.not-on-destination"]


@pytest.mark.parametrize("error", [GuestCrashed("closed its monitor"), NotReady("did not answer")])
def test_a_destination_that_ended_runs_no_guest(error: Exception) -> None:
    """A QEMU that ended runs nothing; one that lives and does not answer is not taken for stopped."""
    source, _, destination, there, _ = stay()
    there.running = error
    assert failed(look(source, destination)) == ["guest.not-on-destination"]
    there.code = 1
    assert failed(look(source, destination)) == []


def test_a_destination_that_is_about_to_end_runs_no_guest() -> None:
    """A QEMU closes its monitor before its end can be known: that is waited for."""
    source, _, destination, there, _ = stay()
    there.running, there.ends_with = GuestCrashed("closed its monitor"), 1
    assert failed(look(source, destination)) == []


@pytest.mark.parametrize("changes", [{"generation": 2}, {"scratch": ("9", "9")}, {"checksum": "x"}])
def test_a_device_that_lost_its_state(changes: dict[str, Any]) -> None:
    """Without a reset the device of a guest that stayed must have all it had."""
    view = replace(make_answers().devices[0], **changes)
    source, _, destination, _, _ = stay(answers=replace(make_answers(), devices=(view,)))
    assert failed(look(source, destination)) != []


def test_a_device_that_was_reset() -> None:
    """A reset takes the device's state with it: the guest's driver initialises it, and then it has to work."""
    view = replace(make_answers().devices[0], scratch=("0", "0"), seed="0", generation=9)
    answers = replace(make_answers(), devices=(view, view))
    source, _, destination, _, shell = stay(resets=1, answers=answers, devices=2)
    checks = look(source, destination, 2)
    assert failed(checks) == []
    assert shell.reinitialised == [0, 1]
    assert {str(check.id) for check in checks if check.id.startswith("device.")} == {
        "device.checksum-by-guest",
        "device.interrupt",
    }
    assert sum(check.id == CheckId.DEVICE_INTERRUPT for check in checks) == 2


def test_a_reset_excuses_the_device_only() -> None:
    """What the guest's memory and its own checksum say counts after a reset too."""
    view = replace(make_answers().devices[0], checksum_expected="bad")
    answers = GuestAnswers("other boot", "other canary", (view,))
    source, _, destination, _, _ = stay(resets=1, answers=answers)
    assert failed(look(source, destination)) == [
        "guest.boot-id",
        "guest.canary",
        "device.checksum-by-guest, device 1",
    ]


def test_a_source_that_does_not_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that stays stopped, is silent or whose QEMU ended fails a check, and nothing more is asked of it."""
    monkeypatch.setattr(
        examination, "wait_until", lambda *args, **options: wait_until(*args, **(options | {"timeout": 0.1}))
    )
    source, here, destination, _, shell = stay()
    for running, silent, code in ((False, False, None), (True, True, None), (True, True, -9)):
        here.running, here.code = running, code
        shell.error, shell.lasting = (HostLost("broke"), True) if silent else (None, False)
        checks = look(source, destination)
        assert failed(checks) == [SURVIVES] * (silent and code is None) + ["guest.on-source"]
        assert checks[-1].observed
    assert shell.asked == []


@pytest.mark.parametrize("pauses", [True, False])
def test_a_guest_that_the_harness_paused_is_let_run(pauses: bool) -> None:
    """The pause was the harness's own: it ends before the guest is asked how it is. One that stands still for another
    reason is not let run.
    """
    source, here, destination, _, _ = stay()
    here.running = not pauses
    case = replace(PLAIN, faults=(Fault(Action.PAUSE_GUEST, Phase.BEFORE),) * pauses)
    truths = (make_truth("RUNNING", resets=0),)
    departure = Departure(case, source, destination, make_answers(1), (truths, truths), log_in(source), [])
    checks = examine_stayed(departure, error=Refused("the source QEMU rejected migrate.")).checks
    assert failed(checks) == []
    assert here.resumed is pauses


def test_a_connection_that_breaks_under_a_guest_that_stayed() -> None:
    """That it did not survive is told; the guest is asked over a new one, and the rest is checked."""
    source, _, destination, _, shell = stay()
    shell.error, shell.lasting = HostLost("broke"), False
    checks = look(source, destination)
    assert failed(checks) == [SURVIVES]
    assert "guest.on-source" in [check.label for check in checks if check.passed]


def test_a_host_that_is_lost_under_a_guest_that_stayed() -> None:
    """The environment's error passes, whether the host does not let in or goes while its guest is asked."""
    source, here, destination, _, shell = stay()
    shell.error, shell.lasting, here.host_error = HostLost("broke"), True, HostLost("gone")
    with pytest.raises(HostLost, match="gone"):
        look(source, destination)
    connection = GuestConnection(KEYS)
    here.refuses = HostLost("gone too")
    with pytest.raises(HostLost, match="gone too"):
        stay_put(source, destination, connection)


def test_a_guest_that_stayed_is_logged_in_to_if_need_be() -> None:
    """Its connection is kept where it is there, and made anew where it is not."""
    source, here, destination, _, _ = stay()
    assert failed(look(source, destination)) == []
    assert here.logins == 0
    assert failed(stay_put(source, destination, GuestConnection(KEYS)).checks) == []
    assert here.logins == 1


def test_devices_states_by_their_events() -> None:
    """Each device's states come from its own events; a QEMU that does not name the device has but one."""
    side, _ = make_side("source", *AFTER)
    events = [
        Event("VFIO_MIGRATION", {"device-state": state, "device-id": device}, 0, 0)
        for state, device in (("stop", "dut0"), ("stop", "dut1"), ("running", "dut0"))
    ]
    assert _states_by_device("source", side, events) == {"source": ["stop", "running"], "source dut1": ["stop"]}
    alone, _ = make_side("destination", AFTER[1])
    unnamed = [Event("VFIO_MIGRATION", {"device-state": "stop"}, 0, 0)]
    assert _states_by_device("destination", alone, unnamed) == {"destination": ["stop"]}
