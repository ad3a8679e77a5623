# SPDX-License-Identifier: GPL-2.0-or-later
"""A host over SSH (paramiko): one connection carries commands, streams, sockets and TCP."""

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import paramiko

from switchover.hosts.host import SILENT_SHELL, UNKNOWN_SIGNAL, Address, Completed, check_completed, paste
from switchover.hosts.waiting import Invariant, stretch, wait_until
from switchover.record.errors import CommandFailed, HostLost
from switchover.record.log import LOG

BROKEN = (paramiko.SSHException, EOFError, OSError, ValueError)
"""What paramiko raises when the connection broke or the peer said what no SSH server says, :class:`ChannelException`
and ``UnicodeDecodeError`` among them: where an error came from, its layers do not keep apart."""
_LONGEST_LINE = 4096
"""Bytes that are read of a line which should hold a number: what a login shell prints has no bound."""

# The shell reports its process id, then becomes the command; the kernel kills it when its sshd session ends.
_REPORT_PID = ("sh", "-c", 'echo $$; exec setpriv --pdeathsig KILL -- "$@"', "sh")


@dataclass(frozen=True)
class SshLogin:
    """Who logs in where: a private key in OpenSSH's format, and the only host key that is accepted."""

    name: str
    private_key: str
    host_key: str
    """The host's public key, ``ssh-ed25519 BASE64``."""
    user: str = "root"


