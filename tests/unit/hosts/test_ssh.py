# SPDX-License-Identifier: GPL-2.0-or-later
"""A host over SSH, against a server in this process: who gets in, what comes back, and what happens when it breaks."""

import contextlib
import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from tests.unit.fakes import SshServer, start_ssh_server

from switchover.hosts.clock import measure_offset
from switchover.hosts.host import UNKNOWN_SIGNAL
from switchover.hosts.ssh import SshHost, SshLogin, _parse_private_key
from switchover.hosts.waiting import paced, wait_until
from switchover.lab.keys import generate_key_pair
from switchover.record.errors import CommandFailed, Deadline, HostLost

CHANNEL_EOF, CHANNEL_CLOSE = 96, 97  # RFC 4254


@pytest.fixture
def server() -> Iterator[SshServer]:
    with start_ssh_server() as running:
        yield running


@pytest.fixture
def host(server: SshServer) -> Iterator[SshHost]:
    login = SshLogin("hosta", server.user_key.private, server.host_key.public)
    with SshHost(login, server.connect()) as connected:
        yield connected


def test_another_host_key_is_refused(server: SshServer) -> None:
    """A server with another key than the expected one gets no login attempt at all."""
    login = SshLogin("hosta", server.user_key.private, generate_key_pair().public)
    with pytest.raises(HostLost, match="presented another host key"):
        SshHost(login, server.connect())
    assert not any(transport.is_authenticated() for transport in server.transports)


def test_a_comment_in_the_host_key_does_not_matter(server: SshServer) -> None:
    """A public key file may end in a comment and a newline."""
    login = SshLogin("hosta", server.user_key.private, server.host_key.public + " root@hosta\n")
    SshHost(login, server.connect()).close()


def test_the_type_of_the_host_key_is_asked_for() -> None:
    """A server with keys of several types presents that of the one which is accepted, whichever it prefers."""
    keys = (paramiko.ECDSAKey.generate(), paramiko.RSAKey.generate(2048))
    with start_ssh_server(*keys) as server:
        for key in (server.host_key.public, *(f"{key.get_name()} {key.get_base64()}" for key in keys)):
            SshHost(SshLogin("guest", server.user_key.private, key), server.connect()).close()


def test_keys_of_other_types() -> None:
    """A user's key may be of any usual type; one that wants a passphrase is told as such, and so is what is no key."""
    for key in (paramiko.ECDSAKey.generate(), paramiko.RSAKey.generate(2048)):
        text = io.StringIO()
        key.write_private_key(text)
        assert _parse_private_key(text.getvalue()).get_base64() == key.get_base64()
        text = io.StringIO()
        key.write_private_key(text, password="secret")
        with pytest.raises(paramiko.SSHException, match="wants a passphrase"):
            _parse_private_key(text.getvalue())
    with pytest.raises(paramiko.SSHException, match="cannot be read"):
        _parse_private_key("-----BEGIN OPENSSH PRIVATE KEY-----\n")


@pytest.mark.parametrize("wrong", ["key", "user"])
def test_another_key_or_user_is_refused(server: SshServer, wrong: str) -> None:
    """A login with another key or as another user fails as a lost host, with a reason."""
    private = generate_key_pair().private if wrong == "key" else server.user_key.private
    login = SshLogin("hosta", private, server.host_key.public, user="root" if wrong == "key" else "nobody")
    with pytest.raises(HostLost, match="SSH to hosta failed") as caught:
        SshHost(login, server.connect())
    assert caught.value.why


def test_something_else_than_ssh() -> None:
    """A port with something else behind it is a lost host, within the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        login = SshLogin("hosta", generate_key_pair().private, generate_key_pair().public)
        with accepted, pytest.raises(HostLost, match="SSH to hosta failed"):
            SshHost(login, connection, timeout=0.5)


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"Authorized users only.\r\n" * 200,
        b"\xff\xfe no text\r\nSSH-2.0-x\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-\r\n",
        b"SSH-2.0-x\r\n" + b"\0\0\0\x0c\x04\x14" + b"\xff" * 40,
        b"SSH-2.0-x\r\n" + b"\xff" * 200,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
    ids=["nothing", "a long text", "no UTF-8", "SSH 1", "no version", "damaged key exchange", "no packets", "HTTP"],
)
def test_a_peer_that_speaks_otherwise_is_lost(words: bytes) -> None:
    """Whatever stands before SSH's protocol or in the place of it, is a lost host, never an error of another type."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.sendall(words)
        accepted.shutdown(socket.SHUT_WR)
        login = SshLogin("hosta", generate_key_pair().private, generate_key_pair().public)
        with accepted, pytest.raises(HostLost, match="SSH to hosta failed") as caught:
            SshHost(login, connection, timeout=2)
    assert caught.value.why


