# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording in the terminal, as JSON and as a page."""

import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.unit.irq.made import render_trace
from tests.unit.irq.test_analysis import DATA, local, make_analysis, remote

from switchover.irq.activations import Class, Counts
from switchover.irq.analysis import analyse_file
from switchover.report.irq import render_analysis, render_analysis_json, render_bar, render_odd
from switchover.report.irqpage import render_heat_map, render_histogram, render_page

MASKS = analyse_file(DATA / "6.12-virtio-mask-changes.trace.gz")


def test_the_terminal() -> None:
    """Verdict, masks, part, latencies, cells and checks of a real recording; quiet interrupts in one line."""
    text = render_analysis(MASKS)
    assert "verdict: mixed: 37 of 46 activations local" in text
    assert "asked 1, effective 1; thread 175 FIFO 50 on 1" in text
    assert "80.4 %  ████████████████░░░░  37 of 46, 9 moved after wake-up" in text
    assert "CPU1                     ·     26      3" in text
    assert "p50 105 µs" in text
    assert "runs of thread 175: 55 in the trace, 53 to 60 counted" in text
    whole = render_analysis(analyse_file(DATA / "6.12-virtio.trace.gz"))
    assert "did not fire in the window: 1 (i8042), 4 (ttyS0)" in whole


def test_nothing_is_made_up() -> None:
    """Of a recording without activations there is no part and no latency, in no form."""
    analysis = make_analysis(render_trace([]))
    assert "did not fire" in render_analysis(analysis)
    total = json.loads(json.dumps(render_analysis_json(analysis)))["total"]
    assert total["local_percent"] is None
    assert total["latency_us"]["all"] == {"count": 0, "p50": None, "p99": None, "max": None}
    assert "<svg" not in render_page(analysis)


@pytest.mark.parametrize(("part", "full"), [(0.0, 0), (0.001, 1), (0.5, 10), (0.999, 19), (1.0, 20)])
def test_a_bar_is_full_only_if_all_is(part: float, full: int) -> None:
    assert render_bar(part) == "█" * full + "░" * (20 - full)


def test_json() -> None:
    """All that was counted, with its units in the names."""
    fields = json.loads(json.dumps(render_analysis_json(MASKS)))
    (interrupt,) = fields["interrupts"]
    assert interrupt["local_percent"] == pytest.approx(80.43, abs=0.01)
    assert {"hard": 1, "thread": 2, "count": 3} in interrupt["matrix"]
    assert interrupt["classes"]["moved after wake-up"] == 9
    assert interrupt["before"]["asked"] == "1"
    assert [check["agrees"] for check in interrupt["checks"]] == [True, True]


class _Strict(HTMLParser):
    """Counts elements, and finds what is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "#").startswith("#")
        ]
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page(tmp_path: Path) -> None:
    """Well-formed, nothing from elsewhere, no script, what comes from the machine escaped; pictures are XML."""
    page = render_page(MASKS)
    parser = _Strict()
    parser.feed(page)
    assert (parser.open, parser.outside, "<script" in page) == ([], [], False)
    assert page.count("<svg") == 2
    for svg in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + svg.partition("</svg>")[0] + "</svg>")
    trace = render_trace(local(2)).replace("virtio0", "<script>x")
    assert "<script" not in render_page(make_analysis(trace, effective="<b>"))


def test_pictures_show_each_count() -> None:
    """A cell for each pair of CPUs, the diagonal framed; a column for each doubling of latency and class."""
    counts = make_analysis(render_trace(local(3) + remote(2))).total
    assert counts.matrix == Counter({(1, 1): 3, (1, 2): 2})
    heat = render_heat_map(counts)
    assert heat.count("<rect") == 4
    assert heat.count('stroke-width="2"') == 2
    assert "hard handler on CPU 1, thread on CPU 2: 2" in heat
    histogram = render_histogram(counts)
    assert "8 µs to 16 µs, local: 3" in histogram
    assert f"64 µs to 128 µs, {Class.PLACED_REMOTE}: 2" in histogram
    assert render_histogram(Counts()) == ""


def test_what_the_fewer_ones_found() -> None:
    """Of a mixed interrupt, which tasks the hard handlers of the fewer ones interrupted; of others nothing."""
    (result,) = make_analysis(render_trace([*local(1), *remote(3)])).interrupts
    assert render_odd(result) == "local where the hard handler interrupted <idle> (1)"
    (result,) = make_analysis(render_trace([*local(3), *remote(1)])).interrupts
    assert render_odd(result) == "remote where the hard handler interrupted <idle> (1)"
    assert render_odd(make_analysis(render_trace(local(3))).interrupts[0]) == ""
