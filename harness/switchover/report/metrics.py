# SPDX-License-Identifier: GPL-2.0-or-later
"""``metrics.jsonl`` of a run: a line for each number of each repeat, with what it was measured on.

History, gate, exports and pages are views of these rows (docs/metrics.md).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from switchover.record.definitions import definition_version
from switchover.record.errors import UsageError
from switchover.record.record import Record
from switchover.report.rundata import CaseResult, RunData

METRICS_VERSION = 1
METRICS_FILE = "metrics.jsonl"

CLASS_KEYS = ("controller", "accelerator", "hosts", "start", "settings")
"""Keys of a fingerprint that make two numbers of one case comparable: the machine, and what exactly was asked for. What
the others name may have changed between two numbers, and may be why they differ."""


@dataclass(frozen=True)
class MetricRow:
    """A number of a repeat; its fields are those of a line, in this order."""

    run: str
    """name of the run directory"""
    run_started: str
    """when the run started: date and time in ISO 8601, with zone; with `run` it tells runs of all machines apart"""
    started: str
    """when the repeat started, likewise"""
    scenario: str
    """name of the case's scenario; empty in a run without a plan"""
    case: str
    """id of the case"""
    hop: int
    """of a chain of migrations the number of the one that was measured, from 1; 0: it is no chain"""
    repeat: int
    """number of the repeat, from 1"""
    verdict: str
    """what happened in the repeat"""
    right: bool
    """whether that was as expected"""
    metric: str
    """name of the number"""
    value: float | int | None
    """the number, in `unit`; null if it is missing, and then `note` says why"""
    bound: float | None
    """the largest error of the value, in the same unit; null if no bound is known"""
    unit: str
    """unit of `value` and `bound`; `s` stands for seconds"""
    direction: str
    """which way is better: `lower`, `higher` or `neither`"""
    definition: int
    """version of the number's definition, from 1; numbers of different versions do not compare"""
    note: str
    """why the value is missing, or how to read it"""
    fingerprint: Mapping[str, str]
    """what the number was measured on, as words; what is not known is not there"""
    schema_version: int = METRICS_VERSION
    """version of the line"""

    @property
    def comparable(self) -> str:
        """Equal for numbers of one case that compare: of one definition, one machine and one question."""
        return classify(self.fingerprint, self.definition)


def classify(fingerprint: Mapping[str, str], definition: int) -> str:
    """See :attr:`MetricRow.comparable`."""
    return _digest([definition, *(fingerprint.get(key, "") for key in CLASS_KEYS)])


def list_metrics(run: RunData, cases: Sequence[CaseResult] | None = None) -> Iterator[MetricRow]:
    """By case and repeat, and of a chain by hop. ``cases``: those that are asked for; None: all."""
    for case in run.cases if cases is None else cases:
        for record in case.records:
            for hop in (0, *(hop.number for hop in record.hops)):
                of_hop = record.at_hop(hop) if hop else record
                yield from _list_of(run, case, record, of_hop, hop)


def _list_of(run: RunData, case: CaseResult, record: Record, measured: Record, hop: int) -> Iterator[MetricRow]:
    if not measured.measurements:
        return
    fingerprint = make_fingerprint(record)
    for one in measured.measurements:
        yield MetricRow(
            run=run.directory.path.name,
            run_started=run.head.started,
            started=record.started,
            scenario=case.line.scenario,
            case=case.id,
            hop=hop,
            repeat=record.repeat,
            verdict=str(record.verdict),
            right=not record.mismatch,
            metric=one.name,
            value=one.value,
            bound=one.bound,
            unit=str(one.unit),
            direction=str(one.direction),
            definition=definition_version(one.name, record.schema_version),
            note=one.note,
            fingerprint=fingerprint,
        )


def render_metrics(run: RunData, cases: Sequence[CaseResult] | None = None) -> str:
    """JSON lines, without the newline of the last."""
    return "\n".join(render_row(row) for row in list_metrics(run, cases))


def render_row(row: MetricRow) -> str:
    return msgspec.json.encode(row).decode()


_DECODER = msgspec.json.Decoder(MetricRow)


def parse_row(line: str | bytes) -> MetricRow:
    """:raises UsageError: the line is of a newer version, or none of metrics"""
    try:
        row = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError("This is not a line of switchover's metrics.", why=str(error)) from error
    if row.schema_version > METRICS_VERSION:
        raise UsageError(
            f"A line of metrics has version {row.schema_version}; this switchover reads up to {METRICS_VERSION}.",
            fix="update switchover",
        )
    return row


def read_metrics(path: Path) -> Iterator[MetricRow]:
    """Of a file of JSON lines. :raises UsageError: it cannot be read, or a line cannot; names the line"""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.isspace():
                    yield _parse_line(path, number, line)
    except OSError as error:
        raise UsageError(f"{path} cannot be read.", why=str(error)) from error


