# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run was made on; records with different fingerprints are not compared as if they were one."""

import platform
from collections.abc import Iterable
from functools import cache

from switchover.hosts.host import Host
from switchover.hosts.local import LocalHost
from switchover.hosts.machine import read_machine
from switchover.lab.images import require_image
from switchover.lab.lab import Lab
from switchover.record.errors import SwitchoverError
from switchover.record.paths import data_directory
from switchover.record.version import __version__
from switchover.runner.host_pair import HostPair


def collect_fingerprint(
    lab: Lab,
    pair: HostPair,
    qemu: str = "qemu-system-x86_64",
    destination_qemu: str = "",
    *,
    images: Iterable[str] = (),
) -> dict[str, object]:
    """Harness, controller, images, accelerator, the lab's pace, and each host's kernel, CPU and QEMU binary.

    ``qemu``: of both sides, if the destination has none of its own. ``images``: kernels and
    firmware of guests that are.
    """
    digests = {**lab.file.images, **{name: require_image(name).digest for name in images}}
    return {
        **describe_pair(pair, qemu, destination_qemu),
        "lab": {"images": digests, "accelerator": lab.file.accelerator, "pace": lab.file.pace},
    }


def describe_pair(pair: HostPair, qemu: str, destination_qemu: str = "") -> dict[str, object]:
    """What there is to say wherever the hosts come from; parameters as of :func:`collect_fingerprint`."""
    return {
        "switchover": __version__,
        **({"commit": commit} if (commit := find_commit()) else {}),
        "python": platform.python_version(),
        "controller": describe_host(LocalHost(), qemu),
        "source": describe_host(pair.source.host, qemu),
        "destination": describe_host(pair.destination.host, destination_qemu or qemu),
    }


@cache
def find_commit() -> str:
    """Of the checkout that runs, with ``-dirty`` if it has changes; empty: it is none, or there is no git."""
    checkout = data_directory("images").parent
    if not (checkout / ".git").exists():
        return ""
    try:
        said = LocalHost().run(["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"])
    except SwitchoverError:
        return ""
    return said.text.strip()


def describe_host(host: Host, qemu: str) -> dict[str, str]:
    """Kernel, CPU and memory of a host, and the SHA-256 of its QEMU, if it has one."""
    machine = read_machine(host, qemu)
    return {
        "host": machine.host,
        "kernel": machine.kernel,
        "machine": machine.machine,
        "cpu": machine.cpu,
        "cpus": str(machine.cpus),
        "memory_kib": "" if machine.memory is None else str(machine.memory // 1024),
        **{f"sha256 {program}": digest for program, digest in machine.digests.items()},
    }
