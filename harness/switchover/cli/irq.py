# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover irq``: where the threads of a machine's interrupts run; recorded over SSH, explained from the file.

``switchover irq conditions`` is in :mod:`switchover.cli.irqconditions`.
"""

import argparse
import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from switchover.cli import irqconditions
from switchover.cli.hosts import add_login_arguments, open_named_host
from switchover.irq.analysis import Analysis, Placement, analyse_file
from switchover.irq.columns import HEADER_LINES, KNOWN, Columns, parse_columns, parse_header
from switchover.irq.forbidden import Forbidden, find_forbidden
from switchover.irq.recorder import Subject, record
from switchover.irq.state import parse_cpus
from switchover.record.errors import ExitCode, UsageError
from switchover.record.log import say, step
from switchover.report.irq import render_analysis, render_analysis_json, render_forbidden
from switchover.report.irqpage import render_page

_CPUS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


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
    reporter = kinds.add_parser("report", help="explain a recording, or a trace that others made; needs no host")
    reporter.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a recording that irq record wrote; or the text of the kernel's trace or trace_pipe, or of trace-cmd "
        "report; or a trace.dat, if trace-cmd is installed",
    )
    reporter.add_argument(
        "--columns",
        metavar="NAME,NAME…|FILE",
        help="latency columns of a trace without a header, as the header of the kernel's trace has them from top to "
        f"bottom, of {', '.join(KNOWN)}; or a file that begins with that header",
    )
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
        verb.add_argument(
            "--forbid-cpus",
            type=_parse_cpus,
            metavar="LIST",
            help="exit with 1 if a hard handler or a thread of these interrupts was on one of these CPUs, such as 2-3; "
            "--irq may then name interrupts without a thread",
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


def _parse_cpus(text: str) -> frozenset[int]:
    parts = [_CPUS.fullmatch(part) for part in text.split(",")]
    if not all(part and int(part[1]) <= int(part[2] or part[1]) for part in parts):
        raise argparse.ArgumentTypeError(f"a list of CPUs such as 2-3,5 (it is {text!r})")
    return parse_cpus(text)


def run(arguments: argparse.Namespace) -> int:
    if arguments.kind == "conditions":
        return irqconditions.run(arguments)
    if arguments.kind == "report":
        analysis = analyse_file(arguments.file, columns=_read_columns(arguments.columns))
    else:
        analysis = analyse_file(_record(arguments))
    forbidden = find_forbidden(analysis, arguments.forbid_cpus) if arguments.forbid_cpus else None
    if arguments.html:
        _write_page(arguments.html, analysis)
    if arguments.json:
        print(json.dumps(render_analysis_json(analysis, forbidden), indent=1))
    else:
        print(render_analysis(analysis))
        if forbidden:
            print(f"\n{render_forbidden(forbidden)}")
    return judge(analysis, arguments.require_local, forbidden)


def _read_columns(word: str | None) -> Columns | None:
    if word is None:
        return None
    path = Path(word)
    if not path.is_file():
        return parse_columns(word)
    with path.open(encoding="utf-8", errors="replace") as file:
        columns = parse_header(line.rstrip() for line in itertools.islice(file, HEADER_LINES))
    if columns is None:
        raise UsageError(f"--columns: {path} has no header of the kernel's trace that says it.")
    return columns


def _record(arguments: argparse.Namespace) -> Path:
    def tell(subject: Subject) -> None:
        names = ", ".join(f"{one.number} ({','.join(one.actions)})" for one in subject.chosen)
        say(f"interrupts {names}; {subject.rate:.0f}/s on the busiest CPU")

    with open_named_host(arguments) as host, step(f"recording {host.name} for {arguments.seconds:g} s"):
        path: Path = arguments.output or Path(_name_file(host.name))
        record(
            host,
            path,
            arguments.seconds,
            arguments.irq,
            buffer_kib=arguments.buffer,
            unthreaded=bool(arguments.forbid_cpus),
            attempt=tell,
        )
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


def judge(analysis: Analysis, percent: float | None, forbidden: Forbidden | None = None) -> int:
    """3: no number of the recording counts, or nothing can be said; 1: less local than was required, or on CPUs that
    were forbidden.
    """
    if analysis.verdict is Placement.INVALID:
        return ExitCode.NOT_READY
    if forbidden and forbidden.trespassers:
        return ExitCode.NOT_AS_EXPECTED
    if percent is not None and analysis.verdict is Placement.STARVED:
        return ExitCode.NOT_AS_EXPECTED
    parts = [result.local_part for result in analysis.interrupts if result.local_part is not None]
    if percent is not None and parts and min(parts) * 100 < percent:
        return ExitCode.NOT_AS_EXPECTED
    fired = any(result.fired for result in analysis.interrupts)
    if (percent is not None and not parts) or (forbidden and not fired):
        return ExitCode.NOT_READY
    return ExitCode.AS_EXPECTED
