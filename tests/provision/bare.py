# SPDX-License-Identifier: GPL-2.0-or-later
"""Bare Debian machines: VMs with sshd and Python, and without QEMU, libvirt and a way out of them (images/bare)."""

import base64
import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from switchover.hosts import processes
from switchover.hosts.inventory import HostEntry, open_inventory_host
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.waiting import wait_until
from switchover.lab.accelerator import Accelerator
from switchover.lab.boot import parse_forwarded_port
from switchover.lab.images import Image
from switchover.lab.keys import KeyPair, generate_key_pair
from switchover.record.errors import HostLost, NotReady

BOOT_TIMEOUT_S = 300
LINK = "enp0s16"
"""What udev calls the NIC of the link, by its slot."""
_MAC = "52:54:00:53"
_CREDENTIALS = "opt/io.systemd.credentials"


@dataclass(frozen=True)
class BareMachine:
    """A machine that runs. ``entry``: what an inventory of the harness says of it."""

    name: str
    entry: HostEntry
    console: Path


@contextlib.contextmanager
def start_bare_machines(
    names: Sequence[str], image: Image, accelerator: Accelerator, directory: Path
) -> Iterator[list[BareMachine]]:
    """Two at most, for the time of a ``with`` block, with a link between them; what is changed on their disks goes
    with them.

    :raises NotReady: one ends, or does not answer over SSH in time
    """
    qemu = processes.require_program("qemu-system-x86_64", needed_to="run a machine", package="qemu-system-x86")
    login = generate_key_pair()
    key = directory / "key"
    _write(key, login.private)
    with contextlib.ExitStack() as stack:
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchover-bare-")))
        machines = []
        for number, name in enumerate(names, start=1):
            host_key = generate_key_pair()
            monitor, console = sockets / name, directory / f"{name}.console"
            arguments = bare_arguments(name, number, image, accelerator, monitor, console)
            for credential, text in _list_credentials(name, login, host_key).items():
                file = directory / f"{name}.{credential}"
                _write(file, text)
                arguments += ["-fw_cfg", f"name={_CREDENTIALS}/{credential},file={file}"]
            process = processes.LocalProcess([qemu, *arguments])
            stack.callback(process.kill)
            entry = HostEntry(
                address="127.0.0.1", port=_ask_port(name, monitor, process), key=str(key), host_key=host_key.public,
                link=f"10.77.0.{number}",
            )  # fmt: skip
            machines.append((BareMachine(name, entry, console), process))
        for machine, process in machines:
            _wait_until_reached(machine, process)
        yield [machine for machine, _ in machines]


def _list_credentials(name: str, login: KeyPair, host_key: KeyPair) -> dict[str, str]:
    secret = base64.b64encode(host_key.private.encode()).decode()
    return {
        "system.hostname": name,
        "ssh.authorized_keys.root": f"{login.public}\n",
        "tmpfiles.extra": f"f~ /etc/ssh/ssh_host_ed25519_key 0600 root root - {secret}\n",
    }


def bare_arguments(
    name: str, number: int, image: Image, accelerator: Accelerator, monitor: Path, console: Path
) -> list[str]:
    """QEMU's arguments. The user network is restricted: the way in is its SSH, and there is none out.

    The link to the other machine is ``LINK``. An IOMMU, and a NIC behind it that nothing else uses, are for binding
    PCI functions.
    """
    link = f"server={'on' if number == 1 else 'off'},addr.type=unix,addr.path={monitor.parent / 'link'}"
    return [
        *("-name", name, "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "q35,kernel-irqchip=split", "-accel", accelerator.accel, "-cpu", accelerator.cpu),
        *("-smp", str(accelerator.vcpus), "-m", "3072", "-no-reboot"),
        *("-device", "intel-iommu,intremap=on"),
        *("-kernel", str(image.artifact("vmlinuz")), "-initrd", str(image.artifact("initramfs.cpio"))),
        *("-append", "console=ttyS0 quiet panic=-1 systemd.firstboot=off intel_iommu=on iommu=pt"),
        *("-serial", f"file:{console}", "-qmp", f"unix:{monitor},server=on,wait=off"),
        *("-drive", f"file={image.artifact('root.ext4')},if=virtio,format=raw,snapshot=on,cache=unsafe"),
        *("-netdev", "user,id=user,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", f"virtio-net-pci,netdev=user,mac={_MAC}:75:01,romfile="),
        *("-netdev", f"stream,id=link,{link}"),
        *("-device", f"virtio-net-pci,netdev=link,mac={_MAC}:6c:{number:02x},addr=0x10,romfile="),
        *("-device", "pcie-root-port,id=behind,chassis=1", "-device", "e1000e,bus=behind,romfile="),
    ]


def _ask_port(name: str, monitor: Path, process: processes.LocalProcess) -> int:
    wait_until(f"the monitor of {name}", monitor.exists, timeout=30, invariants=[lambda: _require_alive(name, process)])
    with LoopThread() as loop, QmpSession(name, LocalHost(), str(monitor), loop) as session:
        text = session.execute("human-monitor-command", {"command-line": "info usernet"})
    port = parse_forwarded_port(text)
    assert port is not None, text
    return port


def _wait_until_reached(machine: BareMachine, process: processes.LocalProcess) -> None:
    def answers() -> bool:
        try:
            with open_inventory_host(machine.name, machine.entry) as host:
                # sshd comes up before the rest of the system
                return host.run(["systemctl", "is-system-running"], check=False).text.strip() in ("running", "degraded")
        except HostLost:
            return False

    def alive() -> None:
        _require_alive(machine.name, process, machine.console)

    wait_until(f"{machine.name} to come up", answers, timeout=BOOT_TIMEOUT_S, poll=2, invariants=[alive])


def _require_alive(name: str, process: processes.LocalProcess, console: Path | None = None) -> None:
    if process.poll() is not None:
        told = console.read_text(errors="replace")[-600:] if console and console.exists() else ""
        raise NotReady(f"{name} ended while it was starting.", why=process.stderr() + told)


def _write(path: Path, text: str) -> None:
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