def _parse_line(path: Path, number: int, line: bytes) -> MetricRow:
    try:
        return parse_row(line)
    except UsageError as error:
        raise UsageError(f"{path}:{number}: {error.what}", why=error.why, fix=error.fix) from error


def make_fingerprint(record: Record) -> dict[str, str]:
    """What a repeat was measured on, in words that are equal where it is the same."""
    found = record.fingerprint
    accelerator = found.get("lab", {}).get("accelerator", {})
    words = {
        "controller": _describe_machine(found.get("controller", {})),
        "accelerator": ", ".join(str(accelerator[key]) for key in ("accel", "cpu", "vcpus") if key in accelerator),
        "hosts": _both(found, _describe_machine),
        "host_kernels": _both(found, lambda host: host.get("kernel", "")),
        "qemu": _both(found.get("qemu", {}), _describe_qemu) or _both(found, _find_digest),
        "qemu_digest": _both(found, _find_digest),
        "guest_kernel": _of_guests(record.settings, "kernel") or "of the image",
        "driver": _of_guests(record.settings, "driver"),
        "device": _describe_devices(record),
        "start": _describe_start(found.get("guest", {})),
        "settings": _digest(_strip(record.settings)) if record.settings else "",
        "lab": _digest(found["lab"]["images"]) if "lab" in found else "",
        "switchover": str(found.get("switchover", "")),
        "commit": str(found.get("commit", "")),
    }
    return {key: word for key, word in words.items() if word}


def _describe_machine(host: Mapping[str, str]) -> str:
    return f"{host['cpu']}, {host.get('cpus', '?')} CPUs" if host.get("cpu") else ""


def _describe_qemu(answer: Mapping[str, Any]) -> str:
    version = answer.get("qemu", {})
    number = ".".join(str(version.get(part, "?")) for part in ("major", "minor", "micro"))
    package = str(answer.get("package", "")).strip(" ()")
    return f"{number} ({package})" if package else number


def _find_digest(host: Mapping[str, str]) -> str:
    return next((digest[:12] for key, digest in sorted(host.items()) if key.startswith("sha256 ")), "")


def _both(sides: Mapping[str, Any], describe: Callable[[Any], str]) -> str:
    """Of source and destination: one word if they are alike."""
    words = [describe(sides[side]) for side in ("source", "destination") if side in sides]
    return " → ".join(dict.fromkeys(word for word in words if word))


def _of_guests(settings: Mapping[str, Any], key: str) -> str:
    return _both({side: settings.get(side, {}).get("guest", {}) for side in _SIDES}, lambda guest: guest.get(key, ""))


_SIDES = ("source", "destination")


def _describe_devices(record: Record) -> str:
    """Types, and of PCI functions their numbers and drivers."""
    devices = [device for side in _SIDES for device in record.settings.get(side, {}).get("devices", ())]
    types = dict.fromkeys(str(device.get("type", "")) or "vfio-pci" for device in devices)
    functions = record.fingerprint.get("functions", {})
    numbers = dict.fromkeys(f"{one.get('numbers', '?')} by {one.get('driver', '?')}" for one in functions.values())
    return ", ".join([*types, *numbers])


def _describe_start(guest: Mapping[str, Any]) -> str:
    """A guest that has migrated before is a third kind: what it has dirtied by then is another."""
    return "shared" if int(guest.get("migration", 1) or 1) > 1 else str(guest.get("start", ""))


_NO_QUESTION = {
    *("mac", "address", "bridge", "ssh_key", "ssh_host_key", "ssh_user", "hosts", "pci"),
    *("timeout_s", "settle_timeout_s", "hang_s", "boot_timeout_s", "given_bounds"),
}
"""Settings that follow from where a case ran, or bound how long it may take, and are no part of its question."""


def _strip(settings: Any) -> Any:
    """Without what is no part of the question, and without what is empty: so a setting that a later version has, and
    that is off by default, does not make another question of all cases.
    """
    match settings:
        case Mapping():
            kept = {key: _strip(value) for key, value in settings.items() if key not in _NO_QUESTION}
            return {key: value for key, value in kept.items() if value}
        case list() | tuple():
            return [_strip(value) for value in settings]
    return settings


def _digest(of: Any) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:12]


def group_rows(rows: Iterable[MetricRow]) -> dict[tuple[str, int, str], list[MetricRow]]:
    """By case, hop and metric; those that have a value."""
    found: dict[tuple[str, int, str], list[MetricRow]] = {}
    for row in rows:
        if row.value is not None:
            found.setdefault((row.case, row.hop, row.metric), []).append(row)
    return found
