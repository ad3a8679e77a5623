# SPDX-License-Identifier: GPL-2.0-or-later
"""Many boots, and many migrations there and back, in a row: what fails, and how long each takes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from switchover.checks.device import check_fired
from switchover.checks.guest import check_console
from switchover.guests.questions import fire_interrupt
from switchover.hosts.loop import LoopThread
from switchover.record.errors import SwitchoverError
from switchover.runner.guest_session import start_guest_session
from switchover.runner.host_pair import HostPair
from switchover.runner.side import start_side
from switchover.runner.verdict import judge_attempt, judge_error
from switchover.scenarios.case import Case


@dataclass(frozen=True)
class Turn:
    """One boot or one migration of a series; ``failure`` is empty if all was as it must be."""

    number: int
    seconds: float
    failure: str = ""


def boot_repeatedly(case: Case, pair: HostPair, count: int) -> Iterator[Turn]:
    """Boot a guest with its device, log in, let an interrupt fire, end it; hosts in turns."""
    for number in range(1, count + 1):
        end = pair.source if number % 2 else pair.destination
        start = time.monotonic()
        failure = ""
        try:
            with (
                LoopThread() as loop,
                start_side(
                    case.source, end.host, "source", pair.keys, loop, incoming=False, words=end.guest_words
                ) as side,
            ):
                side.guest.wait_until_reachable()
                with side.guest.open_ssh(pair.keys) as guest:
                    checks = [check_fired(fire_interrupt(guest))]
                checks.append(check_console("guest", side.guest.console.text()))
            failure = "; ".join(check.name for check in checks if not check.passed)
        except SwitchoverError as error:
            failure = str(error)
        yield Turn(number, time.monotonic() - start, failure)


def migrate_there_and_back(case: Case, pair: HostPair, count: int) -> Iterator[Turn]:
    """One guest, migrated ``count`` times there and back: 2 × ``count`` migrations, each with all checks.

    A failure ends the series, since the guest is not where the next migration would start.
    """
    with LoopThread() as loop, start_guest_session(case.source, pair, loop) as guest_session:
        for number in range(1, 2 * count + 1):
            start = time.monotonic()
            try:
                verdict = judge_attempt(guest_session.attempt(case, f"hop {number}"))
            except SwitchoverError as error:
                verdict = judge_error(error, "migrate")
            failure = "" if verdict.name == "completed" else f"{verdict.name}: {verdict.reason}"
            yield Turn(number, time.monotonic() - start, failure)
            if failure:
                return
