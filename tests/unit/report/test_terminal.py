# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person reads: golden texts from records."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_measurement, make_record

from switchover.record.checks import CheckId
from switchover.record.measurement import Check, NotChecked
from switchover.record.record import Verdict, VerdictName
from switchover.report.terminal import explain_difference, render_comparison, render_record, render_repeat

RECORD = """\
device.pre_copy=on  verdict completed
  slow link    in active (status active), took 1 µs
  source       pre-copy → stop-copy → stop
  destination  no state change
  device       64.0 MiB in pre-copy, 1.0 MiB in stop-copy
  RAM          50.0 MiB in pre-copy, 12.1 KiB in the downtime   (wire ?)
  downtime     250.0 ms ± 400 µs (clocks of two hosts)
     10%   25.0 ms  stop               ███
     60%  150.0 ms  save iterable      ██████████████████
            100.0 ms  0000:00:03.0:00.0/vfio
     30%   75.0 ms  start              █████████
  QEMU says    256.0 ms
  checks       1 of 1 passed"""

FAILED = """\
device.pre_copy=on  verdict checks-failed; NOT AS EXPECTED: expected completed, was checks-failed: \
seed: expected 1, observed 2
  downtime     not explained: the traces have no src-vm-stopped
  checks       1 of 2 passed
    FAILED seed: expected 1, observed 2"""

COMPARISON = """\
                      repeats                    downtime  QEMU says  device stop-copy  device pre-copy
device.pre_copy=off       1/1                      1.25 s   256.0 ms           1.0 MiB         64.0 MiB
device.pre_copy=on        3/4 250.0 ms [100.0 ms … 2.00 s]   256.0 ms           1.0 MiB         64.0 MiB"""


def test_a_warm_guest_is_told() -> None:
    """In the line of a repeat and in its explanation; of a cold one nothing is said."""
    record = make_record()
    assert "warm" not in render_repeat(record) + render_record(record)
    settings = {**record.settings, "source": {"guest": {"start": "warm"}}}
    warm = replace(record, settings=settings, fingerprint={"guest": {"start": "warm", "sha256": "5eed" * 16}})
    assert "(downtime 250.0 ms, warm guest, took 11.5 s)" in render_repeat(warm)
    assert "  guest        warm: restored from sha256 5eed5eed5eed…" in render_record(warm)
    unsaved = replace(warm, fingerprint={})
    assert "  guest        warm was wanted, but no guest was restored" in render_record(unsaved)


def test_how_a_guest_began_is_told_where_it_matters() -> None:
    """Why it is cold though nobody asked for that, and which migration of its life it was if not the first."""

    def render(**guest: object) -> str:
        lines = render_record(replace(make_record(), fingerprint={"guest": guest})).splitlines()
        return "".join(line.split(maxsplit=1)[1] for line in lines if line.startswith("  guest "))

    assert render(start="cold", migration=1) == ""
    assert render(start="cold", reason="it has a disk", migration=1) == "cold: it has a disk"
    assert render(start="cold", migration=3) == "migration 3 of this guest"
    assert render(start="warm", sha256="5eed" * 16, migration=2).endswith(
        "its devices plugged in; migration 2 of this guest"
    )
    began = {"guest": {"start": "warm", "sha256": "5eed"}}
    asked = {"source": {"guest": {"start": "auto"}}}
    assert "warm guest" in render_repeat(replace(make_record(), fingerprint=began, settings=asked))
    told_cold = {"guest": {"start": "cold", "reason": "its QEMU has no mapped-ram"}}
    assert "warm guest" not in render_repeat(replace(make_record(), fingerprint=told_cold, settings=asked))


def test_what_the_outside_saw() -> None:
    """One more line, after QEMU's number, if there is such a number."""
    record = make_record()
    seen = (make_measurement("downtime.outside", 0.31), make_measurement("outside.resolution", 0.012))
    lines = render_record(replace(record, measurements=(*record.measurements, *seen))).splitlines()
    assert lines[-2] == "  outside sees 310.0 ms   (resolution 12.0 ms)"
    assert [line for line in lines if not line.startswith("  outside")] == RECORD.splitlines()


def test_where_irq_threads_ran() -> None:
    """One more line, of the windows that have numbers."""
    record = make_record()
    seen = [make_measurement(f"irq.local.{place}", 100) for place in ("source", "destination")]
    seen += [make_measurement("irq.longest.source", 0.002), make_measurement("irq.longest.destination", 0.004)]
    lines = render_record(replace(record, measurements=(*record.measurements, *seen))).splitlines()
    assert lines[-2] == "  IRQ threads  source 100 % local, at most 2.0 ms; destination 100 % local, at most 4.0 ms"
    assert [line for line in lines if not line.startswith("  IRQ")] == RECORD.splitlines()


def test_a_repeat_explained() -> None:
    """States, bytes, downtime with its parts, QEMU's own number and the checks; a missing number is a question mark."""
    assert render_record(make_record()) == RECORD


