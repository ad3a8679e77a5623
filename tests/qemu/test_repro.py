# SPDX-License-Identifier: GPL-2.0-or-later
"""``repro.sh`` on this machine, with guests that have no VFIO device: every verdict that a shell can see."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.qemu.conftest import Guests

from switchover.hosts.waiting import wait_until
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.units import MIB
from switchover.repro.script import render_script
from switchover.scenarios.case import Case, SideSpec
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.faults import Fault
from switchover.scenarios.recorded import render_settings

# without what QEMU 7.2 does not know
PLAIN = MigrationSettings(switchover_bandwidth=0)
# some minutes for what is in RAM
SLOW = replace(PLAIN, max_bandwidth=MIB, downtime_limit_ms=1, settle=False)


@dataclass(frozen=True)
class Script:
    path: Path
    work: Path
    port: int
    """free when the script was made"""
    booted: str = ""
    """What the guest's console says before it migrates, if it has to run where it arrives: under TCG a guest that still
    boots may crash there."""

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "WORK": str(self.work), "PORT": str(self.port), "BOOTED": self.booted}

    def run(self, verb: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["sh", self.path, verb],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def start(self, verb: str) -> "subprocess.Popen[str]":
        # a shell cannot trap what is ignored when it starts, as under nohup
        return subprocess.Popen(
            ["env", "--default-signal", "sh", self.path, verb],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


class Scripts:
    """Makes the script of a record with a verdict, for guests of this tier."""

    def __init__(self, guests: Guests, directory: Path) -> None:
        self._guests = guests
        self._directory = directory

    def make(self, verdict: Verdict, settings: MigrationSettings = PLAIN, *faults: Fault, **destination: Any) -> Script:
        guest = replace(self._guests.spec, memory_mib=192)
        case = Case(
            "made",
            SideSpec(guest, ()),
            SideSpec(replace(guest, **destination), ()),
            settings,
            faults,
            Expectation(verdict.name),
        )
        record = Record(
            case.id, 1, "", verdict, render_settings(case), {}, {"migrate": 3.0}, expectation=asdict(case.expectation)
        )
        path = self._directory / "repro.sh"
        path.write_text(render_script(record), encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as free:
            return Script(path, self._directory / "work", free.getsockname()[1])


@pytest.fixture
def scripts(guests: Guests, tmp_path: Path) -> Iterator[Scripts]:
    """What they leave in spite of their promise, the fixture ``clean`` of this tier finds."""
    yield Scripts(guests, tmp_path)
    work = tmp_path / "work"
    assert not work.exists()
    left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert [words for words in left if any(str(work) in word for word in words or ())] == []


# with a return path QEMU may fail the stream that it is told to cancel (docs/concepts.md, Faults)
ONE_WAY = replace(SLOW, return_path=False)
READY = "switchover-guest: ready"
RUNS = '"running": true'
CANCELLED = Fault(Action.CANCEL, Phase.ACTIVE)
KILLED = {
    "source": Fault(Action.KILL_SOURCE, Phase.ACTIVE),
    "destination": Fault(Action.KILL_DESTINATION, Phase.ACTIVE),
}


UNIX = replace(PLAIN, transport="unix")
FILE = replace(PLAIN, transport="file", return_path=False)
MAPPED = replace(PLAIN, capabilities={"mapped-ram": True})
KILLED_PROXY = Fault(Action.KILL_PROXY, Phase.BEFORE)


def quick(*values: Any) -> Any:
    """Parameters of a test that are in the quick set."""
    return pytest.param(*values, marks=pytest.mark.quick)


@pytest.mark.parametrize(
    ("verdict", "settings", "faults", "destination", "said"),
    [
        quick(Verdict(VerdictName.COMPLETED), PLAIN, (), {}, RUNS),
        (Verdict(VerdictName.COMPLETED), PLAIN, (Fault(Action.PAUSE_GUEST, Phase.BEFORE),), {}, '"status": "paused"'),
        quick(Verdict(VerdictName.FAILED, "destination"), PLAIN, (), {"memory_mib": 128}, "Size mismatch"),
        quick(Verdict(VerdictName.CANCELLED), ONE_WAY, (CANCELLED,), {}, "source cancelled"),
        quick(Verdict(VerdictName.CRASHED, "destination"), SLOW, (KILLED["destination"],), {}, "source failed"),
        quick(Verdict(VerdictName.CRASHED, "source"), SLOW, (KILLED["source"],), {}, "QEMU of the source ended"),
        (Verdict(VerdictName.COMPLETED), UNIX, (), {}, RUNS),
        (Verdict(VerdictName.COMPLETED), FILE, (), {}, RUNS),
        (Verdict(VerdictName.FAILED, "source"), UNIX, (KILLED_PROXY,), {}, "kill the source's proxy"),
        (Verdict(VerdictName.FAILED, "destination"), FILE, (), {"memory_mib": 128}, "Size mismatch"),
        (Verdict(VerdictName.REFUSED), MAPPED, (), {}, "Migration requires seekable transport"),
        (Verdict(VerdictName.HUNG, "source"), SLOW, (), {}, "after 16 s the status is 'active'"),
        quick(Verdict(VerdictName.REFUSED), replace(PLAIN, capabilities={"nonsense": True}), (), {}, "nonsense"),
    ],
    ids=lambda value: f"{value.name}-{value.side}" if isinstance(value, Verdict) else "",
)
def test_each_verdict(
    scripts: Scripts,
    verdict: Verdict,
    settings: MigrationSettings,
    faults: tuple[Fault, ...],
    destination: dict[str, Any],
    said: str,
) -> None:
    """The script comes to the verdict of the record, says what QEMU said, and leaves nothing."""
    script = scripts.make(verdict, settings, *faults, **destination)
    ran = (replace(script, booted=READY) if said == RUNS else script).run("all")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert said in ran.stdout
    assert f"verdict: {verdict.name}, as recorded" in ran.stdout


def test_another_verdict(scripts: Scripts) -> None:
    """A migration that completes where one failed in the record: the exit status tells."""
    ran = replace(scripts.make(Verdict(VerdictName.FAILED, "source")), booted=READY).run("all")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "verdict: completed; the recorded one is failed" in ran.stdout, ran.stdout


def test_a_destination_that_ends_after_the_migration(scripts: Scripts) -> None:
    """Its QEMU has ended when it is looked at: it is told as a crash, and not as a side that was refused."""
    script = scripts.make(Verdict(VerdictName.COMPLETED))
    text = script.path.read_text()
    script.path.write_text(text.replace("{ # fails if its QEMU has ended", "{\n    end_qemu destination\n    #"))
    ran = script.run("all")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "verdict: crashed; the recorded one is completed" in ran.stdout, ran.stdout


@pytest.mark.quick
def test_a_migration_that_is_blocked(scripts: Scripts) -> None:
    """``migrate`` itself is rejected: the source was given an address that is none."""
    script = scripts.make(Verdict(VerdictName.BLOCKED))
    text = script.path.read_text()
    script.path.write_text(text.replace('"uri\\": \\"$way_out\\"}}" || {', '"uri\\": \\"nonsense\\"}}" || {'))
    ran = script.run("all")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "verdict: blocked, as recorded" in ran.stdout


def test_a_verb_for_each_host(scripts: Scripts) -> None:
    """Source and destination stay until clean ends them; migrate comes to the verdict."""
    script = replace(scripts.make(Verdict(VerdictName.COMPLETED)), booted=READY)
    started = [script.start("destination"), script.start("source")]
    try:
        for process, ready in zip(started, ("the destination listens", "ready: sh"), strict=True):
            assert process.stdout is not None
            assert any(ready in line for line in process.stdout)
        ran = script.run("migrate")
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "verdict: completed, as recorded" in ran.stdout
    finally:
        cleaned = script.run("clean")
    assert cleaned.returncode == 0, cleaned.stderr
    for process in started:
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGTERM, "the destination listens"),
        (signal.SIGHUP, "the destination listens"),
        pytest.param(signal.SIGTERM, "source active", marks=pytest.mark.quick),
    ],
)
def test_an_end_before_its_time(scripts: Scripts, number: int, moment: str) -> None:
    """A script that is told to end, before the migration or in it, ends its QEMUs, and has no verdict."""
    script = scripts.make(Verdict(VerdictName.COMPLETED), SLOW)
    process = script.start("all")
    assert process.stdout is not None
    assert any(moment in line for line in process.stdout)
    pids = [int((script.work / side / "pid").read_text()) for side in ("source", "destination")]
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 143
    wait_until("both QEMUs to be gone", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), timeout=10)
