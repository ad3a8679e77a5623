# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover history``: numbers of many runs: what there is, one of them run by run, and adding runs."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from switchover.record.errors import ExitCode, UsageError
from switchover.record.log import say
from switchover.record.paths import history_file
from switchover.record.units import format_count
from switchover.report.history.keeping import KEEPING_HELP
from switchover.report.history.store import History
from switchover.report.history.text import list_trends, render_series, render_trends
from switchover.report.history.trend import Trend, make_trends


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CASE METRIC",
        help="show this number of this case, run by run; or import PLACE…: add metrics.jsonl, run directories, or "
        "another history; nothing: list what there is",
    )
    add_history_argument(parser)
    parser.add_argument("--json", action="store_true", help="print it as JSON, for programs")


def add_history_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--history", type=Path, metavar="FILE", help="the history; default: beside the runs")


def add_keeping_argument(parser: argparse.ArgumentParser) -> None:
    """Of verbs that make a run."""
    parser.add_argument("--history", metavar="FILE", help=KEEPING_HELP)


def run(arguments: argparse.Namespace) -> int:
    path = arguments.history or history_file()
    match arguments.words:
        case []:
            _list(path, as_json=arguments.json)
        case ["import", *places] if places:
            _import(path, [Path(place) for place in places])
        case [case, metric]:
            trends = require_trends(path, case, metric)
            print(
                json.dumps(list_trends(trends), indent=1, ensure_ascii=False)
                if arguments.json
                else render_trends(trends)
            )
        case _:
            raise UsageError("history takes a CASE and a METRIC, import and places, or nothing.")
    return ExitCode.AS_EXPECTED


def _list(path: Path, *, as_json: bool) -> None:
    with History.open(path) as history:
        series, runs = history.list_series(), history.count_runs()
    print(json.dumps([asdict(one) for one in series], indent=1) if as_json else render_series(series, runs))


def _import(path: Path, places: list[Path]) -> None:
    with History.open(path, make=True) as history:
        for place in places:
            say(f"{place}: {format_count(history.import_from(place), 'run')} added to {path}")


def require_trends(path: Path, case: str, metric: str) -> list[Trend]:
    """Of a number of a case, of each hop if it is a chain. :raises UsageError: there is none"""
    with History.open(path) as history:
        series = history.list_series()
        hops = sorted({one.hop for one in series if (one.case, one.metric) == (case, metric)})
        rows = [row for hop in hops for row in history.find_rows(case, metric, hop=hop)]
    if not rows:
        known = sorted({one.metric for one in series if one.case == case})
        cases = sorted({one.case for one in series if case in one.case})
        why = f"its numbers: {', '.join(known)}" if known else f"cases like it: {', '.join(cases[:4]) or 'none'}"
        raise UsageError(f"The history {path} has no {metric!r} of {case!r}.", why=why)
    if not (trends := make_trends(rows)):
        raise UsageError(f"No repeat of {case!r} that completed has a value of {metric!r}.")
    return trends
