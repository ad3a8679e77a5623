# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration on one clock: what both hosts did, the bytes that moved, who was heard, and the downtime. Pure.

The clock is the controller's monotonic one. What a QEMU stamped with its host's real-time clock is brought there by the
offset in the record, so that an event stands where it happened and not where it arrived. Times are milliseconds since
``migrate``.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from switchover.record.record import Record
from switchover.report.html.evidence import SIDES, Event, Evidence, Sample

_TERMINAL = ("completed", "failed", "cancelled")
_BEFORE_NS = 10**9
_AFTER_NS = 10**9
"""How much is drawn before ``migrate`` and after the end."""

Span = tuple[float, float, str]


def draw_timeline(record: Record, evidence: Evidence, most: int) -> dict[str, Any] | None:
    """What the page draws; None: there is no evidence of a migration. ``record``: of a migration, or of a hop.

    ``most``: samples, and intervals in which a side was heard, that are kept of more.
    """
    offsets = {side: clock.get("offset_ns") for side, clock in record.clocks.items()}
    shift = _find_shift(evidence, offsets)
    timed = {side: _place(evidence.events.get(side, ()), offsets.get(side), shift) for side in SIDES}
    origin = _find_origin(timed["source"], evidence.samples)
    if origin is None:
        return None
    end = _find_end(origin, timed["source"], evidence.samples) + _AFTER_NS
    first = min([at for at, event in timed["destination"] if at > origin - _BEFORE_NS and at < end] + [origin])
    window = (first, end)

    def ms(at_ns: float) -> float:
        return round((at_ns - origin) / 1e6, 3)

    downtime = _draw_downtime(record.downtime, shift)
    return {
        "window": [ms(first), ms(end)],
        "lanes": [
            {"side": side, "name": name, "spans": [(ms(start), ms(stop), word) for start, stop, word in spans]}
            for side in SIDES
            for name, spans in _draw_lanes(side, timed[side], window, origin)
        ],
        "bytes": _draw_bytes(thin(_inside(evidence.samples, window), most), ms),
        "heard": {
            side: [(ms(start), ms(stop), count) for start, stop, count in find_heard(beats, most)]
            for side in SIDES
            if (beats := _list_beats(evidence, side, window))
        },
        "downtime": [(ms(start), ms(stop), name) for start, stop, name in downtime],
        "made": [
            (ms(made["began_ns"]), ms(made["ended_ns"]), str(made.get("name", "")))
            for made in record.interventions
            if isinstance(made.get("began_ns"), int) and isinstance(made.get("ended_ns"), int)
        ],
        "one_clock": shift is not None,
        "damaged": evidence.damaged,
    }


def _find_shift(evidence: Evidence, offsets: Mapping[str, Any]) -> int | None:
    """Monotonic − real-time clock of the controller: by the event that arrived soonest after it was stamped. None: no
    event has a time of its own, or no clock of a host is known.
    """
    return min(
        (
            event.arrived_ns - (event.qemu_ns - offset)
            for side, events in evidence.events.items()
            if isinstance(offset := offsets.get(side), int)
            for event in events
            if event.qemu_ns is not None
        ),
        default=None,
    )


def _place(events: Sequence[Event], offset: Any, shift: int | None) -> list[tuple[int, Event]]:
    """Events with their times, in order; where no offset is known, those of their arrival."""
    placed = [
        (event.qemu_ns - offset + shift, event)
        if event.qemu_ns is not None and isinstance(offset, int) and shift is not None
        else (event.arrived_ns, event)
        for event in events
    ]
    return sorted(placed, key=lambda pair: pair[0])


def _find_origin(events: Sequence[tuple[int, Event]], samples: Sequence[Sample]) -> int | None:
    """When ``migrate`` was: the status ``setup`` nearest to the first sample. A guest that is shared may have migrated
    before, and one whose migration failed tries again.
    """
    setups = [at for at, event in events if _status(event) == "setup"]
    if not samples:
        return setups[0] if setups else None
    start = samples[0].at_ns
    return min(setups, key=lambda at: abs(at - start), default=start)


def _find_end(origin: int, events: Sequence[tuple[int, Event]], samples: Sequence[Sample]) -> int:
    ended = next((at for at, event in events if at > origin and _status(event) in _TERMINAL), None)
    last = [at for at, _ in events[-1:]] + [sample.at_ns for sample in samples[-1:]]
    return max(origin, *last) if ended is None else ended


