# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run was made on; records with different fingerprints are not compared as if they were one."""

import platform
from collections.abc import Iterable

from switchover import __version__
from switchover.hosts.facts import read_facts
from switchover.hosts.local import LocalHost
from switchover.lab.images import require_image
from switchover.lab.lab import Lab
from switchover.run.pair import Pair


def collect_fingerprint(
    lab: Lab,
    pair: Pair,
    qemu: str = "qemu-system-x86_64",
    destination_qemu: str = "",
    *,
    kernels: Iterable[str] = (),
) -> dict[str, object]:
    """Harness, controller, images, accelerator, and each host's kernel, CPU and QEMU binary.

    ``qemu``: of both sides, if the destination has none of its own. ``kernels``: those of guests that are images.
    """
    images = {**lab.file.images, **{name: require_image(name).digest for name in kernels}}
    return {
        "switchover": __version__,
        "python": platform.python_version(),
        "controller": read_facts(LocalHost(), qemu),
        "lab": {"images": images, "accelerator": lab.file.accelerator},
        "source": read_facts(pair.source.host, qemu),
        "destination": read_facts(pair.destination.host, destination_qemu or qemu),
    }