class SshHost:
    """A machine reached over SSH; satisfies :class:`switchover.hosts.host.Host`. Close it when done."""

    def __init__(
        self, login: SshLogin, connection: socket.socket, *, address: Address | None = None, timeout: float = 30
    ) -> None:
        """Log in over an open connection, which may run through another host. ``address``: see the property.

        :raises HostLost: no SSH there, the host key is another one, or the login is refused
        """
        self._login = login
        self._address: Address = address or {}
        timeout = stretch(timeout)
        try:
            _send_at_once(connection)
            self._transport = paramiko.Transport(connection)
        except BROKEN as error:
            connection.close()
            raise HostLost(f"SSH to {login.name} failed.", why=_words(error)) from error
        self._transport.banner_timeout = timeout
        self._transport.auth_timeout = timeout
        try:
            self._ask_for_host_key(login.host_key)
            self._transport.start_client(timeout=timeout)
            self._check_host_key()
            key = _parse_private_key(login.private_key)
            self._transport.auth_publickey(login.user, key)
            self._transport.set_keepalive(5)
        except BaseException as error:
            self._transport.close()
            # paramiko raises here whatever the peer's words made of its thread: an error of any type
            if isinstance(error, Exception):
                raise HostLost(f"SSH to {login.name} failed.", why=_words(error)) from error
            raise

    def _ask_for_host_key(self, host_key: str) -> None:
        """A server may have keys of several types: let it present that of the one which is accepted."""
        kind = host_key.partition(" ")[0]
        options = self._transport.get_security_options()
        wanted = [name for name in options.key_types if name == kind or (kind == "ssh-rsa" and name in _RSA_SHA2)]
        if wanted:
            options.key_types = wanted

    def _check_host_key(self) -> None:
        key = self._transport.get_remote_server_key()
        if f"{key.get_name()} {key.get_base64()}" != " ".join(self._login.host_key.split()[:2]):
            raise paramiko.SSHException(f"{self._login.name} presented another host key than the one it was given")

    @property
    def name(self) -> str:
        return self._login.name

    @property
    def address(self) -> Address:
        """How the next process reaches it; empty for a guest."""
        return self._address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def is_connected(self) -> bool:
        return self._transport.is_active()

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        LOG.debug("%s$ %s", self.name, paste(argv))
        timeout = stretch(timeout)
        with (
            _closed(self._execute(argv, reads=bool(stdin), timeout=timeout)) as channel,
            _closed_after(channel, timeout) as expired,
        ):
            try:
                # all three streams at once: a command may block on any of them while another is full
                with ThreadPoolExecutor(max_workers=2) as pool:
                    sent = pool.submit(_send_all, channel, stdin)
                    read = pool.submit(_read_all, channel.recv_stderr)
                    try:
                        stdout = _read_all(channel.recv)
                        sent.result()
                        stderr = read.result()
                    except BaseException:
                        _close(channel)  # ends the two others
                        raise
                channel.status_event.wait()
            except BROKEN as error:
                raise HostLost(f"The connection to {self.name} broke.", why=_words(error)) from error
            self.require_connected()
            if expired.is_set():
                raise CommandFailed(f"On {self.name}, a command took longer than {timeout:g} s: {paste(argv)}")
            code = channel.recv_exit_status()
        completed = Completed(tuple(argv), code, stdout, stderr)
        return check_completed(self.name, completed) if check else completed

    def start(self, argv: Sequence[str]) -> "RemoteProcess":
        LOG.debug("%s$ %s &", self.name, paste(argv))
        return RemoteProcess(self, self._execute([*_REPORT_PID, *argv]))

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        LOG.debug("%s$ %s (stream)", self.name, paste(argv))
        return _as_socket(self._execute(argv))

    def open_unix(self, path: str, *, wait: float = 0, invariants: Sequence[Invariant] = ()) -> socket.socket:
        # paramiko opens TCP and X11 channels only
        retry = f",retry={round(stretch(wait) * 10)},interval=0.1" if wait else ""
        return self.open_stream(["socat", "-", f"UNIX-CONNECT:{path}{retry}"])

    def open_tcp(self, address: str, port: int, *, timeout: float = 10) -> socket.socket:
        try:
            channel = self._transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=stretch(timeout)
            )
        except paramiko.ChannelException as error:
            raise ConnectionRefusedError(f"{address}:{port} as seen from {self.name}: {error.text}") from error
        except BROKEN as error:
            self.require_connected()
            raise TimeoutError(f"{address}:{port} as seen from {self.name}: {_words(error)}") from error
        return _as_socket(channel)

    def read_file(self, path: str) -> bytes:
        return self.run(["cat", path]).stdout

    def write_file(self, path: str, data: bytes) -> None:
        self.run(["sh", "-c", 'umask 077; cat >"$1"', "sh", path], stdin=data)

    def _execute(self, argv: Sequence[str], *, reads: bool = True, timeout: float | None = None) -> paramiko.Channel:
        """``reads``: it is given standard input. One that is not needs no end of it from us, see :func:`_send_all`.
        ``timeout``: until the host takes the command, stretched; None: 30 s are.
        """
        try:
            channel = self._transport.open_session(timeout=stretch(30) if timeout is None else timeout)
            # with a redirection only exec makes the shell become the command, whose end it is then that we learn of
            channel.exec_command(paste(argv) if reads else f"exec {paste(argv)} </dev/null")
        except BROKEN as error:
            raise HostLost(
                f"{self.name} does not answer; it was asked to run: {paste(argv)}", why=_words(error)
            ) from error
        return channel

    def require_connected(self) -> None:
        """:raises HostLost: the connection is gone"""
        if not self._transport.is_active():
            raise HostLost(f"The connection to {self.name} broke.")


class RemoteProcess:
    """A process on a host over SSH, which goes on while its channel is open."""

    def __init__(self, host: SshHost, channel: paramiko.Channel) -> None:
        self._host = host
        self._channel = channel
        self._stderr = bytearray()
        channel.settimeout(stretch(30))
        try:
            self.pid = self._read_pid()
        except BROKEN as error:
            _close(channel)
            raise HostLost(
                f"{host.name} did not say that a process was started.",
                why=_words(error),
                fix=f"{SILENT_SHELL}, if those words are its own",
            ) from error

    def _read_pid(self) -> int:
        """:raises EOFError: the channel ended; :raises ValueError: what came is no number"""
        first = bytearray()
        while not first.endswith(b"\n") and len(first) < _LONGEST_LINE:
            byte = self._channel.recv(1)
            if not byte:
                raise EOFError(f"the connection ended after {bytes(first)!r}")
            first += byte
        if not first.strip().isdigit():
            raise ValueError(f"it said {bytes(first)!r} where the number of a process belongs")
        return int(first)

    def poll(self) -> int | None:
        if not self._channel.exit_status_ready():
            self._host.require_connected()
            return None
        code = self._channel.recv_exit_status()
        if code == UNKNOWN_SIGNAL:
            # also what paramiko says of a channel whose connection broke: a host that answers tells the two apart
            self._host.run(["true"], timeout=10)
        return code

    def wait(self, timeout: float) -> int | None:
        self._channel.status_event.wait(timeout)
        return self.poll()

    def kill(self) -> None:
        if self.poll() is None:
            self._host.run(["sh", "-c", 'kill -KILL "$1"', "sh", str(self.pid)], check=False)
            wait_until(
                f"the end of process {self.pid} on {self._host.name}", lambda: self.poll() is not None, timeout=10
            )

    def stderr(self) -> str:
        while self._channel.recv_stderr_ready():
            self._stderr += self._channel.recv_stderr(65536)
        return self._stderr.decode(errors="replace")