def test_a_text_before_the_protocol_is_allowed(server: SshServer) -> None:
    """RFC 4253 lets a server send lines before its version: such a host is no lost one."""
    here, there = socket.socketpair()
    with server.connect() as onward, there:
        there.sendall(b"Authorized users only.\r\n")
        for source, sink in ((onward, there), (there, onward)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()
        with SshHost(SshLogin("hosta", server.user_key.private, server.host_key.public), here) as host:
            assert host.run(["echo", "x"]).text == "x\n"


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


def test_a_connection_that_is_gone_before_the_login() -> None:
    """A socket that was closed before SSH began on it is a lost host."""
    connection = socket.socket()
    connection.close()
    with pytest.raises(HostLost, match="SSH to hosta failed"):
        SshHost(SshLogin("hosta", generate_key_pair().private, generate_key_pair().public), connection)


@pytest.mark.parametrize("words", ["Welcome to hosta\n", "Welcome", "x" * 100_000, "\n"])
def test_a_login_shell_that_talks_is_a_lost_host(server: SshServer, words: str) -> None:
    """Words of the login shell in the place of a process id or of a clock are told, with what to do, and are no bug."""
    server.login_words = words
    with SshHost(SshLogin("hosta", server.user_key.private, server.host_key.public), server.connect()) as host:
        for ask in (lambda: host.start(["sleep", "1"]), lambda: measure_offset(host)):
            with pytest.raises(HostLost, match="hosta"):
                ask()
        if words.strip():
            with pytest.raises(HostLost) as caught:
                measure_offset(host)
            assert words[:20].strip() in caught.value.why
            assert "login shell" in caught.value.fix


ERRORS = [
    paramiko.SSHException("Key-exchange timed out"),
    paramiko.ChannelException(4, "Resource shortage"),
    EOFError(),
    ConnectionResetError("reset"),
    TimeoutError("timed out"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
]


@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
def test_errors_of_the_layers_are_a_lost_host(host: SshHost, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Whichever layer of SSH an error comes from, and whatever was asked of the host, the host is lost."""

    def fail(*_: object, **__: object) -> None:
        raise error

    real, broken = host._transport.open_session, [""]

    def open_session(**options: Any) -> paramiko.Channel:
        channel = real(**options)
        setattr(channel, broken[0], fail)
        return channel

    monkeypatch.setattr(host._transport, "open_session", open_session)
    for broken[0] in ("recv", "recv_stderr"):
        with pytest.raises(HostLost):
            host.run(["echo", "x"])
    for broken[0] in ("sendall", "close"):  # what a command is given, or the end of its channel, hides no answer
        assert host.run(["echo", "x"], stdin=b"y").text == "x\n"
    broken[0] = "recv"
    with pytest.raises(HostLost):
        host.start(["true"])
    broken[0] = "exec_command"
    for ask in (host.run, host.start, host.open_stream):
        with pytest.raises(HostLost):
            ask(["true"])
    monkeypatch.setattr(host._transport, "open_channel", fail)
    with pytest.raises(OSError, match="as seen from hosta"):  # of the port, while the host answers
        host.open_tcp("127.0.0.1", 1)


def test_a_stream_ends_with_its_channel(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of SSH's layers in the threads of a stream is its end, and kills no thread with a trace."""
    caught: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", caught.append)

    def fail(*_: object) -> bytes:
        raise paramiko.SSHException("damaged")

    real = host._transport.open_session

    def open_session(**options: Any) -> paramiko.Channel:
        channel = real(**options)
        channel.recv = fail  # type: ignore[assignment, method-assign]
        return channel

    monkeypatch.setattr(host._transport, "open_session", open_session)
    with host.open_stream(["cat"]) as stream:
        stream.settimeout(5)
        assert stream.recv(1) == b""
    assert not caught


def test_packets_are_sent_at_once(server: SshServer) -> None:
    """A small packet does not wait for the acknowledgement of the one before it, which costs 40 ms each time."""
    connection = server.connect()
    with SshHost(SshLogin("hosta", server.user_key.private, server.host_key.public), connection):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_output_status_and_input(host: SshHost) -> None:
    """Both streams come back apart, words with blanks and quotes stay words, standard input is the given bytes."""
    completed = host.run(["sh", "-c", 'cat; echo "$1" >&2; exit 7', "sh", "a 'b\" $c"], stdin=b"\0\xff in", check=False)
    assert (completed.returncode, completed.stdout, completed.stderr) == (7, b"\0\xff in", b"a 'b\" $c\n")


def test_a_failure_is_explained(host: SshHost) -> None:
    """With ``check`` an exit status other than 0 names the host and has the command's own words."""
    with pytest.raises(CommandFailed, match="On hosta, a command exited with 3") as caught:
        host.run(["sh", "-c", "echo its own words >&2; exit 3"])
    assert (caught.value.why, caught.value.returncode) == ("its own words", 3)
    with pytest.raises(CommandFailed, match="was not found"):
        host.run(["no-such-program-of-ours"])


def test_a_signal(host: SshHost) -> None:
    """A command that a signal ended is said to have been ended by one, and not by which: that is not known."""
    with pytest.raises(CommandFailed, match="was killed by a signal:") as caught:
        host.run(["sh", "-c", "kill -KILL $$"])
    assert caught.value.returncode == UNKNOWN_SIGNAL


def test_a_large_output_is_whole(host: SshHost) -> None:
    """Output of several megabytes, more than SSH's window, arrives whole."""
    completed = host.run(["sh", "-c", "head -c 6000000 /dev/zero | tr '\\0' x"])
    assert completed.stdout == b"x" * 6_000_000


def test_output_of_the_window_on_both_streams(host: SshHost) -> None:
    """A megabyte on each stream, the error stream first, does not block the command."""
    script = "head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero"
    completed = host.run(["sh", "-c", script], timeout=10)
    assert (len(completed.stdout), len(completed.stderr)) == (1_000_000, 1_000_000)


def test_a_large_error_stream_does_not_block(host: SshHost) -> None:
    """More than SSH's window on the error stream does not block the command."""
    completed = host.run(["sh", "-c", "head -c 3000000 /dev/zero >&2; echo done"], timeout=1)
    assert completed.stdout == b"done\n"


def test_a_large_input_and_output_do_not_block(host: SshHost) -> None:
    """A command that answers while it reads may be given more than SSH's window."""
    data = os.urandom(8_000_000)
    assert host.run(["cat"], stdin=data).stdout == data


def test_a_timeout(host: SshHost) -> None:
    """A command that takes too long is an error of the command, and the host stays usable."""
    start = time.monotonic()
    with pytest.raises(CommandFailed, match=r"took longer than 0\.5 s: sleep 30"):
        host.run(["sleep", "30"], timeout=0.5)
    assert time.monotonic() - start < 5
    assert host.run(["echo", "x"]).text == "x\n"


def test_a_timeout_of_a_command_that_talks(host: SshHost) -> None:
    """A command that goes on writing is not given more time for it."""
    start = time.monotonic()
    with pytest.raises(CommandFailed, match=r"took longer than 0\.5 s"):
        host.run(["sh", "-c", "for i in $(seq 30); do echo x; sleep 0.1; done"], timeout=0.5)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("script", ["sleep 30", "while :; do echo x; sleep 0.01; done"])
def test_a_connection_that_breaks_in_a_command(server: SshServer, host: SshHost, script: str) -> None:
    """A connection that breaks during a command is a lost host at once, whether the command is silent or not."""
    threading.Timer(0.3, server.break_connections).start()
    start = time.monotonic()
    with pytest.raises(HostLost, match="hosta"):
        host.run(["timeout", "2", "sh", "-c", script])
    assert time.monotonic() - start < 5
    assert not host.is_connected()


def test_a_broken_connection_is_found_out_by_every_call(server: SshServer, host: SshHost) -> None:
    """After the connection broke, everything that is asked of the host is a lost host."""
    server.break_connections()
    wait_until("the end of the connection", lambda: not host.is_connected(), timeout=5)
    with pytest.raises(HostLost):
        host.run(["true"])
    with pytest.raises(HostLost):
        host.start(["true"])
    with pytest.raises(HostLost):
        host.open_stream(["cat"])
    with pytest.raises(HostLost):
        host.open_tcp("127.0.0.1", server.port)


def test_a_process_on_a_lost_host(server: SshServer, host: SshHost) -> None:
    """Of a process on a host that is lost nothing is known: it did not end."""
    process = host.start(["sleep", "1"])
    server.break_connections()
    wait_until("the end of the connection", lambda: not host.is_connected(), timeout=5)
    for ask in (process.poll, lambda: process.wait(0.1), process.kill):
        with pytest.raises(HostLost):
            ask()


def test_a_process_that_goes_on(host: SshHost) -> None:
    """Its process id is that of the command itself; it runs until it is killed, and killing it again is no error."""
    process = host.start(["sleep", "60"])
    command = Path(f"/proc/{process.pid}/cmdline")
    # first it is what asks the kernel to end it with its parent, which then becomes the command
    wait_until("the command to begin", lambda: command.read_bytes() == b"sleep\x0060\x00", timeout=10)
    assert process.poll() is None
    assert process.wait(0.1) is None
    process.kill()
    assert process.poll() is not None
    process.kill()


def test_a_process_says_why_it_ended(host: SshHost) -> None:
    """Its status and its own words stay readable after its end."""
    process = host.start(["sh", "-c", "echo its own words >&2; exit 3"])
    assert process.wait(5) == 3
    assert process.stderr() == process.stderr() == "its own words\n"


def test_a_stream_carries_both_directions(host: SshHost) -> None:
    """The socket is the remote command's input and output; closing our direction reaches it."""
    with host.open_stream(["cat"]) as stream:
        stream.settimeout(5)
        stream.sendall(b"\0\xff there")
        assert stream.recv(100) == b"\0\xff there"
    with host.open_stream(["sh", "-c", "echo done"]) as stream:
        stream.settimeout(5)
        assert stream.makefile("rb").read() == b"done\n"


def test_nothing_is_said_of_a_channel_that_is_closed(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late our threads are, no message about a channel follows its close: dropbear would hang up."""
    transport = host._transport
    real, sent = transport._send_user_message, []  # type: ignore[attr-defined]

    def send(message: paramiko.Message) -> None:
        data = message.asbytes()
        channel = int.from_bytes(data[1:5])
        if data[0] == CHANNEL_EOF and threading.current_thread() is not transport:
            with contextlib.suppress(Deadline):  # as late as can be: when the transport has answered the close
                wait_until("the server's close", lambda: transport._channels.get(channel) is None, timeout=2)  # type: ignore[attr-defined]
        sent.append((channel, data[0]))
        real(message)

    monkeypatch.setattr(transport, "_send_user_message", send)
    host.run(["true"])
    wait_until("the close", lambda: any(code == CHANNEL_CLOSE for _, code in sent), timeout=10)
    assert sent[-1][1] == CHANNEL_CLOSE


def test_a_remote_tcp_port(host: SshHost) -> None:
    """A port is reached from the host's side; a closed one is refused."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with host.open_tcp("127.0.0.1", port) as connection:
            accepted, _ = listener.accept()
            with accepted:
                connection.sendall(b"x")
                assert accepted.recv(1) == b"x"
    with pytest.raises(ConnectionRefusedError):
        host.open_tcp("127.0.0.1", port)


def test_remote_files(host: SshHost, tmp_path: Path) -> None:
    """Bytes are read back as they were written, and a new file is its owner's alone."""
    path = tmp_path / "a key"
    host.write_file(str(path), b"\0\xff secret")
    assert host.read_file(str(path)) == b"\0\xff secret"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandFailed, match="No such file"):
        host.read_file(str(tmp_path / "none"))


def test_a_timeout_on_a_slow_host(host: SshHost) -> None:
    """A command may take as many times as long as its host is slow, and no longer."""
    with paced(4):
        assert host.run(["sleep", "0.6"], timeout=0.3).returncode == 0
        with pytest.raises(CommandFailed, match=r"took longer than 1\.2 s"):
            host.run(["sleep", "30"], timeout=0.3)


def test_a_host_that_takes_no_command(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it takes one it may need as long as the whole command may, and not longer."""
    asked: list[float] = []

    def open_session(*, timeout: float) -> paramiko.Channel:
        asked.append(timeout)
        raise paramiko.SSHException("Timeout opening channel.")

    monkeypatch.setattr(host._transport, "open_session", open_session)
    with paced(2), pytest.raises(HostLost, match="does not answer; it was asked to run: true"):
        host.run(["true"], timeout=4)
    with pytest.raises(HostLost):
        host.start(["true"])
    assert asked == [8, 30]
