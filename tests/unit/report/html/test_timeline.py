# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration on one clock, from events of two hosts whose clocks differ, samples and heartbeats."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_record

from switchover.record.record import Record
from switchover.report.html.evidence import Evidence, list_files, read_evidence
from switchover.report.html.timeline import draw_timeline, find_heard, thin

MS = 10**6
OFFSETS = {"source": -7 * 10**9, "destination": 3 * 10**9}
REAL = 10**18
"""The controller's real-time clock − its monotonic one."""


def make_event(side: str, at_ms: float, name: str, *, delay_ms: float = 1, **data: Any) -> dict[str, Any]:
    """``at_ms``: on the controller's monotonic clock, where it happened; it arrives later."""
    at = round(at_ms * MS)
    return {
        "arrived_ns": at + round(delay_ms * MS),
        "qemu_ns": at + REAL + OFFSETS[side],
        "event": name,
        "data": {key.replace("_", "-"): value for key, value in data.items()},
    }


def make_status(side: str, at_ms: float, word: str, delay_ms: float = 1) -> dict[str, Any]:
    return make_event(side, at_ms, "MIGRATION", delay_ms=delay_ms, status=word)


def make_state(side: str, at_ms: float, word: str) -> dict[str, Any]:
    return make_event(side, at_ms, "VFIO_MIGRATION", device_state=word, device_id="dut")


def make_migration() -> Record:
    """Of 100 ms at 1000 ms, with a downtime that begins at 1060."""
    record = make_record(downtime=0.03)
    return replace(
        record,
        clocks={side: {"offset_ns": offset, "bound_ns": 1} for side, offset in OFFSETS.items()},
        downtime={**record.downtime, "start_ns": 1060 * MS + REAL},
        interventions=({"name": "cut link", "began_ns": 1010 * MS, "ended_ns": 1011 * MS},),
    )


FILES: dict[str, list[dict[str, Any]]] = {
    "source.events.jsonl": [
        make_status("source", 500, "setup"),
        make_status("source", 600, "completed"),
        make_status("source", 1000, "setup", delay_ms=9),
        make_status("source", 1005, "active"),
        make_state("source", 1005, "pre-copy"),
        make_event("source", 1061, "STOP"),
        make_state("source", 1062, "stop-copy"),
        make_status("source", 1100, "completed"),
    ],
    "destination.events.jsonl": [
        make_status("destination", 990, "setup"),
        make_state("destination", 995, "resuming"),
        make_event("destination", 1089, "RESUME", delay_ms=40),
        make_state("destination", 1090, "running"),
    ],
    "samples.jsonl": [
        {"at_ns": 999 * MS, "query-migrate": {"status": "setup"}},
        {"at_ns": 1050 * MS, "query-migrate": {"ram": {"transferred": 7, "remaining": 5}, "vfio": {"transferred": 3}}},
    ],
    "outside.jsonl": [
        {"period_us": 10_000, "migrate_ns": 1000 * MS, "sender": "", "missing": ""},
        *({"side": "source", "at_ns": at * MS, "sequence": at, "guest_ns": 0} for at in range(1000, 1060, 10)),
        *({"side": "destination", "at_ns": at * MS, "sequence": at, "guest_ns": 0} for at in range(1100, 1140, 10)),
    ],
}


