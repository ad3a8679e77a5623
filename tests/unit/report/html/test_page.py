# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of a run: whole, of itself alone, bounded, and with no text in it that becomes anything else."""

import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import make_record
from tests.unit.report.html.test_timeline import write
from tests.unit.report.test_summary import make_example
from tests.unit.runs import make_line, make_run

from switchover.record.planfile import PlanFile, PlannedComparison, PlannedScenario, write_plan
from switchover.record.record import HopRecord, Verdict, VerdictName
from switchover.record.rundir import RunDirectory
from switchover.report.html.cases import MOST_POINTS, MOST_POINTS_OF_ALL, MOST_WORDS, count_points
from switchover.report.html.page import pack, render_page
from switchover.report.rundata import read_run

EVIL = '<img src=x onerror="alert(1)"></script><b>&amp;'


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.words: list[str] = []
        self._script = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._script = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._script = ""

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.words.append(data.strip())

    def unpack(self, name: str) -> bytes:
        return zlib.decompress(base64.b64decode(self.scripts[name]))

    def details(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.unpack(f"case-{number}"))
        return found


def read(directory: RunDirectory) -> Reader:
    return Reader(render_page(read_run(directory)))


def test_the_overview_needs_no_script(tmp_path: Path) -> None:
    """Each case is a row of the table, with what it was, what it was to be, and its downtime."""
    page = read(make_example(tmp_path))
    text = " ".join(filter(None, page.words))
    assert (
        "device.pre_copy=on as expected completed completed 250.0 ms [100.0 ms … 300.0 ms] 64.0 MiB + 1.0 MiB 3/3"
        in text
    )
    assert "device.pre_copy=off not as expected hung (source) completed 0/1" in text
    assert "vcpus=2 not supported not-supported completed 0/1" in text
    assert "vcpus=3 not run not run completed 0/1" in text
    marks = [attributes["data-mark"] for tag, attributes in page.tags if tag == "tr" and "data-mark" in attributes]
    assert marks == ["ok", "bad", "none", "none"]


def test_a_case_has_all_that_its_view_shows(tmp_path: Path) -> None:
    """Checks with what was expected and observed, numbers, the failure in full, files that are there, how to repeat."""
    directory = make_example(tmp_path)
    page = read(directory)
    good, bad = page.details(0), page.details(1)
    assert [repeat["number"] for repeat in good["repeats"]] == [1, 2, 3]
    first = good["repeats"][0]
    assert first["checks"] == [["guest.boot-id", "guest is the same boot", True, "3f1c", "3f1c"]]
    assert first["migrations"][0]["numbers"][0] == ["downtime.explained", 0.25, "s", None, ""]
    assert ["bytes.wire", None] in [number[:2] for number in first["migrations"][0]["numbers"]]
    assert [part[0] for part in first["migrations"][0]["parts"]] == ["stop", "save iterable", "start"]
    hung = bad["repeats"][0]
    assert hung["failure"].startswith("NOT AS EXPECTED  device.pre_copy=off #1: expected completed, was hung")
    place, names = hung["files"][0]
    assert "destination.stderr" in names
    assert all((directory.path / place / name).is_file() for name in names)
    assert bad["repeat"] == [f"switchover repro {directory.path} device.pre_copy=off"]


def test_a_chain_has_each_of_its_migrations(tmp_path: Path) -> None:
    """With its numbers, its own evidence, and its files."""
    record = make_record()
    hops = tuple(
        HopRecord(number, record.verdict, {}, measurements=record.measurements, downtime=record.downtime)
        for number in (1, 2)
    )
    directory = make_run(tmp_path, [replace(record, hops=hops, measurements=(), downtime={})])
    (directory.repeat_path(record.case, 1) / "hop-2").mkdir()
    write(directory.repeat_path(record.case, 1) / "hop-2")
    repeat = read(directory).details(0)["repeats"][0]
    assert [one["name"] for one in repeat["migrations"]] == ["hop 1", "hop 2"]
    assert [one["timeline"] is not None for one in repeat["migrations"]] == [False, True]
    assert [place for place, _ in repeat["files"]] == ["device.pre_copy=on/01", "device.pre_copy=on/01/hop-2"]
    index = json.loads(read(directory).scripts["index"])
    assert index["parts"] == ["stop", "save iterable", "start"]


def test_markup_stays_text(tmp_path: Path) -> None:
    """In ids, scenarios, reasons and titles: no element is made of it, and none of the page's ends by it."""
    record = replace(
        make_record(EVIL),
        verdict=Verdict(VerdictName.FAILED, "source", f"it said {EVIL}"),
        mismatch=f"expected completed, was failed: {EVIL}",
    )
    plain = read(make_run(tmp_path / "plain", [make_record("x")], [make_line("x")]))
    directory = make_run(tmp_path / "evil", [record], [make_line(EVIL, scenario=f"s{EVIL}")])
    page = read(directory)
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert EVIL in page.words
    assert json.loads(page.scripts["index"])["cases"][0]["id"] == EVIL
    assert page.details(0)["repeats"][0]["reason"] == f"it said {EVIL}"
    assert not re.search(r"[<>&']", page.scripts["index"])


