# SPDX-License-Identifier: GPL-2.0-or-later
"""Which accelerator a lab host gets, from what a kernel that was booted in KVM said."""

import json
import os
from pathlib import Path

import pytest

from switchover.hosts import processes
from switchover.hosts.host import Completed
from switchover.lab import accelerator
from switchover.lab.accelerator import PROBE_ANSWER, find_accelerator
from switchover.lab.images import Image
from switchover.record.errors import CommandFailed

QEMU = "/cache/labhost-qemu/bin/qemu-system-x86_64"
IMAGE = Image("labhost", "digest", Path("/cache/labhost"), 0, 0)


class Machine:
    """A controller with a /dev/kvm, and what a kernel booted in it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.output = ""
        self.hangs = False
        self.opens = True
        self.probes = 0
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(os, "access", lambda path, mode: self.opens)
        monkeypatch.setattr(processes, "run", self.run)

    def run(self, argv: list[str], **_: object) -> Completed:
        self.probes += 1
        if self.hangs:
            raise CommandFailed("took longer")
        return Completed(tuple(argv), 0, self.output.encode(), b"")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def test_without_a_device(machine: Machine) -> None:
    """Without a /dev/kvm that opens, nothing is tried."""
    machine.opens = False
    assert find_accelerator(IMAGE, QEMU).accel.startswith("tcg")
    assert machine.probes == 0


def test_a_kernel_boots_with_nesting(machine: Machine) -> None:
    """KVM is taken when a kernel in it says that guests can have KVM too."""
    machine.output = f"boot\r\n{PROBE_ANSWER} yes\r\n"
    found = find_accelerator(IMAGE, QEMU)
    assert (found.accel, found.cpu, found.guest_words) == ("kvm", "host", ""), "words for guests are for emulation only"


@pytest.mark.parametrize(
    ("output", "reason"),
    [(f"{PROBE_ANSWER} no", "without nested"), ("", "no kernel boots"), ("KVM: entry failed", "no")],
)
def test_a_device_that_is_no_use(machine: Machine, output: str, reason: str) -> None:
    """KVM without nesting, or in which no kernel boots, is not taken, and the reason is kept."""
    machine.output = output
    found = find_accelerator(IMAGE, QEMU)
    assert found.accel.startswith("tcg")
    assert found.vcpus == 1
    assert found.guest_words
    assert reason in found.reason


def test_a_kernel_that_hangs(machine: Machine) -> None:
    """A kernel that does not answer in time means emulation, not an error."""
    machine.hangs = True
    assert "did not answer" in find_accelerator(IMAGE, QEMU).reason


def test_the_answer_is_kept(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once per boot, image, QEMU, emulated CPU and words for guests; a damaged cache is asked again."""
    machine.output = f"{PROBE_ANSWER} yes"
    first = find_accelerator(IMAGE, QEMU)
    assert find_accelerator(IMAGE, QEMU) == first
    assert machine.probes == 1
    find_accelerator(Image("labhost", "another", Path("/cache/labhost"), 0, 0), QEMU)
    assert machine.probes == 2
    find_accelerator(IMAGE, "/cache/another/bin/qemu-system-x86_64")
    assert machine.probes == 3
    for decided in ("TCG_CPU", "TCG_GUEST_WORDS"):
        monkeypatch.setattr(accelerator, decided, "another")
        find_accelerator(IMAGE, QEMU)
    assert machine.probes == 5
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "switchover" / "accelerator.json"
    for damage in ("{", "[]", json.dumps({"key": "x"})):
        cache.write_text(damage)
        assert find_accelerator(IMAGE, QEMU) == first
    assert machine.probes == 8
