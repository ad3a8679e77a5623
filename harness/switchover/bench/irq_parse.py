# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of a recording of interrupts, analysed on one core; needs no lab."""

import argparse
from pathlib import Path

from switchover.irq.throughput import measure_throughput
from switchover.record.errors import ExitCode
from switchover.record.log import say
from switchover.record.units import format_bytes


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """``--file`` is repeated until it has ``--count`` events."""
    found = measure_throughput(arguments.file, scratch, arguments.count, say)
    print(
        f"{found.events:,} events in {found.seconds:.2f} s on one core, {found.events / found.seconds:,.0f}/s; "
        f"memory grew by {format_bytes(found.grown)}; {found.local} of {found.ran} activations local"
    )
    return ExitCode.AS_EXPECTED
