# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab: one or two lab hosts with a private link, started together, stopped together, and proven gone.

What a lab has on the controller is written to ``lab.json`` in its directory before it is made: processes (found again
by the lab's token on their command line), the directory with keys and consoles, the directory with sockets. So a lab
whose harness was killed can be stopped by the next command.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import filelock
import psutil

from switchover.hosts import processes
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.ssh import SshHost, SshLogin
from switchover.hosts.waiting import wait_until
from switchover.lab.accelerator import Accelerator, find_accelerator
from switchover.lab.images import Image, build_images, find_damage
from switchover.lab.keys import KeyPair, generate_key_pair
from switchover.lab.labhost import LabHostSpec, LinkEnd, labhost_arguments
from switchover.record.errors import Deadline, HostLost, NotReady, UsageError
from switchover.record.log import step
from switchover.record.paths import labs_directory

READY_TIMEOUT_S = 180
# the last words of images/labhost/rc, and sshd's own
_READY = ("switchover-labhost: ready", "Server listening on 0.0.0.0 port 22")
_HOST_NAMES = ("hosta", "hostb")


@dataclass
class LabFile:
    """What ``lab.json`` holds. ``ports``: SSH port on 127.0.0.1 by lab host, once known."""

    name: str
    token: str
    sockets: str
    owner: int
    """Process that stops the lab; 0 if it stays until ``lab down``."""
    images: dict[str, str]
    accelerator: dict[str, object]
    hosts: list[str]
    ports: dict[str, int] = field(default_factory=dict)
    ready_seconds: float | None = None


class Lab:
    """A running lab. ``hosts`` maps lab host names to their SSH connections, opened on first use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = read_lab_file(directory)
        self._key = (directory / "key").read_text()
        self.guest_host_key = KeyPair(
            (directory / "guest_host_key").read_text(), (directory / "guest_host_key.pub").read_text()
        )
        self.authorized_key = (directory / "key.pub").read_text()
        self._connections: dict[str, SshHost] = {}

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def private_key(self) -> str:
        """The lab's one private key: logs in to lab hosts and guests."""
        return self._key

    def host(self, name: str) -> SshHost:
        """:raises UsageError: the lab has no such host; :raises HostLost: it does not answer"""
        if name not in self.file.hosts:
            raise UsageError(f"The lab has no host {name!r}.", fix=f"one of: {', '.join(self.file.hosts)}")
        if name not in self._connections or not self._connections[name].is_connected():
            self._connections[name] = connect_labhost(self.directory, self.file, name)
        return self._connections[name]

    def link_address(self, name: str) -> str:
        """Address of a lab host on the private link."""
        return _link_address(self.file.hosts.index(name))

    def hosts(self) -> list[SshHost]:
        return [self.host(name) for name in self.file.hosts]

    def close(self) -> None:
        """Close the connections; the lab goes on."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def connect_labhost(directory: Path, file: LabFile, name: str) -> SshHost:
    """:raises HostLost: no SSH there, or not with the key this lab was given"""
    login = SshLogin(name, (directory / "key").read_text(), (directory / "host_key.pub").read_text())
    try:
        connection = LocalHost().open_tcp("127.0.0.1", file.ports[name])
    except (OSError, KeyError) as error:
        raise HostLost(f"Lab host {name} does not answer.", why=str(error)) from error
    return SshHost(login, connection)


@contextlib.contextmanager
def start_lab(name: str, *, hosts: int = 2, stays: bool = False) -> Iterator[Lab]:
    """A lab for the time of a ``with`` block; with ``stays`` it is left running when the block ends without error.

    Images are built first if they are missing. Stopping proves that nothing is left.

    :raises NotReady: a lab of that name runs already, an image cannot be built, a lab host does not come up
    """
    images = build_images(["labhost"])
    directory = labs_directory() / name
    labs_directory().mkdir(parents=True, exist_ok=True, mode=0o700)
    done = False
    with filelock.FileLock(f"{directory}.lock"):
        if directory.exists():
            if lab_processes(read_lab_file(directory)):
                raise NotReady(f"A lab named {name!r} is running.", fix=f"switchover lab down {name}")
            stop_lab(directory)
        try:
            _boot(directory, name, images["labhost"], images, _HOST_NAMES[:hosts], stays=stays)
            done = True
        finally:
            if not done:
                stop_lab(directory)
    lab = Lab(directory)
    try:
        yield lab
        done = stays
    except BaseException:
        done = False
        raise
    finally:
        lab.close()
        if not done or not stays:
            stop_lab(directory)
        if not stays:
            Path(f"{directory}.lock").unlink(missing_ok=True)  # the name was this run's own


def _boot(
    directory: Path, name: str, labhost: Image, images: dict[str, Image], names: tuple[str, ...], *, stays: bool
) -> None:
    accelerator = find_accelerator(labhost)
    file = LabFile(
        name=name,
        token=f"switchover-lab-{uuid.uuid4().hex[:12]}",
        sockets=f"{tempfile.gettempdir()}/switchover-{secrets.token_hex(4)}",
        owner=0 if stays else os.getpid(),
        images={image.name: image.digest for image in images.values()},
        accelerator=asdict(accelerator),
        hosts=list(names),
    )
    start = time.monotonic()
    directory.mkdir(mode=0o700)
    _write_lab_file(directory, file)
    Path(file.sockets).mkdir(mode=0o700)
    host_key = _write_keys(directory)
    with step(f"lab {name}: {len(names)} lab host{'s' * (len(names) > 1)}, {accelerator.accel.partition(',')[0]}"):
        specs = [_prepare(directory, file, host_key, index, len(names)) for index, _ in enumerate(names)]
        running = {spec.name: _start(spec, labhost, accelerator, stays=stays) for spec in specs}
        try:
            for spec in specs:
                _wait_until_ready(spec, running[spec.name])
        except NotReady as error:
            if (artifact := find_damage(labhost)) is not None:
                raise NotReady(
                    f"{error.what} Its image is damaged: {artifact} is not what was built.",
                    why=error.why,
                    fix="switchover images clean --all, then the same command again",
                ) from error
            raise
        file.ports = {spec.name: _ask_port(spec) for spec in specs}
        file.ready_seconds = round(time.monotonic() - start, 1)
        _write_lab_file(directory, file)
        _write_ssh_config(directory, file)
        for lab_host in names:
            connect_labhost(directory, file, lab_host).close()


def _write_keys(directory: Path) -> KeyPair:
    login, host, guest = generate_key_pair(), generate_key_pair(), generate_key_pair()
    for file_name, text in (
        ("key", login.private),
        ("key.pub", login.public + "\n"),
        ("host_key.pub", host.public + "\n"),
        ("guest_host_key", guest.private),
        ("guest_host_key.pub", guest.public + "\n"),
    ):
        _write_private(directory / file_name, text)
    return host


def _prepare(directory: Path, file: LabFile, host_key: KeyPair, index: int, count: int) -> LabHostSpec:
    """Directory and files of one lab host."""
    name = file.hosts[index]
    own = directory / name
    own.mkdir(mode=0o700)
    spec = LabHostSpec(
        name=name,
        token=file.token,
        index=index + 1,
        address=f"{_link_address(index)}/24",
        link=LinkEnd.NONE if count == 1 else LinkEnd.LISTENS if index == 0 else LinkEnd.CONNECTS,
        directory=own,
        sockets=Path(file.sockets),
    )
    _write_private(own / "name", name)
    _write_private(own / "link_address", spec.address)
    _write_private(own / "authorized_keys", (directory / "key.pub").read_text())
    _write_private(own / "ssh_host_ed25519_key", host_key.private)
    return spec


def _link_address(index: int) -> str:
    return f"10.77.0.{index + 1}"


def _start(spec: LabHostSpec, image: Image, accelerator: Accelerator, *, stays: bool) -> processes.LocalProcess:
    qemu = processes.require_program("qemu-system-x86_64", needed_to="run lab hosts", package="qemu-system-x86")
    process = processes.LocalProcess([qemu, *labhost_arguments(spec, image, accelerator)], outlives_us=stays)
    # the other end of the link is a socket that this QEMU makes: it must be there before the next one starts
    if spec.link is LinkEnd.LISTENS:
        wait_until(
            f"the link socket of {spec.name}",
            (spec.sockets / "link").exists,
            timeout=30,
            invariants=[lambda: _require_alive(spec, process)],
        )
    return process


def _wait_until_ready(spec: LabHostSpec, process: processes.LocalProcess) -> None:
    def ready() -> bool:
        return all(text in _console(spec) for text in _READY)

    try:
        wait_until(
            f"lab host {spec.name} to come up",
            ready,
            timeout=READY_TIMEOUT_S,
            invariants=[lambda: _require_alive(spec, process)],
        )
    except Deadline as error:
        raise NotReady(error.what, why=f"its console ends with: {_console(spec).strip()[-600:]}") from error


def _require_alive(spec: LabHostSpec, process: processes.LocalProcess) -> None:
    code = process.poll()
    if code is not None:
        raise NotReady(
            f"Lab host {spec.name} ended while it was starting (exit status {code}).",
            why=(process.stderr() + _console(spec)).strip()[-600:],
        )


def _console(spec: LabHostSpec) -> str:
    return spec.console.read_text(errors="replace") if spec.console.exists() else ""


def _ask_port(spec: LabHostSpec) -> int:
    """The port of 127.0.0.1 that the kernel chose for the lab host's SSH."""
    with LoopThread() as loop, QmpSession(f"lab host {spec.name}", LocalHost(), str(spec.monitor), loop) as monitor:
        text = monitor.execute("human-monitor-command", {"command-line": "info usernet"})
    port = parse_forwarded_port(text)
    if port is None:
        raise NotReady(f"QEMU of lab host {spec.name} forwards no port to its SSH.", why=text)
    return port


def parse_forwarded_port(text: str) -> int | None:
    """The port of the controller in QEMU's ``info usernet``.

    >>> parse_forwarded_port("  TCP[HOST_FORWARD]  12       127.0.0.1 36809       10.0.2.15    22     0     0")
    36809
    """
    match = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s", text)
    return int(match[1]) if match else None


def _write_ssh_config(directory: Path, file: LabFile) -> None:
    """A configuration for OpenSSH, so that people and tools get in with ``ssh -F``."""
    host_key = (directory / "host_key.pub").read_text()
    known = "".join(f"{name} {host_key}" for name in file.hosts)
    _write_private(directory / "known_hosts", known)
    blocks = [
        f"Host {name}\n  HostName 127.0.0.1\n  HostKeyAlias {name}\n  Port {port}\n  User root\n"
        f"  IdentityFile {directory / 'key'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {directory / 'known_hosts'}\n  StrictHostKeyChecking yes\n"
        for name, port in file.ports.items()
    ]
    _write_private(directory / "ssh_config", "\n".join(blocks))


def lab_processes(file: LabFile) -> list[psutil.Process]:
    """Processes of a lab: those with its token on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.startswith(f"{file.token}-") for word in words):
            found.append(process)
    return found


def stop_lab(directory: Path) -> list[str]:
    """End a lab's processes, remove what it had, and prove that nothing is left; what was done, a line each.

    :raises NotReady: something stayed, with its name
    """
    if not (directory / "lab.json").exists():
        shutil.rmtree(directory, ignore_errors=True)
        return []
    file = read_lab_file(directory)
    found = lab_processes(file)
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=20)
    shutil.rmtree(file.sockets, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
    left = [f"process {process.pid}" for process in lab_processes(file)]
    left += [str(path) for path in (Path(file.sockets), directory) if path.exists()]
    if left:
        raise NotReady(f"Of lab {file.name}, something is left: {', '.join(left)}.")
    return [f"{len(found)} QEMU processes ended", "keys, consoles and sockets removed", "nothing is left"]


def find_labs() -> list[Path]:
    """Directories of all labs, running or dead."""
    return sorted(path.parent for path in labs_directory().glob("*/lab.json"))


def is_running(directory: Path) -> bool:
    """Whether there is a lab in ``directory`` with all of its lab hosts' processes."""
    if not (directory / "lab.json").exists():
        return False
    file = read_lab_file(directory)
    return bool(file.ports) and len(lab_processes(file)) == len(file.hosts)


def require_lab(name: str) -> Lab:
    """:raises UsageError: there is no such lab, or it is dead"""
    directory = labs_directory() / name
    if not (directory / "lab.json").exists():
        raise UsageError(f"No lab named {name!r} is running.", fix="switchover lab up")
    if not is_running(directory):
        raise UsageError(f"The lab {name!r} is dead.", fix=f"switchover lab down {name}; switchover lab up {name}")
    return Lab(directory)


def read_lab_file(directory: Path) -> LabFile:
    """:raises NotReady: it is damaged, or of another version of switchover"""
    path = directory / "lab.json"
    try:
        return LabFile(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise NotReady(
            f"{path} cannot be read.", why=str(error), fix=f"end its QEMU processes by hand, then remove {directory}"
        ) from error


def _write_lab_file(directory: Path, file: LabFile) -> None:
    temporary = directory / "lab.json.part"
    temporary.write_text(json.dumps(asdict(file), indent=1))
    temporary.replace(directory / "lab.json")


def _write_private(path: Path, text: str) -> None:
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
