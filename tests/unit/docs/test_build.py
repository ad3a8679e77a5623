# SPDX-License-Identifier: GPL-2.0-or-later
"""The documentation builds without a warning: links, anchors, order of headings, pages that nothing leads to."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
_WIDTHS = {"guests.md": 150}
PAPERS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def build(source: Path, result: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Build the pages of ``source`` as a site, with warnings as errors, all of them told."""
    words = ["-n", "-W", "--keep-going", "-q", "-c", str(DOCS), "-d", str(result / "trees"), *options]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", *words, str(source), str(result / "html")],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_documentation_builds(tmp_path: Path) -> None:
    """Every page, and nothing to be warned of."""
    built = build(DOCS, tmp_path)
    assert built.stderr.splitlines() == []
    assert (built.returncode, built.stdout) == (0, "")
    pages = {path.stem for path in DOCS.glob("*.md")}
    assert pages == {path.stem for path in (tmp_path / "html").glob("*.html")} - {"search", "genindex"}


WRONG = {
    "page": ("# One\n\n[there](nowhere.md)\n", "cross-reference target not found: 'nowhere.md'"),
    "anchor": ("# One\n\n[there](index.md#nowhere)\n", "local id not found in doc 'index': 'nowhere'"),
    "here": ("# One\n\n[there](#nowhere)\n", "cross-reference target not found: 'nowhere'"),
    "order": ("# One\n\n### Two\n", "Non-consecutive header level increase; H1 to H3"),
    "start": ("## One\n", "Document headings start at H2, not H1"),
    "toctree": ("# One\n\n```{toctree}\nnowhere\n```\n", "nonexisting document 'nowhere'"),
    "lost": ("# One\n", "document isn't included in any toctree"),
}


def test_what_is_wrong_ends_the_build(tmp_path: Path) -> None:
    """Links to a page or a heading that is not there, headings out of order, a page that nothing leads to."""
    source = tmp_path / "source"
    source.mkdir()
    listed = "\n".join(name for name in WRONG if name != "lost")
    (source / "index.md").write_text(f"# Index\n\n```{{toctree}}\n{listed}\n```\n")
    for name, (text, _) in WRONG.items():
        (source / f"{name}.md").write_text(text)
    built = build(source, tmp_path)
    assert built.returncode != 0
    for name, (_, warning) in WRONG.items():
        assert [line for line in built.stderr.splitlines() if f"{name}.md" in line and warning in line], name


def read_headings(page: Path) -> str:
    """The lines of a page that are headings, as what leads to it needs them."""
    parts = re.split(r"^ *```.*$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for part in parts[::2] for line in part.splitlines() if re.match("#+ ", line)]
    return "\n\n".join(lines) + "\n"


def test_links_of_papers_in_the_root(tmp_path: Path) -> None:
    """They lead to pages and headings that are there. The papers are no pages of the site, so they are tried beside
    one, of which the headings will do.
    """
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    for page in DOCS.glob("*.md"):
        (source / "docs" / page.name).write_text(read_headings(page), encoding="utf-8")
    for name in (*PAPERS, "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    built = build(source, tmp_path, "-D", "root_doc=docs/index", "-D", "suppress_warnings=toc.not_included")
    assert built.stderr.splitlines() == []
    assert built.returncode == 0


def test_lines_of_prose_are_not_overlong() -> None:
    """At most 130 characters, so that they can be read, and compared between versions, where they lie."""
    long = [
        f"{path.name}:{number}: {len(line)}"
        for path in (*sorted(DOCS.glob("*.md")), *(ROOT / name for name in PAPERS))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > _WIDTHS.get(path.name, 130) and not re.match(r"\s*\||    |  \S", line)
    ]
    assert not long
