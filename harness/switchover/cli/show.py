# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover show``: a run again, from its directory alone."""

import argparse
from dataclasses import replace
from pathlib import Path

from switchover.cli.history import add_history_argument
from switchover.record.errors import ExitCode
from switchover.record.paths import history_file
from switchover.record.rundir import find_run
from switchover.report.formats import FORMATS
from switchover.report.rundata import read_run


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


def run(arguments: argparse.Namespace) -> int:
    """Whatever the run came to, showing it is no failure; 3: some of its records cannot be read."""
    found = read_run(find_run(arguments.run_name, arguments.runs))
    found = replace(found, history=arguments.history or history_file())
    cases = found.select(arguments.case) if arguments.case else None
    print(FORMATS[arguments.format].render(found, cases))
    return ExitCode.NOT_READY if found.unreadable else ExitCode.AS_EXPECTED
