# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover explain``."""

import json
from pathlib import Path

import pytest
from tests.unit.devices.test_abilities import ANSWERS, render

from switchover.cli.main import main


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept, and an inventory, are not the user's own."""
    for name in ("CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


@pytest.fixture
def program(tmp_path: Path) -> str:
    """A program that answers QMP on its standard streams with what a QEMU would, whatever it is asked."""
    (tmp_path / "answers").write_text(render(ANSWERS))
    path = tmp_path / "qemu-system-x86_64"
    path.write_text(f"#!/bin/sh\ncat >/dev/null\ncat {tmp_path}/answers\n")
    path.chmod(0o755)
    return str(path)


def test_named_qemus_need_no_host(capsys: pytest.CaptureFixture[str]) -> None:
    """What is kept of them is explained, for people and for programs; the outcome of migrations is no exit code."""
    assert main(["explain", "compat", "qemu-10.0", "qemu-11.1"]) == 0
    assert "the newest of 14 machine types that both have" in capsys.readouterr().out
    assert main(["explain", "compat", "qemu-10.0", "qemu-11.1", "pc-q35-9.2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["machine"] == "pc-q35-9.2"


def test_a_binary_of_this_machine_is_asked(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By its path, or as a program of the host ``local``."""
    for word in (program, f"local:{program}"):
        assert main(["explain", "compat", word, "qemu-11.1", "pc-q35-10.0"]) == 0
        assert f"{word} (A, 10.0.13) and qemu-11.1 (B, 11.1.3)" in capsys.readouterr().out


def test_all_that_a_machine_type_sets(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of other devices, which is left out unless it is asked for."""
    words = ["explain", "compat", program, program, "pc-q35-8.0", "--json"]
    names = []
    for more in ([], ["--all"]):
        assert main([*words, *more]) == 0
        parts = json.loads(capsys.readouterr().out)["parts"]
        names.append([part["name"] for part in parts])
    assert names == [["vfio-pci.x-allow-pre-copy"], ["e1000e.migrate-timadj", "vfio-pci.x-allow-pre-copy"]]


@pytest.mark.parametrize(
    ("words", "code", "what", "fix"),
    [
        (["qemu-12", "qemu-11.1"], 2, "There is no QEMU 'qemu-12'", "HOST:PROGRAM"),
        (["/no/such/qemu", "qemu-11.1"], 3, "local has no /no/such/qemu", "--version"),
        (["/bin/true", "qemu-11.1"], 3, "does not answer QMP as QEMU does", "--version"),
        (["/bin/false", "qemu-11.1"], 3, "does not start", "--version"),
        (["nohost:qemu", "qemu-11.1"], 2, "There is no host 'nohost'", "switchover hosts"),
        (["qemu-10.0", "qemu-11.1", "pc-q35-11.1"], 2, "qemu-10.0 has no machine type", "name one that both have"),
        (["qemu-10.0", "qemu-11.1", "--all"], 3, "--all has to ask qemu-10.0 itself", "--lab default"),
    ],
)
def test_what_cannot_be_explained(
    words: list[str], code: int, what: str, fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What happened, why, and what to do; a mistake of the user is told from a binary that is not there."""
    assert main(["explain", "compat", *words]) == code
    told = capsys.readouterr().err
    assert what in told
    assert "fix: " in told
    assert fix in told
