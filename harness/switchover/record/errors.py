# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong, with what a person needs to know: what happened, why, and what to do."""

import time
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the command (DESIGN: a bug before a case before the environment)."""

    AS_EXPECTED = 0
    NOT_AS_EXPECTED = 1
    USAGE = 2
    NOT_READY = 3
    BUG = 4
    INTERRUPTED = 130


class SwitchoverError(Exception):
    """An expected failure: printed without a Python trace.

    ``what`` happened, ``why`` as far as known, and what to do about it (``fix``); ``why`` and ``fix`` may be empty.
    ``at_s``: when it did, CLOCK_MONOTONIC of the controller.
    """

    exit_code = ExitCode.BUG

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.at_s = time.monotonic()

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class UsageError(SwitchoverError):
    """The user asked for something that does not exist or does not fit together."""

    exit_code = ExitCode.USAGE


class NotReady(SwitchoverError):
    """The environment lacks something or failed. This is never a failure of the product under test."""

    exit_code = ExitCode.NOT_READY


class HostLost(NotReady):
    """A host stopped answering, or its connection broke."""


class CommandFailed(NotReady):
    """A command on a host exited with a status other than 0, or could not be started."""

    def __init__(self, what: str, *, why: str = "", fix: str = "", returncode: int | None = None) -> None:
        super().__init__(what, why=why, fix=fix)
        self.returncode = returncode


class Deadline(SwitchoverError):
    """A named wait did not end in time. ``waited_s``: how long it was, seconds; None: not known."""

    exit_code = ExitCode.NOT_READY

    def __init__(self, what: str, *, why: str = "", fix: str = "", waited_s: float | None = None) -> None:
        super().__init__(what, why=why, fix=fix)
        self.waited_s = waited_s


class GuestCrashed(SwitchoverError):
    """A QEMU process ended, or the guest in it panicked, when nothing had asked it to.

    ``exit_status``: of the QEMU that ended, negative if a signal ended it; None: it runs, or nobody knows. ``side``:
    ``source`` or ``destination``, whichever it was; empty: nobody knows.
    """

    exit_code = ExitCode.NOT_AS_EXPECTED

    def __init__(
        self, what: str, *, why: str = "", fix: str = "", exit_status: int | None = None, side: str = ""
    ) -> None:
        super().__init__(what, why=why, fix=fix)
        self.exit_status = exit_status
        self.side = side


class GuestSilent(NotReady):
    """A guest does not answer over SSH, while its host does."""


class NotSupported(SwitchoverError):
    """Something that a case needs is missing, and named; nothing went wrong."""

    exit_code = ExitCode.NOT_READY


class Refused(SwitchoverError):
    """QEMU rejected a property, capability, parameter or command; ``why`` is its own text.

    ``command``: the QMP command that was rejected, also where libvirt gave it; empty: something else was.
    """

    exit_code = ExitCode.NOT_AS_EXPECTED

    def __init__(self, what: str, *, why: str = "", fix: str = "", command: str = "") -> None:
        super().__init__(what, why=why, fix=fix)
        self.command = command


def came_from_interrupt(error: BaseException) -> bool:
    """Whether an error was raised while an interruption was on its way up."""
    context: BaseException | None = error
    while context is not None:
        if isinstance(context, KeyboardInterrupt):
            return True
        context = context.__context__
    return False


def find_exit_code(error: BaseException) -> ExitCode:
    """Of a command that ends with an error."""
    if isinstance(error, SwitchoverError):
        return ExitCode.INTERRUPTED if came_from_interrupt(error) else error.exit_code
    return ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.BUG