def _status(event: Event) -> str:
    return str(event.data.get("status", "")) if event.event == "MIGRATION" else ""


def _draw_lanes(
    side: str, events: Sequence[tuple[int, Event]], window: tuple[int, int], origin: int
) -> Iterator[tuple[str, list[tuple[int, int, str]]]]:
    """Of a side: the migration's status, what its vCPUs do, and the state of each device, by its events.

    A source runs until an event says otherwise; its status before ``origin`` is that of a migration before this one.
    """
    first = [(0, "running")] if side == "source" else []
    tracks: dict[str, list[tuple[int, str]]] = {"migration": [], "vCPUs": [*first]}
    for at, event in events:
        match event.event:
            case "MIGRATION" if side == "destination" or at >= origin:
                tracks["migration"].append((at, _status(event)))
            case "STOP":
                tracks["vCPUs"].append((at, "stopped"))
            case "RESUME":
                tracks["vCPUs"].append((at, "running"))
            case "VFIO_MIGRATION":
                device = f"device {event.data.get('device-id') or event.data.get('qom-path', '')}".strip()
                tracks.setdefault(device, [*first]).append((at, str(event.data.get("device-state", ""))))
    for name, changes in tracks.items():
        if spans := _make_spans(changes, window):
            yield name, spans


def _make_spans(changes: Sequence[tuple[int, str]], window: tuple[int, int]) -> list[tuple[int, int, str]]:
    """Each state until the next one, as far as it is in the window."""
    spans = []
    for (start, word), (stop, _) in pairwise([*changes, (window[1], "")]):
        low, high = max(start, window[0]), min(stop, window[1])
        if low < high:
            spans.append((low, high, word))
    return spans


def _inside(samples: Sequence[Sample], window: tuple[int, int]) -> list[Sample]:
    return [sample for sample in samples if window[0] <= sample.at_ns <= window[1]]


def _draw_bytes(samples: Sequence[Sample], ms: Any) -> dict[str, list[Any]]:
    """By name, a value for each time ``at``; null where QEMU said none."""
    answers = [sample.answer for sample in samples]
    series: dict[str, list[Any]] = {
        "RAM sent": [answer.ram.transferred for answer in answers],
        "RAM remaining": [answer.ram.remaining for answer in answers],
        "device sent": [answer.vfio.transferred for answer in answers],
    }
    drawn = {name: values for name, values in series.items() if any(value is not None for value in values)}
    return {"at": [ms(sample.at_ns) for sample in samples], **drawn} if drawn else {}


def _draw_downtime(downtime: Mapping[str, Any], shift: int | None) -> list[tuple[int, int, str]]:
    """Its parts, one after the other."""
    start = downtime.get("start_ns")
    if shift is None or not isinstance(start, int):
        return []
    spans = []
    at = start + shift
    for part in downtime.get("parts", ()):
        stop = at + round(part["seconds"] * 1e9)
        spans.append((at, stop, str(part["name"])))
        at = stop
    return spans


def thin(series: Sequence[Any], most: int) -> list[Any]:
    """At most so many of a series, evenly, with its first and last."""
    if len(series) <= most:
        return list(series)
    return [series[round(number * (len(series) - 1) / (most - 1))] for number in range(most)]


def _list_beats(evidence: Evidence, side: str, window: tuple[int, int]) -> list[int]:
    return sorted(beat.at_ns for beat in evidence.beats if beat.side == side and window[0] <= beat.at_ns <= window[1])


def find_heard(times: Sequence[int], most: int) -> list[tuple[int, int, int]]:
    """From when to when heartbeats came, and how many, parted by silences that are thrice as long as is usual.

    ``times``: in order, one at least. ``most``: of more intervals the longest silences stay.
    """
    gaps = [later - earlier for earlier, later in pairwise(times)]
    usual = median(gaps) if gaps else 0
    silent = sorted(
        (number for number, gap in enumerate(gaps, start=1) if gap > 3 * usual), key=lambda at: -gaps[at - 1]
    )
    edges = [0, *sorted(silent[: most - 1]), len(times)]
    return [(times[first], times[last - 1], last - first) for first, last in pairwise(edges) if first < last]
