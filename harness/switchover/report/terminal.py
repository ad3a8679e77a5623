# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person reads in the terminal, from records alone. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from switchover.irq.across import PLACES
from switchover.migration.phases import name_moment
from switchover.record.record import HopRecord, Record, VerdictName, list_measured
from switchover.record.units import format_bytes, format_count, format_median, format_seconds, format_spread

_BAR = 30


def render_repeat(record: Record) -> str:
    """One line for a repeat, as it ends."""
    migrations = [record.at_hop(hop.number) for hop in record.hops] or [record]
    downtimes = list_measured(migrations, "downtime.explained")
    total = sum(record.seconds.values())
    word = "downtimes" if record.hops else "downtime"
    numbers = f"{word} {', '.join(map(format_seconds, downtimes))}, " if downtimes else ""
    guest = "warm guest, " if is_warm(record) else ""
    unmade = f"{count_not_checked(record)}, " if record.not_checked else ""
    return f"{record.case} #{record.repeat}: {_render_verdict(record)} ({numbers}{guest}{unmade}took {total:.1f} s)"


def is_warm(record: Record) -> bool:
    """Whether the guest was restored instead of booted, or was to be."""
    asked = record.settings.get("source", {}).get("guest", {})
    return bool(record.fingerprint.get("guest", asked).get("start") == "warm")


def _render_verdict(record: Record) -> str:
    """What happened, by whom and why; and whether that is what was to happen."""
    verdict = record.verdict
    reason = f": {verdict.first_line}" if verdict.reason else ""
    expected = f"; NOT AS EXPECTED: {record.mismatch}" if record.mismatch else ""
    if reason and record.mismatch.endswith(verdict.reason):
        reason = ""  # it is said already
    if not record.mismatch and verdict.name is not VerdictName.COMPLETED:
        expected = ", as expected"
    return f"{verdict}{expected}{reason}"


def render_record(record: Record) -> str:
    """One repeat explained: states, bytes, downtime with its parts in percent, failed checks."""
    lines = [f"{record.case}  verdict {_render_verdict(record)}"]
    asked = {"start": "warm"} if is_warm(record) else {}
    if words := _render_guest(record.fingerprint.get("guest", asked)):
        lines.append(f"  {'guest':<12} {words}")
    for hop in record.hops:
        lines.append(f"  hop {hop.number}: {_render_way(hop)}, {hop.verdict}")
        lines += [f"  {line}" for line in _render_migration(record.at_hop(hop.number))]
    lines += [] if record.hops else _render_migration(record)
    passed = sum(check.passed for check in record.checks)
    lines.append(f"  checks       {passed} of {len(record.checks)} passed")
    lines += [
        f"    FAILED {check.name}: expected {check.expected}, observed {check.observed}"
        for check in record.failed_checks
    ]
    lines += _render_not_checked(record)
    return "\n".join(lines)


def _render_way(hop: HopRecord) -> str:
    """From which host and QEMU to which."""
    ends = []
    for side, host in hop.hosts.items():
        version = hop.qemu.get(side, {}).get("qemu", {})
        numbers = ".".join(str(version[part]) for part in ("major", "minor", "micro") if part in version)
        ends.append(f"{host} (QEMU {numbers})" if numbers else host)
    return " → ".join(ends)


def _render_migration(record: Record) -> list[str]:
    """Of a single migration, or of a hop: what was done to it, states, bytes, downtimes."""
    lines = []
    for made in record.interventions:
        seconds = (made["ended_ns"] - made["began_ns"]) / 1e9
        moment = name_moment(made["phase"], made.get("at_s"))
        rejected = f"; rejected: {made['rejected']}" if made.get("rejected") else ""
        lines.append(
            f"  {made['name']:<12} {moment} (status {made['status']}), took {format_seconds(seconds)}{rejected}"
        )
    for side, states in record.states.items():
        lines.append(f"  {side:<12} {' → '.join(states) or 'no state change'}")
    lines += _render_bytes(record)
    lines += _render_downtime(record.downtime)
    lines += _render_limit(record)
    reported = record.measured("downtime.qemu")
    if reported is not None:
        lines.append(f"  QEMU says    {format_seconds(reported)}")
    outside, resolution = record.measured("downtime.outside"), record.measured("outside.resolution")
    if outside is not None and resolution is not None:
        lines.append(f"  outside sees {format_seconds(outside)}   (resolution {format_seconds(resolution)})")
    return [*lines, *_render_irq_threads(record)]


def _render_limit(record: Record) -> list[str]:
    """Of a migration whose downtime limit changed on the way."""
    given = [entry["limit_ms"] for entry in record.limits]
    if not record.settings.get("migration", {}).get("downtime_steps_ms"):
        return []
    limit = record.measured("downtime.limit")
    words = "no switchover" if limit is None else f"switchover with {limit * 1000:.0f} ms"
    return [f"  limits       {' → '.join(map(str, given))} ms; {words}"]


def _render_irq_threads(record: Record) -> list[str]:
    """Of a case with the probe, where it has numbers."""
    texts = [
        f"{place} {local:.0f} % local, at most {format_seconds(longest)}"
        for place in PLACES
        if (local := record.measured(f"irq.local.{place}")) is not None
        and (longest := record.measured(f"irq.longest.{place}")) is not None
    ]
    return [f"  IRQ threads  {'; '.join(texts)}"] if texts else []


