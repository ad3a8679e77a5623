# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an IRQ thread runs in a guest whose interrupts have an effective CPU (APIC), and the command against it.

Conditions that take longer, and other kernels, are for ``switchover irq conditions``.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.qemu.irq.conftest import list_instances

import switchover
from switchover.cli.main import main
from switchover.hosts.waiting import wait_until
from switchover.irq.across import start_across
from switchover.irq.conditions import choose_conditions
from switchover.irq.expectation import Agreement, ConditionResult
from switchover.irq.guest import IrqGuest
from switchover.irq.placement import set_mask
from switchover.irq.provoke import LeasedHosts, run_condition
from switchover.irq.state import parse_cpus, read_state
from switchover.record.checks import CheckId
from switchover.record.errors import NotSupported
from switchover.report.conditions import render_condition


def require_expected(stage: LeasedHosts, name: str) -> ConditionResult:
    (condition,) = choose_conditions([name])
    result = run_condition(stage, condition)
    assert result.agreement is Agreement.AS_EXPECTED, render_condition(result)
    return result


@pytest.mark.parametrize(
    "name",
    [
        "one-effective-cpu",
        pytest.param("mask-changes", marks=pytest.mark.quick),
        "mask-churn",
        "thread-affinity",
        "fifo-60-on-the-only-cpu",
        "fifo-40-on-the-only-cpu",
        "cpu-offline",
    ],
)
def test_a_condition(threaded: LeasedHosts, name: str) -> None:
    """The thread may run on one CPU only: that of its hard handler, or it waits."""
    require_expected(threaded, name)


def test_a_condition_of_another_boot(threaded: LeasedHosts) -> None:
    """A guest that was not booted for it does not support it; nothing is set there."""
    (condition,) = choose_conditions(["no-effective-cpu"])
    result = run_condition(threaded, condition)
    assert (result.agreement, result.reason) == (Agreement.NOT_SUPPORTED, "it was not booted with noapic")
    assert result.set == ()


def login(guest: IrqGuest) -> list[str]:
    """What people type to get to a guest."""
    host_key = guest.entry.host_key
    assert host_key is not None
    return [f"root@127.0.0.1:{guest.entry.port}", "--key", guest.entry.key, "--host-key", host_key]


def test_the_command(guest: IrqGuest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Record and report in one: the network's own interrupts, JSON and a page; nothing stays on either machine."""
    words = ["--irq", "virtio", "--seconds", "2", "--json", "--html", str(tmp_path / "x.html")]
    assert main(["irq", "record", *login(guest), *words, "--output", str(tmp_path / "x.gz")]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["verdict"], fields["problems"]) == ("local", [])
    assert fields["total"]["classes"]["local"] > 0
    assert "<svg" in (tmp_path / "x.html").read_text(encoding="utf-8")
    assert list_instances(guest) == []


def test_a_harness_that_is_killed(guest: IrqGuest, tmp_path: Path) -> None:
    """The next command removes what it left in the guest, its reader too, and not what others have there."""
    theirs = "/sys/kernel/tracing/instances/theirs"
    guest.host.run(["mkdir", theirs])
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PYTHONPATH": str(Path(switchover.__file__).parents[1]),
    }
    command = [sys.executable, "-m", "switchover"]

    def reader() -> str:
        script = 'for path in /proc/[0-9]*; do tr "\\0" " " 2>/dev/null <$path/cmdline; echo; done'
        return "\n".join(
            line for line in guest.host.run(["sh", "-c", script]).text.splitlines() if "/trace_pipe" in line
        )

    words = [*command, "irq", "record", *login(guest), "--seconds", "300", "--output", str(tmp_path / "x.gz")]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE) as process:
        try:
            wait_until("the reader in the guest", lambda: reader() or None, timeout=60)
        finally:
            process.send_signal(signal.SIGKILL)
    cleaned = subprocess.run(
        [*command, "clean"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (cleaned.returncode, "undone" in cleaned.stdout) == (0, True)
    assert list_instances(guest) == ["theirs"]
    assert reader() == ""
    guest.host.run(["rmdir", theirs])


def test_cpus_that_are_not_there(guest: IrqGuest) -> None:
    """A mask without a CPU that is online is refused, and told from one that nobody may set."""
    interrupt = next(one for one in read_state(guest.host).threaded if not one.fixed)
    with pytest.raises(NotSupported) as caught:
        set_mask(guest.host, interrupt.number, "7")
    assert caught.value.why.startswith("none of these CPUs is online")


def test_forbidden_cpus(guest: IrqGuest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The network's interrupts are on some CPU; one without a thread can be chosen for this, and only for it."""
    words = [*login(guest), "--seconds", "1", "--output", str(tmp_path / "x.gz")]
    assert main(["irq", "record", *words, "--irq", "virtio", "--forbid-cpus", "0-3"]) == 1
    assert "hard handlers on CPU" in capsys.readouterr().out
    assert main(["irq", "report", str(tmp_path / "x.gz"), "--forbid-cpus", "4-7"]) == 0
    assert main(["irq", "record", *words, "--irq", "timer", "--forbid-cpus", "0-3"]) == 3
    assert "did not fire in the window: 0 (timer)" in capsys.readouterr().out
    assert main(["irq", "record", *words, "--irq", "timer"]) == 2


def test_interrupts_that_are_left_where_they_are(guest: IrqGuest, tmp_path: Path) -> None:
    """What watches a migration changes no mask then, and tells who was on forbidden CPUs; of a guest that stays."""
    before = next(one for one in read_state(guest.host).threaded if any("input" in name for name in one.actions))
    forbidden = frozenset(range(4)) - parse_cpus(before.effective)
    with start_across(guest.host, [before.number], tmp_path, seconds=1.0, spread=False, forbidden=forbidden) as across:
        found = across.finish(guest.host)
    after = read_state(guest.host).find_interrupt(before.number)
    assert after is not None
    assert (after.asked, after.effective) == (before.asked, before.effective)
    checks = [check for check in found.checks if check.id is CheckId.IRQ_FORBIDDEN_CPUS]
    assert [(check.passed, check.observed) for check in checks] == [(True, "not there")] * 3
    assert CheckId.IRQ_MASK_CHANGES not in {check.id for check in found.checks}
