# SPDX-License-Identifier: GPL-2.0-or-later
"""What a real QEMU says of itself over QMP."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from switchover.devices.abilities import Ability, read_abilities
from switchover.hosts.local import LocalHost

QEMU = os.environ.get("SWITCHOVER_TEST_QEMU", "qemu-system-x86_64")


@pytest.mark.quick
def test_abilities_of_this_machines_qemu() -> None:
    """QEMU knows what every QEMU since 7.2 knows, lacks what none has, and is the file that was looked at."""
    qemu = read_abilities(LocalHost(), QEMU)
    everywhere = [
        (Ability.MACHINE, "q35"),
        (Ability.CAPABILITY, "return-path"),
        (Ability.PARAMETER, "downtime-limit"),
        (Ability.COMMAND, "migrate-incoming"),
        (Ability.EVENT, "MIGRATION"),
        (Ability.ACCELERATOR, "tcg"),
        (Ability.PROPERTY, "sysfsdev"),
        (Ability.TRACE, "vfio_load_state"),
    ]
    assert qemu.missing(everywhere) == []
    assert [kind for kind in Ability if qemu.can(kind, "x-no-such-thing")] == []
    found = shutil.which(QEMU)
    assert found is not None
    assert qemu.path == str(Path(found).resolve())
    assert qemu.digest == hashlib.sha256(Path(found).read_bytes()).hexdigest()
    version = LocalHost().run([QEMU, "--version"]).text
    assert f"version {qemu.version}" in version


@pytest.mark.quick
def test_the_kept_answer_is_the_fresh_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is what QEMU said: nothing is lost on the way through the file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh = read_abilities(LocalHost(), QEMU)
    assert len(list(tmp_path.rglob("*.json"))) == 1
    assert read_abilities(LocalHost(), QEMU) == fresh