def _render_not_checked(record: Record) -> list[str]:
    """What was not looked at, by the reason."""
    if not record.not_checked:
        return []
    reasons: dict[str, list[str]] = {}
    for entry in record.not_checked:
        reasons.setdefault(entry.why, []).append(entry.check)
    lines = [f"  not checked  {count_not_checked(record)}, since"]
    return [*lines, *(f"    {why}: {'; '.join(checks)}" for why, checks in reasons.items())]


def count_not_checked(record: Record) -> str:
    """``N checks not made``; empty if all were."""
    return f"{format_count(len(record.not_checked), 'check')} not made" if record.not_checked else ""


def _render_guest(guest: Mapping[str, Any]) -> str:
    """How it began where that is not as it was asked for, or is not a boot for this case; empty otherwise.

    >>> _render_guest({"start": "cold", "reason": "it has a disk", "migration": 2})
    'cold: it has a disk; migration 2 of this guest'
    """
    words = []
    if guest.get("start") == "warm" and "sha256" not in guest:
        words.append("warm was wanted, but no guest was restored")
    elif guest.get("start") == "warm":
        words.append(f"warm: restored from sha256 {guest['sha256'][:12]}…, its devices plugged in")
    elif guest.get("reason"):
        words.append(f"cold: {guest['reason']}")
    if guest.get("migration", 1) > 1:
        words.append(f"migration {guest['migration']} of this guest")
    return "; ".join(words)


def _render_bytes(record: Record) -> list[str]:
    values = {entry.name: entry.value for entry in record.measurements}

    def shown(name: str) -> str:
        value = values.get(name)
        return "?" if value is None else format_bytes(int(value))

    if not values:
        return []
    return [
        f"  device       {shown('bytes.vfio.precopy')} in pre-copy, {shown('bytes.vfio.stop_copy')} in stop-copy",
        f"  RAM          {shown('bytes.ram.precopy')} in pre-copy, {shown('bytes.ram.downtime')} in the downtime"
        f"   (wire {shown('bytes.wire')})",
    ]


def _render_downtime(downtime: Mapping[str, Any]) -> list[str]:
    if "parts" not in downtime:
        return [f"  downtime     not explained: {downtime.get('reason', 'unknown')}"]
    seconds, bound = downtime["seconds"], downtime["bound_s"]
    error = f" ± {format_seconds(bound)} (clocks of two hosts)" if bound else ""
    lines = [f"  downtime     {format_seconds(seconds)}{error}"]
    for part in downtime["parts"]:
        share = part["seconds"] / seconds if seconds else 0.0
        bar = "█" * round(min(1.0, max(0.0, share)) * _BAR)
        lines.append(f"    {share:>4.0%} {format_seconds(part['seconds']):>9}  {part['name']:<18} {bar}")
        if part["name"] == "save iterable":
            lines += [
                f"         {format_seconds(section['seconds']):>11}  {section['name']}"
                for section in downtime["saving"]
                if section["kind"] == "iterable"
            ]
    return lines


def render_comparison(records: Sequence[Record]) -> str:
    """Cases of one run side by side: downtime and bytes as median with minimum and maximum over completed repeats."""
    cases = list(dict.fromkeys(record.case for record in records))
    width = max(len(case) for case in cases) + 2
    heads = ("repeats", 8), ("downtime", 27), ("QEMU says", 10), ("device stop-copy", 17), ("device pre-copy", 16)
    lines = [" " * width + " ".join(f"{head:>{columns}}" for head, columns in heads)]
    for case in cases:
        mine = [record for record in records if record.case == case]
        good = [record for record in mine if record.verdict.name is VerdictName.COMPLETED]
        counted = f"{len(good)}/{len(mine)}"
        cells = (
            format_spread(list_measured(good, "downtime.explained"), format_seconds),
            format_median(list_measured(good, "downtime.qemu"), format_seconds),
            format_median(list_measured(good, "bytes.vfio.stop_copy"), format_bytes),
            format_median(list_measured(good, "bytes.vfio.precopy"), format_bytes),
        )
        row = zip((counted, *cells), heads, strict=True)
        lines.append(f"{case:<{width}}" + " ".join(f"{cell:>{columns}}" for cell, (_, columns) in row))
    return "\n".join(lines)


def explain_difference(off: Sequence[Record], on: Sequence[Record]) -> str:
    """In words, what device pre-copy changed between the two arms of one run; medians over completed repeats."""
    before, after = _median(off, "downtime.explained"), _median(on, "downtime.explained")
    early, late = _median(off, "bytes.vfio.stop_copy"), _median(on, "bytes.vfio.stop_copy")
    moved = _median(on, "bytes.vfio.precopy")
    if before is None or after is None or early is None or late is None or moved is None:
        return "The difference cannot be explained: a number is missing."
    return (
        f"With pre-copy the device gave {format_bytes(moved)} of its state while the guest ran, so "
        f"{format_bytes(late)} instead of {format_bytes(early)} were left for the downtime: "
        f"{format_seconds(before)} became {format_seconds(after)}."
    )


def _median(records: Sequence[Record], name: str) -> float | None:
    values = list_measured([record for record in records if record.verdict.name is VerdictName.COMPLETED], name)
    return statistics.median(values) if values else None
