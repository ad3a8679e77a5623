# SPDX-License-Identifier: GPL-2.0-or-later
"""What cannot be of the migrations of a chain: of each by itself. Pure."""

from collections.abc import Iterator

from switchover.scenarios.case import Case
from switchover.scenarios.fault_limits import find_fault_contradictions
from switchover.scenarios.limits import Problem, find_contradictions, find_side_contradictions


def find_chain_contradictions(case: Case) -> Iterator[Problem]:
    """What a device does at one end only, it may do in another hop."""
    hops = case.list_hops()
    for number, hop in enumerate(hops):
        yield from find_contradictions(hop.settings)
        for (side, *rest), text in find_side_contradictions(hop.source, hop.destination):
            if (side, number) in (("source", 0), ("destination", len(hops) - 1)):
                yield (side, *rest), text
    for number, fault in enumerate(case.faults):
        if not 1 <= fault.hop <= len(hops):
            yield ("faults", number, "hop"), f"must be 1 to {len(hops)}, the number of [[hops]]"
    for hop_number, hop in enumerate(hops, start=1):
        numbers = [number for number, fault in enumerate(case.faults) if fault.hop == hop_number]
        for (part, place, *rest), text in find_fault_contradictions(hop.settings, hop.faults, hop.source, many=True):
            yield (part, numbers[int(place)], *rest), text
