# SPDX-License-Identifier: GPL-2.0-or-later
"""TAP 14 and KTAP, read by strict parsers of their grammars."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_record
from tests.unit.runs import make_run

from switchover.record.record import Verdict, VerdictName
from switchover.report.export.tap import render_ktap, render_tap, render_value
from switchover.report.rundata import RunData, read_run


@dataclass
class Point:
    ok: bool
    name: str
    skip: str | None
    diagnostics: dict[str, Any] = field(default_factory=dict)


def parse_tap(text: str) -> list[Point]:
    """Of version 14, without subtests, pragmas and bail outs: any other line is an error."""
    lines = iter(text.split("\n"))
    assert next(lines) == "TAP version 14"
    planned = re.fullmatch(r"1\.\.(\d+)", next(lines))
    assert planned
    points: list[Point] = []
    for line in lines:
        if line == "  ---":
            points[-1].diagnostics = yaml.safe_load("\n".join(_read_block(lines)))
            continue
        found = re.fullmatch(r"(not )?ok (\d+) - ((?:[^\\#]|\\[\\#])*?)(?: # SKIP ?(.*))?", line)
        assert found, line
        assert int(found[2]) == len(points) + 1
        points.append(Point(not found[1], re.sub(r"\\([\\#])", r"\1", found[3]), found[4]))
    assert len(points) == int(planned[1])
    return points


def _read_block(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line == "  ...":
            return
        assert line.startswith("  ")
        yield line[2:]
    pytest.fail("a block without an end")


@given(st.text())
def test_a_value_is_the_same_in_yaml(text: str) -> None:
    """Any text is one line, of which a reader of YAML makes that text again."""
    line = render_value({"a": [text]})
    assert len(line.splitlines()) == 1
    assert yaml.safe_load(line) == {"a": [text]}


def test_tap_of_any_run(any_run: RunData) -> None:
    """A point for each repeat, whose block is YAML with the whole id and the files."""
    points = parse_tap(render_tap(any_run).text)
    assert [point.diagnostics["repeat"] for point in points] == [record.repeat for record in any_run.records]
    for point, record in zip(points, any_run.records, strict=True):
        assert point.diagnostics["case"] == record.case
        assert point.diagnostics["verdict"] == str(record.verdict)


def test_tap(planned: RunData) -> None:
    """What is not supported is skipped with its reason; numbers are numbers; a failure is told."""
    points = parse_tap(render_tap(planned).text)
    assert [(point.ok, point.skip) for point in points] == [
        *[(True, None)] * 3,
        (False, None),
        (True, "hosta has no /opt/qemu"),
        (False, None),
    ]
    assert points[0].name == "device.pre_copy=on #1"
    assert points[0].diagnostics["numbers"]["downtime.explained"]["value"] == 0.25
    assert points[0].diagnostics["numbers"]["bytes.wire"]["value"] is None
    assert points[3].diagnostics["message"] == "expected completed, was hung"
    assert "device.pre_copy=off/01/source.events.jsonl" in points[3].diagnostics["files"]


def parse_ktap(lines: list[str], indent: str = "") -> list[tuple[bool, str, bool]]:
    """Of version 1: results of this level; those of subtests are checked on the way."""
    assert lines[0] == f"{indent}KTAP version 1"
    results: list[tuple[bool, str, bool]] = []
    plan = None
    inner: list[str] = []
    for line in lines[1:]:
        if line.startswith(f"{indent}  "):
            inner.append(line)
            continue
        if planned := re.fullmatch(rf"{indent}1\.\.(\d+)", line):
            plan = int(planned[1])
        elif not line.startswith(f"{indent}# "):
            found = re.fullmatch(rf"{indent}(not )?ok (\d+) ([^# ]+)( # SKIP[^#]*)?", line)
            assert found, line
            results.append((not found[1], found[3], bool(found[4])))
            assert int(found[2]) == len(results)
            if inner:
                of_case = parse_ktap(inner, f"{indent}  ")
                assert all(ok for ok, _, _ in of_case) is not bool(found[1])
                inner = []
    assert plan == len(results)
    return results


def test_ktap_of_any_run(any_run: RunData) -> None:
    """A test for each case whose subtests are its repeats, by names without blanks, each id beside its name."""
    text = render_ktap(any_run).text
    results = parse_ktap(text.split("\n"))
    assert len(results) == len(any_run.cases)
    assert text.count("  # case: ") == len(any_run.cases)


def test_ktap(planned: RunData, chained: RunData) -> None:
    """A case that is not supported is skipped; hops have their numbers."""
    assert parse_ktap(render_ktap(planned).text.split("\n")) == [
        (True, "device.pre__copy_3d_on", False),
        (False, "device.pre__copy_3d_off", False),
        (True, "vcpus_3d_2", True),
        (False, "vcpus_3d_3", False),
    ]
    made = render_ktap(chained)
    assert "  # hop 2 downtime.explained: 0.5 s\n" in made.text
    assert made.left_out


def test_other_endings(odd: RunData, tmp_path: Path) -> None:
    """What somebody interrupted is not ok; a case is skipped only if each of its repeats is."""
    assert [(point.ok, point.skip is not None) for point in parse_tap(render_tap(odd).text)] == [
        (True, False),
        (False, False),
        (False, False),
        (True, True),
    ]
    assert [ok for ok, _, _ in parse_ktap(render_ktap(odd).text.split("\n"))] == [True, False, False, True]
    skipped = replace(make_record("a", 2), verdict=Verdict(VerdictName.NOT_SUPPORTED, reason="no device"))
    both = read_run(make_run(tmp_path / "both", [make_record("a"), skipped]))
    assert parse_ktap(render_ktap(both).text.split("\n")) == [(True, "a", False)]


def test_what_explains_a_point(planned: RunData) -> None:
    """A failure in full, and what the repeat was measured on."""
    points = parse_tap(render_tap(planned).text)
    assert points[3].diagnostics["explanation"].startswith("NOT AS EXPECTED  device.pre_copy=off #1")
    assert points[0].diagnostics["fingerprint"]["switchover"] == "0.1.0"
