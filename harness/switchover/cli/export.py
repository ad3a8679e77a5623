# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover export``: a run in the format of another system, from its directory alone."""

import argparse
import sys
from pathlib import Path

from switchover.record.errors import ExitCode, UsageError
from switchover.record.rundir import find_run
from switchover.report.export.table import EXPORTS
from switchover.report.rundata import read_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="its path, its name or a part of it, or last")
    told = "; ".join(f"{name}: {one.summary}" for name, one in EXPORTS.items())
    parser.add_argument("--as", dest="format", choices=EXPORTS, required=True, metavar="FORMAT", help=told)
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write it (default: standard output)")
    parser.add_argument("--runs", type=Path, metavar="DIRECTORY", help="where run directories are")


def run(arguments: argparse.Namespace) -> int:
    """Whatever the run came to, writing it is no failure; 3: some of its records cannot be read."""
    found = read_run(find_run(arguments.run_name, arguments.runs))
    exported = EXPORTS[arguments.format].render(found)
    text = f"{exported.text.rstrip()}\n"
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        _write(arguments.output, text)
    for what in exported.left_out:
        print(f"left out: {what}", file=sys.stderr)
    return ExitCode.NOT_READY if found.unreadable else ExitCode.AS_EXPECTED


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written.", why=str(error)) from error
