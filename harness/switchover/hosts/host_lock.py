# SPDX-License-Identifier: GPL-2.0-or-later
"""One run at a time on a host of an inventory, from whichever controller it comes: by flock on the host itself.

Its kernel lifts the lock when the process that holds it ends, which is when the connection to the host does.
"""

import contextlib
import socket
from collections.abc import Iterator

from switchover.hosts.host import SILENT_SHELL, Host
from switchover.record.errors import HostLost, NotReady

PLACE = "/run"
"""A directory that every machine has and nobody else locks: it is locked as it is, and nothing is made."""
_MARK = "switchover-holds-this-host"
_GRACE_S = "2"
"""So long may it take until the process of a run that has just ended is gone."""
_ANSWER_S = 30
_HOLD = ["sh", "-c", "echo held; read -r end", _MARK]
# in two words, so that this command does not find itself
_WHO = 'pgrep -f -a "$1$2" | sed "s/.*$1$2 //"'


@contextlib.contextmanager
def lock_host(host: Host, note: str) -> Iterator[None]:
    """The exclusive right to a host for the time of a ``with`` block. ``note``: who has it, for others to read.

    :raises NotReady: somebody else has it, and who; :raises HostLost: the host does not answer
    """
    # without a fork of its own, flock is the process that ends with the connection, and the lock with it
    holder = host.open_stream(["flock", "--timeout", _GRACE_S, "--no-fork", PLACE, *_HOLD, note])
    try:
        if not _is_held(host, holder):
            who = host.run(["sh", "-c", _WHO, "sh", _MARK[:10], _MARK[10:]], check=False).text.strip()
            raise NotReady(
                f"{host.name} is in use by another run.",
                why=who or f"its directory {PLACE} is locked, or it has no flock(1)",
                fix="wait until that run has ended",
            )
        yield
    finally:
        holder.close()


def _is_held(host: Host, holder: socket.socket) -> bool:
    holder.settimeout(_ANSWER_S)
    try:
        words = holder.recv(4096)
    except TimeoutError as error:
        raise HostLost(f"{host.name} does not say within {_ANSWER_S} s whether it is in use.") from error
    except OSError as error:
        raise HostLost(f"{host.name} stopped answering while it was asked if it is in use.", why=str(error)) from error
    if words.strip() not in (b"", b"held"):
        raise HostLost(f"{host.name} does not say whether it is in use.", why=f"it said {words!r}", fix=SILENT_SHELL)
    return words != b""
