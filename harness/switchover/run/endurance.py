# SPDX-License-Identifier: GPL-2.0-or-later
"""Many boots, and many migrations there and back, in a row: what fails, and how long each takes."""

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from switchover.hosts.loop import LoopThread
from switchover.record.errors import SwitchoverError
from switchover.run.case import Case, Pair
from switchover.run.passage import examine, migrate_sides
from switchover.run.probes import ask_guest, check_console, fire_interrupt, seed_device
from switchover.run.side import start_side
from switchover.run.verdict import judge_error, judge_result


@dataclass(frozen=True)
class Turn:
    """One boot or one migration of a series; ``failure`` is empty if all was as it must be."""

    number: int
    seconds: float
    failure: str = ""


def boot_repeatedly(case: Case, pair: Pair, count: int) -> Iterator[Turn]:
    """Boot a guest with its device, log in, let an interrupt fire, end it; hosts in turns."""
    for number in range(1, count + 1):
        end = pair.source if number % 2 else pair.destination
        start = time.monotonic()
        failure = ""
        try:
            with LoopThread() as loop, start_side(case, end.host, "source", pair.keys, loop, incoming=False) as side:
                side.guest.wait_until_reachable()
                with side.guest.open_ssh(pair.keys) as guest:
                    checks = [fire_interrupt(guest, [side.guest.require_alive])]
                checks.append(check_console("guest", side.guest.console.text()))
            failure = "; ".join(check.name for check in checks if not check.passed)
        except SwitchoverError as error:
            failure = str(error)
        yield Turn(number, time.monotonic() - start, failure)


def migrate_there_and_back(case: Case, pair: Pair, count: int) -> Iterator[Turn]:
    """One guest, migrated ``count`` times there and back: 2 × ``count`` migrations, each with all checks.

    A failure ends the series, since the guest is not where the next migration would start.
    """
    with LoopThread() as loop, contextlib.ExitStack() as stack:
        here = stack.enter_context(contextlib.ExitStack())
        side = here.enter_context(start_side(case, pair.source.host, "hop 0", pair.keys, loop, incoming=False))
        side.guest.wait_until_reachable()
        with side.guest.open_ssh(pair.keys) as guest:
            seed_device(guest, random.Random())
            before = ask_guest(guest)
        ends = (pair.destination, pair.source)
        for number in range(1, 2 * count + 1):
            end = ends[(number - 1) % 2]
            start = time.monotonic()
            there = stack.enter_context(contextlib.ExitStack())
            try:
                arrival = there.enter_context(
                    start_side(case, end.host, f"hop {number}", pair.keys, loop, incoming=True)
                )
                migrated = migrate_sides(side, arrival, end.address, case.settings, loop)
                passage = examine(side, arrival, migrated, before, case.settings, pair.keys)
            except SwitchoverError as error:
                yield Turn(number, time.monotonic() - start, judge_error(error, "migrate").reason)
                return
            verdict = judge_result(passage.result, passage.checks)
            failure = "" if verdict.name == "completed" else f"{verdict.name}: {verdict.reason}"
            here.close()
            here, side = there, arrival
            before = replace(before, device=replace(before.device, generation=before.device.generation + 1))
            yield Turn(number, time.monotonic() - start, failure)
            if failure:
                return
