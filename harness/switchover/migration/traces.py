# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's trace log, as its log backend writes it with ``-msg timestamp=on``. Pure.

Two prefixes exist: ``TID@SECONDS.MICROSECONDS:`` (QEMU 10.0) and ISO 8601 with ``Z`` and the fraction left out when it
is zero (10.2 and newer). Both are the real-time clock of QEMU's host. The names of events and the words of their
arguments are those of QEMU's ``trace-events`` files (hw/vfio, migration); ones not known here are kept as text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

_SECONDS = re.compile(r"^\d+@(\d+)\.(\d{6}):(\w+) ?(.*)$")
_ISO = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?Z (\w+) ?(.*)$")


@dataclass(frozen=True)
class TraceEvent:
    """One line: when (nanoseconds of the host's real-time clock, microsecond resolution), what, and its arguments."""

    at_ns: int
    name: str
    text: str


@dataclass(frozen=True)
class StateTransition:
    """A VFIO state ioctl of one device, from before to after."""

    device: str
    """UUID of the mediated device"""
    state: str
    """the state that the device was to enter, as spelled in traces"""
    start_ns: int
    """when the change began; in records, by the controller's real-time clock"""
    end_ns: int | None
    """when the change had succeeded, by the same clock; null if it did not succeed"""


@dataclass(frozen=True)
class SectionTime:
    """Time to save or load one section of the stream during the downtime, as QEMU measured it."""

    kind: str
    """`iterable` or `non-iterable`"""
    name: str
    """QEMU's idstr, which for a VFIO device ends in `/vfio`; all non-iterable sections are one entry, which gives their
    number"""
    seconds: float
    """the time in seconds"""


@dataclass(frozen=True)
class DeviceBytes:
    """Bytes read from one device, from ``vfio_save_block``: before and after ``vfio_save_complete_precopy_start``.

    ``stop_copy`` is None if a thread saved the device over multifd: QEMU traces no blocks there.
    """

    device: str
    precopy: int
    stop_copy: int | None
    blocks: int


def parse_trace_line(line: str) -> TraceEvent | None:
    """One line of a log, or None if it is no trace event.

    >>> parse_trace_line("7@1795301138.214180:migrate_set_state new state setup")
    TraceEvent(at_ns=1795301138214180000, name='migrate_set_state', text='new state setup')
    >>> parse_trace_line("2026-11-21T10:00:01Z vfio_save_start x").at_ns % 10**9
    0
    """
    if match := _SECONDS.match(line):
        return TraceEvent((int(match[1]) * 1_000_000 + int(match[2])) * 1000, match[3], match[4].strip())
    if match := _ISO.match(line):
        try:
            seconds = int(datetime.fromisoformat(f"{match[1]}+00:00").timestamp())
        except ValueError:
            return None
        return TraceEvent(seconds * 10**9 + int((match[2] or "0").ljust(6, "0")) * 1000, match[3], match[4].strip())
    return None


def parse_trace(text: str) -> list[TraceEvent]:
    """All events of a log in its order; a last line without its newline was cut short, and is left out."""
    whole = text[: text.rfind("\n") + 1]
    return [event for line in whole.splitlines() if (event := parse_trace_line(line)) is not None]


def take_last_migration(events: list[TraceEvent]) -> list[TraceEvent]:
    """The events from the last time the migration's status became ``setup``: a QEMU may migrate more than once."""
    starts = [index for index, event in enumerate(events) if (event.name, event.text) == _SETUP]
    return events[starts[-1] :] if starts else events


_SETUP = ("migrate_set_state", "new state setup")


def find_checkpoints(events: Iterable[TraceEvent]) -> dict[str, int]:
    """``vmstate_downtime_checkpoint`` by name (``src-downtime-start`` …): time of its last occurrence, in ns."""
    return {event.text: event.at_ns for event in events if event.name == "vmstate_downtime_checkpoint"}


_SECTION = re.compile(r"^type=(\S+) idstr=(.+) instance_id=\d+ downtime=(-?\d+)$")


def find_sections(events: Iterable[TraceEvent], direction: str) -> list[SectionTime]:
    """``vmstate_downtime_save`` or ``…_load`` (``direction``), in order; QEMU gives microseconds."""
    matches = (_SECTION.match(event.text) for event in events if event.name == f"vmstate_downtime_{direction}")
    return [SectionTime(match[1], match[2], int(match[3]) / 1e6) for match in matches if match]


