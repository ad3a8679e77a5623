# SPDX-License-Identifier: GPL-2.0-or-later
"""A QMP session with a QEMU on any host, and the record of all that went over it."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self

from qemu.qmp import QMPClient, QMPError
from qemu.qmp.error import ProtocolError
from qemu.qmp.events import EventListener
from qemu.qmp.message import Message
from qemu.qmp.qmp_client import ExecuteError

from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import Invariant, stretch, wait_until
from switchover.record.errors import Deadline, GuestCrashed, NotReady, Refused


@dataclass(frozen=True)
class Event:
    """An event of a QEMU. ``arrived_ns``: CLOCK_MONOTONIC of the controller when it arrived; ``qemu_ns``: the
    real-time clock of QEMU's host, from the event's own timestamp (microsecond resolution).
    """

    name: str
    data: Mapping[str, Any]
    arrived_ns: int
    qemu_ns: int


@dataclass(frozen=True)
class TranscriptLine:
    """One message: ``direction`` is ``sent`` or ``received``; ``at_ns`` the controller's CLOCK_MONOTONIC."""

    at_ns: int
    direction: str
    message: Mapping[str, Any]


class _RecordingClient(QMPClient):
    """A QMP client that keeps every message; the two hooks are the ones qemu.qmp has for observers."""

    def __init__(self, name: str, on_message: Callable[[str, Message], None]) -> None:
        super().__init__(name)
        self._on_message_seen = on_message

    def _cb_outbound(self, msg: Message) -> Message:
        self._on_message_seen("sent", msg)
        return super()._cb_outbound(msg)

    def _cb_inbound(self, msg: Message) -> Message:
        self._on_message_seen("received", msg)
        return super()._cb_inbound(msg)


class QmpSession:
    """A connection to a QEMU's monitor. Synchronous outside; on the loop inside. Close it when done.

    ``events`` and ``transcript`` grow while the session is open and stay readable afterwards.
    """

    def __init__(
        self,
        name: str,
        host: Host,
        path: str,
        loop: LoopThread,
        *,
        timeout: float = 30,
        invariants: Sequence[Invariant] = (),
    ) -> None:
        """Connect to the unix socket ``path`` of a host, which may still have to appear, and negotiate.

        :raises NotReady: nobody answers there with QMP; an invariant may raise something better
        """
        self._prepare(name, host, path, loop)
        self._open(timeout, invariants)

    def _prepare(self, name: str, host: Host, path: str, loop: LoopThread) -> None:
        self.name = name
        self.events: list[Event] = []
        self.transcript: list[TranscriptLine] = []
        self._host = host
        self._path = path
        self._loop = loop
        self._client = _RecordingClient(name, self._keep_message)

    def _open(self, timeout: float, invariants: Sequence[Invariant]) -> None:
        try:
            self._socket = self._host.open_unix(self._path, wait=timeout, invariants=invariants)
        except (OSError, Deadline) as error:
            raise NotReady(f"The monitor of {self.name} cannot be reached at {self._path}.", why=str(error)) from error
        connected = self._loop.spawn(self._connect())
        try:
            wait_until(f"the monitor of {self.name}", connected.done, timeout=timeout, invariants=invariants)
            connected.result()
        except (QMPError, ProtocolError, EOFError, OSError) as error:
            self._socket.close()
            for invariant in invariants:
                invariant()
            raise NotReady(f"The monitor of {self.name} does not speak QMP.", why=str(error)) from error
        except BaseException:
            connected.cancel()
            self._socket.close()
            raise
        self._pump: Future[None] = self._loop.spawn(self._collect_events())

    async def _connect(self) -> None:
        self._listener = EventListener()
        self._client.register_listener(self._listener)
        self._socket.setblocking(False)
        await self._client.connect(self._socket)

    def _keep_message(self, direction: str, message: Message) -> None:
        now = time.monotonic_ns()
        content: dict[str, Any] = dict(message)
        self.transcript.append(TranscriptLine(now, direction, content))
        if direction == "received" and "event" in content:
            stamp = content.get("timestamp", {})
            qemu_ns = (int(stamp.get("seconds", 0)) * 1_000_000 + int(stamp.get("microseconds", 0))) * 1000
            self.events.append(Event(str(content["event"]), content.get("data", {}), now, qemu_ns))

    async def _collect_events(self) -> None:
        # events are kept as they arrive (_keep_message); the listener's queue only has to be emptied
        async for _ in self._listener:
            pass

    def execute(self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float = 60) -> Any:
        """Run a command and return what it returns.

        QEMU answers nothing while it saves a device with its big lock held: ``timeout`` must allow for the downtime.

        :raises Refused: QEMU answered with an error; its ``why`` is QEMU's text
        :raises GuestCrashed: the connection is gone
        """
        timeout = stretch(timeout)
        try:
            return self._loop.call(self._client.execute(command, arguments), timeout=timeout)
        except ExecuteError as error:
            raise Refused(f"{self.name} rejected {command}.", why=str(error), command=command) from error
        except TimeoutError:
            raise NotReady(f"{self.name} did not answer {command} within {timeout:g} s.") from None
        except (QMPError, ProtocolError, asyncio.CancelledError, EOFError, OSError) as error:
            raise GuestCrashed(f"{self.name} closed its monitor during {command}.", why=str(error)) from error

    def submit(self, command: str, arguments: Mapping[str, object] | None = None) -> "Future[Any]":
        """Send a command whose answer may come late, after the downtime; the errors of its future are qemu.qmp's."""
        return self._loop.spawn(self._client.execute(command, arguments))

    async def execute_async(self, command: str) -> Any:
        """As :meth:`execute`, for coroutines on the loop; errors are qemu.qmp's."""
        return await self._client.execute(command)

    def is_open(self) -> bool:
        return self._client.runstate.name == "RUNNING"

    def close(self) -> None:
        self._pump.cancel()
        with contextlib.suppress(Exception):
            self._loop.call(self._client.disconnect(), timeout=10)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LateQmpSession(QmpSession):
    """A session with a QEMU that somebody else starts later: nothing was said until it is opened, once."""

    def __init__(self, name: str, host: Host, path: str, loop: LoopThread) -> None:
        self._prepare(name, host, path, loop)
        self.opened = False

    def open(self, *, timeout: float, invariants: Sequence[Invariant] = ()) -> None:
        """As :class:`QmpSession` does at once, and with its errors."""
        self._open(timeout, invariants)
        self.opened = True

    def execute(self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float = 60) -> Any:
        """:raises NotReady: the session was not opened yet"""
        if not self.opened:
            raise NotReady(f"{self.name} has not started yet, and cannot run {command}.")
        return super().execute(command, arguments, timeout=timeout)

    def close(self) -> None:
        if self.opened:
            super().close()
