# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab: up to four lab hosts with private links, started together, stopped together, and proven gone."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from switchover.hosts.heartbeat import Outlet
from switchover.hosts.journal import own_journal
from switchover.hosts.ownership import describe_process, take_file
from switchover.hosts.ssh import SshHost
from switchover.hosts.waiting import paced
from switchover.lab.accelerator import Accelerator
from switchover.lab.boot import boot_lab, connect_labhost, link_address
from switchover.lab.images import build_images
from switchover.lab.keys import KeyPair
from switchover.lab.labfile import find_starter, is_running, lab_processes, read_lab_file, starter_path, stop_lab
from switchover.lab.labhost import (
    GUEST_PLACES,
    MOST_HOSTS,
    OUTLET_ADDRESS,
    OUTLET_MAC,
    link_interface,
    monitor_socket,
    outlet_socket,
)
from switchover.lab.memory import require_room
from switchover.lab.recipes import LAB_IMAGES
from switchover.record.errors import NotReady, UsageError
from switchover.record.paths import labs_directory

LAB_HOSTS = ("hosta", "hostb", "hostc", "hostd")
"""Names of lab hosts; a lab with fewer has the first ones."""


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
    def host_key(self) -> str:
        """The public key of all lab hosts' SSH."""
        return (self.directory / "host_key.pub").read_text()

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
        """Address of a lab host on the private network."""
        return link_address(self.file.hosts.index(name))

    def link(self, peer: str) -> str:
        """The network interface by which other lab hosts reach ``peer``, and nothing else."""
        return link_interface(self.file.hosts.index(peer) + 1)

    def outlet(self, name: str) -> Outlet:
        """Where frames of a lab host's guests reach the controller."""
        sockets = (outlet_socket(Path(self.file.sockets), name, place) for place in range(GUEST_PLACES + 1))
        return Outlet(tuple(map(str, sockets)), OUTLET_ADDRESS, OUTLET_MAC)

    def monitor(self, name: str) -> Path:
        """Socket of the monitor of the QEMU that a lab host runs in."""
        return monitor_socket(Path(self.file.sockets), name)

    def hosts(self) -> list[SshHost]:
        return [self.host(name) for name in self.file.hosts]

    def close(self) -> None:
        """Close the connections; the lab goes on."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


@contextlib.contextmanager
def start_lab(
    name: str,
    *,
    hosts: int = 2,
    stays: bool = False,
    disks: Sequence[Path] = (),
    pci: bool = False,
    qemu: str = "",
    change: Callable[[Accelerator], Accelerator] = lambda accelerator: accelerator,
) -> Iterator[Lab]:
    """A lab for the time of a ``with`` block; with ``stays`` it is left running when the block ends without error.

    Images are built first if they are missing. Deadlines are as the lab's pace makes them, meanwhile. Stopping proves
    that nothing is left. ``disks``: image files that each lab host has as ``/dev/vdb`` and so on; what is written to
    them goes with the lab. ``pci``: lab hosts with an IOMMU and PCI functions to pass through. ``qemu``, ``change``:
    see :func:`switchover.lab.boot.boot_lab`.

    :raises UsageError: one of these cannot be read, or a lab cannot have so many hosts
    :raises NotReady: a lab of that name runs already, an image cannot be built, a lab host does not come up, or the
        machine has no room for so many
    """
    if not 1 <= hosts <= MOST_HOSTS:
        raise UsageError(f"A lab has 1 to {MOST_HOSTS} hosts, not {hosts}.")
    for disk in disks:
        if not os.access(disk, os.R_OK) or disk.is_dir():
            raise UsageError(f"{disk} cannot be read.", why="it was named as a disk for lab hosts")
    images = build_images(list(LAB_IMAGES))
    directory = labs_directory() / name
    labs_directory().mkdir(parents=True, exist_ok=True, mode=0o700)
    starter = take_file(starter_path(directory), note=describe_process())
    if starter is None:
        raise NotReady(
            f"A lab named {name!r} is running, or just starting.", why=f"it belongs to {find_starter(directory)}"
        )
    with contextlib.ExitStack() as stack:
        # until the lab is stopped, or is up and stays: so that others see whether somebody will stop it
        stack.callback(starter.release)
        if directory.exists():
            if (directory / "lab.json").exists() and lab_processes(read_lab_file(directory)):
                raise NotReady(f"A lab named {name!r} is running.", fix=f"switchover lab down {name}")
            stop_lab(directory)
        stack.callback(_stop, directory)
        require_room(hosts)
        paths = tuple(map(Path.absolute, disks))
        boot_lab(
            directory, name, images, LAB_HOSTS[:hosts], stays=stays, disks=paths, pci=pci, qemu=qemu, change=change
        )
        lab = stack.enter_context(contextlib.closing(Lab(directory)))
        with paced(lab.file.pace):
            yield lab
        if stays:
            stack.pop_all()
            lab.close()
            starter.release()


def _stop(directory: Path) -> None:
    """Stop a lab of ours. Changes on its hosts that could not be undone go with it."""
    stop_lab(directory)
    own_journal().take_as_undone(lambda address: address.get("directory") == str(directory))


def require_lab(name: str) -> Lab:
    """:raises UsageError: there is no such lab, or it is dead"""
    directory = labs_directory() / name
    if not (directory / "lab.json").exists():
        raise UsageError(f"No lab named {name!r} is running.", fix="switchover lab up")
    if not is_running(directory):
        raise UsageError(f"The lab {name!r} is dead.", fix=f"switchover lab down {name}; switchover lab up {name}")
    return Lab(directory)