_DEVICE = re.compile(r"^\(([^)]*)\)\s*(.*)$")


def split_device(event: TraceEvent) -> tuple[str, str]:
    """Device and the rest, from vfio's ``(NAME) …``."""
    match = _DEVICE.match(event.text)
    return (match[1], match[2]) if match else ("", event.text)


def find_transitions(events: Iterable[TraceEvent]) -> list[StateTransition]:
    """State ioctls, from ``vfio_migration_set_state`` (before) and ``vfio_migration_set_device_state`` (after)."""
    found: list[StateTransition] = []
    for event in events:
        device, rest = split_device(event)
        if event.name == "vfio_migration_set_state" and (match := re.match(r"new state (\w+)", rest)):
            found.append(StateTransition(device, match[1], event.at_ns, None))
        elif event.name == "vfio_migration_set_device_state" and (match := re.match(r"state (\w+)", rest)):
            for index in reversed(range(len(found))):
                begun = found[index]
                if (begun.device, begun.state, begun.end_ns) == (device, match[1], None):
                    found[index] = StateTransition(device, begun.state, begun.start_ns, event.at_ns)
                    break
    return found


def count_device_bytes(events: Iterable[TraceEvent]) -> list[DeviceBytes]:
    """Bytes per device that was saved. A guest that is paused on the way has its devices in STOP_COPY from then on, and
    QEMU goes on with what it was about to read of them: not in pre-copy any more.
    """
    precopy: dict[str, int] = {}
    stop_copy: dict[str, int] = {}
    blocks: dict[str, int] = {}
    stopped: set[str] = set()
    threads: set[str] = set()
    for event in events:
        device, rest = split_device(event)
        if leaves_pre_copy(event.name, rest):
            stopped.add(device)
        elif event.name == "vfio_save_complete_precopy_thread_start":
            threads.add(device)
            blocks.setdefault(device, 0)
        elif size := block_size(event.name, rest):
            counted = stop_copy if device in stopped else precopy
            counted[device] = counted.get(device, 0) + size
            blocks[device] = blocks.get(device, 0) + 1
    return [
        DeviceBytes(device, precopy.get(device, 0), None if device in threads else stop_copy.get(device, 0), count)
        for device, count in blocks.items()
    ]


def leaves_pre_copy(name: str, rest: str) -> bool:
    """Whether a device's pre-copy ends with an event: its stop-copy begins, or it has come to be in that state."""
    entered = name == "vfio_migration_set_device_state" and rest.startswith("state STOP_COPY")
    return entered or name == "vfio_save_complete_precopy_start"


def block_size(name: str, rest: str) -> int:
    """Bytes that QEMU read of a device at once, if that is what an event tells; 0 otherwise."""
    match = re.search(r"data_size (\d+)", rest) if name == "vfio_save_block" else None
    return int(match[1]) if match else 0


def count_loaded_bytes(events: Iterable[TraceEvent]) -> dict[str, int]:
    """By device that was loaded, the bytes that it took, from ``vfio_load_state_device_data`` (hw/vfio/trace-events).

    >>> event = parse_trace_line("7@1795301138.214180:vfio_load_state_device_data  (a-b) size 24 ret 0")
    >>> count_loaded_bytes([event])
    {'a-b': 24}
    """
    loaded: dict[str, int] = {}
    for event in events:
        device, rest = split_device(event)
        if event.name == "vfio_load_state_device_data" and (match := _LOADED.match(rest)):
            loaded[device] = loaded.get(device, 0) + int(match[1], 0)
    return loaded


_LOADED = re.compile(r"size (0x[0-9a-fA-F]+|\d+) ret 0$")


def find_running(events: Iterable[TraceEvent], after_ns: int) -> int | None:
    """When (ns) the guest of this QEMU was first set running at or after a time: the last device's
    ``vfio_vmstate_change … running 1`` before the guest is stopped again. None: it was not.
    """
    found = None
    for event in events:
        if event.name != "vfio_vmstate_change" or event.at_ns < after_ns:
            continue
        if " running 1 " in f" {event.text} ":
            found = event.at_ns
        elif found is not None:
            break
    return found
