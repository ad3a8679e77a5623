# SPDX-License-Identifier: GPL-2.0-or-later
"""What lists tell of cases, kept in the cache directory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from switchover.catalogue import index, places
from switchover.catalogue.case import ListedCase
from switchover.catalogue.index import list_cases
from switchover.catalogue.load import load_catalogue
from switchover.record.errors import UsageError

ROOT = Path(__file__).parents[3]
SCENARIO = """
version = 1
[scenario]
title = "Mine"
question = "Which?"
tags = ["{tag}"]
"""


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own; where files of cases are kept in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "switchover" / "catalogue"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are read for real, in their order."""
    read: list[Path] = []
    load = index._load

    def note(place: Path) -> list[ListedCase]:
        read.append(place)
        return load(place)

    monkeypatch.setattr(index, "_load", note)
    return read


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scenario file of one case, the only one there is: no other ships."""
    monkeypatch.setattr(places, "data_directory", lambda name: tmp_path / "none")
    return write(tmp_path)


def write(directory: Path, tag: str = "first") -> Path:
    place = directory / "mine.toml"
    place.write_text(SCENARIO.format(tag=tag))
    return place


def test_the_index_tells_what_the_catalogue_does(reads: list[Path]) -> None:
    """Whether it was kept or not, each case is described as if all files had been read; then none is read."""
    told = [case.describe() for case in load_catalogue().cases]
    assert [case.describe() for case in list_cases()] == told
    assert reads
    reads.clear()
    again = list_cases()
    assert [case.describe() for case in again] == told
    assert [case.is_python for case in again] == [case.function is not None for case in load_catalogue().cases]
    assert not reads


def test_a_file_that_changed(place: Path, reads: list[Path]) -> None:
    """It is read again, and no other; its old text is not told, whatever the times of the file say."""
    list_cases([place])
    before = place.stat()
    write(place.parent, "other")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    reads.clear()
    assert "other" in next(case for case in list_cases([place]) if case.group == "mine").tags
    assert reads == [place]


def test_code_that_changed(place: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With other code of the package everything is read again."""
    list_cases([place])
    reads.clear()
    monkeypatch.setattr(index, "digest_code", lambda: "other")
    list_cases([place])
    assert place in reads


def test_the_digest_is_of_all_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file below that changes, appears or gets another name changes it; what Python compiled does not."""
    (tmp_path / "room" / "__pycache__").mkdir(parents=True)
    file = tmp_path / "room" / "one.py"
    file.write_text("1")
    monkeypatch.setattr(index, "_PACKAGE", tmp_path)
    digests = [index.digest_code.__wrapped__()]
    (file.parent / "__pycache__" / "one.pyc").write_text("1")
    assert index.digest_code.__wrapped__() == digests[0]
    file.write_text("2")
    digests.append(index.digest_code.__wrapped__())
    file.rename(file.with_name("two.py"))
    digests.append(index.digest_code.__wrapped__())
    (tmp_path / "rules.json").write_text("{}")
    digests.append(index.digest_code.__wrapped__())
    assert len(set(digests)) == 4


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"key": 1}', "no cases", "half a case"])
def test_what_is_kept_is_damaged(place: Path, kept: Path, reads: list[Path], damage: str) -> None:
    """It counts as not there, and is written anew."""
    told = list_cases([place])
    for file in kept.glob("*.json"):
        entry = json.loads(file.read_text())
        if damage == "no cases":
            del entry["answer"]["cases"]
        elif damage == "half a case":
            entry["answer"]["cases"] = [{"id": "x"}]
        file.write_text(json.dumps(entry) if " " in damage and ":" not in damage else damage)
    reads.clear()
    assert [case.describe() for case in list_cases([place])] == [case.describe() for case in told]
    assert place in reads
    reads.clear()
    list_cases([place])
    assert not reads


def test_nothing_can_be_kept(place: Path, kept: Path) -> None:
    """Where the cache directory cannot be written, cases are listed all the same."""
    kept.parent.parent.write_text("in the way")
    assert [case for case in list_cases([place]) if case.group == "mine"]


def test_python_of_a_users_is_not_kept(place: Path, reads: list[Path]) -> None:
    """It may import what the index does not look at."""
    place = place.with_suffix(".py")
    place.write_text("import switchover\n\n@switchover.case()\ndef mine(context):\n    'Mine.'\n")
    list_cases([place])
    reads.clear()
    list_cases([place])
    assert reads == [place]


def test_a_file_that_is_wrong(place: Path) -> None:
    """It is named each time, as without an index."""
    place.write_text("titel = 1")
    for _ in range(2):
        with pytest.raises(UsageError, match="titel"):
            list_cases([place])


def test_python_that_ships_imports_nothing_else() -> None:
    """Files of cases that are kept import only the package and the standard library: their digests say it all."""
    allowed = {"switchover", *sys.stdlib_module_names}
    for file in (ROOT / "testcases" / "cases").glob("*.py"):
        for line in file.read_text().splitlines():
            if line.startswith(("import ", "from ")):
                assert line.split()[1].split(".")[0] in allowed


@pytest.mark.parametrize("words", [["--help"], ["list", "precopy"], ["list", "--json"]])
def test_what_is_quick_imports_little(tmp_path: Path, words: list[str]) -> None:
    """Help, and lists whose cases are kept, do without the libraries that take long to import."""
    list_cases()
    script = (
        "import sys\nfrom switchover.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted(set(sys.modules) & {'pydantic', 'paramiko', 'numpy', 'rich', 'msgspec', 'jinja2', 'asyncio'}))"
    )
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT / "harness")}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
