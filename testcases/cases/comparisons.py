# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that are compared with each other, with a bound on what may come of it."""

from dataclasses import replace
from statistics import median

from switchover import MIB, Context, DeviceSpec, Knobs, MigrationSettings, Unit, build_case, case

LARGE = Knobs(initial_bytes=32 * MIB, stop_copy_bytes=1 * MIB, save_bytes_per_sec=32 * MIB)


@case(tags=["comparison", "pre-copy"], seconds=40, repeats=[3])
def pre_copy_shortens_the_downtime(context: Context, repeats: int, most: float = 0.5) -> None:
    """With pre-copy the downtime is at most a given part of that without, in turns, by medians."""
    arms = {
        words: build_case(f"pre-copy-{words}", device=DeviceSpec(knobs=replace(LARGE, pre_copy=words == "on")))
        for words in ("off", "on")
    }
    seconds: dict[str, list[float]] = {words: [] for words in arms}
    for number in range(repeats):
        for words in arms if number % 2 else reversed(arms):
            record = context.require(context.testbed.run(arms[words]))
            found = record.measured("downtime.explained")
            if found is None:
                context.fail(f"{record.case} #{record.repeat} has no downtime: {record.downtime.get('reason')}")
            seconds[words].append(found)
    part = median(seconds["on"]) / median(seconds["off"])
    for words, values in seconds.items():
        context.measure(
            f"downtime.median.{words}", median(values), Unit.SECONDS, definition="median of the explained downtimes"
        )
    context.check_bound("part", part, most, claim="the downtime with pre-copy, as a part of that without")


@case(tags=["comparison", "bandwidth"], seconds=30)
def bandwidth_limit_holds(context: Context, mib_per_s: int = 24) -> None:
    """Under ``max-bandwidth`` the stream before the downtime is no quicker than that."""
    limit = mib_per_s * MIB
    limited = build_case("limited", migration=MigrationSettings(max_bandwidth=limit), heartbeat_us=0)
    record = context.require(context.testbed.run(limited, alone=True))
    moved = record.measured("bytes.ram.precopy")
    seconds = record.measured("time.total")
    if moved is None or not seconds:
        context.fail("the record lacks the RAM that was moved, or how long that took")
    rate = moved / seconds
    context.measure("rate.ram.precopy", rate, Unit.BYTES_PER_SECOND, definition="RAM moved, over the time of it")
    context.check_bound("rate", rate, 1.1 * limit, claim="no quicker than the limit, and a tenth")


@case(tags=["comparison", "memory"], seconds=30)
def an_idle_guest_moves_less(context: Context) -> None:
    """A guest that writes to its memory moves more RAM than the same guest at rest."""
    wanted = build_case("hop", heartbeat_us=0)
    moved: dict[str, float] = {}
    with context.testbed.start_guest(wanted) as guest:
        moved["idle"] = context.require(guest.migrate()).measured("bytes.ram.precopy") or 0
        script = "while :; do head -c 8388608 /dev/zero | tr '\\\\0' x >/tmp/filled; done"
        pid = guest.run(["sh", "-c", f'sh -c "{script}" >/dev/null 2>&1 </dev/null & echo $!']).text.strip()
        moved["busy"] = context.require(guest.migrate()).measured("bytes.ram.precopy") or 0
        guest.run(["kill", pid])
    for words, value in moved.items():
        context.measure(f"bytes.ram.{words}", int(value), Unit.BYTES, definition="RAM moved before the downtime")
    context.check("more", True, moved["busy"] > moved["idle"], claim="the busy guest moved more RAM")
