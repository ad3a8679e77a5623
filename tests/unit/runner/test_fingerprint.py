# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run was made on."""

import hashlib
import os
import shutil
from pathlib import Path

from switchover.hosts.local import LocalHost
from switchover.runner.fingerprint import describe_host


def test_this_machine() -> None:
    """Kernel, CPUs and memory are this machine's, and a program's digest is that of its file."""
    facts = describe_host(LocalHost(), "sh")
    assert facts["host"] == "local"
    assert facts["kernel"] == f"{os.uname().release} {os.uname().version}"
    assert int(facts["cpus"]) >= 1
    assert int(facts["memory_kib"]) > 1000
    shell = shutil.which("sh")
    assert shell is not None
    assert facts["sha256 sh"] == hashlib.sha256(Path(shell).read_bytes()).hexdigest()


def test_a_program_that_is_not_there() -> None:
    """It has no digest, and not that of something else."""
    assert not [key for key in describe_host(LocalHost(), "no-such-program") if key.startswith("sha256")]
