# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces that others made are told from recordings and from anything else, and read as far as they tell."""

import gzip
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.irq.made import COLUMNS, HEADER, Made, render_trace

from switchover.irq.activations import Class
from switchover.irq.analysis import Placement, analyse_file
from switchover.irq.forbidden import find_forbidden
from switchover.record.errors import NotReady, UsageError

DATA = Path(__file__).parents[1] / "data" / "irq"
TRACE = (DATA / "foreign-trace.txt").read_text()
MADE = render_trace([Made(25, 1, 1, 1, 10), Made(25, 1, 2, 2, 10), Made(26, 0, 0, 0, 10)], marks=False)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_kernels_trace() -> None:
    """With a header: what ran where is known, and what is unknown is said to be."""
    analysis = analyse_file(DATA / "foreign-trace.txt")
    assert (analysis.problems, analysis.verdict, analysis.foreign) == ((), Placement.REMOTE, "trace")
    (result,) = analysis.interrupts
    assert (result.number, result.name, result.total.matrix) == (17, "mbox", {(0, 3): 1})
    assert (result.before, result.threads_before[0].cpus, analysis.start.host) == (None, "", "")
    assert result.threads_before[0].priority == 50
    assert [check.agrees for check in result.checks] == [None, None]
    assert "masks are not known" in result.reason
    assert "masks, chips, counters, kernel and clock are unknown" in analysis.notes[0]


@pytest.mark.parametrize("name", ["report", "raw", "latency", "plugin"])
def test_reports_of_trace_cmd(name: str) -> None:
    """In each of its forms the same; whether handlers were coalesced is known where it prints what they returned."""
    analysis = analyse_file(DATA / f"trace-cmd-{name}.txt.gz")
    assert (analysis.problems, analysis.verdict, analysis.foreign) == ((), Placement.LOCAL, "trace-cmd report")
    (result,) = analysis.interrupts
    assert (result.name, result.total.matrix) == ("ttyS0", {(1, 1): 6})
    assert result.total.classes[Class.COALESCED] == (6 if name == "raw" else 0)
    assert any("6 handlers woke no thread" in note for note in analysis.notes) == (name != "raw")


def test_a_pipes_text_needs_columns(tmp_path: Path) -> None:
    """As a recording without a header does; with them the same as with the header."""
    path = write(tmp_path / "x", MADE)
    with pytest.raises(UsageError, match="does not say which latency columns"):
        analyse_file(path)
    found, same = analyse_file(path, columns=COLUMNS), analyse_file(write(tmp_path / "y", HEADER + MADE))
    assert (found.foreign, same.foreign) == ("trace_pipe", "trace")
    assert [one.total.matrix for one in found.interrupts] == [{(1, 1): 1, (1, 2): 1}, {(0, 0): 1}]
    assert [one.total.matrix for one in same.interrupts] == [one.total.matrix for one in found.interrupts]


def test_a_trace_without_letters(tmp_path: Path) -> None:
    """The option irq-info off: handlers and wake-ups follow each other on their CPU, and that is enough."""
    header = "# tracer: nop\n#\n#           TASK-PID     CPU#     TIMESTAMP  FUNCTION\n"
    text = header + TRACE[TRACE.index("     kworker") :]
    for flags in (" d.h1.", " d.h2.", " dNh2.", " d..2."):
        text = text.replace(flags, "")
    analysis = analyse_file(write(tmp_path / "x", text))
    assert (analysis.problems, analysis.interrupts[0].total.matrix) == ((), {(0, 3): 1})


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("sched_switch", "the event sched_switch is missing"),
        ("irq_handler_exit", "the event irq_handler_exit is missing"),
        ("irq/17", "no thread of an interrupt"),
    ],
)
def test_events_that_nobody_traced(event: str, words: str, tmp_path: Path) -> None:
    """Invalid, with what is missing; never a number without them."""
    text = "".join(line for line in TRACE.splitlines(keepends=True) if event not in line)
    analysis = analyse_file(write(tmp_path / "x", text))
    assert analysis.verdict is Placement.INVALID
    assert words in analysis.reason


def test_only_wake_ups_are_missing(tmp_path: Path) -> None:
    """Without sched_waking the join goes by sched_wakeup; without that where the thread was put is unknown."""
    lines = TRACE.splitlines(keepends=True)
    text = "".join(line for line in lines if "sched_waking" not in line)
    assert analyse_file(write(tmp_path / "x", text)).verdict is Placement.REMOTE
    text = "".join(line for line in lines if "sched_wakeup" not in line)
    analysis = analyse_file(write(tmp_path / "x", text))
    assert (analysis.verdict, "sched_wakeup is missing" in analysis.reason) == (Placement.INVALID, True)


