# SPDX-License-Identifier: GPL-2.0-or-later
"""The documentation builds without a warning: links, anchors, order of headings, pages that nothing leads to."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def build(source: Path, result: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build the pages of ``source`` as a site, with warnings as errors, all of them told."""
    words = ["-n", "-W", "--keep-going", "-q", "-c", str(DOCS), "-d", str(result / "trees"), *options]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", *words, str(source), str(result / "html")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_documentation_builds(tmp_path: Path) -> None:
    """Every page, and nothing to be warned of."""
    built = build(DOCS, tmp_path)
    assert built.stderr.splitlines() == []
    assert (built.returncode, built.stdout) == (0, "")
    pages = {path.stem for path in DOCS.glob("*.md")}
    assert pages == {path.stem for path in (tmp_path / "html").glob("*.html")} - {"search", "genindex"}


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("# One\n\n[there](nowhere.md)\n", "nowhere.md"),
        ("# One\n\n[there](two.md#nowhere)\n", "nowhere"),
        ("# One\n\n[there](#nowhere)\n", "nowhere"),
        ("# One\n\n### Two\n", "Non-consecutive header level increase"),
        ("## One\n", "Document headings start at H2"),
        ("# One\n\n```{toctree}\nnowhere\n```\n", "nonexisting document 'nowhere'"),
    ],
)  # fmt: skip
def test_what_is_wrong_ends_the_build(tmp_path: Path, text: str, warning: str) -> None:
    """Links to a page or an anchor that is not there, and headings out of order."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text(f"{text}\n```{{toctree}}\ntwo\n```\n")
    (source / "two.md").write_text("# Two\n\n## Here\n")
    built = build(source, tmp_path)
    assert built.returncode != 0
    assert warning in built.stderr


def test_a_page_that_nothing_leads_to_ends_the_build(tmp_path: Path) -> None:
    """A new page has to be put into the index."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text("# One\n")
    (source / "two.md").write_text("# Two\n")
    built = build(source, tmp_path)
    assert built.returncode != 0
    assert "two.md: WARNING: document isn't included in any toctree" in built.stderr


def test_links_of_the_readme(tmp_path: Path) -> None:
    """They lead to pages and headings that are there. The README is no page of the site, so it is tried beside one."""
    source = tmp_path / "source"
    shutil.copytree(DOCS, source / "docs", ignore=shutil.ignore_patterns("conf.py"))
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    built = build(source, tmp_path, "-D", "root_doc=docs/index", "-D", "suppress_warnings=toc.not_included")
    assert built.stderr.splitlines() == []
    assert built.returncode == 0


def test_lines_of_prose_are_not_overlong() -> None:
    """At most 130 characters, so that they can be read, and compared between versions, where they lie."""
    long = [
        f"{path.name}:{number}: {len(line)}"
        for path in (*sorted(DOCS.glob("*.md")), ROOT / "README.md")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 130 and not re.match(r"\s*\||    |  \S", line)
    ]
    assert not long
