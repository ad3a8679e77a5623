# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab for one run: the one that is up, if nobody uses it, or else one of the run's own, stopped after it."""

import contextlib
import os
from collections.abc import Iterator

import filelock

from switchover.lab.lab import Lab, start_lab
from switchover.lab.labfile import is_running, read_lab_file
from switchover.lab.recipes import compute_digest
from switchover.record.errors import HostLost
from switchover.record.log import say
from switchover.record.paths import data_directory, labs_directory

DEFAULT = "default"


@contextlib.contextmanager
def borrow_lab() -> Iterator[Lab]:
    """Who starts a lab stops it: a lab that was up before stays up.

    A lab that was made from other images than today's recipes make is not used.
    """
    labs_directory().mkdir(parents=True, exist_ok=True, mode=0o700)
    lease = filelock.FileLock(labs_directory() / f"{DEFAULT}.lease")
    with contextlib.ExitStack() as stack:
        lab = _find_usable(lease, stack)
        if lab is None:
            lab = stack.enter_context(start_lab(f"run-{os.getpid()}"))
        yield lab


def _find_usable(lease: filelock.BaseFileLock, stack: contextlib.ExitStack) -> Lab | None:
    directory = labs_directory() / DEFAULT
    if not is_running(directory):
        return None
    if read_lab_file(directory).images.get("labhost") != compute_digest("labhost", data_directory("images")):
        say("the lab that is up was made from older images: a new one is started")
        return None
    try:
        lease.acquire(timeout=0)
    except filelock.Timeout:
        say("the lab that is up is in use: another one is started")
        return None
    stack.callback(lease.release)
    lab = Lab(directory)
    stack.callback(lab.close)
    try:
        lab.hosts()
    except HostLost as error:
        say(f"the lab that is up does not answer ({error.what}): another one is started")
        return None
    say("using the lab that is up")
    return lab