def test_a_repeat_that_failed() -> None:
    """What failed is shown with both values; what was not had takes no line, or says why."""
    record = replace(
        make_record(),
        verdict=Verdict(VerdictName.CHECKS_FAILED, reason="seed: expected 1, observed 2"),
        measurements=(),
        states={},
        checks=(
            Check(CheckId.GUEST_BOOT_ID, "boot", True, "a", "a"),
            Check(CheckId.DEVICE_SEED, "seed", False, "1", "2"),
        ),
        downtime={"reason": "the traces have no src-vm-stopped"},
        interventions=(),
        mismatch="expected completed, was checks-failed",
    )
    assert render_record(record) == FAILED


def test_one_line_for_a_repeat() -> None:
    """The case, the repeat, the verdict with its reason, and the numbers that are there."""
    assert render_repeat(make_record()) == "device.pre_copy=on #1: completed (downtime 250.0 ms, took 11.5 s)"
    blocked = replace(make_record(), verdict=Verdict(VerdictName.BLOCKED, "source", "blocker"), measurements=())
    line = "device.pre_copy=on #1: blocked (source), as expected: blocker (took 11.5 s)"
    assert render_repeat(blocked) == line
    wrong = replace(
        blocked, verdict=replace(blocked.verdict, reason="blocker\n  why: x"), mismatch="expected completed"
    )
    expected = "device.pre_copy=on #1: blocked (source); NOT AS EXPECTED: expected completed: blocker (took 11.5 s)"
    assert render_repeat(wrong) == expected


def test_cases_side_by_side() -> None:
    """Completed repeats only, counted against all; the middle with both ends, or the one value."""
    hung = replace(make_record(downtime=9), verdict=Verdict(VerdictName.HUNG))
    records = [
        make_record("device.pre_copy=off", downtime=1.25),
        *(make_record(downtime=downtime) for downtime in (2, 0.1, 0.25)),
        hung,
    ]
    assert render_comparison(records) == COMPARISON


def test_a_case_without_a_completed_repeat() -> None:
    """Its numbers are missing, not 0."""
    line = render_comparison([replace(make_record(), verdict=Verdict(VerdictName.HUNG))]).splitlines()[1]
    assert line.split() == ["device.pre_copy=on", "0/1", *["missing"] * 4]


def test_the_difference_in_words() -> None:
    """What pre-copy moved, what was left, and the two downtimes, each from its own record."""
    off = replace(
        make_record("off", downtime=1.25),
        measurements=(
            make_measurement("downtime.explained", 1.25),
            make_measurement("bytes.vfio.stop_copy", 65 << 20),
        ),
    )
    assert explain_difference([off], [make_record()]) == (
        "With pre-copy the device gave 64.0 MiB of its state while the guest ran, so 1.0 MiB instead of 65.0 MiB were "
        "left for the downtime: 1.25 s became 250.0 ms."
    )


@pytest.mark.parametrize("missing", ["downtime.explained", "bytes.vfio.precopy", "bytes.vfio.stop_copy"])
def test_a_difference_with_a_number_missing(missing: str) -> None:
    """Without one of the numbers nothing is claimed."""
    record = make_record()
    without = replace(record, measurements=tuple(one for one in record.measurements if one.name != missing))
    assert "a number is missing" in explain_difference([record], [without])


def show_parts(parts: list[int]) -> str:
    """A record whose downtime has parts of so many milliseconds."""
    shown = [{"name": f"part {number}", "seconds": part / 1000} for number, part in enumerate(parts)]
    downtime = {"seconds": sum(parts) / 1000, "bound_s": 0.0, "parts": shown, "saving": []}
    text = render_record(replace(make_record(), downtime=downtime))
    assert all(f"part {number}" in text for number, _ in enumerate(parts))
    return text


@given(st.lists(st.integers(0, 10**6), max_size=6))
def test_any_downtime_can_be_shown(parts: list[int]) -> None:
    """No downtime stops the report, not even one of 0, and each bar is its part's share."""
    text = show_parts(parts)
    for number, part in enumerate(parts):
        (line,) = (line for line in text.splitlines() if f"part {number} " in line)
        assert line.count("█") == (round(part / sum(parts) * 30) if sum(parts) else 0)


def test_a_part_that_is_longer_than_the_whole() -> None:
    """The clocks of two hosts can make one part longer than the whole and another one negative: the bar stays short."""
    assert max(len(line) for line in show_parts([100, -99]).splitlines()) < 120


def test_what_was_not_checked_is_told() -> None:
    """A check that was not made is told beside those that were, by the reason, also in the one line."""
    lacking = (
        NotChecked(CheckId.DEVICE_SEED, "a", "the driver"),
        NotChecked(CheckId.DEVICE_SCRATCH, "b", "the driver"),
        NotChecked(CheckId.DOWNTIME_OUTSIDE, "c", reason="no heartbeat"),
    )
    record = replace(make_record(), not_checked=lacking)
    assert render_record(record).splitlines()[-3:] == [
        "  not checked  3 checks not made, since",
        "    the guest lacks the driver: a; b",
        "    no heartbeat: c",
    ]
    assert "3 checks not made, took" in render_repeat(record)
