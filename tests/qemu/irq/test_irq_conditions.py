# SPDX-License-Identifier: GPL-2.0-or-later
"""When an IRQ thread runs where its hard handler ran, in a guest whose interrupts have an effective CPU (APIC)."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.qemu.irq.conftest import IrqGuest

import switchover
from switchover.cli.main import main
from switchover.hosts.waiting import wait_until
from switchover.irq.activations import Class
from switchover.irq.analysis import Placement
from switchover.irq.loads import start_hog
from switchover.irq.placement import start_mask
from switchover.irq.recorder import OpenRecording
from switchover.irq.state import parse_cpus

SERIAL = "ttyS0"
IRQ = 4


def test_the_mask_of_a_thread_is_one_cpu(threaded: IrqGuest) -> None:
    """Asked for all CPUs, the interrupt has one effective CPU, its thread may run there only, and does: all local."""
    state = threaded.state()
    interrupt = state.find_interrupt(IRQ)
    (thread,) = state.threads_of(IRQ)
    assert interrupt is not None
    assert (len(parse_cpus(interrupt.asked)), len(parse_cpus(interrupt.effective))) == (4, 1)
    assert (thread.cpus, thread.policy, thread.priority) == (interrupt.effective, "FIFO", 50)
    recorded = threaded.record("local", SERIAL, lambda _: threaded.serial(20)).result
    assert recorded.verdict is Placement.LOCAL
    assert recorded.total.local >= 20
    assert recorded.tally.handlers.keys() == parse_cpus(interrupt.effective)


def test_a_change_of_the_mask_makes_one_remote_activation(threaded: IrqGuest) -> None:
    """The interrupt that brings a new CPU into effect runs on the old one, its thread on the new; all others local."""

    def change(recording: OpenRecording) -> None:
        for cpu in (1, 2, 3, 0):
            with start_mask(threaded.host, IRQ, str(cpu)):
                recording.mark_placement(IRQ, str(cpu))
                threaded.serial(4)
                assert threaded.host.read_file(f"/proc/irq/{IRQ}/effective_affinity_list").decode().strip() == str(cpu)

    with start_mask(threaded.host, IRQ, "0"):
        threaded.serial(2)
        recorded = threaded.record("mask-changes", SERIAL, change)
    counts = recorded.result.tally.by_mask
    remote = [one for one in recorded.activations if one.kind is not Class.LOCAL]
    # with start_mask the mask goes back to 0 after each, which takes effect only if an interrupt comes meanwhile
    assert [(one.hard_cpu, one.thread_cpu) for one in remote] == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert {mask: counts[mask].ran - counts[mask].local for mask in "1230"} == dict.fromkeys("1230", 1)
    assert recorded.result.tally.follows == 4


def test_a_lower_priority_does_not_starve_it(threaded: IrqGuest) -> None:
    """A thread that may run on one CPU preempts a FIFO-40 hog there: local as ever."""
    with start_mask(threaded.host, IRQ, "2"):
        threaded.serial(2)
        with start_hog(threaded.host, "2", policy="fifo", priority=40) as hog:
            result = threaded.record("fifo-40", SERIAL, lambda _: threaded.serial(10)).result
    assert result.verdict is Placement.LOCAL
    assert set(result.total.matrix) == {(2, 2)}
    assert hog.spun_ns is not None
    assert hog.spun_ns > 0


def test_a_higher_priority_starves_it(threaded: IrqGuest) -> None:
    """With a FIFO-60 hog on the one CPU of its mask the thread is woken and does not run; nothing is made up."""
    # a starved network would take SSH with it
    network = [one for one in threaded.state().interrupts if "put.0" in one.description]
    cpu = min(frozenset({1, 2, 3}).difference(*(parse_cpus(one.effective) for one in network)))

    def starve(recording: OpenRecording) -> None:
        hogs.enter_context(start_hog(threaded.host, str(cpu), policy="fifo", priority=60))
        # not waited for: what is written may have to be sent first
        threaded.host.run(["sh", "-c", "(echo >/dev/ttyS0) >/dev/null 2>&1 &"])
        recording.wait(0.7)

    with start_mask(threaded.host, IRQ, str(cpu)), contextlib.ExitStack() as hogs:
        threaded.serial(2)
        result = threaded.record("fifo-60", SERIAL, starve).result
    assert result.verdict is Placement.STARVED
    assert (result.total.ran, result.total.classes[Class.WAITING]) == (0, 1)
    assert result.total.all_latencies.maximum is None
    assert result.tally.longest_wait_us > 500_000
    assert threaded.record("after-fifo-60", SERIAL, lambda _: threaded.serial(3)).result.total.ran > 0


def login(guest: IrqGuest) -> list[str]:
    """What people type to get to a guest."""
    host_key = guest.entry.host_key
    assert host_key is not None
    return [f"root@127.0.0.1:{guest.entry.port}", "--key", guest.entry.key, "--host-key", host_key]


def test_the_command(threaded: IrqGuest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Record and report in one: the network's own interrupts, JSON and a page; nothing stays on either machine."""
    words = ["--irq", "virtio", "--seconds", "2", "--json", "--html", str(tmp_path / "x.html")]
    assert main(["irq", "record", *login(threaded), *words, "--output", str(tmp_path / "x.gz")]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert (fields["verdict"], fields["problems"]) == ("local", [])
    assert fields["total"]["classes"]["local"] > 0
    assert "<svg" in (tmp_path / "x.html").read_text(encoding="utf-8")
    assert threaded.host.run(["ls", "/sys/kernel/tracing/instances"]).text == ""


def test_a_harness_that_is_killed(threaded: IrqGuest, tmp_path: Path) -> None:
    """The next command removes what it left in the guest, its reader too, and not what others have there."""
    theirs = "/sys/kernel/tracing/instances/theirs"
    threaded.host.run(["mkdir", theirs])
    environment = {
        **os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(Path(switchover.__file__).parents[1])
    }  # fmt: skip
    command = [sys.executable, "-m", "switchover"]

    def reader() -> str:
        script = 'for path in /proc/[0-9]*; do tr "\\0" " " 2>/dev/null <$path/cmdline; echo; done'
        return "\n".join(
            line for line in threaded.host.run(["sh", "-c", script]).text.splitlines() if line.startswith("dd if=")
        )

    words = [*command, "irq", "record", *login(threaded), "--seconds", "300", "--output", str(tmp_path / "x.gz")]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE) as process:
        wait_until("the reader in the guest", lambda: reader() or None, timeout=60)
        process.send_signal(signal.SIGKILL)
    cleaned = subprocess.run(
        [*command, "clean"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (cleaned.returncode, "undone" in cleaned.stdout) == (0, True)
    assert threaded.host.run(["ls", "/sys/kernel/tracing/instances"]).text.split() == ["theirs"]
    assert reader() == ""
    threaded.host.run(["rmdir", theirs])
