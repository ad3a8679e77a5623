# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine does that gives lab hosts no time is told apart from what hangs by itself (``cases/test_hang.py``).

The lab host is stopped in the middle of a migration: tests of cases cannot reach into one, so this goes by its parts.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.lab.standard import DEVICE, KNOBS

from switchover import MIB, MigrationSettings, VerdictName, build_case
from switchover.guests.snapshots import Snapshots
from switchover.hosts.host import Host
from switchover.hosts.waiting import wait_until
from switchover.lab.starvation import find_processes
from switchover.migration import session
from switchover.migration.session import Sample
from switchover.record.rundir import make_run_directory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.host_pair import HostPair
from switchover.runner.listener import RunListener

SMALL = replace(KNOBS, initial_bytes=4 * MIB)
BOUNDS = MigrationSettings(hang_s=6)
_ENOUGH_S = 180
"""Longer than it takes to give the migration up: a lab host that is still stopped then is let go."""


class Stopper:
    """Stops the QEMU of a lab host, once, and lets it go on."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._timer = threading.Timer(_ENOUGH_S, self._process.resume)
        self.was_stopped = False

    def stop(self) -> None:
        self._timer.start()
        self._process.suspend()
        wait_until("the lab host to be stopped", self._is_stopped, timeout=5)
        self.was_stopped = True

    def _is_stopped(self) -> bool:
        return bool(self._process.status() == psutil.STATUS_STOPPED)

    def let_go(self) -> None:
        self._timer.cancel()
        self._process.resume()


@contextlib.contextmanager
def start_stopper(name: str, pair: HostPair) -> Iterator[Stopper]:
    """For a lab host, which runs again after the ``with`` block, whatever happened. No kernel looks meanwhile whether
    its CPUs or its RCU stood still, also not the other host's: the QEMU around that one waits for the stopped one to
    take its packets.
    """
    stopper = Stopper(find_processes(pair.lab_hosts())[name])
    hosts = (pair.source.host, pair.destination.host)
    for host in hosts:
        _set_watchdogs(host, on=False)
    try:
        yield stopper
    finally:
        stopper.let_go()
        for host in hosts:
            _set_watchdogs(host, on=True)


def _set_watchdogs(host: Host, *, on: bool) -> None:
    """Every CPU takes part in the first, so that a grace period from before a stop has ended once RCU is watched."""
    script = "echo $1 >/proc/sys/kernel/soft_watchdog; echo $2 >/sys/module/rcupdate/parameters/rcu_cpu_stall_suppress"
    host.run(["sh", "-ec", script, "sh", *("10" if on else "01")])


@pytest.mark.quick
def test_a_lab_host_that_is_stopped_is_the_environments_doing(
    pair: HostPair, fingerprint: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that gets nowhere since the destination's lab host is stopped is an infrastructure error, which says
    which lab host it was and for how long; the guest lives on, and migrates once the lab host runs again.
    """
    case = build_case("stopped", device=replace(DEVICE, knobs=SMALL), migration=BOUNDS, heartbeat_us=0)
    name = pair.destination.host.name
    with start_stopper(name, pair) as stopper:

        class StopOnceRamMoves(RunListener):
            def sample(self, sample: Sample) -> None:
                moved = sample.reply.get("ram", {}).get("transferred", 0)
                if not stopper.was_stopped and sample.reply.get("status") == "active" and moved > MIB:
                    stopper.stop()

        def go_on(*arguments: Any) -> None:
            """Once the migration is given up: neither the source's QEMU nor the stopped one would answer before."""
            stopper.let_go()
            end_hung(*arguments)

        end_hung = session._end_hung
        monkeypatch.setattr(session, "_end_hung", go_on)
        directory = make_run_directory("test", tmp_path).repeat(case.id, 1)
        with Snapshots() as snapshots:
            context = RunContext(StopOnceRamMoves(), snapshots=snapshots)
            record = run_repeat(case, 1, pair, directory, fingerprint, context)
    assert stopper.was_stopped
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR, record.verdict
    assert f"lab host {name} was stopped for " in record.verdict.reason
    assert f"lab host {pair.source.host.name} " not in record.verdict.reason, "nothing kept the other one from running"
    assert "no progress" in record.verdict.reason, "what it looked like is told too"
    assert record.failed_checks == ()


def test_the_pace_is_measured_and_recorded(fingerprint: dict[str, Any], lab_pace: float) -> None:
    """A lab knows how slow it is, and records of it tell."""
    assert 1 <= lab_pace <= 6
    assert fingerprint["lab"]["pace"] == lab_pace


@pytest.fixture
def lab_pace(lab: Any) -> float:
    return float(lab.file.pace)
