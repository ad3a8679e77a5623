# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover trend``: since when a number is as it is, and what changed there."""

import argparse
import json

from switchover.cli.history import add_history_argument, require_trends
from switchover.record.errors import ExitCode, UsageError
from switchover.record.paths import history_file
from switchover.report.history.store import History
from switchover.report.history.text import list_trends, render_changes, render_trends
from switchover.report.history.trend import make_trends
from switchover.report.metrics import MetricRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("case", nargs="?", default="", metavar="CASE", help="id of a case; default: all that changed")
    parser.add_argument("metric", nargs="?", default="", metavar="METRIC", help="name of a number; default: all of it")
    add_history_argument(parser)
    parser.add_argument("--json", action="store_true", help="print it as JSON, for programs")


def run(arguments: argparse.Namespace) -> int:
    """A change is no failure: that is what ``compare --fail-if-worse`` is for."""
    path = arguments.history or history_file()
    if arguments.metric:
        trends = require_trends(path, arguments.case, arguments.metric)
        text = render_trends
    else:
        with History.open(path) as history:
            names = {one.metric for one in history.list_series() if arguments.case in ("", one.case)}
            rows = [row for row in history.find_rows_of(names) if _is_asked(row, arguments.case)]
        trends = make_trends(rows)
        text = render_changes
        if not trends:
            raise UsageError(f"The history {path} has no numbers{f' of {arguments.case!r}' if arguments.case else ''}.")
    print(json.dumps(list_trends(trends), indent=1, ensure_ascii=False) if arguments.json else text(trends))
    return ExitCode.AS_EXPECTED


def _is_asked(row: MetricRow, case: str) -> bool:
    """Whose change is good or bad; of a case that is named all."""
    return row.case == case if case else row.direction != "neither"
