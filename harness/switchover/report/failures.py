# SPDX-License-Identifier: GPL-2.0-or-later
"""A repeat that was not as expected, told in a fixed shape, from the run directory alone."""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from switchover.record.invocation import command
from switchover.record.record import Record, VerdictName
from switchover.report.causes import Evidence, find_causes
from switchover.report.moments import read_moment
from switchover.report.rundata import RunData

_FILES = (
    "record.json",
    "source.stderr",
    "destination.stderr",
    "source.trace",
    "destination.trace",
    "source.console",
    "destination.console",
    "source.events.jsonl",
    "destination.events.jsonl",
    "samples.jsonl",
    "outside.jsonl",
    "case.log",
    "traceback.txt",
)
_SAID = ("source.stderr", "destination.stderr")
_MOST_BYTES = 64 << 10
"""Of what a QEMU said: the end."""


def render_failure(run: RunData, record: Record) -> str:
    """Claim, observed, when, likely cause, evidence, how to repeat, how to look."""
    rows = [
        ("claim", render_claim(record.expectation)),
        ("observed", describe_observed(record)),
        ("when", _describe_moment(run.evidence_path(record), record)),
        *(
            ("cause", f"{cause.likely}\n{f'→ {cause.change}' if cause.change else ''}".strip())
            for cause in find_causes(collect_evidence(run, record)) or ()
        ),
        ("evidence", "\n".join(_list_evidence(run, record))),
        ("repeat", "\n".join(list_repeats(run, record))),
        ("look", _describe_look(run, record)),
    ]
    if not any(name == "cause" for name, _ in rows):
        rows.insert(3, ("cause", "unknown: no rule explains this failure; look at the evidence"))
    lines = [render_headline(record)]
    for name, text in rows:
        first, *more = text.splitlines() or ["nothing"]
        lines += [f"  {name:<9} {first}", *(f"  {'':<9} {line}" for line in more)]
    return "\n".join(lines)


def render_headline(record: Record) -> str:
    """What was not as expected, in one line."""
    return f"NOT AS EXPECTED  {record.case} #{record.repeat}: {record.mismatch.splitlines()[0]}"


def collect_evidence(run: RunData, record: Record) -> Evidence:
    """What rules look at; a file that is not there says nothing, and warnings do not count."""
    return Evidence(record, "\n".join([record.verdict.reason, *list_said(run, record)]))


def list_said(run: RunData, record: Record) -> list[str]:
    """What both QEMUs said on standard error, without warnings."""
    path = run.evidence_path(record)
    return [
        line for name in _SAID for line in _read_end(path / name).splitlines() if not re.search(r"\bwarning: ", line)
    ]


def _read_end(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _MOST_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def render_claim(expected: Mapping[str, Any]) -> str:
    """What was to happen: verdict, side, words, and why."""
    if not expected:
        return "completed, with all checks"
    side = f" by the {expected['side']}" if expected.get("side") else ""
    side += f" in hop {expected['hop']}" if expected.get("hop") else ""
    reason = f", with the words {expected['reason']!r}" if expected.get("reason") else ""
    reason += f", with pre-copy {expected['pre_copy']}" if expected.get("pre_copy") else ""
    reason += f", where these checks may fail: {'; '.join(expected['checks'])}" if expected.get("checks") else ""
    for key, name in (("downtime_ms", "the downtime"), ("outside_downtime_ms", "the downtime from outside")):
        reason += f", with {name} {expected[key]} ms" if expected.get(key) else ""
    because = f"\nbecause: {expected['because']}" if expected.get("because") else ""
    return f"{expected.get('verdict', 'completed')}{side}{reason}{because}"


def describe_observed(record: Record) -> str:
    verdict = record.verdict
    side = f" by the {verdict.side}" if verdict.side else ""
    side += f" in hop {verdict.hop}" if verdict.hop else ""
    lines = [f"{verdict.name}{side}", *verdict.reason.splitlines()]
    lines += [
        f"check failed: {check.name} [{check.label}]: expected {check.expected}, observed {check.observed}"
        for check in record.failed_checks
    ]
    return "\n".join(lines)


def _describe_moment(path: Path, record: Record) -> str:
    if not record.was_run:
        return "never"
    moment = read_moment(path, came=record.last_hop > 1)
    last = list(record.seconds)[-1:]
    if moment is None:
        step = f"in the step {last[0]!r}" if last else "before its first step"
        return f"before migrate, {step}, {sum(record.seconds.values()):.1f} s after the repeat began"
    text = str(moment)
    if record.verdict.name is VerdictName.HUNG:
        text += " (by the harness, which gave up)"
    if record.verdict.name in (VerdictName.COMPLETED, VerdictName.CHECKS_FAILED):
        text += "; the checks that failed were made after that"
    return text


def _list_evidence(run: RunData, record: Record) -> Iterator[str]:
    yield from _list_files(run.repeat_path(record))
    if record.last_hop:
        yield from _list_files(run.evidence_path(record))


def _list_files(path: Path) -> Iterator[str]:
    names = [name for name in _FILES if (path / name).exists()]
    if not names:
        yield f"{path} (nothing is there)"
        return
    yield f"{path}/"
    line = ""
    for name in names:
        if len(line) + len(name) > 90:
            yield f"  {line}"
            line = ""
        line = f"{line} {name}".strip()
    yield f"  {line}"


def list_repeats(run: RunData, record: Record) -> Iterator[str]:
    """Commands and scripts that repeat the case."""
    yield shlex.join(list_repeat_words(run, record))
    yield from map(str, list_scripts(run, record))


def list_repeat_words(run: RunData, record: Record) -> list[str]:
    """The command that repeats a case."""
    if "python" in record.settings:
        place = str(record.settings["python"]).rpartition(":")[0]
        return [command(), "run", place, "--only", record.case]
    return [command(), "repro", run.directory.word, record.case]


def list_scripts(run: RunData, record: Record) -> list[Path]:
    """What repeats it without this project; a case in Python has none."""
    if "python" in record.settings:
        return []
    path = run.repeat_path(record)
    return [script for script in (path / "repro.sh", path.parent / "repro.sh") if script.exists()]


def _describe_look(run: RunData, record: Record) -> str:
    if (run.repeat_path(record) / "kept.json").exists():
        return "\n".join(list_attach(run.directory.word, record.case))
    case = next((entry.line for entry in run.cases if entry.id == record.case), None)
    files = {scenario.name: scenario.file for scenario in run.scenarios}
    if case is None or case.scenario not in files or files[case.scenario].endswith(".py"):
        return shlex.join([command(), "show", run.directory.word, record.case])
    words = [command(), "run", files[case.scenario], "--only", case.case, "--keep-on-fail"]
    return f"{shlex.join(words)}, then switchover attach"


def list_attach(run: str, case: str) -> list[str]:
    """How to get to guests that are kept. ``run``: as a user names it."""
    words = shlex.join([command(), "attach", run, case])
    return [f"{words} source|destination --qmp|--ssh|--console"]
