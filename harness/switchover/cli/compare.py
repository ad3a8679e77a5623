# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover compare``: arms of a run, or the cases that two runs have in common."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from switchover.cli.arguments import parse_percent
from switchover.record.errors import ExitCode, UsageError
from switchover.record.paths import history_file
from switchover.record.rundir import find_run
from switchover.report.comparison import compare_runs, render_comparisons, require_comparison
from switchover.report.gate.markdown import render_gated
from switchover.report.gate.questions import GATED, ask_arms, ask_runs, choose_metrics, take_earlier
from switchover.report.gate.rules import Question, Word, judge
from switchover.report.gate.text import list_gate, render_gate
from switchover.report.history.store import History
from switchover.report.markdown import render_compared
from switchover.report.metrics import list_metrics
from switchover.report.rundata import RunData, read_run


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
    gate = parser.add_argument_group("gate", "fail where a number has become worse (docs/gate.md)")
    gate.add_argument(
        "--fail-if-worse",
        type=parse_percent,
        metavar="PERCENT",
        help="exit with 1 if a number is worse than the baseline by more than this, such as 5%%, beyond doubt",
    )
    gate.add_argument(
        "--metric", action="append", default=[], metavar="NAME", help=f"judge this number; default: {', '.join(GATED)}"
    )
    gate.add_argument("--require-decision", action="store_true", help="exit with 1 also where it cannot be told")
    gate.add_argument(
        "--history",
        nargs="?",
        type=Path,
        const=history_file(),
        metavar="FILE",
        help="the baseline is what earlier runs in this history had; default: the one beside the runs",
    )
    told = parser.add_mutually_exclusive_group()
    told.add_argument("--json", action="store_true", help="print all numbers as JSON, for programs")
    told.add_argument("--markdown", action="store_true", help="print it for a mail or an issue, in 72 columns")


def run(arguments: argparse.Namespace) -> int:
    """A difference is no failure, unless :option:`--fail-if-worse` makes it one."""
    if arguments.fail_if_worse is not None:
        return _gate(arguments, arguments.fail_if_worse)
    if arguments.metric or arguments.require_decision or arguments.history:
        raise UsageError("--metric, --require-decision and --history have no effect without --fail-if-worse.")
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


def _gate(arguments: argparse.Namespace, bound: float) -> int:
    """RUN's arms against their baseline, RUN2 against RUN, or RUN against earlier runs."""
    runs = [first := read_run(find_run(arguments.run_name, arguments.runs))]
    if arguments.history:
        if arguments.other or arguments.axis or arguments.baseline:
            raise UsageError("With --history the baseline is its runs: RUN2, --axis and --baseline have no effect.")
        questions, against = _ask_history(first, arguments)
    elif arguments.other is None:
        questions, against = _ask_arms(first, arguments)
    elif arguments.axis or arguments.baseline:
        raise UsageError("With two runs the first is the baseline: --axis and --baseline have no effect.")
    else:
        runs.append(second := read_run(find_run(arguments.other, arguments.runs)))
        known = {case.id for case in first.cases}
        cases = [case.id for case in second.cases if case.id in known]
        rows, baseline = list(list_metrics(second)), list(list_metrics(first))
        questions = ask_runs(rows, baseline, cases, choose_metrics([*baseline, *rows], arguments.metric))
        against = first.directory.path.name
    if not questions:
        raise UsageError("There is nothing to judge.", why="no case that is on both sides has one of the numbers")
    findings = judge(questions, bound)
    if arguments.json:
        print(json.dumps(list_gate(findings, bound, against), indent=1, ensure_ascii=False))
    elif arguments.markdown:
        print(render_gated(findings, bound, against, runs))
    else:
        print(render_gate(findings, bound, against))
    fails = {Word.WORSE, Word.CANNOT_TELL} if arguments.require_decision else {Word.WORSE}
    return ExitCode.NOT_AS_EXPECTED if any(one.word in fails for one in findings) else ExitCode.AS_EXPECTED


def _ask_history(run: RunData, arguments: argparse.Namespace) -> tuple[list[Question], str]:
    rows = list(list_metrics(run))
    metrics = choose_metrics(rows, arguments.metric)
    with History.open(arguments.history) as history:
        earlier = list(take_earlier(history.find_rows_of(metrics), run.head.started))
    return ask_runs(rows, earlier, [case.id for case in run.cases], metrics), "earlier runs"


def _ask_arms(run: RunData, arguments: argparse.Namespace) -> tuple[list[Question], str]:
    comparisons = require_comparison(run, arguments.axis, arguments.baseline)
    rows = list(list_metrics(run))
    names = ", ".join(dict.fromkeys(f"{one.axis} {one.baseline}" for one in comparisons))
    return ask_arms(rows, comparisons, choose_metrics(rows, arguments.metric)), names
