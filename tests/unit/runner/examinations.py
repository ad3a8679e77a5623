# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests, QEMUs and devices that are asked after a migration, for tests of :mod:`switchover.runner.examination`."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from tests.unit.builders import EXACT, make_answers, make_result, make_truth, read_golden, render_view
from tests.unit.fakes import ScriptedQmp
from tests.unit.scripted_host import ScriptedHost, answer_questions

from switchover.devices.reference import Knobs, ReferenceDevice, Truth
from switchover.guests.connection import GuestConnection
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.guests.questions import TAKEN, GuestAnswers
from switchover.guests.spec import GuestSpec, Launch
from switchover.hosts.clock import ClockOffset
from switchover.hosts.host import Completed
from switchover.migration.outside import OutsideDowntime, UnseenDowntime
from switchover.probes.outside import OUTSIDE, Heard
from switchover.probes.probe import RunningProbe
from switchover.probes.table import RunningProbes
from switchover.record.errors import GuestCrashed
from switchover.record.measurement import Check
from switchover.record.units import MIB
from switchover.runner.attempt import Attempt, Migrated
from switchover.runner.examination import Departure, examine
from switchover.runner.side import Side
from switchover.scenarios.case import Case, DeviceSpec, SideSpec

KEYS = GuestKeys("", "", "", "")
PLAIN = Case("x")
UNSEEN = UnseenDowntime("no heartbeats")
CLOCKS = {"source": EXACT, "destination": ClockOffset(-880_000_000, 0, 15)}
STATES = {
    "source": ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"],
    "destination": ["resuming", "running-p2p", "running"],
}
REPLY = {
    "downtime": 256,
    "total-time": 10_000,
    "vfio": {"transferred": 65 * MIB},
    "ram": {"precopy-bytes": 10 * MIB, "downtime-bytes": 1000, "transferred": 75 * MIB + 2000, "multifd-bytes": 0},
}
BEFORE = ((make_truth("RUNNING"),), (make_truth("RUNNING"),))
AFTER = (
    make_truth(
        "RUNNING",
        "PRE_COPY",
        "PRE_COPY_P2P",
        "STOP_COPY",
        "STOP",
        precopy_bytes_read=64 * MIB,
        stop_copy_bytes_read=MIB,
        enomsg=255,
        at_ns=1795301509_077010_000,
    ),
    make_truth("RUNNING", "RESUMING", "STOP", "RUNNING_P2P", "RUNNING", bytes_written=65 * MIB),
)


