# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases in a row with one guest, which is booted again only after a case that ended it.

After a case the guest migrates once more, to a side made for the next case: that is both the way there and the proof
that it still can. After a case that completed it need not, if what it has where it arrived is what the next case needs.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from switchover.guests.warm import SavedGuests
from switchover.hosts.loop import LoopThread
from switchover.record.errors import SwitchoverError
from switchover.record.measurement import Check
from switchover.record.record import Verdict, VerdictName
from switchover.run.pair import Pair
from switchover.run.traveller import Traveller, migrate_again, start_traveller
from switchover.run.verdict import judge_error, judge_passage
from switchover.scenarios.case import Case, with_start
from switchover.scenarios.expand import expand
from switchover.scenarios.expectation import find_mismatch
from switchover.scenarios.scenario import catalogue_directory, load_scenario

MATRIX = ("faults", "device-faults", "hangs")
"""Scenarios of the catalogue that are about what goes wrong."""


def load_cases(names: Sequence[str]) -> list[Case]:
    """Cases of scenarios of the catalogue, each with its scenario's name. A guest that is booted again after a case
    that ended it is better restored, and nothing here is about heartbeats.
    """
    return [
        replace(with_start(entry.case, "warm"), id=f"{name}: {entry.case.id}", heartbeat_us=0)
        for name in names
        for entry in expand(load_scenario(catalogue_directory() / f"{name}.toml"))
    ]


def load_matrix() -> list[Case]:
    """Those about what goes wrong."""
    return load_cases(MATRIX)


@dataclass(frozen=True)
class Outcome:
    """What one case of a series came to; ``mismatch`` is empty if it is right."""

    case: Case
    verdict: Verdict
    checks: tuple[Check, ...]
    mismatch: str
    seconds: float


def run_series(
    cases: Sequence[Case], pair: Pair, on_start: Callable[[Case], None] = lambda case: None
) -> Generator[Outcome]:
    """Run each case once, in order."""
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(LoopThread())
        saved_guests = stack.enter_context(SavedGuests())
        stay = stack.enter_context(contextlib.ExitStack())
        traveller: Traveller | None = None
        for case, following in zip(cases, [*cases[1:], None], strict=True):
            on_start(case)
            start = time.monotonic()
            if traveller is None:
                traveller = stay.enter_context(start_traveller(case.source, pair, loop, saved_guests=saved_guests))
            goes_on = following is not None and _is_same_guest(case, following)
            outcome, survived = _run_one(traveller, case, following if following and goes_on else case, start)
            yield outcome
            if not (survived and goes_on):
                stay.close()
                traveller = None


def _is_same_guest(case: Case, following: Case) -> bool:
    """Whether the guest of a case can be the following one's too. It lets its devices do DMA from its start, or not."""
    mine, next_one = case.source, following.source
    devices = [
        [(device.id, device.type, device.function, bool(device.knobs.dma_pages_per_sec)) for device in side.devices]
        for side in (mine, next_one)
    ]
    return mine.guest == next_one.guest and devices[0] == devices[1]


def _can_start(traveller: Traveller, following: Case) -> bool:
    """Whether the guest has, where it lives now, devices that the following case can have."""
    here, wanted = traveller.side.spec, following.source
    mine, others = (
        [
            (device.type, device.function, device.knobs.offers(), device.properties, device.allow_pre_copy)
            for device in side.devices
        ]
        for side in (here, wanted)
    )
    return mine == others


def _run_one(traveller: Traveller, case: Case, following: Case, start: float) -> tuple[Outcome, bool]:
    """The outcome, and whether the guest is where the following case can start."""
    ended = ""
    checks: tuple[Check, ...] = ()
    try:
        traveller.take_knobs(case.source)
        passage = traveller.attempt(case)
        verdict, checks, ended = judge_passage(passage), passage.checks, passage.ended
    except SwitchoverError as error:
        verdict = judge_error(error, "migrate")
    survived = False
    if verdict.name is VerdictName.COMPLETED and _can_start(traveller, following):
        survived = True  # it has just migrated, and is where the following case can start
    elif ended != "source" and verdict.name is not VerdictName.INFRASTRUCTURE_ERROR:
        again = migrate_again(traveller, following)
        checks = (*checks, again)
        survived = again.passed
    mismatch = find_mismatch(case.expectation, verdict, checks)
    return Outcome(case, verdict, checks, mismatch, time.monotonic() - start), survived
