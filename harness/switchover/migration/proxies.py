# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes of socat that carry bytes between hosts, beside a guest: from a unix socket to TCP, and back."""

import contextlib
import re
from collections.abc import Iterator, Sequence

from switchover.guests.qemu import QemuGuest
from switchover.hosts.host import Host, Running
from switchover.hosts.journal import own_journal
from switchover.hosts.undo import end_processes
from switchover.hosts.waiting import wait_until
from switchover.record.errors import CommandFailed, NotReady

_START_S = 20
_LISTENS = re.compile(r"listening on (?:AF=\d+ )?(\S+)")
"""What socat says with ``-d -d`` (xio-listen.c)."""


def mark_of(guest: QemuGuest) -> str:
    """What only the proxies of a guest have on their command line: what they call themselves in what they say."""
    return f"stream-{guest.files.tap}"


@contextlib.contextmanager
def start_proxy(guest: QemuGuest, *words: str) -> Iterator[Running]:
    """socat on a guest's host for the time of a ``with`` block. ``words``: its two addresses, and options before them.

    :raises NotReady: it ended at once, in its own words
    """
    mark = mark_of(guest)
    undo, gone = end_processes(mark)
    what = f"proxy of {guest.files.directory} ({' '.join(words)})"
    with own_journal().change(guest.host, what, undo=undo, gone=gone) as change:
        process = guest.host.start(["socat", "-d", "-d", "-lp", mark, *words])
        change.release = lambda: guest.host.run(undo)  # with the processes of its connections
        yield process


def wait_until_listening(proxy: Running, what: str) -> str:
    """Where a proxy listens, in socat's words: ``0.0.0.0:4444``, or ``"/run/x"``.

    :raises NotReady: it ended, in its own words; :raises Deadline: it does not listen
    """

    def listens() -> str | None:
        found = _LISTENS.search(said := proxy.stderr())
        if proxy.poll() is not None and not found:
            raise NotReady(f"{what} ended.", why=" ".join(said.split())[-300:])
        return found[1] if found else None

    return wait_until(f"{what} to listen", listens, timeout=_START_S)


def find_port(proxy: Running, what: str) -> int:
    """The TCP port that a proxy listens on. Raises as :func:`wait_until_listening`."""
    return int(wait_until_listening(proxy, what).rpartition(":")[2])


def kill_proxy(guest: QemuGuest) -> None:
    """End the proxies of a guest, as a crash would, and wait until they listen no more.

    :raises CommandFailed: there is none
    """
    mark = mark_of(guest)
    script = 'pgrep -f -- "$1$2" >/dev/null || exit 3; while pkill -KILL -f -- "$1$2"; do sleep 0.1; done'
    guest.host.run(["sh", "-c", script, "sh", mark[:7], mark[7:]])


def start_proxies(
    source: QemuGuest, destination: QemuGuest, address: str, outer: str, inner: str, stack: contextlib.ExitStack
) -> str:
    """From the socket ``outer`` of the source's host to the socket ``inner`` of the destination's, over TCP to its
    ``address``; they end with ``stack``. Returns the path to which the source connects.

    :raises NotReady: one of them ended, in its own words; :raises Deadline: it does not listen
    """
    listen = f"TCP-LISTEN:0,bind={address},fork"
    there = stack.enter_context(start_proxy(destination, listen, f"UNIX-CONNECT:{inner}"))
    port = find_port(there, f"the proxy on {destination.host.name}")
    # one that was killed may have left its socket
    listen = f"UNIX-LISTEN:{outer},fork,unlink-early"
    here = stack.enter_context(start_proxy(source, listen, f"TCP:{address}:{port}"))
    wait_until_listening(here, f"the proxy on {source.host.name}")
    return outer


@contextlib.contextmanager
def start_place(host: Host, path: str) -> Iterator[None]:
    """A path of a host for a ``with`` block, at which nothing is before and after it.

    :raises NotReady: something is there
    """
    try:
        host.run(["test", "!", "-e", path])
    except CommandFailed as error:
        raise NotReady(f"{path} is there on {host.name} already.", fix="remove it, or name another path") from error
    with own_journal().change(host, path, undo=["rm", "-f", "--", path], gone=["test", "!", "-e", path]):
        yield


def start_places(guests: Sequence[QemuGuest], path: str) -> contextlib.ExitStack:
    """The same on the hosts of guests, each host once, where a path is given: with none it is in their directories."""
    with contextlib.ExitStack() as stack:
        for host in {guest.host.name: guest.host for guest in guests if path}.values():
            stack.enter_context(start_place(host, path))
        return stack.pop_all()