def test_it_needs_nothing_else(tmp_path: Path) -> None:
    """No address of anything outside is in the file, and browsers are told to load nothing; plotly is in it once."""
    directory = make_example(tmp_path)
    text = render_page(read_run(directory))
    assert not re.search(r"\b(https?|ftp|wss?):|[\"'(]//", text)
    page = Reader(text)
    loading = {"src", "srcset", "action", "data", "poster", "background"}
    assert not [tag for tag, attributes in page.tags if loading & attributes.keys()]
    assert [attributes["href"] for tag, attributes in page.tags if tag == "link"] == ["data:,"]
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert b"plotly.js v" in page.unpack("plotly")[:200]


def test_the_same_run_is_the_same_page(tmp_path: Path) -> None:
    """A report that is made again does not differ."""
    run = read_run(make_example(tmp_path))
    assert render_page(run) == render_page(run)


def test_some_cases(tmp_path: Path) -> None:
    """Those that are asked for, and how many there are in all."""
    run = read_run(make_example(tmp_path))
    page = Reader(render_page(run, [run.cases[1]]))
    assert page.details(0)["id"] == run.cases[1].id
    assert "case-1" not in page.scripts
    assert "1 case of 4" in page.words


def test_a_run_with_damage(tmp_path: Path) -> None:
    """A record that cannot be read is named, and the others are there."""
    directory = make_run(tmp_path, [make_record(), make_record("other")])
    (directory.repeat_path("other", 1) / "record.json").write_text("{")
    page = read(directory)
    assert any(word.startswith("A record cannot be read") for word in page.words)
    assert page.details(0)["id"] == "device.pre_copy=on"


def test_texts_are_bounded(tmp_path: Path) -> None:
    """What a QEMU said at length does not make the page long; the files beside have all of it."""
    long = replace(make_record(), verdict=Verdict(VerdictName.FAILED, "source", "x" * 10**6), mismatch="y" * 10**6)
    repeat = read(make_run(tmp_path, [long])).details(0)["repeats"][0]
    assert max(len(repeat[key]) for key in ("reason", "mismatch", "failure")) == MOST_WORDS


def test_points_of_many_migrations() -> None:
    """Of many, fewer are kept of each: so 1,000 cases with ten repeats each do not fill the disk."""
    assert count_points(1) == count_points(1000) == MOST_POINTS
    assert count_points(5000) * 5000 <= MOST_POINTS_OF_ALL
    assert count_points(10**9) > 1


def test_what_is_packed_is_letters() -> None:
    """HTML has no meaning for any of them."""
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", pack(EVIL.encode() * 9))


def test_what_it_ran_on_is_bounded(tmp_path: Path) -> None:
    """Of nine commits six are named, and the others counted."""
    records = [replace(make_record("a", number), fingerprint={"commit": f"c{number}"}) for number in range(1, 10)]
    words = read(make_run(tmp_path, records, [make_line("a", 9)])).words
    assert [word for word in words if re.fullmatch(r"c\d", word)] == [f"c{number}" for number in range(1, 7)]
    assert "and 3 more" in words


def test_a_case_beside_others(tmp_path: Path) -> None:
    """Parts of its downtime are medians over its repeats; what is compared is there only with all cases; a case that is
    no point of axes has none; an expectation says its side.
    """
    records = [make_record(f"arm={arm}", number, downtime=number / 10) for arm in "ab" for number in (1, 2, 6)]
    blocked = {"verdict": "blocked", "side": "source"}
    lines = [replace(make_line(f"arm={arm}", 3), expectation=blocked) for arm in "ab"]
    directory = make_run(tmp_path, [*records, make_record("plain")], [*lines, make_line("plain")])
    compared = PlannedScenario("precopy", "p.toml", "", "", 3, True, PlannedComparison("arm", "a"))
    write_plan(directory, PlanFile((compared,), (*lines, make_line("plain"))))
    run = read_run(directory)
    page = Reader(render_page(run))
    first, _, plain = json.loads(page.scripts["index"])["cases"]
    assert first["axes"] == {"arm": "a"}
    assert plain["axes"] == {}
    assert dict(first["parts"])["start"] == pytest.approx(0.2 * 0.3)
    assert "blocked (source)" in page.words
    assert "What is compared" in page.words
    assert "What is compared" not in Reader(render_page(run, run.cases[:2])).words


def test_what_checks_saw_is_bounded(tmp_path: Path) -> None:
    check = replace(make_record().checks[0], expected="x" * 1000, observed="y" * 1000)
    repeat = read(make_run(tmp_path, [replace(make_record(), checks=(check,))])).details(0)["repeats"][0]
    assert [len(text) for text in repeat["checks"][0][3:]] == [400, 400]
