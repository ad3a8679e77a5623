# SPDX-License-Identifier: GPL-2.0-or-later
"""Verbs that need no lab: what they print and how they end."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from switchover.cli.main import main
from switchover.lab.labfile import LabFile
from switchover.lab.recipes import RECIPES
from switchover.record.paths import labs_directory


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache and an empty state, away from the user's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def dead_lab(tmp_path: Path) -> LabFile:
    """A lab whose processes are gone."""
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    file = LabFile("default", "switchover-lab-none", str(sockets), 0, {}, {"accel": "tcg"}, ["hosta"], {"hosta": 7})
    directory = labs_directory() / "default"
    directory.mkdir(parents=True)
    (directory / "lab.json").write_text(json.dumps(asdict(file)))
    return file


def test_images_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Every image is listed, built or not, for people and for programs."""
    assert main(["images", "list"]) == 0
    text = capsys.readouterr().out
    assert text.count("not built") == len(RECIPES)
    assert main(["images", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(RECIPES)
    assert not any(row["built"] for row in rows)


def test_images_build_of_an_unknown_one(capsys: pytest.CaptureFixture[str]) -> None:
    """An image that does not exist is the user's mistake, with those that do."""
    assert main(["images", "build", "no-such"]) == 2
    assert "Allowed: buildroot" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["qemu-11.1", "--patch", "p"], "needs --patch, --source or --tree"),
        (["qemu", "--name", "qemu-x"], "needs --patch, --source or --tree"),
        (["qemu"], "needs --patch, --source or --tree"),
        (["qemu", "kernel", "--patch", "p"], "needs --patch, --source or --tree"),
        (["qemu", "--patch", "/no/such"], "There is no patch /no/such"),
        (["kernel", "--patch", "/no/such"], "There is no patch /no/such"),
        (["kernel", "--patch", "p", "--name", "qemu-x"], "The name 'qemu-x' cannot be used"),
        (["kernel", "--tree", "/"], "--tree cannot be used for a kernel"),
    ],
)
def test_images_build_of_ones_own(capsys: pytest.CaptureFixture[str], words: list[str], why: str) -> None:
    """What it is to be made of goes with the name ``qemu`` or ``kernel``, and has to be there."""
    assert main(["images", "build", *words]) == 2
    assert why in capsys.readouterr().err


def test_images_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty store frees nothing."""
    assert main(["images", "clean", "--all"]) == 0
    assert capsys.readouterr().out == "0 B freed\n"


def test_no_lab(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a lab, its status says so, and stopping or entering one is the user's mistake."""
    assert main(["lab", "status"]) == 0
    assert capsys.readouterr().out == "no lab is running\n"
    assert main(["lab", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["lab", "down"]) == 2
    assert main(["lab", "ssh", "hosta"]) == 2
    assert main(["lab", "down", "--all"]) == 0


@pytest.mark.usefixtures("dead_lab")
def test_a_dead_lab(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A lab whose processes are gone is shown as dead, cannot be entered, and goes with ``down``."""
    assert main(["lab", "status", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["state"]) == ("default", "dead")
    assert main(["lab", "ssh", "hosta"]) == 2
    assert "is dead" in capsys.readouterr().err
    assert main(["lab", "down"]) == 0
    assert "nothing is left" in capsys.readouterr().out
    assert not (labs_directory() / "default").exists()
    assert not (tmp_path / "sockets").exists()


@pytest.mark.parametrize("words", [["demo", "--repeats", "0"], ["demo", "--repeats", "x"]])
def test_numbers(words: list[str]) -> None:
    """A number of repeats that makes no sense is the user's mistake."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
