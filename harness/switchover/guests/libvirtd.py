# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections to the libvirtd of a host, through the harness's own connection to that host.

libvirt's client library opens a unix socket of the controller (:mod:`hosts.forward`); keys and host keys are the
harness's, and no libvirtd listens on a network. Its events come in on a thread of their own, one per process: the
library knows one event loop, and keeps it, while the loops of repeats come and go.
"""

import contextlib
import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from switchover.hosts.forward import start_forward
from switchover.hosts.host import Host
from switchover.hosts.packages import explain_install
from switchover.record.errors import CommandFailed, HostLost, NotReady, NotSupported, Refused
from switchover.record.log import LOG

SOCKET = "/run/libvirt/libvirt-sock"
_LAB_START = "/usr/lib/switchover/libvirtd"
"""A lab host starts its libvirtd when it is wanted, and there is none (images/labhost)."""
START = f"if [ -x {_LAB_START} ]; then {_LAB_START}; fi; test -S {SOCKET}"
"""A shell command that fails if the host has no libvirtd; elsewhere systemd starts one that died."""
_OPEN_TIMEOUT_S = 60
_KEEPALIVE_S, _KEEPALIVE_COUNT = 5, 6


def find_libvirt() -> ModuleType | None:
    """libvirt's Python binding, if the controller has it."""
    try:
        return importlib.import_module("libvirt")
    except ImportError:
        return None


def require_libvirt() -> Any:
    """:raises NotSupported: the controller does not have it"""
    module = find_libvirt()
    if module is None:
        raise NotSupported("The controller has no libvirt-python.", fix=_explain_binding())
    _start_event_loop(module)
    return module


def find_lack(host: Host) -> str:
    """Why domains of a host cannot be had, in words; empty if they can. Starts nothing.

    :raises HostLost: it does not answer
    """
    if find_libvirt() is None:
        return f"the controller has no libvirt-python: {_explain_binding()}"
    there = host.run(["sh", "-c", f"test -S {SOCKET} || test -x {_LAB_START}"], check=False)
    return "" if there.returncode == 0 else f"{host.name} has no libvirtd at {SOCKET}"


def _explain_binding() -> str:
    install = explain_install("python:libvirt")
    return f"{install}, then start switchover again; in an environment of your own: pip install libvirt-python"


def _start_event_loop(libvirt: Any) -> None:
    """Once per process, before its first connection."""
    with _LOCK:
        if _LOOPS:
            return
        libvirt.virEventRegisterDefaultImpl()
        libvirt.registerErrorHandler(lambda context, error: None, None)  # else each error goes to standard error too

        def run() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        thread = threading.Thread(target=run, daemon=True, name="libvirt events")
        thread.start()
        _LOOPS.append(thread)


_LOCK = threading.Lock()
_LOOPS: list[threading.Thread] = []
os.register_at_fork(after_in_child=_LOOPS.clear)


@dataclass(frozen=True)
class DomainEvent:
    """An event of a domain: what it is, its details, and the controller's CLOCK_MONOTONIC when it arrived."""

    at_ns: int
    name: str
    details: Mapping[str, Any]


class Libvirtd:
    """A connection to a host's libvirtd. Made by :func:`connect_libvirtd`.

    ``raw``: the library's own object, whose calls are made inside :meth:`calls`.
    """

    def __init__(self, host: Host, module: Any, raw: Any) -> None:
        self.host = host
        self.module = module
        self.raw = raw
        self._closed = ""
        self._listeners: list[int] = []
        raw.registerCloseCallback(self._note_close, None)

    def _note_close(self, connection: Any, reason: int, opaque: Any) -> None:
        self._closed = {0: "error", 1: "end of file", 2: "no answer", 3: "closed by us"}.get(reason, str(reason))

    @property
    def version(self) -> str:
        """Of the host's library, ``11.3.0``."""
        number = self.raw.getLibVersion()
        return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"

    def require_connected(self) -> None:
        """:raises HostLost: libvirtd went away, or the host did"""
        if self._closed:
            self.host.run(["true"])  # a host that is lost says so itself
            raise HostLost(f"The connection to libvirtd of {self.host.name} broke.", why=self._closed)

    @contextlib.contextmanager
    def calls(self, doing: str) -> Iterator[None]:
        """Around calls of the library, in the words ``doing``.

        :raises Refused: libvirt said no, in its own words; :raises HostLost: the connection is gone
        """
        try:
            yield
        except self.module.libvirtError as error:
            self.require_connected()
            raise Refused(f"libvirt of {self.host.name} rejected {doing}.", why=describe_error(error)) from error

    def listen(self, uuid: str, keep: Callable[[DomainEvent], None]) -> None:
        """Tell the events of a domain, which need not be there yet, until the connection is closed."""
        libvirt = self.module

        def lifecycle(_connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
            note(domain, "lifecycle", {"event": event, "detail": detail})

        def iteration(_connection: Any, domain: Any, number: int, _opaque: Any) -> None:
            note(domain, "migration-iteration", {"iteration": number})

        def completed(_connection: Any, domain: Any, statistics: Mapping[str, Any], _opaque: Any) -> None:
            note(domain, "job-completed", dict(statistics))

        def note(domain: Any, name: str, details: Mapping[str, Any]) -> None:
            if domain.UUIDString() == uuid:
                keep(DomainEvent(time.monotonic_ns(), name, details))

        for kind, callback in (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, iteration),
            (libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, completed),
        ):
            self._listeners.append(self.raw.domainEventRegisterAny(None, kind, callback, None))

    def close(self) -> None:
        with contextlib.suppress(self.module.libvirtError):
            for listener in self._listeners:
                self.raw.domainEventDeregisterAny(listener)
            self.raw.unregisterCloseCallback()
        with contextlib.suppress(self.module.libvirtError):
            self.raw.close()


def describe_error(error: Any) -> str:
    """libvirt's own message; QEMU's words, where it passes them on, are in it."""
    return str(error.get_error_message() or error).strip()


@contextlib.contextmanager
def connect_libvirtd(host: Host) -> Iterator[Libvirtd]:
    """A connection for the time of a ``with`` block; a lab host's libvirtd is started if it does not run yet.

    :raises NotSupported: the controller has no libvirt-python; :raises NotReady: the host has no libvirtd that answers
    """
    libvirt = require_libvirt()
    try:
        host.run(["sh", "-c", START], timeout=_OPEN_TIMEOUT_S)
    except CommandFailed as error:
        raise NotReady(
            f"{host.name} has no libvirtd at {SOCKET}.", why=error.why, fix="start libvirtd there"
        ) from error
    with start_forward(host, SOCKET) as path, contextlib.ExitStack() as stack:
        # one that does not answer would block for ever; closing the forward ends the call
        opener = ThreadPoolExecutor(1, "libvirt")
        stack.callback(opener.shutdown, wait=False)
        try:
            raw = opener.submit(libvirt.open, f"qemu+unix:///system?socket={path}").result(_OPEN_TIMEOUT_S)
        except libvirt.libvirtError as error:
            raise NotReady(f"libvirtd of {host.name} cannot be reached.", why=describe_error(error)) from error
        except FutureTimeout:
            raise NotReady(f"libvirtd of {host.name} did not answer within {_OPEN_TIMEOUT_S} s.") from None
        # connected, it needs no name any more, and a harness that is killed leaves none
        path.unlink()
        path.parent.rmdir()
        raw.setKeepAlive(_KEEPALIVE_S, _KEEPALIVE_COUNT)
        connection = Libvirtd(host, libvirt, raw)
        LOG.debug("libvirt %s of %s", connection.version, host.name)
        stack.callback(connection.close)
        yield connection
