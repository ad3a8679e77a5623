# SPDX-License-Identifier: GPL-2.0-or-later
"""What measuring costs: a case with all probes on and with QEMU's counters only, pair by pair."""

from collections.abc import Iterator
from dataclasses import replace

from switchover.scenarios.case import Case, SideSpec


def without_probes(case: Case) -> Case:
    """The same case, its QEMUs not tracing and its guest sending no heartbeats."""

    def untraced(side: SideSpec) -> SideSpec:
        return replace(side, guest=replace(side.guest, traced=False))

    return replace(
        case,
        id=f"{case.id},probes=off",
        source=untraced(case.source),
        destination=untraced(case.destination),
        heartbeat_us=0,
    )


def alternate(case: Case, pairs: int) -> Iterator[Case]:
    """The case with and without probes, in pairs, each the other way round than the one before."""
    for number in range(pairs):
        arms = (case, without_probes(case))
        yield from arms if number % 2 == 0 else reversed(arms)
