# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a host's KVM works: what a booted kernel, a hang and a QEMU that gives up look like."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.hosts.test_machine import TEXT
from tests.unit.scripted_host import ScriptedHost

from switchover.hosts.kvm import probe_kvm
from switchover.hosts.machine import parse_machine
from switchover.record.errors import HostLost

MACHINE = parse_machine("rack1", TEXT, 0, 0)
BOOTED = "[ 1.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("answer", "works", "reason"),
    [
        (BOOTED, True, "a kernel boots in it"),
        ("SeaBIOS\n", False, "no kernel boots in it"),
        (137, False, "did not boot in it within 120 s"),
        (-1, False, "did not boot in it within 120 s"),
        (1, False, "exit status 1"),
        (66, None, "no kernel to try it with"),
        (127, None, "qemu-system-x86_64 is not there"),
    ],
)
def test_outcomes(answer: str | int, works: bool | None, reason: str) -> None:
    """A device node that opens proves nothing: only a kernel's last words do."""
    probe = probe_kvm(ScriptedHost(lambda argv: answer), MACHINE)
    assert probe.works is works
    assert reason in probe.reason


@pytest.mark.parametrize(("kvm", "reason"), [("", "there is no /dev/kvm"), ("present", "may not open /dev/kvm")])
def test_not_tried_without_the_device(kvm: str, reason: str) -> None:
    """Without a device that opens, nothing is started."""
    host = ScriptedHost(lambda argv: BOOTED)
    probe = probe_kvm(host, replace(MACHINE, kvm=kvm))
    assert (probe.works, host.commands) == (False, [])
    assert reason in probe.reason


def test_tried_once_per_boot() -> None:
    """That it works holds until the host boots again."""
    host = ScriptedHost(lambda argv: BOOTED)
    assert probe_kvm(host, MACHINE) == probe_kvm(host, MACHINE)
    assert len(host.commands) == 1
    probe_kvm(host, replace(MACHINE, boot_id="another"))
    assert len(host.commands) == 2


@pytest.mark.parametrize("answer", [66, 137])
def test_failures_are_not_kept(answer: int) -> None:
    """What may have been the load of a moment is tried again."""
    host = ScriptedHost(lambda argv: answer)
    probe_kvm(host, MACHINE)
    probe_kvm(host, MACHINE)
    assert len(host.commands) == 2


def test_a_lost_host_is_no_answer() -> None:
    """A host that goes away while it is asked has said nothing about its KVM."""

    def lose(argv: Sequence[str]) -> str:
        raise HostLost("gone")

    with pytest.raises(HostLost):
        probe_kvm(ScriptedHost(lose), MACHINE)
