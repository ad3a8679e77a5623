# SPDX-License-Identifier: GPL-2.0-or-later
"""The fault scenarios of the catalogue with one guest: cells run and right."""

import argparse
from pathlib import Path

from switchover.cli.bench.figures import render_spread
from switchover.lab.borrow import borrow_lab
from switchover.record.errors import ExitCode
from switchover.record.log import say
from switchover.run.pair import pair_of_lab
from switchover.run.series import load_matrix, run_series


def run(arguments: argparse.Namespace, _scratch: Path) -> int:
    outcomes = []
    with borrow_lab() as lab:
        for outcome in run_series(load_matrix() * arguments.count, pair_of_lab(lab)):
            outcomes.append(outcome)
            right = f"NOT AS EXPECTED: {outcome.mismatch}" if outcome.mismatch else "right"
            say(f"{outcome.case.id}: {outcome.verdict.name} {outcome.verdict.side}, {right} ({outcome.seconds:.1f} s)")
    wrong = [outcome for outcome in outcomes if outcome.mismatch]
    times = render_spread([one.seconds for one in outcomes])
    print(f"{len(outcomes)} cells run, {len(outcomes) - len(wrong)} right; {times}")
    return ExitCode.NOT_AS_EXPECTED if wrong else ExitCode.AS_EXPECTED
