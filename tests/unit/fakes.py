# SPDX-License-Identifier: GPL-2.0-or-later
"""Peers for the unit tier, which needs faults on demand: a QEMU monitor, an SSH server, a host that fails at a step."""

import contextlib
import io
import json
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import paramiko
from paramiko import common

from switchover.hosts.host import Completed, Running
from switchover.hosts.qmp import QmpSession
from switchover.hosts.waiting import Invariant, wait_until
from switchover.lab.keys import KeyPair, generate_key_pair
from switchover.record.errors import Refused

GREETING = {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""}, "capabilities": []}}
STAMP = {"seconds": 1795301499, "microseconds": 827755}
Answer = Callable[[dict[str, Any]], object]


class HangUp(Exception):
    """Raised by an answer: the monitor closes its connection instead of answering."""


class Silence(Exception):
    """Raised by an answer: nothing is sent."""


class FakeMonitor:
    """A QMP server on a unix socket, for connections one after the other. ``answers``: a command's reply, by name.

    A reply is a value or a function of the command's arguments; it may raise :class:`Refused` (sent as an error),
    :class:`HangUp` or :class:`Silence`. Commands that are not listed are rejected as QEMU rejects them.
    """

    def __init__(
        self, path: Path, answers: Mapping[str, object] | None = None, *, greeting: bytes | None = None
    ) -> None:
        self.path = str(path)
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self._answers = dict(answers or {})
        self._greeting = json.dumps(GREETING).encode() + b"\n" if greeting is None else greeting
        self._connection: socket.socket | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)
        assert not self._thread.is_alive()

    def emit(self, event: str, data: Mapping[str, object] | None = None) -> None:
        self._send({"event": event, "data": dict(data or {}), "timestamp": STAMP})

    def hang_up(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def _send(self, message: Mapping[str, object]) -> None:
        assert self._connection is not None
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._connection, _ = self._listener.accept()
                with self._connection, contextlib.suppress(OSError, HangUp):
                    self._connection.sendall(self._greeting)
                    for message in _read_messages(self._connection):
                        self._reply(message)

    def _reply(self, message: dict[str, Any]) -> None:
        name, arguments = message["execute"], message.get("arguments", {})
        tag = {"id": message["id"]} if "id" in message else {}
        if name == "qmp_capabilities":
            self._send({"return": {}, **tag})
            return
        self.commands.append((name, arguments))
        try:
            if name not in self._answers:
                raise Refused("", why=f"The command {name} has not been found")
            answer = self._answers[name]
            self._send({"return": answer(arguments) if callable(answer) else answer, **tag})
        except Refused as error:
            self._send({"error": {"class": "GenericError", "desc": error.why}, **tag})
        except Silence:
            pass


def _read_messages(connection: socket.socket) -> Iterator[dict[str, Any]]:
    """JSON objects as they come; like QEMU's own parser this needs no newline between them."""
    text = ""
    while data := connection.recv(65536):
        text += data.decode()
        with contextlib.suppress(ValueError):
            while text := text.lstrip():
                message, end = json.JSONDecoder().raw_decode(text)
                text = text[end:]
                yield message


class ScriptedQmp:
    """Stands where a :class:`QmpSession` is used and answers from functions of the arguments. Keeps its commands."""

    def __init__(self, answers: Mapping[str, Answer], name: str = "the QEMU") -> None:
        self.name = name
        self.answers = dict(answers)
        self.commands: list[tuple[str, dict[str, Any]]] = []

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = 60) -> object:
        self.commands.append((command, dict(arguments or {})))
        return self.answers[command](dict(arguments or {}))

    def session(self) -> QmpSession:
        return cast(QmpSession, self)


class FakeProcess:
    """A process that a :class:`FaultyHost` started."""

    def __init__(self, log: list[str], code: int | None = None) -> None:
        self._log = log
        self.code = code
        self.pid = 4711

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float) -> int | None:
        return self.code

    def kill(self) -> None:
        self._log.append("kill process")
        self.code = -9

    def stderr(self) -> str:
        return "qemu: its own words"


@dataclass
class FaultyHost:
    """A host that keeps a list of what is asked of it, and fails at the request with number ``fail_at`` (from 0).

    ``label`` names a request for the list, from the method and its first argument.
    """

    label: Callable[[str, str], str]
    monitor: str
    fail_at: int = -1
    error: Exception = field(default_factory=lambda: OSError("injected"))
    log: list[str] = field(default_factory=list)
    name: str = "fake"
    address: Mapping[str, str] = field(default_factory=lambda: {"kind": "fake"})
    streams: list[socket.socket] = field(default_factory=list)
    outputs: Callable[[Sequence[str]], bytes] = lambda argv: b""
    content: bytes = b""
    """of each file"""

    def _note(self, method: str, argument: str) -> None:
        number = len(self.log)
        self.log.append(self.label(method, argument))
        if number == self.fail_at:
            raise self.error

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        self._note("run", " ".join(argv))
        return Completed(tuple(argv), 0, self.outputs(argv), b"")

    def start(self, argv: Sequence[str]) -> Running:
        self._note("start", argv[0])
        return FakeProcess(self.log)

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        self._note("open_stream", argv[0])
        ours, theirs = socket.socketpair()
        self.streams.append(theirs)
        return ours

    def open_unix(self, path: str, *, wait: float = 0, invariants: Sequence[Invariant] = ()) -> socket.socket:
        self._note("open_unix", "monitor")
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.monitor)
        return connection

    def open_tcp(self, address: str, port: int, *, timeout: float = 10) -> socket.socket:
        raise AssertionError("not asked for in these tests")

    def read_file(self, path: str) -> bytes:
        return self.content

    def write_file(self, path: str, data: bytes) -> None:
        self._note("write_file", path)

    def close(self) -> None:
        for stream in self.streams:
            stream.close()


