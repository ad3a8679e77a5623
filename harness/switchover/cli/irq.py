# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover irq``: where the threads of a machine's interrupts run; recorded over SSH, explained from the file.

``switchover irq conditions`` is in :mod:`switchover.cli.irqconditions`.
"""

import argparse
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from switchover.cli import irqconditions
from switchover.cli.hosts import add_login_arguments, open_named_host
from switchover.irq.analysis import Analysis, Placement, analyse_file
from switchover.irq.recorder import Subject, record
from switchover.record.errors import ExitCode, UsageError
from switchover.record.log import say, step
from switchover.report.irq import render_analysis, render_analysis_json
from switchover.report.irqpage import render_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True)
    recorder = kinds.add_parser("record", help="trace the interrupts of a host or guest for some seconds, then report")
    add_login_arguments(recorder)
    recorder.add_argument(
        "--irq",
        action="append",
        default=[],
        metavar="WORD",
        help="record this interrupt: its number, or a part of its name such as virtio0; may be given several times "
        "(default: all threaded interrupts)",
    )
    recorder.add_argument(
        "--seconds", type=_parse_seconds, default=10.0, metavar="N", help="how long to record; default: 10"
    )
    recorder.add_argument(
        "--buffer",
        type=int,
        default=0,
        metavar="KIB",
        help="size of the trace buffer of each CPU (default: by the rate of interrupts)",
    )
    recorder.add_argument(
        "--output", type=Path, metavar="FILE", help="write the recording here; default: irq-HOST-TIME.trace.gz"
    )
    reporter = kinds.add_parser("report", help="explain a recording again; needs no host")
    reporter.add_argument("file", type=Path, metavar="FILE", help="a recording that irq record wrote")
    irqconditions.add_arguments(
        kinds.add_parser("conditions", help="boot guests, bring them into conditions that are known, and judge each")
    )
    for verb in (recorder, reporter):
        verb.add_argument("--json", action="store_true", help="print everything as JSON, for programs")
        verb.add_argument("--html", type=Path, metavar="PAGE", help="also write a page with heat maps and histograms")
        verb.add_argument(
            "--require-local",
            type=_parse_percent,
            metavar="PERCENT",
            help="exit with 1 unless at least this percentage of the activations of each interrupt that fired is local",
        )


def _parse_seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("more than 0, at most a day")
    return value


def _parse_percent(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError("from 0 to 100")
    return value


def run(arguments: argparse.Namespace) -> int:
    if arguments.kind == "conditions":
        return irqconditions.run(arguments)
    path: Path = arguments.file if arguments.kind == "report" else _record(arguments)
    analysis = analyse_file(path)
    if arguments.html:
        _write_page(arguments.html, analysis)
    if arguments.json:
        print(json.dumps(render_analysis_json(analysis), indent=1))
    else:
        print(render_analysis(analysis))
    return judge(analysis, arguments.require_local)


def _record(arguments: argparse.Namespace) -> Path:
    def tell(subject: Subject) -> None:
        names = ", ".join(f"{one.number} ({','.join(one.actions)})" for one in subject.chosen)
        say(f"interrupts {names}; {subject.rate:.0f}/s on the busiest CPU")

    with open_named_host(arguments) as host, step(f"recording {host.name} for {arguments.seconds:g} s"):
        path: Path = arguments.output or Path(_name_file(host.name))
        record(host, path, arguments.seconds, arguments.irq, buffer_kib=arguments.buffer, attempt=tell)
    say(f"the recording is {path}; again: switchover irq report {path}")
    return path


def _name_file(host: str) -> str:
    return f"irq-{re.sub(r'[^A-Za-z0-9.-]+', '-', host)}-{datetime.now(UTC):%Y%m%dT%H%M%S}.trace.gz"


def _write_page(path: Path, analysis: Analysis) -> None:
    try:
        path.write_text(render_page(analysis), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written.", why=error.strerror or str(error)) from error
    say(f"the page is {path}")


def judge(analysis: Analysis, percent: float | None) -> int:
    """3: no number of the recording counts, or nothing can be said; 1: less local than was required."""
    if analysis.verdict is Placement.INVALID:
        return ExitCode.NOT_READY
    if percent is None:
        return ExitCode.AS_EXPECTED
    if analysis.verdict is Placement.STARVED:
        return ExitCode.NOT_AS_EXPECTED
    parts = [result.local_part for result in analysis.interrupts if result.local_part is not None]
    if not parts:
        return ExitCode.NOT_READY
    return ExitCode.AS_EXPECTED if min(parts) * 100 >= percent else ExitCode.NOT_AS_EXPECTED
