# SPDX-License-Identifier: GPL-2.0-or-later
"""A history of 100,000 numbers made from a file of metrics, and one of them asked for; needs no lab."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from switchover.bench.figures import render_spread
from switchover.record.errors import ExitCode
from switchover.report.history.store import History
from switchover.report.metrics import MetricRow, render_row

_RUNS, _CASES, _REPEATS, _METRICS = 100, 10, 5, 20
_FINGERPRINT = {
    "controller": "AMD EPYC, 2 CPUs",
    "accelerator": "tcg,tb-size=1024, max,la57=off, 1",
    "hosts": "QEMU TCG CPU version 2.5+, 1 CPUs",
    "host_kernels": "6.12.118+deb13-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.12.118-1 (2026-11-20)",
    "qemu": "10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)",
    "settings": "0123456789ab",
    "start": "warm",
}


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    """Imported into a new file each time."""
    metrics = scratch / "metrics.jsonl"
    metrics.write_text("".join(f"{render_row(row)}\n" for row in _make_rows()))
    imports: list[float] = []
    queries: list[float] = []
    for number in range(arguments.count):
        with History.open(scratch / f"history-{number}.sqlite", make=True) as history:
            start = time.monotonic()
            history.import_from(metrics)
            imported = time.monotonic()
            history.find_rows("case-3", "metric-7")
            imports.append(imported - start)
            queries.append(time.monotonic() - imported)
    rows = _RUNS * _CASES * _REPEATS * _METRICS
    print(f"{rows:,} numbers of {_RUNS} runs")
    print(f"  import                {render_spread(imports)}")
    print(f"  a number of all runs  {render_spread(queries)}")
    return ExitCode.AS_EXPECTED


def _make_rows() -> Iterator[MetricRow]:
    for run_number in range(_RUNS):
        started = f"2026-01-01T{run_number // 60:02}:{run_number % 60:02}:00+00:00"
        words = {**_FINGERPRINT, "commit": f"{run_number:012}"}
        for case in range(_CASES):
            for repeat in range(1, _REPEATS + 1):
                for metric in range(_METRICS):
                    yield MetricRow(
                        f"run-{run_number}", started, started, "scenario", f"case-{case}", 0, repeat, "completed", True,
                        f"metric-{metric}", 0.1 * repeat, 0.01, "s", "lower", 1, "", words,
                    )  # fmt: skip
