# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover show``: a run again, from its directory alone."""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from switchover.cli.history import add_history_argument
from switchover.record.errors import ExitCode, UsageError
from switchover.record.paths import history_file
from switchover.record.rundir import find_run, list_runs
from switchover.report.formats import FORMATS
from switchover.report.latest import find_latest, list_cases_of
from switchover.report.matrix import choose_axes, make_cells, render_matrix
from switchover.report.rundata import CaseResult, RunData, read_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="its path, its name or a part of it, or last")
    parser.add_argument("case", nargs="?", metavar="CASE", help="an id, a part of it, or a pattern with * and ?")
    parser.add_argument("--runs", type=Path, metavar="DIRECTORY", help="where run directories are")
    told = "; ".join(f"{name}: {one.summary}" for name, one in FORMATS.items())
    parser.add_argument("--format", choices=FORMATS, default="text", help=f"{told} (default: text)")
    add_history_argument(parser)
    parser.add_argument("--json", action="store_const", dest="format", const="json", help="the same as --format json")
    parser.add_argument(
        "--markdown", action="store_const", dest="format", const="markdown", help="the same as --format markdown"
    )
    parser.add_argument(
        "--matrix",
        nargs="*",
        metavar="AXIS",
        help="show the cases as a table of two axes, and with a third one as a table for each of its values: names of "
        "the axes of rows, columns and tables; default: the first three that vary",
    )
    parser.add_argument(
        "--latest",
        action="store_true",
        help="with --matrix: of each case of the run's scenarios the newest run that came to a verdict, over all runs",
    )


def run(arguments: argparse.Namespace) -> int:
    """Whatever the run came to, showing it is no failure; 3: some of its records cannot be read."""
    found = read_run(find_run(arguments.run_name, arguments.runs))
    found = replace(found, history=arguments.history or history_file())
    cases = found.select(arguments.case) if arguments.case else None
    if arguments.matrix is not None:
        _show_matrix(arguments, found, cases)
        return ExitCode.NOT_READY if found.unreadable else ExitCode.AS_EXPECTED
    if arguments.latest:
        raise UsageError("--latest goes with --matrix only.")
    print(FORMATS[arguments.format].render(found, cases))
    return ExitCode.NOT_READY if found.unreadable else ExitCode.AS_EXPECTED


def _show_matrix(arguments: argparse.Namespace, run: RunData, cases: list[CaseResult] | None) -> None:
    """:raises UsageError: there is no such axis, or no matrix of this format"""
    if arguments.format not in ("text", "json"):
        fix = "switchover show RUN --format html: the page has it too" if arguments.format == "html" else ""
        raise UsageError(f"--matrix is shown as text or json, not as {arguments.format}.", fix=fix)
    shown = [(run, case) for case in (run.cases if cases is None else cases)]
    if arguments.latest:
        runs = list_runs(arguments.runs or run.directory.path.parent)
        wanted = list_cases_of(runs, {case.line.scenario for _, case in shown})
        latest = find_latest(
            runs, [identity for identity in wanted if not arguments.case or arguments.case in identity]
        )
        shown = [(latest[identity].run, latest[identity].case) for identity in wanted if identity in latest]
    cells = make_cells(shown)
    axes = choose_axes(cells, arguments.matrix)
    if arguments.format == "json":
        print(json.dumps({"axes": axes, "cells": [asdict(cell) for cell in cells]}, indent=1, ensure_ascii=False))
    else:
        print(render_matrix(cells, axes))
