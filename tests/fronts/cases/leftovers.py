# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases that leave processes behind, if they are let: children of their own, and children of those."""

import os
import signal
import subprocess
import time

from switchover import Context, Needs, case

ALONE = Needs(hosts=0)
MARK = "switchover-leftover"
"""On the command line of everything that may be left."""


def _start(context: Context) -> None:
    """A child, one of its own, and one that has left its session and has no parent any more."""
    sleep = f"exec -a {MARK} sleep 987"
    script = f"({sleep}) & (setsid bash -c '{sleep}' &) ; touch started; {sleep}"
    subprocess.Popen(["bash", "-c", script], cwd=context.directory)
    while not (context.directory / "started").exists():
        time.sleep(0.01)


@case(tags=["leftovers"], needs=ALONE, timeout_s=600)
def stays(context: Context) -> None:
    """Does not end before somebody ends it."""
    _start(context)
    time.sleep(600)


@case(tags=["leftovers"], needs=ALONE, timeout_s=2)
def overruns(context: Context) -> None:
    """Takes longer than it may."""
    _start(context)
    time.sleep(600)


@case(tags=["leftovers"], needs=ALONE)
def forgets(context: Context) -> None:
    """Passes."""
    _start(context)


@case(tags=["leftovers"], needs=ALONE)
def dies(context: Context) -> None:
    """Its process is killed."""
    _start(context)
    os.kill(os.getpid(), signal.SIGKILL)


@case(tags=["leftovers"], needs=ALONE, timeout_s=600)
def refuses(context: Context) -> None:
    """Goes on when it is told to end."""
    _start(context)
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            context.say("no")
