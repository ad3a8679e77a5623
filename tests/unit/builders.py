# SPDX-License-Identifier: GPL-2.0-or-later
"""Values for tests, whole and plausible; each test changes the one part it is about."""

from collections.abc import Sequence
from pathlib import Path

from switchover.devices.guest_driver import GuestView
from switchover.devices.reference import StateChange, Truth
from switchover.guests.questions import GuestAnswers
from switchover.hosts.clock import ClockOffset
from switchover.migration.bytes import MigrationBytes
from switchover.migration.session import MigrationResult, Sample
from switchover.migration.traces import DeviceBytes, TraceEvent, parse_trace
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, Measurement
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.units import Direction, Unit

DATA = Path(__file__).parent / "data"
EXACT = ClockOffset(0, 0, 1)


def read_golden(side: str) -> str:
    """QEMU 10.0's log of one side of a migration with 64 MiB of device state in pre-copy and 1 MiB in stop-copy."""
    return (DATA / f"qemu-10.0-{side}.trace").read_text()


def golden_events(side: str) -> list[TraceEvent]:
    return parse_trace(read_golden(side))


def make_result(status: str | None = "completed", **changes: object) -> MigrationResult:
    values: dict[str, object] = {
        "error": "",
        "destination_status": "completed",
        "destination_error": "",
        "samples": (),
        "source": {},
        "destination": {},
        "clocks": {"source": EXACT, "destination": EXACT},
        "wall_seconds": 12.3,
        "arrived": "running" if status == "completed" else "",
    }
    return MigrationResult(status=status, **(values | changes))  # type: ignore[arg-type]


def make_sample(status: str = "active", *, remaining: int = 0, vfio: int | None = 100) -> Sample:
    reply: dict[str, object] = {"status": status, "ram": {"remaining": remaining}}
    if vfio is not None:
        reply["vfio"] = {"transferred": vfio}
    return Sample(0, reply)


def make_change(sequence: int, target: str, at_ns: int = 20) -> StateChange:
    return StateChange(sequence, 10, at_ns, 30, "RUNNING", target, 0, "set_state")


def make_truth(*targets: str, first: int = 1, at_ns: int = 20, **counters: int) -> Truth:
    """``at_ns``: of all changes, on the host's real-time clock."""
    history = tuple(make_change(first + number, target, at_ns) for number, target in enumerate(targets))
    return Truth(targets[-1] if targets else "RUNNING", 3, counters, history)


def make_moved(precopy: int = 64, stop_copy: int = 16) -> MigrationBytes:
    return MigrationBytes(
        devices=(DeviceBytes("dut", precopy, stop_copy, 5),),
        vfio_transferred=precopy + stop_copy,
        ram_precopy=1000,
        ram_downtime=200,
        wire=1000 + 200 + precopy + stop_copy + 50,
    )


def make_answers(generation: int = 1, *, devices: int = 1) -> GuestAnswers:
    view = GuestView(
        scratch=("1", "2"),
        generation=generation,
        seed="7",
        checksum="c0ffee",
        checksum_expected="c0ffee",
        irq_hard=(0, 4),
        irq_thread=(0, 4),
    )
    return GuestAnswers("3f1c", "d41d8c", (view,) * devices, macs=("52:54:00:53:67:01",))


def render_view(view: GuestView) -> str:
    """As ``head`` prints the files of a guest's driver."""

    def by_vector(*columns: Sequence[int]) -> str:
        return "\n".join(" ".join(map(str, (vector, *row))) for vector, row in enumerate(zip(*columns, strict=True)))

    files = {
        "scratch": " ".join(view.scratch),
        "generation": view.generation,
        "seed": view.seed,
        "checksum": view.checksum,
        "checksum_expected": view.checksum_expected,
        "irq_hard": by_vector(view.irq_hard),
        "irq_thread": by_vector(view.irq_thread),
    }
    return "".join(f"==> {name} <==\n{text}\n" for name, text in files.items())


def make_measurement(name: str, value: float | int | None, unit: Unit = Unit.SECONDS) -> Measurement:
    return Measurement(name, value, unit, Direction.LOWER, "what it means", "where it is from")


def make_record(case: str = "device.pre_copy=on", repeat: int = 1, *, downtime: float = 0.25) -> Record:
    """A completed repeat, explained."""
    return Record(
        case=case,
        repeat=repeat,
        started="2026-11-21T10:00:00+00:00",
        verdict=Verdict(VerdictName.COMPLETED),
        settings={"migration": {"settle": True}},
        fingerprint={"switchover": "0.1.0"},
        seconds={"start source": 1.5, "migrate": 10.0},
        measurements=(
            make_measurement("downtime.explained", downtime),
            make_measurement("downtime.qemu", 0.256),
            make_measurement("bytes.vfio.precopy", 64 << 20, Unit.BYTES),
            make_measurement("bytes.vfio.stop_copy", 1 << 20, Unit.BYTES),
            make_measurement("bytes.ram.precopy", 50 << 20, Unit.BYTES),
            make_measurement("bytes.ram.downtime", 12345, Unit.BYTES),
            make_measurement("bytes.wire", None, Unit.BYTES),
        ),
        checks=(Check(CheckId.GUEST_BOOT_ID, "guest is the same boot", True, "3f1c", "3f1c"),),
        downtime={
            "seconds": downtime,
            "bound_s": 0.0004,
            "parts": [
                {"name": "stop", "meaning": "", "seconds": downtime * 0.1, "bound_s": 0},
                {"name": "save iterable", "meaning": "", "seconds": downtime * 0.6, "bound_s": 0},
                {"name": "start", "meaning": "", "seconds": downtime * 0.3, "bound_s": 0},
            ],
            "saving": [
                {"kind": "iterable", "name": "0000:00:03.0:00.0/vfio", "seconds": 0.1},
                {"kind": "non-iterable", "name": "40 other sections", "seconds": 0.01},
            ],
        },
        states={"source": ["pre-copy", "stop-copy", "stop"], "destination": []},
        clocks={"source": {"offset_ns": 1, "bound_ns": 2, "exchanges": 15}},
        expectation={"verdict": "completed", "side": "", "reason": "", "because": "nothing is in its way"},
        interventions=(
            {"name": "slow link", "phase": "active", "status": "active", "began_ns": 5_000, "ended_ns": 6_000},
        ),
    )
