# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab for one run: the one that is up, if nobody uses it, or else one of the run's own, stopped after it."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from switchover.hosts.journal import DeadJournal
from switchover.hosts.ownership import describe_process, take_file
from switchover.hosts.waiting import paced
from switchover.lab.lab import Lab, require_lab, start_lab
from switchover.lab.labfile import find_user, is_running, lease_path, read_lab_file
from switchover.lab.pace import describe_pace
from switchover.lab.recipes import LAB_IMAGES, compute_digest
from switchover.lab.release import clean_up_after_others
from switchover.record.errors import HostLost, NotReady
from switchover.record.log import say
from switchover.record.paths import data_directory, labs_directory

DEFAULT = "default"


@contextlib.contextmanager
def acquire_lab(name: str | None = None, *, stays: bool = False, hosts: int = 2) -> Iterator[Lab]:
    """The lab that is up (``default``), or one of the run's own. Who starts a lab stops it: one that was up stays up.

    Meanwhile deadlines are as the lab's pace makes them (:func:`switchover.hosts.waiting.paced`).
    What harnesses that were killed left on any host is undone first. A lab that was made from other images than
    today's recipes make is not used. With ``name`` it is that lab or none. ``stays``: one that has to be started is
    left running if the block ends without error; as ``default`` if there is none. ``hosts``: how many it is then to
    have; with more than two, one that is up is used only if it has as many.

    :raises UsageError: there is no lab ``name``; :raises NotReady: it is in use, or has leftovers
    """
    remains = clean_up_after_others()
    with contextlib.ExitStack() as stack:
        if name is not None:
            directory = require_lab(name).directory
            if why := _lease(directory, remains, stack):
                raise NotReady(f"The lab {name!r} cannot be used.", why=why)
            lab: Lab | None = stack.enter_context(contextlib.closing(Lab(directory)))
        else:
            lab = _find_usable(remains, stack, hosts)
        if lab is None:
            lab = stack.enter_context(_start_own(stays=stays, hosts=hosts))
        else:
            stack.enter_context(paced(lab.file.pace))
            if words := describe_pace(lab.file.pace):
                say(words)
        yield lab


def _start_own(*, stays: bool, hosts: int) -> AbstractContextManager[Lab]:
    if not stays:
        return start_lab(f"run-{os.getpid()}", hosts=hosts)
    name = f"run-{os.getpid()}" if (labs_directory() / DEFAULT).exists() else DEFAULT
    return start_lab(name, hosts=hosts, stays=True)


def _find_usable(remains: list[DeadJournal], stack: contextlib.ExitStack, hosts: int) -> Lab | None:
    directory = labs_directory() / DEFAULT
    if not is_running(directory):
        return None
    made_of = read_lab_file(directory).images
    if any(made_of.get(name) != compute_digest(name, data_directory("images")) for name in LAB_IMAGES):
        say("the lab that is up was made from older images: a new one is started")
        return None
    if hosts > 2 and len(read_lab_file(directory).hosts) < hosts:
        say(f"the lab that is up has fewer than {hosts} hosts: a new one is started")
        return None
    if why := _lease(directory, remains, stack):
        say(f"the lab that is up is not used: {why}; another one is started")
        return None
    lab = stack.enter_context(contextlib.closing(Lab(directory)))
    try:
        lab.hosts()
    except HostLost as error:
        say(f"the lab that is up does not answer ({error.what}): another one is started")
        return None
    say("using the lab that is up")
    return lab


def _lease(directory: Path, remains: list[DeadJournal], stack: contextlib.ExitStack) -> str:
    """Take the exclusive right to a lab; in words why not, else empty."""
    for dead in remains:
        if any(out.remains and out.change.address.get("directory") == str(directory) for out in dead.outcomes):
            return f"{dead.owner} left something there that could not be undone"
    lease = take_file(lease_path(directory), note=describe_process())
    if lease is None:
        return f"it is in use by {find_user(directory)}"
    stack.callback(lease.release)
    return ""
