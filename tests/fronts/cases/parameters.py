# SPDX-License-Identifier: GPL-2.0-or-later
"""A case whose parameters somebody else chooses."""

from switchover import Context, Needs, case


@case(tags=["parameters"], needs=Needs(hosts=0))
def tells(context: Context, count: int = 1, share: float = 0.5, word: str = "none", fast: bool = False) -> None:
    """Leaves its parameters in a file."""
    context.attach("parameters.txt", f"{count!r} {share!r} {word!r} {fast!r}\n")


@case(tags=["parameters"], needs=Needs(hosts=2))
def wants_hosts(context: Context) -> None:
    """Needs hosts."""
    context.attach("hosts.txt", " ".join(host.name for host in context.testbed.hosts))