class FakeGuest(ScriptedHost):
    """A guest over SSH, with as many devices as asked for; every interrupt arrives.

    ``error``: what asking it raises, until it is logged in to anew; ``lasting``: and then too.
    """

    def __init__(self, answers: GuestAnswers, error: Exception | None = None, *, lasting: bool = False) -> None:
        super().__init__(lambda argv: answer_questions(argv[-1], self.answer), "guest")
        self.answers = answers
        self.error = error
        self.lasting = lasting
        self.dma = "ok 12"
        self.reinitialised: list[int] = []
        self.asked: list[str] = []

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        if self.error is not None:
            raise self.error
        return super().run(argv, timeout=timeout, stdin=stdin, check=check)

    def answer(self, name: str, script: str) -> str:
        self.asked.append(name)
        if name == "boot":
            return f"{self.answers.boot_id}\n"
        if name == "canary":
            return f"{self.answers.canary}  -\n"
        if name == "macs":
            return "\n".join(self.answers.macs)
        if name == TAKEN:
            return ""
        number = int(script.split("shift ")[1].split(";")[0])
        if ">reinit" in script:
            self.reinitialised.append(number)
        match name.partition("-")[0]:
            case "fire":
                return "1 4\n1 4\n1 5\n1 5\n"
            case "dma":
                return self.dma
        return render_view(self.answers.devices[number])

    def is_connected(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""


class FakeQemu:
    """A side's QEMU, whose log is the golden one of ``name``. ``refuses``: what a login to its guest raises."""

    def __init__(self, name: str, shell: FakeGuest, console: str = "switchover-guest: ready\n") -> None:
        self.side = name
        self.label = f"the {name} QEMU"
        self.host = ScriptedHost(self.answer_host, name)
        self.host_error: Exception | None = None
        self.files = SimpleNamespace(log=name)
        self.spec = SimpleNamespace(traced=True)
        self.launch = Launch(GuestSpec())
        self.console = SimpleNamespace(text=lambda: console)
        self.shell = shell
        self.refuses: Exception | None = None
        self.logins = 0
        self.code: int | None = None
        self.ends_with: int | None = None
        self.has_begun = True
        self.killed = self.resumed = False
        self.running: bool | Exception = name == "destination"  # as after a migration that completed
        self.qmp = ScriptedQmp({"query-status": self.query}, name)

    def answer_host(self, argv: Sequence[str]) -> str:
        if self.host_error is not None and argv[0] == "true":
            raise self.host_error
        return "" if argv[0] == "true" else read_golden(argv[-1])

    def is_dead(self) -> bool:
        return self.code is not None

    def resume(self) -> None:
        self.resumed = self.running = True

    def query(self, _: dict[str, Any]) -> object:
        if isinstance(self.running, Exception):
            raise self.running
        return {"running": self.running}

    def exit_status(self) -> int | None:
        return self.code

    def name_device(self, device_id: str) -> str:
        return device_id

    def require_alive(self) -> None:
        if self.code is not None:
            raise GuestCrashed(f"{self.side} ended")

    def explain_silence(self) -> None:
        self.code = self.ends_with if self.code is None else self.code
        self.require_alive()

    def open_ssh(self, keys: GuestKeys) -> FakeGuest:
        self.logins += 1
        if self.refuses is not None:
            raise self.refuses
        if not self.shell.lasting:
            self.shell.error = None
        return self.shell


def log_in(side: Side) -> GuestConnection:
    """The connection that was there before the migration: to the guest that is on ``side`` after it."""
    connection = GuestConnection(KEYS)
    qemu = cast(Any, side.guest)
    error, refuses = qemu.shell.error, qemu.refuses
    qemu.refuses = None
    connection.open(side.guest)
    qemu.shell.error, qemu.refuses, qemu.logins = error, refuses, 0
    return connection


def read_truths(side: Side) -> tuple[Truth, ...]:
    return tuple(device.read_truth() for device in side.devices)


SURVIVES = "guest.connection-survives"
UUIDS = {"source": "1fa7cadf-3694-49dc-af72-d202b30c70c9", "destination": "f1fa6810-9b90-4ce8-90d7-3c4ccc74a6f3"}
KNOBS = Knobs(initial_bytes=64 * MIB, stop_copy_bytes=MIB)


def make_device(truth: Truth, name: str) -> ReferenceDevice:
    """A device of the golden migration."""
    mediated = SimpleNamespace(uuid=UUIDS[name])
    return cast(ReferenceDevice, SimpleNamespace(read_truth=lambda: truth, mediated=mediated))


def make_side(
    name: str,
    *truths: Truth,
    shell: FakeGuest | None = None,
    console: str = "switchover-guest: ready\n",
) -> tuple[Side, FakeQemu]:
    """A side with a device for each of ``truths``, and the QEMU in it."""
    qemu = FakeQemu(name, shell or FakeGuest(make_answers(2, devices=len(truths))), console)
    devices = tuple(make_device(truth, name) for truth in truths)
    spec = SideSpec(devices=tuple(DeviceSpec(id=f"dut{number}", knobs=KNOBS) for number in range(len(truths))))
    return Side(spec, devices, cast(QemuGuest, qemu)), qemu


def run_examine(
    source: Side | None = None,
    destination: Side | None = None,
    states: Any = STATES,
    case: Case = PLAIN,
    outside: UnseenDowntime = UNSEEN,
    **changes: Any,
) -> Attempt:
    values = {"status": "completed", "source": REPLY, "clocks": CLOCKS} | changes
    migrated = Migrated(make_result(**values), states)
    source = source or make_side("source", AFTER[0])[0]
    destination = destination or make_side("destination", AFTER[1])[0]
    devices = len(destination.devices)
    before = make_answers(devices=devices)
    return run(source, destination, migrated, before, case, listen(outside))


def run(
    source: Side,
    destination: Side,
    migrated: Migrated,
    before: GuestAnswers,
    case: Case = PLAIN,
    probes: RunningProbes | None = None,
) -> Attempt:
    truths = BEFORE[0] * len(source.devices), BEFORE[1] * len(destination.devices)
    departure = Departure(case, source, destination, before, truths, log_in(destination), [])
    return examine(departure, migrated, probes or listen(UNSEEN))


def listen(outside: OutsideDowntime | UnseenDowntime) -> RunningProbes:
    """Heartbeats that are under way, and will have been heard so."""
    return RunningProbes(((OUTSIDE, cast(RunningProbe, SimpleNamespace(finish=lambda arrival: Heard(outside)))),))


def failed(checks: Sequence[Check]) -> list[str]:
    """What of a record did not pass, in which each check is there once."""
    labels = [check.label for check in checks]
    assert sorted(set(labels)) == sorted(labels)
    return [check.label for check in checks if not check.passed]
