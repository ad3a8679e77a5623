# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of a run as lines of JSON."""

import io
import json
import os
from dataclasses import fields, replace
from pathlib import Path

from tests.unit.builders import make_record
from tests.unit.report.test_live import TURNS
from tests.unit.runs import make_run

from switchover.record.record import list_measured
from switchover.report.events import EVENTS, CasePlanned, EventLines
from switchover.report.rundata import read_run

PAGE = Path(__file__).parents[3] / "docs" / "running.md"


def test_a_repeat_that_ended(tmp_path: Path) -> None:
    """Its verdict, its downtime in seconds, how long it took, and where its record is."""
    run = make_run(tmp_path, [])
    out = io.StringIO()
    record = replace(make_record(), seconds={"start": 1.0, "migrate": 2.5})
    EventLines(run, out).end(TURNS[0], record)
    told = json.loads(out.getvalue())
    assert (told["case"], told["repeat"], told["verdict"]) == (TURNS[0].line.id, 1, "completed")
    assert told["downtimes_s"] == list_measured([record], "downtime.explained") != []
    assert told["seconds"] == 3.5
    assert told["directory"] == str(run.repeat_path(record.case, record.repeat))


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """The run goes on: no event is an error, at the end of the process either."""
    run = make_run(tmp_path, [make_record()])
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        lines = EventLines(run, stream)
        lines.start(TURNS)
        lines.begin(TURNS[0])
        lines.conclude(read_run(run), 0)


def test_the_page_names_every_field() -> None:
    """Events and their fields are in docs/running.md."""
    text = PAGE.read_text(encoding="utf-8")
    for kind, name in EVENTS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert [field.name for field in fields(kind) if f"`{field.name}`" not in row] == []
    assert [field.name for field in fields(CasePlanned) if f"`{field.name}`" not in text] == []
