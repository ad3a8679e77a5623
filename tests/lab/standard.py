# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases that several lab tests run, by the public names only."""

from collections.abc import Mapping
from dataclasses import replace

from switchover import Case, GuestSpec, build_case, load_cases

PRE_COPY_OFF, PRE_COPY_ON = (entry.case for entry in load_cases("precopy"))
"""The standard question: the same device with its pre-copy off and on."""
DEVICE = PRE_COPY_ON.source.references[0]
KNOBS = DEVICE.knobs
BY_LIBVIRT = build_case("by libvirt", guest=GuestSpec(driver="libvirt"), device=DEVICE)
"""The second of them, through libvirt's API."""


def load_quiet(*scenarios: str) -> dict[str, Case]:
    """Cases of the catalogue's scenarios by ``SCENARIO: ID``, without heartbeats, which none of them is about."""
    return {
        f"{name}: {entry.case.id}": replace(entry.case, id=f"{name}: {entry.case.id}", heartbeat_us=0)
        for name in scenarios
        for entry in load_cases(name)
    }


def take_one_of_each(cases: Mapping[str, Case], *more: str) -> dict[str, Case]:
    """The first case by QMP of each outcome (verdict, side, reason), and ``more``. Others, and those by libvirt, are
    left to ``switchover run``, of whose runs ``switchover oracle seen`` notes where rules held.
    """
    first: dict[tuple[str, ...], str] = {}
    for identity, case in cases.items():
        outcome = case.expectation
        if case.source.guest.driver == "qmp":
            first.setdefault((outcome.verdict, outcome.side, outcome.reason), identity)
    return {identity: case for identity, case in cases.items() if identity in {*first.values(), *more}}
