# SPDX-License-Identifier: GPL-2.0-or-later
"""The formats of other systems in which a run can be written: a format is a file of this folder and a row here."""

from dataclasses import dataclass

from switchover.report.export.benchmarks import render_bencher, render_bigger, render_smaller
from switchover.report.export.kcidb import render_kcidb
from switchover.report.export.lava import render_lava
from switchover.report.export.tap import render_ktap, render_tap
from switchover.report.export.tmt import render_tmt
from switchover.report.export.views import Export, Exported
from switchover.report.junit import render_junit
from switchover.report.rundata import RunData


@dataclass(frozen=True)
class ExportFormat:
    render: Export
    summary: str


def _export_junit(run: RunData) -> Exported:
    return Exported(render_junit(run))


EXPORTS = {
    "junit": ExportFormat(_export_junit, "JUnit's XML, as each run leaves it"),
    "bencher": ExportFormat(render_bencher, "Bencher Metric Format"),
    "github-action-benchmark": ExportFormat(render_smaller, "its tool customSmallerIsBetter"),
    "github-action-benchmark-bigger": ExportFormat(render_bigger, "its tool customBiggerIsBetter"),
    "kcidb": ExportFormat(render_kcidb, "a report of KCIDB, version 5.3"),
    "tap": ExportFormat(render_tap, "TAP version 14"),
    "ktap": ExportFormat(render_ktap, "the kernel's KTAP version 1"),
    "tmt": ExportFormat(render_tmt, "results.json of a test of tmt with result: custom"),
    "lava": ExportFormat(render_lava, "signals that a LAVA job prints"),
}
