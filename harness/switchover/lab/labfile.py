# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lab has on the controller, as ``lab.json`` in its directory says; found again and stopped from that alone.

``lab.json`` is written before anything is made: processes (found by the lab's token on their command line), the
directory with keys and consoles, the directory with sockets. So a lab whose harness was killed can be stopped by the
next command.
"""

import contextlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from switchover.hosts.ownership import find_owner
from switchover.hosts.waiting import wait_until
from switchover.record.errors import Deadline, NotReady
from switchover.record.paths import labs_directory

_STOP_TIMEOUT_S = 20


@dataclass
class LabFile:
    """What ``lab.json`` holds. ``ports``: SSH port on 127.0.0.1 by lab host, once known."""

    name: str
    token: str
    sockets: str
    owner: int
    """Process that stops the lab, for people to read; 0 if it stays until ``lab down``. Whether it lives:
    :func:`find_starter`."""
    images: dict[str, str]
    accelerator: dict[str, object]
    hosts: list[str]
    ports: dict[str, int] = field(default_factory=dict)
    ready_seconds: float | None = None
    disks: list[str] = field(default_factory=list)
    """Images of the user that each lab host has besides its own, as /dev/vdb and so on."""
    pci: bool = False
    """Whether lab hosts have an IOMMU and PCI functions to pass through."""
    pace: float = 1.0
    """How many times as slow its lab hosts are as the machine that deadlines were made on (lab/pace.py)."""


def read_lab_file(directory: Path) -> LabFile:
    """:raises NotReady: it is damaged, or of another version of switchover"""
    path = directory / "lab.json"
    try:
        return LabFile(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise NotReady(
            f"{path} cannot be read.", why=str(error), fix=f"end its QEMU processes by hand, then remove {directory}"
        ) from error


def write_lab_file(directory: Path, file: LabFile) -> None:
    temporary = directory / "lab.json.part"
    temporary.write_text(json.dumps(asdict(file), indent=1))
    temporary.replace(directory / "lab.json")


def find_labs() -> list[Path]:
    """Directories of all labs, running or dead."""
    return sorted(path.parent for path in labs_directory().glob("*/lab.json"))


def starter_path(directory: Path) -> Path:
    """Owned by who starts the lab: while it boots, and to its end if that process stops it."""
    return directory.with_name(f"{directory.name}.lock")


def lease_path(directory: Path) -> Path:
    """Owned by who uses the lab alone."""
    return directory.with_name(f"{directory.name}.lease")


def find_starter(directory: Path) -> str | None:
    """The live process that boots the lab, or will stop it; None if there is none."""
    return find_owner(starter_path(directory))


def find_user(directory: Path) -> str | None:
    """The live process that uses the lab: that has its lease, or started it for itself."""
    return find_owner(lease_path(directory)) or find_starter(directory)


def is_running(directory: Path) -> bool:
    """Whether there is a lab in ``directory`` with all of its lab hosts' processes."""
    if not (directory / "lab.json").exists():
        return False
    file = read_lab_file(directory)
    return bool(file.ports) and len(lab_processes(file)) == len(file.hosts)


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
    killed: set[psutil.Process] = set()
    scans: list[int] = []

    def end_processes() -> bool:
        # twice nothing: a process is not seen by its command line while it becomes another program
        found = lab_processes(file)
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        killed.update(found)
        scans.append(len(found))
        return scans[-2:] == [0, 0]

    with contextlib.suppress(Deadline):
        wait_until(f"the end of the processes of lab {file.name}", end_processes, timeout=_STOP_TIMEOUT_S)
    _, alive = psutil.wait_procs(killed, timeout=_STOP_TIMEOUT_S)
    shutil.rmtree(file.sockets, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
    left = [f"process {process.pid}" for process in {*alive, *lab_processes(file)}]
    left += [str(path) for path in (Path(file.sockets), directory) if path.exists()]
    if left:
        raise NotReady(f"Lab {file.name} was stopped, but this is left: {', '.join(left)}.")
    return [f"{len(killed)} QEMU processes ended", "keys, consoles and sockets removed", "nothing is left"]