def test_entries_of_handlers_are_not_needed(tmp_path: Path) -> None:
    """Their returns tell where they were; the interrupt is not said to have been silent."""
    text = "".join(line for line in TRACE.splitlines(keepends=True) if "irq_handler_entry" not in line)
    analysis = analyse_file(write(tmp_path / "x", text))
    (result,) = analysis.interrupts
    assert (analysis.verdict, result.fired) == (Placement.REMOTE, True)
    (one,) = find_forbidden(analysis, frozenset({0, 3})).interrupts
    assert (one.handlers, one.runs) == ({0: 1}, {3: 1})


def test_a_buffer_that_was_full(tmp_path: Path) -> None:
    """What is before the first event of every CPU that is left does not count: others were overwritten there."""
    text = HEADER.replace("0/0", "30/900") + MADE + "##### CPU 3 buffer started ####\n"
    later = render_trace([Made(25, 1, 1, 1, 10)], marks=False).replace("   1.0", "   9.0")
    analysis = analyse_file(write(tmp_path / "x", text + later))
    assert [one.total.ran for one in analysis.interrupts] == [1, 0]
    assert any("30 of 900 events are left" in note for note in analysis.notes)
    assert any("is not counted" in note for note in analysis.notes)


def test_secondary_threads_of_others(tmp_path: Path) -> None:
    """A name alone makes none: there must be the first thread beside it."""
    text = HEADER + MADE.replace("irq/25-virtio0-", "irq/25-s-bus")
    assert [one.number for one in analyse_file(write(tmp_path / "x", text)).interrupts] == [25, 26]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is neither a recording of interrupts nor a trace"),
        ("hello\nworld\n", "is neither a recording of interrupts nor a trace"),
        ("# a comment\n", "is neither a recording of interrupts nor a trace"),
        (re.sub(r"(\d+)\.(\d{6}): ", r"\1\2: ", HEADER + MADE), "has no times in seconds"),
        ("# wakeup_RT latency trace v1.1.5 on 6.4.0\n", "latency format"),
        ('{"irq_recording":1}\n', "first line of"),
        ('{"irq_recording":1,"start":5}\n', "first line of"),
        ('{"irq_recording":"1"}\n', "first line of"),
    ],
)
def test_what_cannot_be_read(text: str, words: str, tmp_path: Path) -> None:
    """Named, with what it is instead."""
    path = write(tmp_path / "x.trace", text)
    with pytest.raises(UsageError, match=words) as caught:
        analyse_file(path)
    assert "x.trace" in caught.value.what


def test_what_is_wrong_in_the_first_line(tmp_path: Path) -> None:
    """In the words of the file: what is not there, and what is of another kind."""
    for text, why in (
        ('{"irq_recording":1}', "it has no start"),
        ('{"irq_recording":1,"start":[]}', r"start is \[\]"),
        ('{"irq_recording":"1"}', 'irq_recording is "1", not a number'),
        ('{"irq_recording":1,"start":{"host":5}}', "start.host"),
    ):
        with pytest.raises(UsageError) as caught:
            analyse_file(write(tmp_path / "x", f"{text}\n"))
        assert re.match(why, caught.value.why)


def test_a_packed_trace_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress((HEADER + MADE * 50).encode())[:-40])
    with pytest.raises(UsageError, match="cannot be read as a trace"):
        analyse_file(path)


def make_trace_cmd(directory: Path, script: str) -> None:
    program = directory / "trace-cmd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A trace.dat, and as the only trace-cmd there is a script; empty: none."""

    def make(script: str) -> Path:
        directory = tmp_path / "bin"
        directory.mkdir()
        if script:
            make_trace_cmd(directory, script)
        found = os.environ["PATH"].split(":")
        rest = [one for one in found if not (Path(one) / "trace-cmd").exists()]
        monkeypatch.setenv("PATH", ":".join([str(directory), *rest]))
        path = tmp_path / "trace.dat"
        path.write_bytes(b"\x17\x08Dtracing7\0")
        return path

    return make


def test_a_trace_dat(alone: Callable[[str], Path]) -> None:
    """Read by trace-cmd, which is asked for what handlers returned."""
    report = DATA / "trace-cmd-raw.txt.gz"
    path = alone(f'[ "$1 $2 $3" = "report -r irq_handler_exit" ] && [ -s "$4" ] && zcat {report}')
    analysis = analyse_file(path)
    assert (analysis.name, analysis.verdict, analysis.total.ran) == ("trace.dat", Placement.LOCAL, 6)


def test_a_trace_dat_that_trace_cmd_cannot_read(alone: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="cannot be read by trace-cmd") as caught:
        analyse_file(alone("echo no such luck >&2; exit 1"))
    assert "no such luck" in caught.value.why


def test_a_trace_dat_without_trace_cmd(alone: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed, and how to get it."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(NotReady, match="trace-cmd was not found") as caught:
        analyse_file(alone(""))
    assert "apt-get install trace-cmd" in caught.value.fix