def _send_at_once(connection: socket.socket) -> None:
    """SSH sends small packets: with Nagle's algorithm one that follows another waits for the peer's delayed
    acknowledgement, 40 ms with each command. A connection through another host is no TCP here, and has no such wait.
    """
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


_RSA_SHA2 = ("rsa-sha2-512", "rsa-sha2-256")  # signatures by a key that is named ssh-rsa
_KEYS: Sequence[type[paramiko.PKey]] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


def _parse_private_key(text: str) -> paramiko.PKey:
    """:raises paramiko.SSHException: it is of no type that is known, is damaged, or wants a passphrase"""
    problems = []
    for kind in _KEYS:
        try:
            return kind.from_private_key(io.StringIO(text))
        except paramiko.PasswordRequiredException as error:
            raise paramiko.SSHException("the private key wants a passphrase; use one without") from error
        except (paramiko.SSHException, ValueError, IndexError) as error:
            problems.append(str(error) or type(error).__name__)
    raise paramiko.SSHException(f"the private key cannot be read: {problems[0]}")


@contextlib.contextmanager
def _closed_after(channel: paramiko.Channel, timeout: float) -> Iterator[threading.Event]:
    """Close a channel after ``timeout`` seconds, however much it still says; the event tells that it happened."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _close(channel)

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


@contextlib.contextmanager
def _closed(channel: paramiko.Channel) -> Iterator[paramiko.Channel]:
    """The channel for a ``with`` block; that it cannot be closed on a connection which broke hides nothing."""
    try:
        yield channel
    finally:
        _close(channel)


def _close(channel: paramiko.Channel) -> None:
    with contextlib.suppress(*BROKEN):
        channel.close()


def _words(error: BaseException) -> str:
    """What an error says, or its type, if it says nothing."""
    return str(error) or type(error).__name__


def _send_all(channel: paramiko.Channel, data: bytes) -> None:
    """A command that ends without reading its standard input is no error.

    paramiko may send what a thread asks it to after it has answered the server's close of the channel, from another
    thread; dropbear ends the whole connection then ("EOF for unknown channel"). So the end of the input is sent only
    to commands that were given some: they wait for it.
    """
    if data:
        with contextlib.suppress(*BROKEN):
            channel.sendall(data)
            channel.shutdown_write()


def _read_all(receive: Callable[[int], bytes]) -> bytes:
    data = bytearray()
    while piece := receive(65536):
        data += piece
    return bytes(data)


def _as_socket(channel: paramiko.Channel) -> socket.socket:
    """A real socket in place of a channel, for code that needs one (asyncio among it); two threads move the bytes."""
    ours, theirs = socket.socketpair()

    def inward() -> None:
        with contextlib.suppress(*BROKEN):
            while data := channel.recv(65536):
                theirs.sendall(data)
        with contextlib.suppress(OSError):
            theirs.shutdown(socket.SHUT_RDWR)
        theirs.close()
        _close(channel)

    def outward() -> None:
        with contextlib.suppress(*BROKEN):
            while data := theirs.recv(65536):
                channel.sendall(data)
        # the peer closed: what the channel still sends has no reader. The end of our input goes with the close, in one
        # piece: see _send_all
        _close(channel)

    for direction in (inward, outward):
        threading.Thread(target=direction, daemon=True, name=f"{direction.__name__} of channel").start()
    return ours
