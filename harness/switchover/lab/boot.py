# SPDX-License-Identifier: GPL-2.0-or-later
"""How lab hosts come up: keys and files, their QEMUs, and the wait until SSH answers."""

import contextlib
import os
import re
import secrets
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from switchover.hosts import processes
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.ssh import SshHost, SshLogin
from switchover.hosts.waiting import wait_until
from switchover.lab.accelerator import Accelerator, find_accelerator
from switchover.lab.images import Image, find_damage
from switchover.lab.keys import KeyPair, generate_key_pair
from switchover.lab.labfile import LabFile, write_lab_file
from switchover.lab.labhost import CONSOLE, WORDS, LabHostSpec, labhost_arguments, list_links, own_qemu
from switchover.lab.pace import describe_pace, measure_pace
from switchover.record.errors import Deadline, HostLost, NotReady
from switchover.record.log import say, step
from switchover.record.units import format_count

KIND = "lab"
"""Of the addresses of lab hosts, see :attr:`Host.address`."""
READY_TIMEOUT_S = 180
# the last words of images/labhost/rc, and sshd's own
_READY = ("switchover-labhost: ready", "Server listening on 0.0.0.0 port 22")


def boot_lab(
    directory: Path,
    name: str,
    images: dict[str, Image],
    names: tuple[str, ...],
    *,
    stays: bool,
    disks: tuple[Path, ...] = (),
    pci: bool = False,
    qemu: str = "",
    change: Callable[[Accelerator], Accelerator] = lambda accelerator: accelerator,
) -> None:
    """Boot the lab hosts ``names`` from the image ``labhost``, all of them together, each with ``disks``.

    ``pci``: with an IOMMU, and PCI functions behind it. ``qemu``: a program that they run in instead of that of their
    image; ``change``: of the accelerator that was found, for an experiment.

    :raises NotReady: one does not come up, with the end of its console; a damaged image is named
    """
    labhost = images["labhost"]
    qemu = qemu or own_qemu(images["labhost-qemu"])
    accelerator = change(find_accelerator(labhost, qemu))
    file = LabFile(
        name=name,
        token=f"switchover-lab-{uuid.uuid4().hex[:12]}",
        sockets=f"{tempfile.gettempdir()}/switchover-{secrets.token_hex(4)}",
        owner=0 if stays else os.getpid(),
        images={image.name: image.digest for image in images.values()},
        accelerator=asdict(accelerator),
        hosts=list(names),
        disks=[str(disk) for disk in disks],
        pci=pci,
    )
    start = time.monotonic()
    directory.mkdir(mode=0o700)
    write_lab_file(directory, file)
    Path(file.sockets).mkdir(mode=0o700)
    host_key = _write_keys(directory)
    with step(f"lab {name}: {format_count(len(names), 'lab host')}, {accelerator.accel.partition(',')[0]}"):
        specs = [_prepare(directory, file, host_key, index, len(names)) for index, _ in enumerate(names)]
        running = {
            spec.name: _start(spec, [qemu, *labhost_arguments(spec, labhost, accelerator)], stays=stays)
            for spec in specs
        }
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
        write_lab_file(directory, file)
        _write_ssh_config(directory, file)
        with contextlib.ExitStack() as stack:
            hosts = [stack.enter_context(connect_labhost(directory, file, lab_host)) for lab_host in names]
            if not accelerator.accel.startswith("kvm"):
                file.pace = measure_pace(hosts)
                write_lab_file(directory, file)
    if words := describe_pace(file.pace):
        say(words)


def connect_labhost(directory: Path, file: LabFile, name: str) -> SshHost:
    """:raises HostLost: no SSH there, or not with the key this lab was given"""
    login = SshLogin(name, (directory / "key").read_text(), (directory / "host_key.pub").read_text())
    try:
        connection = LocalHost().open_tcp("127.0.0.1", file.ports[name])
    except (OSError, KeyError) as error:
        words = "\n".join(_read(directory / name / file).strip()[-600:] for file in (WORDS, CONSOLE))
        why = f"{error}; its QEMU and its console end with: {words.strip()}"
        raise HostLost(f"Lab host {name} does not answer.", why=why) from error
    address = {"kind": KIND, "directory": str(directory), "token": file.token, "host": name}
    return SshHost(login, connection, address=address)


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
        address=f"{link_address(index)}/24",
        links=list_links(index + 1, count),
        directory=own,
        sockets=Path(file.sockets),
        disks=tuple(map(Path, file.disks)),
        pci=file.pci,
    )
    _write_private(own / "name", name)
    _write_private(own / "link_address", spec.address)
    _write_private(own / "authorized_keys", (directory / "key.pub").read_text())
    _write_private(own / "ssh_host_ed25519_key", host_key.private)
    return spec


def link_address(index: int) -> str:
    return f"10.77.0.{index + 1}"


def _start(spec: LabHostSpec, argv: list[str], *, stays: bool) -> processes.LocalProcess:
    process = processes.LocalProcess(argv, outlives_us=stays, words=spec.words)
    # the other end of a link is a socket that this QEMU makes: it must be there before the next one starts
    if spec.listening:
        wait_until(
            f"the link sockets of {spec.name}",
            lambda: all(socket.exists() for socket in spec.listening),
            timeout=30,
            invariants=[lambda: _require_alive(spec, process)],
        )
    return process


def _wait_until_ready(spec: LabHostSpec, process: processes.LocalProcess) -> None:
    def ready() -> bool:
        return all(text in _read(spec.console) for text in _READY)

    try:
        wait_until(
            f"lab host {spec.name} to come up",
            ready,
            timeout=READY_TIMEOUT_S,
            invariants=[lambda: _require_alive(spec, process)],
        )
    except Deadline as error:
        raise NotReady(error.what, why=f"its console ends with: {_read(spec.console).strip()[-600:]}") from error


def _require_alive(spec: LabHostSpec, process: processes.LocalProcess) -> None:
    code = process.poll()
    if code is not None:
        raise NotReady(
            f"Lab host {spec.name} ended while it was starting (exit status {code}).",
            why=(_read(spec.words) + _read(spec.console)).strip()[-600:],
        )


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


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


def _write_private(path: Path, text: str) -> None:
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