class _SshSession(paramiko.ServerInterface):
    """Runs commands with ``bash -c`` on this machine, as an sshd would; only one key gets in."""

    def __init__(self, authorized: str) -> None:
        self._authorized = authorized
        self.transport: paramiko.Transport
        self.login_words = ""

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        right = f"{key.get_name()} {key.get_base64()}" == self._authorized and username == "root"
        return common.AUTH_SUCCESSFUL if right else common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED if kind == "session" else common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        try:
            connection = socket.create_connection(destination, timeout=5)
        except OSError:
            return common.OPEN_FAILED_CONNECT_FAILED
        threading.Thread(target=self._join_tcp, args=(chanid, connection), daemon=True).start()
        return common.OPEN_SUCCEEDED

    def _join_tcp(self, chanid: int, connection: socket.socket) -> None:
        channel = self.transport.accept(timeout=5)
        assert channel is not None
        assert channel.get_id() == chanid
        threading.Thread(target=_copy, args=(connection.recv, channel.sendall), daemon=True).start()
        _copy(channel.recv, connection.sendall)
        connection.close()

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        # as sshd, answer the request before the command can end: paramiko answers it in this thread, after our return
        reader = threading.current_thread()
        command_line = f"printf %s {shlex.quote(self.login_words)}; {command.decode()}"
        args = (
            channel,
            command_line if self.login_words else command.decode(),
            lambda: _wait_until_back_in_loop(reader),
        )
        threading.Thread(target=_serve_command, args=args, daemon=True).start()
        return True


def _copy(receive: Callable[[int], bytes], send: Callable[[bytes], object]) -> None:
    with contextlib.suppress(OSError, EOFError, ValueError):
        while data := receive(32768):
            send(data)


def _wait_until_back_in_loop(thread: threading.Thread) -> None:
    """Until a transport's thread has left the handler of a channel's request, its answer sent with it."""

    def is_back() -> bool:
        frame = sys._current_frames().get(thread.ident or 0)
        names = []
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return "_handle_request" not in names

    wait_until("the answer to a request", is_back, timeout=10, poll=0.005)


def _serve_command(channel: paramiko.Channel, command: str, wait_until_answered: Callable[[], None]) -> None:
    wait_until_answered()
    process = subprocess.Popen(
        ["bash", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stdin = process.stdin

    def feed() -> None:
        _copy(channel.recv, stdin.write)
        with contextlib.suppress(OSError):
            stdin.close()

    threads = [
        threading.Thread(target=_copy, args=(process.stdout.read, channel.sendall), daemon=True),
        threading.Thread(target=_copy, args=(process.stderr.read, channel.sendall_stderr), daemon=True),
    ]
    for thread in (threading.Thread(target=feed, daemon=True), *threads):
        thread.start()
    code = process.wait()
    for thread in threads:
        thread.join(timeout=10)
    process.stdout.close()
    process.stderr.close()
    with contextlib.suppress(OSError, EOFError):
        # sshd tells a signal in another message, which paramiko has no call for: the channel closes without a status
        if code >= 0:
            channel.send_exit_status(code)
        channel.close()


@dataclass
class SshServer:
    """A running SSH server on 127.0.0.1."""

    port: int
    host_key: KeyPair
    user_key: KeyPair
    transports: list[paramiko.Transport] = field(default_factory=list)
    login_words: str = ""
    """What the login shell prints before each command, to those who log in from now on."""

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def break_connections(self) -> None:
        for transport in self.transports:
            transport.close()


@contextlib.contextmanager
def start_ssh_server(*others: paramiko.PKey) -> Iterator[SshServer]:
    """``others``: host keys that it has besides."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = SshServer(listener.getsockname()[1], generate_key_pair(), generate_key_pair())
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(server.host_key.private))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                transport = paramiko.Transport(connection)
                for each in (key, *others):
                    transport.add_server_key(each)
                session = _SshSession(server.user_key.public)
                session.transport = transport
                session.login_words = server.login_words
                server.transports.append(transport)
                with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                    transport.start_server(event=threading.Event(), server=session)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.break_connections()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)
