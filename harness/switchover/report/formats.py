# SPDX-License-Identifier: GPL-2.0-or-later
"""The formats in which a run is told, from its directory alone: a format is a file of this room and a row here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from switchover.record.rundir import RunDirectory
from switchover.report.html.page import PAGE_FILE, render_page
from switchover.report.junit import render_junit
from switchover.report.markdown import render_markdown
from switchover.report.metrics import METRICS_FILE, render_metrics
from switchover.report.rundata import CaseResult, RunData
from switchover.report.summary import render_json, render_text


class Render(Protocol):
    """Makes the text of a format. Pure, but for what it reads in the run directory."""

    def __call__(self, run: RunData, cases: Sequence[CaseResult] | None = None) -> str:
        """``cases``: those of the run that are asked for; None: the whole run."""


@dataclass(frozen=True)
class ReportFormat:
    """``file``: the name of the report in this format that each run leaves when it has ended; empty: it leaves none."""

    render: Render
    summary: str
    file: str = ""


FORMATS = {
    "text": ReportFormat(render_text, "for people: the run in few lines, or the cases asked for in full"),
    "json": ReportFormat(render_json, "everything, for programs"),
    "junit": ReportFormat(render_junit, "JUnit's XML, for CI", "junit.xml"),
    "markdown": ReportFormat(render_markdown, "for a mail or an issue, in 72 columns"),
    "metrics": ReportFormat(render_metrics, "a line of JSON for each number of each repeat", METRICS_FILE),
    "html": ReportFormat(render_page, "a page for browsers, which needs no other file and no network", PAGE_FILE),
}


def write_reports(run: RunData, directory: RunDirectory) -> None:
    """The files that a run leaves. :raises NotReady: they cannot be written"""
    for made in FORMATS.values():
        if made.file:
            directory.write_text(made.file, made.render(run))
