# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover show``: a run again, from its directory alone."""

import argparse
from pathlib import Path

from switchover.record.errors import ExitCode
from switchover.record.rundir import find_run
from switchover.report.rundata import read_run
from switchover.report.summary import render_cases_in_full, render_json, render_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="the run: its path, its name, a part of its name, or last")
    parser.add_argument(
        "case",
        nargs="?",
        metavar="CASE",
        help="show this case in full: its id, a part of its id, or a pattern with * and ?",
    )
    parser.add_argument("--runs", type=Path, metavar="DIRECTORY", help="the directory that holds the run directories")
    parser.add_argument("--json", action="store_true", help="print everything as JSON, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Whatever the run came to, showing it is no failure."""
    found = read_run(find_run(arguments.run_name, arguments.runs))
    cases = found.select(arguments.case) if arguments.case else list(found.cases)
    if arguments.json:
        print(render_json(found, cases))
    elif arguments.case:
        print(render_cases_in_full(found, cases))
    else:
        print(render_run(found))
    return ExitCode.AS_EXPECTED
