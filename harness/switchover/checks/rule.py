# SPDX-License-Identifier: GPL-2.0-or-later
"""What a check is: its ids, when it is made, what it needs of the guest, and a function of the evidence."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from switchover.checks.evidence import DeviceEvidence, Evidence, OtherEvidence, Whereabouts
from switchover.guests.capabilities import Need
from switchover.record.checks import CheckId
from switchover.record.measurement import Check
from switchover.scenarios.case import Case

ARRIVED = frozenset({Whereabouts.ARRIVED})
LIVES = frozenset({Whereabouts.ARRIVED, Whereabouts.STAYED})
STAYED = frozenset({Whereabouts.STAYED})
ANYWHERE = frozenset(Whereabouts)


def _always(_case: Case) -> bool:
    return True


@dataclass(frozen=True)
class CheckRule:
    """An entry of the table of checks (``checks/table.py``)."""

    ids: tuple[CheckId, ...]
    """The checks that it makes, no others, and no other rule makes them."""
    make: Callable[[Evidence], Iterable[Check]]
    """From what is known; pure. None where there is nothing that could be claimed."""
    when: frozenset[Whereabouts] = ARRIVED
    """Where the guest has to be for it."""
    needs: tuple[Need, ...] = ()
    """What the guest must have. Where it lacks that, the checks are told as not made."""
    wanted: Callable[[Case], bool] = _always
    """Whether a case has these checks at all: in others they are not missed."""
    only_reference: Mapping[CheckId, str] = field(default_factory=dict)
    """Checks that are made of reference devices only, each with what another device lacks for it: of a guest with such
    a device they are told as not made.
    """
    only_known: frozenset[CheckId] = frozenset()
    """Checks of devices that can be made only where their type is known: of any other they are told as not made."""


NO_COUNTERS = "it counts nothing that could be asked for"
NO_HISTORY = "it keeps no history of its states"
NO_REGISTERS = "its guest has no driver that tells what it sees of it"
"""What a device lacks that is no reference device."""


def make_device_rule(
    *ids: CheckId,
    make: Callable[[DeviceEvidence, Case], Iterable[Check]],
    make_of_others: Callable[[OtherEvidence, Case], Iterable[Check]] | None = None,
    sides: Literal["source", "both"] = "source",
    only_reference: Mapping[CheckId, str] | None = None,
    only_known: Iterable[CheckId] = (),
) -> CheckRule:
    """A rule about each reference device of the source, or of both sides, of a migration that completed, and with
    ``make_of_others`` about each other device.
    """

    def make_all(evidence: Evidence) -> Iterable[Check]:
        for side in evidence.sides if sides == "both" else (evidence.source,):
            for device in side.devices:
                yield from make(device, evidence.case)
            if make_of_others is not None:
                for other in side.others:
                    yield from make_of_others(other, evidence.case)

    return CheckRule(ids, make_all, only_reference=only_reference or {}, only_known=frozenset(only_known))
