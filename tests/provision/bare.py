# SPDX-License-Identifier: GPL-2.0-or-later
"""Two linked VMs: a bare Debian machine with sshd and Python, without QEMU, libvirt and a way out of it (images/bare);
and a lab host, which has all that one of the inventory needs, as the other end of migrations.
"""

import base64
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from switchover.hosts import processes
from switchover.hosts.host import Host
from switchover.hosts.inventory import HostEntry, open_inventory_host
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import QmpSession
from switchover.hosts.waiting import wait_until
from switchover.lab.accelerator import Accelerator, find_accelerator
from switchover.lab.boot import parse_forwarded_port
from switchover.lab.images import Image
from switchover.lab.keys import KeyPair, generate_key_pair
from switchover.lab.labhost import LINK_MTU, LabHostSpec, LinkEnd, labhost_arguments, link_socket, own_qemu
from switchover.record.errors import HostLost, NotReady

BARE, PARTNER = "bare", "partner"
LINK = "enp0s16"
"""What udev calls the NIC of a bare machine's link, by its slot."""
BOOT_TIMEOUT_S = 300
_MAC = "52:54:00:53"
_CREDENTIALS = "opt/io.systemd.credentials"


@dataclass(frozen=True)
class Machine:
    """A machine that runs. ``entry``: what an inventory of the harness says of it."""

    name: str
    entry: HostEntry
    process: processes.LocalProcess
    console: Path


@contextlib.contextmanager
def start_machines(images: Mapping[str, Image], directory: Path) -> Iterator[tuple[Machine, Machine]]:
    """The bare machine and its partner for the time of a ``with`` block; what is changed on their disks goes with it.

    :raises NotReady: one ends, or does not answer over SSH in time
    """
    qemu = own_qemu(images["labhost-qemu"])
    accelerator = find_accelerator(images["labhost"], qemu)
    login = generate_key_pair()
    _write(directory / "key", login.private)
    with contextlib.ExitStack() as stack:
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchover-bare-")))
        host_key = generate_key_pair()
        spec = LabHostSpec(PARTNER, "provision", 2, "10.77.0.2/24", (LinkEnd(1, listens=True),), directory, sockets)
        for name, text in (
            ("name", PARTNER),
            ("link_address", spec.address),
            ("authorized_keys", f"{login.public}\n"),
            ("ssh_host_ed25519_key", host_key.private),
        ):
            _write(directory / name, text)
        # first, since it makes the socket of the link
        arguments = [qemu, *labhost_arguments(spec, images["labhost"], accelerator)]
        partner = _start(stack, PARTNER, arguments, spec.monitor, spec.console, host_key, "10.77.0.2")
        host_key = generate_key_pair()
        monitor, console = sockets / BARE, directory / f"{BARE}.console"
        arguments = [qemu, *bare_arguments(images["bare"], accelerator, monitor, console)]
        for credential, text in _list_credentials(login, host_key).items():
            _write(directory / credential, text)
            arguments += ["-fw_cfg", f"name={_CREDENTIALS}/{credential},file={directory / credential}"]
        bare = _start(stack, BARE, arguments, monitor, console, host_key, "10.77.0.1")
        _wait_until(partner, lambda host: True)
        _wait_until(bare, is_system_up)
        yield bare, partner


def _start(
    stack: contextlib.ExitStack,
    name: str,
    arguments: list[str],
    monitor: Path,
    console: Path,
    host_key: KeyPair,
    link: str,
) -> Machine:
    process = processes.LocalProcess(arguments)
    stack.callback(process.kill)
    entry = HostEntry(
        address="127.0.0.1",
        port=_ask_port(name, monitor, process),
        key=str(console.parent / "key"),
        host_key=host_key.public,
        link=link,
    )
    return Machine(name, entry, process, console)


def _list_credentials(login: KeyPair, host_key: KeyPair) -> dict[str, str]:
    secret = base64.b64encode(host_key.private.encode()).decode()
    return {
        "system.hostname": BARE,
        "ssh.authorized_keys.root": f"{login.public}\n",
        "tmpfiles.extra": f"f~ /etc/ssh/ssh_host_ed25519_key 0600 root root - {secret}\n",
    }


def bare_arguments(image: Image, accelerator: Accelerator, monitor: Path, console: Path) -> list[str]:
    """QEMU's arguments. The user network is restricted: the way in is its SSH, and there is none out.

    The link to the partner is ``LINK``. An IOMMU, and two NICs behind it that nothing else uses, are for binding PCI
    functions: one as a whole, and virtual functions of the other.
    """
    link = f"stream,id=link,server=off,addr.type=unix,addr.path={link_socket(monitor.parent, 1, 2)}"
    return [
        *("-name", BARE, "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "q35,kernel-irqchip=split", "-accel", accelerator.accel, "-cpu", accelerator.cpu),
        *("-smp", str(accelerator.vcpus), "-m", "4096"),
        *("-device", "intel-iommu,intremap=on"),
        *("-serial", f"file:{console}", "-qmp", f"unix:{monitor},server=on,wait=off"),
        *("-drive", f"file={image.artifact('disk.raw')},if=virtio,format=raw,snapshot=on,cache=unsafe"),
        *("-netdev", "user,id=user,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", f"virtio-net-pci,netdev=user,mac={_MAC}:75:01,romfile="),
        *("-netdev", link),
        *("-device", f"virtio-net-pci,netdev=link,mac={_MAC}:6c:01,host_mtu={LINK_MTU},addr=0x10,romfile="),
        *("-device", "pcie-root-port,id=behind1,chassis=1", "-device", "e1000e,bus=behind1,romfile="),
        *("-device", "pcie-root-port,id=behind2,chassis=2", "-device", "igb,bus=behind2,romfile="),
    ]


def is_system_up(host: Host) -> bool:
    """sshd comes up before the rest of the system."""
    asked = host.run(["systemctl", "is-system-running"], check=False)
    return asked.text.strip() in ("running", "degraded")


def _ask_port(name: str, monitor: Path, process: processes.LocalProcess) -> int:
    wait_until(f"the monitor of {name}", monitor.exists, timeout=30, invariants=[lambda: _require_alive(name, process)])
    with LoopThread() as loop, QmpSession(name, LocalHost(), str(monitor), loop) as session:
        text = session.execute("human-monitor-command", {"command-line": "info usernet"})
    port = parse_forwarded_port(text)
    assert port is not None, text
    return port


def _wait_until(machine: Machine, is_up: Callable[[Host], bool]) -> None:
    def answers() -> bool:
        try:
            with open_inventory_host(machine.name, machine.entry) as host:
                return is_up(host)
        except HostLost:
            return False

    def alive() -> None:
        _require_alive(machine.name, machine.process, machine.console)

    wait_until(f"{machine.name} to come up", answers, timeout=BOOT_TIMEOUT_S, poll=2, invariants=[alive])


def _require_alive(name: str, process: processes.LocalProcess, console: Path | None = None) -> None:
    if process.poll() is not None:
        told = console.read_text(errors="replace")[-600:] if console and console.exists() else ""
        raise NotReady(f"{name} ended while it was starting.", why=process.stderr() + told)


def _write(path: Path, text: str) -> None:
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
