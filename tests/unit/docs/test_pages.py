# SPDX-License-Identifier: GPL-2.0-or-later
"""What pages say of the code: verbs, files, examples."""

import re
import shlex
from pathlib import Path

import pytest
from tests.unit.report.test_summary import FAILURE

from switchover.cli.main import VERBS, main

ROOT = Path(__file__).parents[3]
PAGES = (ROOT / "README.md", ROOT / "testcases" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
VERBS_PAGE = ROOT / "docs" / "verbs.md"
PLACES = (ROOT, ROOT / "harness" / "switchover", ROOT / "images" / "modules")
"""Where a path on a page begins."""
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}


def test_every_verb_is_on_its_page() -> None:
    """The table of verbs is complete, and names none that there is not."""
    rows = re.findall(r"^\| `\./switchover (\w+)", TEXTS[VERBS_PAGE], re.MULTILINE)
    assert set(rows) == VERBS.keys()


def test_every_benchmark_is_on_the_page_of_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    """The row of ``bench`` is complete."""
    row = next(line for line in TEXTS[VERBS_PAGE].splitlines() if line.startswith("| `./switchover bench"))
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    names = re.search(r"\{([\w,-]+)\}", "".join(capsys.readouterr().out.split()))
    assert names is not None
    assert set(names[1].split(",")) == set(re.findall(r"`([\w-]+)`", row)) | {"next"}


def test_every_option_on_a_page_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A command of this project on a page has a verb that there is, and options that its help names."""
    wrong = []
    helps: dict[str, str] = {}
    for page, words in list_commands():
        verb, *rest = words
        if verb.isupper() or verb.startswith("-"):
            continue
        if verb not in VERBS:
            wrong.append(f"{page.name}: {words}")
            continue
        key = " ".join([verb, *rest[:1]]) if verb in ("lab", "images", "bench", "irq") and rest else verb
        if key not in helps:
            with pytest.raises(SystemExit):
                main([*key.split(), "--help"])
            helps[key] = capsys.readouterr().out
        named = [option for word in rest for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", word)]
        wrong += [f"{page.name}: {key} {option}" for option in named if not has_option(helps[key], option)]
    assert not wrong
    assert len(helps) > len(VERBS)


def list_commands() -> list[tuple[Path, list[str]]]:
    """Commands in code spans and in blocks, without comments, as words."""
    found = []
    for page, text in TEXTS.items():
        for match in re.finditer(r"(?:^    (?:\S+=\S+ )?|`)(?:\./)?switchover (\w[^`\n#]*)", text, re.MULTILINE):
            found.append((page, shlex.split(match[1].replace("'", ""))))
    return found


def has_option(text: str, option: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


def test_files_that_pages_name_are_there() -> None:
    """A path or a module in a code span; words in capitals stand for something else."""
    folders = [ROOT / name for name in ("harness", "tests", "testcases", "ansible")]
    names = {path.name for folder in folders for end in ("py", "toml") for path in folder.rglob(f"*.{end}")}
    wrong = []
    for page, text in TEXTS.items():
        for name in re.findall(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|toml|c|sh|txt))`", text):
            there = any((place / name).exists() for place in PLACES)
            if not there and name not in names and name != "repro.sh" and not re.search(r"\bNAME\b", name):
                wrong.append(f"{page.name}: {name}")
    assert not wrong


def test_the_example_of_a_failure_is_one() -> None:
    """The text of the page is what the code makes, as the test of the code has it."""
    assert f"```\n{FAILURE}\n```" in TEXTS[ROOT / "docs" / "reading-a-failure.md"]
