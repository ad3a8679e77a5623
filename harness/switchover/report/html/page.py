# SPDX-License-Identifier: GPL-2.0-or-later
"""The page: the overview as a table that is there without scripts, and packed behind it what cases' own views take."""

import base64
import importlib.util
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from switchover.record.units import format_count
from switchover.report.comparison import compare_planned, render_comparisons
from switchover.report.html.cases import count_points, make_details, make_index, make_row
from switchover.report.html.past import read_past
from switchover.report.metrics import make_fingerprint
from switchover.report.rundata import CaseResult, RunData
from switchover.report.summary import render_counts

PAGE_FILE = "report.html"
_SCRIPTS = ("elements", "overview", "figures", "past", "case", "matrix", "ways")
"""Parts of the page's script, in this order."""
_HERE = Path(__file__).parent
_TOLD = {
    "qemu": "QEMU",
    "host_kernels": "kernel of the hosts",
    "guest_kernel": "kernel of the guest",
    "device": "device",
    "driver": "driver",
    "hosts": "hosts",
    "accelerator": "accelerator",
    "controller": "controller",
    "switchover": "Switchover",
    "commit": "commit",
}
"""Words of a fingerprint that the overview has, and what it calls them."""
_MOST_KINDS = 6
"""Of each of them, how many that differ among the repeats are told."""


def render_page(run: RunData, cases: Sequence[CaseResult] | None = None) -> str:
    """The whole file. Links to evidence are relative to the run directory; earlier runs are those of its history."""
    import jinja2

    shown = run.cases if cases is None else cases
    rows = [make_row(number, case) for number, case in enumerate(shown)]
    points = count_points(sum(max(1, len(record.hops)) for case in shown for record in case.records))
    comparisons = compare_planned(run) if cases is None else []
    past = read_past(run, shown)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        run=run,
        name=run.directory.path.name,
        rows=rows,
        counts=render_counts(run) if cases is None else f"{format_count(len(shown), 'case')} of {len(run.cases)}",
        scenarios=list(dict.fromkeys(row.scenario for row in rows)),
        verdicts=sorted({row.verdict for row in rows}),
        ground=_describe_ground(shown),
        comparisons=render_comparisons(comparisons) if comparisons else "",
        index=make_index(run, shown, rows),
        details=[pack(msgspec.json.encode(make_details(run, case, points, past))) for case in shown],
        plotly=pack(_read_plotly()),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=[(_HERE / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS],
    )


def pack(content: bytes) -> str:
    """Compressed, as letters that no HTML has a meaning for; the page unpacks what it comes to show."""
    return base64.b64encode(zlib.compress(content, 6)).decode()


def _read_plotly() -> bytes:
    """plotly.js, as the package plotly brings it; that package is not imported for it, which takes long."""
    spec = importlib.util.find_spec("plotly")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "package_data" / "plotly.min.js").read_bytes()


def _describe_ground(cases: Sequence[CaseResult]) -> dict[str, list[str]]:
    """What the repeats ran on, each word once."""
    found: dict[str, dict[str, Any]] = {key: {} for key in _TOLD}
    for case in cases:
        for record in case.records:
            words = make_fingerprint(record) if record.fingerprint else {}
            for key in _TOLD:
                if key in words:
                    found[key][words[key]] = None
    kinds = {_TOLD[key]: list(words) for key, words in found.items() if words}
    return {
        name: words if len(words) <= _MOST_KINDS else [*words[:_MOST_KINDS], f"and {len(words) - _MOST_KINDS} more"]
        for name, words in kinds.items()
    }
