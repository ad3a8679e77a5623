# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the machine has room for lab hosts, before they are started."""

import psutil

from switchover.lab.labhost import MEMORY_MIB
from switchover.record.errors import NotReady
from switchover.record.log import say
from switchover.record.units import MIB, format_bytes, format_count

LEAST_MIB = 1024
"""Of one lab host: what it has taken after a few migrations (docs/lab.md, More than two hosts)."""


def require_room(hosts: int, available: int | None = None) -> None:
    """For so many lab hosts. Where it may become narrow that is said; ``available``: bytes, None: what there is now.

    :raises NotReady: there is not even what lab hosts take in any case
    """
    free = psutil.virtual_memory().available if available is None else available
    most, least = hosts * MEMORY_MIB * MIB, hosts * LEAST_MIB * MIB
    named = format_count(hosts, "lab host")
    if free < least:
        raise NotReady(
            f"The memory of this machine has no room for {named}.",
            why=f"they take at least {format_bytes(least)}; {format_bytes(free)} are available",
            fix="end other programs or labs (switchover lab status); or a lab of fewer hosts",
        )
    if free < most:
        say(f"{named} take up to {format_bytes(most)}, and {format_bytes(free)} are available: it may become narrow")
