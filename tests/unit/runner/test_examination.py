# SPDX-License-Identifier: GPL-2.0-or-later
"""After a migration: what is read from both sides, measured and checked."""

import threading
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.expected_checks import EXPECTED_CHECKS
from tests.unit.builders import make_answers, make_result
from tests.unit.runner.examinations import (
    AFTER,
    CLOCKS,
    KNOBS,
    PLAIN,
    REPLY,
    STATES,
    UNSEEN,
    FakeGuest,
    failed,
    listen,
    make_side,
    run,
    run_examine,
)

from switchover.checks import device as device_checks
from switchover.devices.guest_driver import InterruptCounts
from switchover.guests.capabilities import LAB_CAPABILITIES, Need
from switchover.guests.qemu import QemuGuest
from switchover.hosts.clock import ClockOffset
from switchover.hosts.qmp import Event
from switchover.migration.downtime import UnexplainedDowntime
from switchover.migration.libvirt_report import list_wanted
from switchover.migration.outside import Control, OutsideDowntime, Traffic, UnseenDowntime
from switchover.migration.settings import MigrationSettings
from switchover.probes.probe import Ended, Found, Probe, RunningProbe
from switchover.probes.table import RunningProbes
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, Findings, Measurement, NotChecked, make_check
from switchover.record.units import MIB, Direction, Unit
from switchover.runner import examination
from switchover.runner.attempt import Attempt, Migrated, _states_by_device, make_failed
from switchover.scenarios.case import Case, with_driver, with_one_device
from switchover.scenarios.expectation import COMPLETES

pytestmark = pytest.mark.usefixtures("truths_of_devices")


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


@pytest.mark.parametrize(("bound", "right"), [("≤ 300", True), ("≤ 200", False), ("≥ 200", True)])
def test_a_bound_of_the_downtime(bound: str, right: bool) -> None:
    """The golden migration's downtime of 232 ms keeps a bound above it, and fails the check of one below it. That from
    outside, where nobody listened, cannot be judged.
    """
    case = replace(PLAIN, expectation=replace(COMPLETES, downtime_ms=bound, outside_downtime_ms="≤ 500"))
    found = run_examine(case=case)
    (check,) = [check for check in found.checks if check.id == "downtime.bound"]
    assert check.passed is right
    assert ("downtime.outside-bound", True) in [(entry.id, entry.needed) for entry in found.not_checked]


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
