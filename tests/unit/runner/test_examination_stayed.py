# SPDX-License-Identifier: GPL-2.0-or-later
"""After a migration that did not complete: the guest runs where it was, and nowhere else."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.builders import make_answers, make_truth
from tests.unit.runner.examinations import KEYS, PLAIN, SURVIVES, FakeGuest, FakeQemu, failed, log_in, make_side

from switchover.guests.connection import GuestConnection
from switchover.guests.questions import GuestAnswers
from switchover.hosts.waiting import wait_until
from switchover.migration.phases import Action, Phase
from switchover.record.checks import CheckId
from switchover.record.errors import GuestCrashed, HostLost, NotReady, Refused
from switchover.record.measurement import Check
from switchover.runner import examination
from switchover.runner.attempt import Attempt
from switchover.runner.examination import Departure, examine_stayed
from switchover.runner.side import Side
from switchover.scenarios.faults import Fault

pytestmark = pytest.mark.usefixtures("truths_of_devices")


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
