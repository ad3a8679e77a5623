# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover compare``: arms of a run, or the cases that two runs have in common."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from switchover.record.errors import ExitCode, UsageError
from switchover.record.rundir import find_run
from switchover.report.comparison import compare_runs, render_comparisons, require_comparison
from switchover.report.markdown import render_compared
from switchover.report.rundata import read_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="the run: its path, its name, a part of its name, or last")
    parser.add_argument("other", nargs="?", metavar="RUN2", help="a second run: compare its cases with those of RUN")
    parser.add_argument(
        "--axis", default="", metavar="AXIS", help="compare the values of this axis; default: that of the scenario"
    )
    parser.add_argument(
        "--baseline", default="", metavar="VALUE", help="compare the other values of the axis with this one"
    )
    parser.add_argument("--runs", type=Path, metavar="DIRECTORY", help="the directory that holds the run directories")
    told = parser.add_mutually_exclusive_group()
    told.add_argument("--json", action="store_true", help="print all numbers as JSON, for programs")
    told.add_argument("--markdown", action="store_true", help="print it for a mail or an issue, in 72 columns")


def run(arguments: argparse.Namespace) -> int:
    """A difference is no failure."""
    runs = [first := read_run(find_run(arguments.run_name, arguments.runs))]
    if arguments.other is None:
        found = require_comparison(first, arguments.axis, arguments.baseline)
    elif arguments.axis or arguments.baseline:
        raise UsageError("With two runs the first is the baseline: --axis and --baseline have no effect.")
    else:
        runs.append(read_run(find_run(arguments.other, arguments.runs)))
        found = compare_runs(*runs)
    if arguments.json:
        print(json.dumps([asdict(comparison) for comparison in found], indent=1, ensure_ascii=False))
    elif arguments.markdown:
        print(render_compared(found, runs))
    else:
        print(render_comparisons(found))
    return ExitCode.AS_EXPECTED
