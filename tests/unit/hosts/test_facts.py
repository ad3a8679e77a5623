# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts of a host."""

import hashlib
import os
import shutil
from pathlib import Path

from switchover.hosts.facts import read_facts
from switchover.hosts.local import LocalHost


def test_facts_of_this_machine() -> None:
    """Kernel, CPUs and memory are this machine's, and a program's digest is that of its file."""
    facts = read_facts(LocalHost(), "sh")
    assert facts["host"] == "local"
    assert facts["kernel"] == f"{os.uname().release} {os.uname().version}"
    assert int(facts["cpus"]) >= 1
    assert int(facts["memory_kib"]) > 1000
    shell = shutil.which("sh")
    assert shell is not None
    assert facts["sha256 sh"] == hashlib.sha256(Path(shell).read_bytes()).hexdigest()
