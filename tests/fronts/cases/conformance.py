# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases without hosts that end in each way there is: what every front makes of them must be the same."""

import os
import signal
import subprocess
import sys
import time

from switchover import Context, Direction, Needs, Unit, case

NOWHERE = Needs(hosts=0)
ATTACHED_BYTES = 40 << 20


@case(tags=["conformance"], needs=NOWHERE, value=[1, 2])
def passes(context: Context, value: int) -> None:
    """Passes, with a number that depends on its parameter."""
    context.measure("value", value, Unit.BYTES, definition="the parameter")


@case(tags=["conformance"], needs=NOWHERE)
def fails(context: Context) -> None:
    """Fails by an assertion."""
    found = 3
    assert found == 4, f"found {found}"


@case(tags=["conformance"], needs=NOWHERE)
def claims(context: Context) -> None:
    """Fails by a check, and goes on after it."""
    context.check("colour", "red", "blue", claim="the colour is red")
    context.measure("after", 1, Unit.BYTES, definition="measured after the check")


@case(tags=["conformance"], needs=NOWHERE)
def errs(context: Context) -> None:
    """Ends with an error that is none of the product."""
    raise OSError("no space left on device")


@case(tags=["conformance"], needs=NOWHERE)
def skips(context: Context) -> None:
    """Is not supported."""
    context.skip("there is no such device")


@case(tags=["conformance", "slow"], needs=NOWHERE, timeout_s=2)
def hangs(context: Context) -> None:
    """Does not end by itself, and has a child that has one."""
    subprocess.Popen(["sh", "-c", "sleep 987 & setsid sleep 987 & wait"])
    time.sleep(987)


@case(tags=["conformance"], needs=NOWHERE)
def killed(context: Context) -> None:
    """Its process dies."""
    os.kill(os.getpid(), signal.SIGKILL)


@case(tags=["conformance", "slow"], needs=NOWHERE)
def attaches(context: Context) -> None:
    """Leaves a large file."""
    context.attach("large.bin", bytes(range(256)) * (ATTACHED_BYTES // 256))


@case(tags=["conformance"], needs=NOWHERE)
def speaks(context: Context) -> None:
    """Says and measures things that are not ASCII, and fails."""
    context.attach("größe.txt", "naïve – 日本語\n")
    context.measure("Größe", 1.5, Unit.SECONDS, definition="Dauer in Sekunden, ±0 µs")
    print("warning: Ärger – 日本語", file=sys.stderr)
    context.fail("Größe ≠ 0 – 日本語")


@case(tags=["conformance"], needs=NOWHERE)
def measures(context: Context) -> None:
    """Measures a thousand things."""
    for index in range(1000):
        context.measure(
            f"number {index}", index, Unit.BYTES, direction=Direction.HIGHER, definition="the index"
        )
