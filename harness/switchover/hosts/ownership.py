# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that belong to a live process: by flock, which the kernel lifts when the process ends, however it ends.

A process id says nothing after the process is gone, since it is given again; a lock does not outlive its holder.
"""

import contextlib
import fcntl
import os
import sys
from pathlib import Path

from switchover.hosts.host import paste
from switchover.hosts.waiting import wait_until
from switchover.record.errors import Deadline

_HELD: set[int] = set()
_GRACE_S = 0.2
"""Who only looks holds the lock for a moment; taking waits that long before it counts as taken."""


class OwnedFile:
    """A file that this process owns until :meth:`release`. Made by :func:`take_file`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        _HELD.add(descriptor)

    def release(self, *, remove: bool = True) -> None:
        """Give it up; by default the file goes, while it is still ours."""
        if self.descriptor not in _HELD:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        _HELD.discard(self.descriptor)
        os.close(self.descriptor)


def take_file(path: Path, *, note: str | None = None, grace_s: float = _GRACE_S) -> OwnedFile | None:
    """Own a file, which is made if it is missing; None if somebody else does. ``note`` replaces its contents.

    ``grace_s``: how long to wait for who only looks, seconds; 0 where nobody looks meanwhile.
    """

    def attempt() -> OwnedFile | None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _lock(descriptor, fcntl.LOCK_EX) and _is_still(path, descriptor):
            return OwnedFile(path, descriptor)
        os.close(descriptor)
        return None

    try:
        owned = wait_until(f"the lock of {path}", attempt, timeout=grace_s, poll=0.02)
    except Deadline:
        return None
    if note is not None:
        os.ftruncate(owned.descriptor, 0)
        os.pwrite(owned.descriptor, note.encode(), 0)
    return owned


def find_owner(path: Path) -> str | None:
    """What the owner of a file wrote into it; None if nobody owns it. Takes nothing and makes nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if _lock(descriptor, fcntl.LOCK_SH):
            return None
        return os.pread(descriptor, 4096, 0).decode(errors="replace").strip() or "another process"
    finally:
        os.close(descriptor)


def describe_process() -> str:
    """This process, for people who find something that it owns."""
    return f"process {os.getpid()}: {paste(sys.argv)[:200]}"


def _lock(descriptor: int, kind: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was opened is the one of that name: its owner may have removed it in between."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _close_inherited() -> None:
    """A forked child shares the locks of its parent and would keep them after the parent's end."""
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_close_inherited)
