# SPDX-License-Identifier: GPL-2.0-or-later
"""One case for each way in which a case can end, without hosts: what all fronts must make the same of."""

import os
import signal
import sys
import time

from switchover import Context, Direction, Needs, NotReady, Unit, case

ALONE = Needs(hosts=0)
ATTACHED_BYTES = 40 << 20
MEASUREMENTS = 1000
WORDS = "Übergang 切替 ⏱ «fertig»"


@case(tags=["conformance"], needs=ALONE, seconds=1, way=["direct", "bypass"])
def passes(context: Context, way: str) -> None:
    """It passes, twice: with each of two parameter values."""
    context.say(f"by the way {way}")
    context.check("way", True, way in ("direct", "bypass"))


@case(tags=["conformance"], needs=ALONE, seconds=1)
def fails(context: Context) -> None:
    """An assertion of it does not hold."""
    found = len(context.parameters)
    assert found == 7, f"{found} parameters, not 7"


@case(tags=["conformance"], needs=ALONE, seconds=1)
def claims(context: Context) -> None:
    """One of its checks does not pass, and it goes on after that."""
    context.check("sum", 4, 2 + 2)
    context.check("difference", 1, 2 - 2, claim="two and two are one apart")
    context.measure("reached", 1, Unit.PERCENT, definition="that it came here after the check")


@case(tags=["conformance"], needs=ALONE, seconds=1)
def errs(context: Context) -> None:
    """What it needs of its environment fails: an infrastructure error."""
    raise NotReady("The bench has no power.", why="a fuse blew", fix="replace it")


@case(tags=["conformance"], needs=ALONE, seconds=1)
def skips(context: Context) -> None:
    """What it needs is not there."""
    context.skip("the bench has no such device: Gerät fehlt")


@case(tags=["conformance"], needs=ALONE, seconds=2, timeout_s=2)
def hangs(context: Context) -> None:
    """It never ends by itself."""
    while True:
        time.sleep(60)


@case(tags=["conformance", "kills"], needs=ALONE, seconds=1)
def killed(context: Context) -> None:
    """Its process is killed, and can say nothing any more."""
    os.kill(os.getpid(), signal.SIGKILL)


@case(tags=["conformance"], needs=ALONE, seconds=2)
def attaches(context: Context) -> None:
    """It leaves a file of 40 MB."""
    block = bytes(range(256)) * 4096
    context.attach("large.bin", block * (ATTACHED_BYTES // len(block)))


@case(tags=["conformance"], needs=ALONE, seconds=1)
def speaks(context: Context) -> None:
    """It fails in words that are not ASCII, in all places where words go, and warns on standard error."""
    print("warning: ⚠ this is only a warning", file=sys.stderr, flush=True)
    context.attach("wörter.txt", f"{WORDS}\n")
    context.measure("Dauer", 0.5, Unit.SECONDS, definition=WORDS, note=WORDS)
    context.fail(WORDS)


@case(tags=["conformance"], needs=ALONE, seconds=1)
def measures(context: Context) -> None:
    """It has a thousand measurements, and one that is missing."""
    for number in range(MEASUREMENTS):
        context.measure(
            f"figure {number:03}", number / 8, Unit.SECONDS, direction=Direction.NEITHER, definition="its number by 8"
        )
    context.measure("absent", None, Unit.BYTES, definition="nobody could have it", note="there was nothing to count")
