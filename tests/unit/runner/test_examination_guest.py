# SPDX-License-Identifier: GPL-2.0-or-later
"""After a migration that completed: how the guest is asked, and what becomes of one that does not answer."""

from dataclasses import replace

import pytest
from tests.unit.builders import make_answers
from tests.unit.runner.examinations import (
    AFTER,
    KNOBS,
    PLAIN,
    SURVIVES,
    FakeGuest,
    FakeQemu,
    failed,
    make_side,
    run_examine,
)

from switchover.guests.questions import TAKEN
from switchover.migration.phases import Action, Phase
from switchover.record.checks import CheckId
from switchover.record.errors import CommandFailed, GuestCrashed, GuestSilent, HostLost
from switchover.runner.attempt import Attempt
from switchover.scenarios.case import Case, DeviceSpec, SideSpec
from switchover.scenarios.faults import Fault

pytestmark = pytest.mark.usefixtures("truths_of_devices")


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
