# SPDX-License-Identifier: GPL-2.0-or-later
"""Markdown of runs and comparisons: 72 columns, and nothing that others wrote is markup."""

import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.unit.builders import make_record
from tests.unit.report.test_chain import make_chain
from tests.unit.report.test_summary import HUNG, make_example
from tests.unit.runs import make_line, make_run

from switchover.cli.main import main
from switchover.record.record import Verdict, VerdictName
from switchover.report.literal import COLUMNS, clean, render_block, render_command, render_span, wrap
from switchover.report.markdown import render_markdown
from switchover.report.rundata import read_run

TEXTS = st.one_of(
    st.text(min_size=1, max_size=200),
    st.text(alphabet="`#|<>*_[]~\\'\" \n-", min_size=1, max_size=200),
)


def find_long(text: str) -> list[str]:
    return [line for line in text.split("\n") if len(line) > COLUMNS]


def list_markup(text: str) -> set[str]:
    """Kinds of what a reader of CommonMark finds in it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return {token.type for token in tokens} | {child.type for token in tokens for child in token.children or ()}


def list_headings(text: str) -> list[tuple[str, str]]:
    tokens = MarkdownIt("commonmark").parse(text)
    return [(opened.tag, inside.content) for opened, inside in pairwise(tokens) if opened.type == "heading_open"]


OURS = {
    *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "fence"),
    *("text", "softbreak", "code_inline"),
}


@given(TEXTS)
@settings(deadline=None)
def test_any_id_and_reason(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """No line is too long, and a reader finds headings, paragraphs and code, whatever an id or a reason says."""
    case = clean(text).strip() or "x"
    record = replace(
        HUNG,
        case=case,
        verdict=Verdict(VerdictName.HUNG, "source", text),
        mismatch=f"expected completed: {text}",
        expectation={"verdict": "completed", "because": text},
    )
    run = read_run(make_run(tmp_path_factory.mktemp("runs"), [record, make_record("good")]))
    made = render_markdown(run)
    assert find_long(made) == []
    assert list_markup(made) <= OURS
    assert list_headings(made) == [
        ("h1", "Live migrations of QEMU guests"),
        ("h2", "What was run, and on what"),
        ("h2", "Numbers"),
        ("h2", "Not as expected"),
        ("h2", "How to repeat"),
    ]


@given(TEXTS)
def test_a_span_is_one_span(text: str) -> None:
    """A code span of any text is a paragraph with that span in it, short enough."""
    made = f"Case {render_span(text, 60)}"
    assert len(made) <= 65
    assert list_markup(made) <= {"paragraph_open", "paragraph_close", "inline", "text", "code_inline"}
    (inline,) = [token for token in MarkdownIt("commonmark").parse(made) if token.type == "inline"]
    assert [child.type for child in inline.children or ()] == ["text", "code_inline"]


@given(TEXTS)
def test_a_block_is_one_block(text: str) -> None:
    """A code block of any text is that block, and nothing of the text is lost but blanks."""
    lines = wrap(text, COLUMNS)
    made = render_block(lines)
    (token,) = MarkdownIt("commonmark").parse(made)
    assert token.type == "fence"
    if "`" * 20 not in text:
        assert "".join(token.content.split()) == "".join(clean(text).replace("\x00", "�").split())
    assert find_long(made) == []


@given(st.lists(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=160), min_size=1))
@settings(max_examples=40, deadline=None)
def test_a_shell_takes_a_command_as_it_was(words: list[str]) -> None:
    """A command that goes over several lines is the same command to a shell."""
    lines = render_command(["printf", "%s\\0", *words])
    assert all(len(line) <= COLUMNS for line in lines)
    done = subprocess.run(["sh", "-c", "\n".join(lines)], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words


def test_what_is_in_it(tmp_path: Path) -> None:
    """The numbers with their spread, what was not as expected with QEMU's words, and how to repeat it."""
    directory = make_example(tmp_path)
    (directory.repeat_path(HUNG.case, 1) / "source.stderr").write_text("qemu: warning: mild\nqemu: vfio: no ack\n")
    (directory.repeat_path(HUNG.case, 1) / "repro.sh").write_text("")
    made = render_markdown(read_run(directory))
    line = next(line for line in made.splitlines() if line.startswith("downtime.explained"))
    assert line.split("  ")[0] == "downtime.explained"
    assert line.split()[1:] == ["3", "250.0", "ms", "100.0", "ms", "300.0", "ms"]
    assert "bytes.wire                 0    missing" in made
    assert "QEMU said:\n\n```\nqemu: vfio: no ack\nnothing\n```" in made
    assert "mild" not in made
    assert "ack-starved: pending 0 B is below the threshold" in made
    assert made.index("repro") < made.index("repro.sh beside a repeat's record is standalone")


def test_that_a_device_is_no_hardware(tmp_path: Path) -> None:
    """Said of the reference device only, and of a lab only where there was one."""
    devices = {"source": {"devices": [{"type": "refdev-4vec"}]}}
    mine = replace(make_record(), settings=devices, fingerprint={"lab": {"images": {}}})
    assert "It is not hardware." in " ".join(render_markdown(read_run(make_run(tmp_path / "a", [mine]))).split())
    real = replace(make_record(), settings={"source": {"devices": [{"type": "", "pci": "0000:01:00.0"}]}})
    made = render_markdown(read_run(make_run(tmp_path / "b", [real])))
    assert "hardware" not in made
    assert "lab" not in made


def test_hops(tmp_path: Path) -> None:
    """Each hop of a chain has its numbers."""
    made = render_markdown(read_run(make_run(tmp_path, [make_chain("chain", 0.25, 0.5)])))
    assert made.index("hop 1") < made.index("250.0 ms") < made.index("hop 2") < made.index("500.0 ms")


def test_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--markdown is the format of that name; a case alone has its own command; compare has it too."""
    directory = make_example(tmp_path / "a")
    assert main(["show", str(directory.path), "--markdown"]) == 0
    short = capsys.readouterr().out
    assert main(["show", str(directory.path), "--format", "markdown"]) == 0
    assert capsys.readouterr().out == short
    assert main(["show", str(directory.path), "vcpus=3", "--markdown"]) == 0
    assert "device.pre_copy" not in capsys.readouterr().out
    runs = [
        make_run(
            tmp_path / name,
            [make_record("a|`b` <c>", number, downtime=number / 10) for number in range(1, 7)],
            [make_line("a|`b` <c>", 6)],
        )
        for name in ("b", "c")
    ]
    assert main(["compare", *(str(run.path) for run in runs), "--markdown"]) == 0
    made = capsys.readouterr().out
    assert find_long(made) == []
    assert list_markup(made) <= OURS
    assert "350.0 ms [100.0 ms … 600.0 ms]" in made
    assert "downtime      can't tell" in made
    assert made.count("## How to repeat") == 2