def write(path: Path, files: dict[str, list[dict[str, Any]]] = FILES) -> Path:
    for name, lines in files.items():
        (path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def draw(path: Path, record: Record | None = None, most: int = 100) -> dict[str, Any]:
    drawn = draw_timeline(record or make_migration(), read_evidence(path), most)
    assert drawn is not None
    return drawn


def find_lane(drawn: dict[str, Any], side: str, name: str) -> list[Any]:
    return next(lane["spans"] for lane in drawn["lanes"] if (lane["side"], lane["name"]) == (side, name))


def test_one_clock(tmp_path: Path) -> None:
    """Events stand where they happened, on clocks ten seconds apart and however late they arrived, beside samples and
    heartbeats; 0 is this migration and not the one before it.
    """
    drawn = draw(write(tmp_path))
    assert drawn["one_clock"]
    # an event is at most as late as the one that arrived soonest: a millisecond
    assert find_lane(drawn, "source", "migration") == [
        (0, 5, "setup"), (5, 100, "active"), (100, 1100, "completed")
    ]  # fmt: skip
    assert find_lane(drawn, "source", "vCPUs") == [(-10, 61, "running"), (61, 1100, "stopped")]
    assert find_lane(drawn, "source", "device dut") == [
        (-10, 5, "running"), (5, 62, "pre-copy"), (62, 1100, "stop-copy")
    ]  # fmt: skip
    assert find_lane(drawn, "destination", "device dut") == [(-5, 90, "resuming"), (90, 1100, "running")]
    assert find_lane(drawn, "destination", "vCPUs") == [(89, 1100, "running")]
    assert drawn["heard"] == {"source": [(-1, 49, 6)], "destination": [(99, 129, 4)]}
    assert drawn["bytes"] == {
        "at": [-2, 49], "RAM sent": [None, 7], "RAM remaining": [None, 5], "device sent": [None, 3]
    }  # fmt: skip
    assert drawn["downtime"] == [(60, 63, "stop"), (63, 81, "save iterable"), (81, 90, "start")]
    assert drawn["made"] == [(9, 10, "cut link")]


def test_hosts_whose_clocks_are_not_known(tmp_path: Path) -> None:
    """Then events stand where they arrived, and the page can say so; the downtime has no place among them."""
    drawn = draw(write(tmp_path), replace(make_migration(), clocks={}))
    assert not drawn["one_clock"]
    assert find_lane(drawn, "destination", "vCPUs")[0][0] == 1129 - 1009
    assert drawn["downtime"] == []


def test_evidence_that_is_missing(tmp_path: Path) -> None:
    """Without any there is no timeline; with some, what there is is drawn."""
    assert draw_timeline(make_migration(), read_evidence(tmp_path / "nowhere"), 10) is None
    assert list_files(tmp_path / "nowhere") == []
    assert draw_timeline(make_migration(), Evidence(), 10) is None
    for name in FILES:
        if name != "source.events.jsonl":
            left = write(tmp_path, {name: FILES[name]})
            drawn = draw_timeline(make_migration(), read_evidence(left), 10)
            assert drawn is None if name.startswith("destination") or name == "outside.jsonl" else drawn
            (tmp_path / name).unlink()


def test_evidence_that_is_damaged(tmp_path: Path) -> None:
    """Lines that are cut off, or no JSON, or of other types, are counted and left out; the others are drawn."""
    write(tmp_path)
    for name in FILES:
        with (tmp_path / name).open("ab") as file:
            file.write(b'{"at_ns": 5, "query-\n\xff\xfe\n[]\n{"at_ns": "x", "arrived_ns": null, "side": 4}\n')
    drawn = draw(tmp_path)
    assert drawn["damaged"] == 16
    assert {**drawn, "damaged": 0} == draw(write(tmp_path))


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_whatever_the_files_hold(lines: list[bytes]) -> None:
    """It is no reason to fail."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        for file in FILES:
            (Path(name) / file).write_bytes(b"\n".join(lines))
        read_evidence(Path(name))


def test_long_series_are_thinned(tmp_path: Path) -> None:
    """Samples to as many as are asked for, with the first and the last; heard intervals to the longest silences."""
    samples = [{"at_ns": (1000 + at) * MS, "query-migrate": {"ram": {"transferred": at}}} for at in range(500)]
    drawn = draw(write(tmp_path, {**FILES, "samples.jsonl": samples}), most=20)
    assert len(drawn["bytes"]["at"]) == 20
    assert (drawn["bytes"]["RAM sent"][0], drawn["bytes"]["RAM sent"][-1]) == (0, 499)


@given(st.lists(st.integers(0, 10**6)), st.integers(2, 50))
def test_thin(series: list[int], most: int) -> None:
    """Never more than asked for; in order; both ends stay."""
    thinned = thin(series, most)
    assert len(thinned) == min(len(series), most)
    assert thinned[:1] + thinned[-1:] == series[:1] + series[-1:]


@given(st.lists(st.integers(0, 10**6), min_size=1).map(sorted), st.integers(1, 50))
def test_heard(times: list[int], most: int) -> None:
    """Every heartbeat is in one interval, the longest silence is in none, and there are not more than asked for."""
    heard = find_heard(times, most)
    assert 1 <= len(heard) <= most
    assert sum(count for _, _, count in heard) == len(times)
    assert (heard[0][0], heard[-1][1]) == (times[0], times[-1])
    assert all(start <= stop for start, stop, _ in heard)


def test_the_longest_silences_stay() -> None:
    """Of three, those that are kept are the two longest."""
    times = [0, 1, 2, 3, 20, 21, 22, 23, 123, 124, 125, 175, 176, 177]
    assert find_heard(times, 3) == [(0, 23, 8), (123, 125, 3), (175, 177, 3)]


def test_what_a_silence_is() -> None:
    """Three times the usual time between heartbeats, and more; less is a heartbeat that is late."""
    assert find_heard([0, 10, 20, 50, 60, 91], 9) == [(0, 60, 5), (91, 91, 1)]
