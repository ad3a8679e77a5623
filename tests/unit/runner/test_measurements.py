# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of a migration: each from its own source, with its unit, and missing where it was not had."""

import pytest
from tests.unit.builders import make_moved

from switchover.migration.bytes import MigrationBytes
from switchover.migration.downtime import PAUSED, ExplainedDowntime, UnexplainedDowntime
from switchover.migration.limits import InForce
from switchover.migration.settings import MigrationSettings
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, Measurement, check_equal
from switchover.record.units import Unit
from switchover.runner.measurements import measure

EXPLAINED = ExplainedDowntime(0.25, 0.001, 0, 250_000_000, "dst-precopy-bh-vm-started", (), (), (), ())
REPLY = {"downtime": 256, "total-time": 12_345}
NAMES = [
    "downtime.explained",
    "downtime.qemu",
    "time.total",
    "time.wall",
    "downtime.limit",
    "bytes.vfio.precopy",
    "bytes.vfio.stop_copy",
    "bytes.vfio.transferred",
    "bytes.ram.precopy",
    "bytes.ram.downtime",
    "bytes.multifd",
    "bytes.wire",
    "bytes.residual",
]


def by_name(
    explained: ExplainedDowntime | UnexplainedDowntime = EXPLAINED,
    moved: MigrationBytes | None = None,
    reply: dict[str, int] | None = None,
    settings: MigrationSettings | None = None,
) -> dict[str, Measurement]:
    numbers = measure(
        explained,
        moved or make_moved(),
        REPLY if reply is None else reply,
        settings or MigrationSettings(),
        wall_seconds=14.5,
        in_force=InForce(600, 3.0),
    )
    return {number.name: number for number in numbers}


def test_all_numbers_are_there() -> None:
    """Every number has its name, its unit, a definition and a source."""
    numbers = by_name()
    assert list(numbers) == NAMES
    for name, number in numbers.items():
        assert number.unit is (Unit.BYTES if name.startswith("bytes.") else Unit.SECONDS)
        assert number.definition
        assert number.source
        assert number.note == ""


def test_each_number_comes_from_its_own_source() -> None:
    """No two are mixed up; milliseconds became seconds, and only the explained downtime has a bound."""
    values = {name: number.value for name, number in by_name().items()}
    assert values == {
        "downtime.explained": 0.25,
        "downtime.qemu": 0.256,
        "time.total": 12.345,
        "time.wall": 14.5,
        "downtime.limit": 0.6,
        "bytes.vfio.precopy": 64,
        "bytes.vfio.stop_copy": 16,
        "bytes.vfio.transferred": 80,
        "bytes.ram.precopy": 1000,
        "bytes.ram.downtime": 200,
        "bytes.multifd": 0,
        "bytes.wire": 1330,
        "bytes.residual": 50,
    }
    assert {name: number.bound for name, number in by_name().items() if number.bound is not None} == {
        "downtime.explained": 0.001
    }


def test_an_unexplained_downtime_is_missing_with_its_reason() -> None:
    """No explanation is no number, and the note says why."""
    number = by_name(UnexplainedDowntime("the traces have no src-vm-stopped"))["downtime.explained"]
    assert (number.value, number.bound, number.note) == (None, None, "the traces have no src-vm-stopped")


def test_what_qemu_did_not_tell_is_missing() -> None:
    """Members that are missing give missing numbers, not 0; a downtime of 0 ms is a number."""
    numbers = by_name(moved=MigrationBytes((), None, None, None, None, None), reply={})
    missing = [name for name, number in numbers.items() if number.value is None]
    assert missing == [name for name in NAMES[1:] if name not in ("time.wall", "downtime.limit")]
    assert all(numbers[name].note for name in missing if name.startswith("bytes."))
    assert by_name(reply={"downtime": 0})["downtime.qemu"].value == 0


def test_a_limit_of_which_nobody_told_is_missing() -> None:
    """Without a status that tells of the switchover."""
    (limit,) = (one for one in measure(EXPLAINED, make_moved(), REPLY, MigrationSettings()) if "limit" in one.name)
    assert (limit.value, limit.note) == (None, "no status told of the switchover")


def test_a_limit_that_may_have_come_too_late() -> None:
    """QEMU computes its threshold now and then: a limit that it was given just before is told with that note."""
    numbers = measure(EXPLAINED, make_moved(), REPLY, MigrationSettings(), in_force=InForce(600, 0.05))
    (limit,) = (one for one in numbers if "limit" in one.name)
    assert (limit.value, limit.note) == (0.6, "taken just before: QEMU may have decided with the one before it")


def test_qemus_downtime_without_return_path_has_a_note() -> None:
    """Without return-path QEMU's number leaves the destination out, and says so."""
    assert "without return-path" in by_name(settings=MigrationSettings(return_path=False))["downtime.qemu"].note
    assert by_name()["downtime.qemu"].note == ""


@pytest.mark.parametrize(("observed", "passed"), [(1, True), (2, False), (None, False)])
def test_equality(observed: int | None, passed: bool) -> None:
    """A check of equality keeps both values as text."""
    assert check_equal(CheckId.DEVICE_SEED, 1, observed) == Check(
        CheckId.DEVICE_SEED, "device seed is kept", passed, "1", str(observed)
    )


def test_what_the_driver_adds() -> None:
    """Its numbers stand after QEMU's downtime, whose note is its own; a guest that was paused has another one."""
    own = [by_name()["time.total"]]
    for paused, note in ((False, "the guest starts after it"), (True, f"{PAUSED}, so that it lost no time")):
        settings = MigrationSettings(return_path=False)
        numbers = measure(
            EXPLAINED, make_moved(), REPLY, settings, paused=paused, own=own, note="the guest starts after it"
        )
        assert [number.name for number in numbers][:4] == ["downtime.explained", "downtime.qemu", *["time.total"] * 2]
        assert numbers[1].note == note
