# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest: the same one, running on one side only, reached as before, and free of oopses."""

from collections.abc import Iterator, Sequence

from switchover.checks.evidence import Evidence, Whereabouts
from switchover.checks.rule import ANYWHERE, ARRIVED, LIVES, STAYED, CheckRule
from switchover.guests.capabilities import CANARY, CONSOLE, Need
from switchover.guests.console import find_trouble
from switchover.guests.questions import GuestAnswers
from switchover.migration.drivers import DRIVERS
from switchover.migration.phases import Action
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, check_equal, make_check
from switchover.scenarios.case import Case


def _check_arrival(evidence: Evidence) -> Iterator[Check]:
    case, result = evidence.case, evidence.result
    if result is not None and result.arrived:
        yield check_arrival(case, result.arrived)


def check_arrival(case: Case, arrived: str) -> Check:
    """A guest that was paused at its source is so at its destination, unless its driver resumes it.

    ``arrived``: ``running``, ``paused`` or ``suspended``, by the destination's QEMU.
    """
    if case.pauses_on_the_way and (claim := DRIVERS[case.source.guest.driver].resumes):
        return check_equal(CheckId.GUEST_RUN_STATE, "running", arrived, claim=claim)
    state = "suspended" if case.does(Action.SUSPEND_GUEST) else "paused" if case.pauses else "running"
    return check_equal(CheckId.GUEST_RUN_STATE, state, arrived)


def _check_not_on_source(evidence: Evidence) -> Iterator[Check]:
    yield check_equal(CheckId.GUEST_NOT_ON_SOURCE, "no", evidence.source.runs)


def _check_not_on_destination(evidence: Evidence) -> Iterator[Check]:
    """A guest must not run twice."""
    yield check_equal(CheckId.GUEST_NOT_ON_DESTINATION, "no", evidence.destination.runs)


def _check_connection(evidence: Evidence) -> Iterator[Check]:
    """Of a guest that stayed only that it broke is told: nothing has moved."""
    if evidence.asked.broken:
        yield make_check(CheckId.GUEST_CONNECTION_SURVIVES, False, "yes", evidence.asked.broken)
    elif evidence.guest is Whereabouts.ARRIVED and not evidence.case.does(Action.REBOOT_GUEST):
        yield check_equal(CheckId.GUEST_CONNECTION_SURVIVES, "yes", "yes")


def _check_login(evidence: Evidence) -> Iterator[Check]:
    if evidence.asked.login is not None:
        yield make_check(CheckId.GUEST_NEW_LOGIN, not evidence.asked.login, "yes", evidence.asked.login or "yes")


def _check_on_source(evidence: Evidence) -> Iterator[Check]:
    yield make_check(CheckId.GUEST_ON_SOURCE, not evidence.asked.stuck, "yes", evidence.asked.stuck or "yes")


def _check_boot(evidence: Evidence) -> Iterator[Check]:
    """One that was told to reboot is another boot; that is among its faults."""
    if evidence.asked.reply is None or not evidence.before.boot_id or evidence.case.does(Action.REBOOT_GUEST):
        return
    yield check_equal(CheckId.GUEST_BOOT_ID, evidence.before.boot_id, evidence.asked.reply.answers.boot_id)


def _check_canary(evidence: Evidence) -> Iterator[Check]:
    rebooted = evidence.case.does(Action.REBOOT_GUEST)
    if evidence.asked.reply is not None and evidence.before.canary and not rebooted:
        yield check_equal(CheckId.GUEST_CANARY, evidence.before.canary, evidence.asked.reply.answers.canary)


def _check_mac(evidence: Evidence) -> Iterator[Check]:
    """QEMU does not compare MAC addresses: the destination's NIC takes that of the stream, whatever it was given."""
    if evidence.asked.reply is not None and (macs := evidence.asked.reply.answers.macs):
        mac = evidence.case.source.guest.mac.lower()
        yield make_check(CheckId.GUEST_MAC, mac in macs, mac, ", ".join(macs))


def _has_nic(case: Case) -> bool:
    return bool(case.source.guest.bridge)


def _check_functions(evidence: Evidence) -> Iterator[Check]:
    if evidence.asked.reply is not None:
        yield from compare_functions(evidence.function_numbers, evidence.before, evidence.asked.reply.answers)


def compare_functions(wanted: Sequence[str], before: GuestAnswers, after: GuestAnswers) -> list[Check]:
    """``wanted``: ids of what was passed through. A guest may see more of the same kind."""
    if not wanted or Need.PCI not in after.capabilities.has:
        return []
    missing = [numbers for numbers in dict.fromkeys(wanted) if not _sees(after, numbers, wanted.count(numbers))]
    return [
        make_check(CheckId.GUEST_PCI_FUNCTIONS, not missing, ", ".join(wanted), ", ".join(after.functions) or "none"),
        check_equal(CheckId.GUEST_PCI_DRIVERS, ", ".join(before.functions), ", ".join(after.functions)),
    ]


def _sees(answers: GuestAnswers, numbers: str, count: int) -> bool:
    return sum(seen.startswith(f"{numbers} ") for seen in answers.functions) >= count


def _check_consoles(evidence: Evidence) -> Iterator[Check]:
    """A kernel that does not write to the console is not free of oopses for that."""
    if evidence.guest is Whereabouts.ARRIVED:
        yield from (check_console(side.name, side.console) for side in evidence.sides)
    elif evidence.asked.reply is not None:
        yield check_console(evidence.source.name, evidence.source.console)


def check_console(side: str, console: str) -> Check:
    trouble = find_trouble(console)
    return make_check(CheckId.GUEST_CONSOLE, not trouble, "none", "; ".join(trouble) or "none", side)


def _has_functions(case: Case) -> bool:
    known = (device.known for device in case.source.mediated)
    return bool(case.source.functions) or any(one is not None and one.numbers for one in known)


CHECKS = (
    CheckRule((CheckId.GUEST_RUN_STATE,), _check_arrival),
    CheckRule((CheckId.GUEST_NOT_ON_SOURCE,), _check_not_on_source),
    CheckRule((CheckId.GUEST_NOT_ON_DESTINATION,), _check_not_on_destination, ANYWHERE - ARRIVED),
    CheckRule((CheckId.GUEST_CONNECTION_SURVIVES,), _check_connection, LIVES),
    CheckRule((CheckId.GUEST_NEW_LOGIN,), _check_login),
    CheckRule((CheckId.GUEST_ON_SOURCE,), _check_on_source, STAYED),
    CheckRule((CheckId.GUEST_BOOT_ID,), _check_boot, LIVES, (Need.BOOT_ID,)),
    CheckRule((CheckId.GUEST_CANARY,), _check_canary, LIVES, CANARY),
    CheckRule((CheckId.GUEST_MAC,), _check_mac, LIVES, (Need.NETWORK,), _has_nic),
    CheckRule((CheckId.GUEST_CONSOLE,), _check_consoles, LIVES, CONSOLE),
    CheckRule(
        (CheckId.GUEST_PCI_FUNCTIONS, CheckId.GUEST_PCI_DRIVERS), _check_functions, LIVES, (Need.PCI,), _has_functions
    ),
)
