# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion of the installed command in a real zsh and a real fish. That of bash is among the unit tests."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.fronts.environment import Environment
from tests.unit.runs import make_line, make_run

LONGEST_S = 120
"""For a completion, on a machine that is busy with other things; the first of a verb imports it."""
_SHOW = "\x18\x18"  # Ctrl-X twice, which is bound to a widget that writes the line down


@pytest.fixture
def place(with_pytest: Environment, tmp_path: Path) -> Path:
    """A directory with a file of cases, and ``programs`` with the command and with the shell code of it."""
    (tmp_path / "mine.toml").touch()
    for folder in ("programs", "with blank"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "switchover").symlink_to(with_pytest.python.parent / "switchover")
    for shell in ("zsh", "fish"):
        done = with_pytest.run("switchover", "completion", shell, directory=tmp_path)
        (tmp_path / f"code.{shell}").write_text(done.stdout)
    return tmp_path


def make_variables(environment: Environment, place: Path, *, in_path: bool) -> Mapping[str, str]:
    path = "/usr/local/bin:/usr/bin:/bin"
    return environment.variables | {
        "PATH": f"{place / 'programs'}:{path}" if in_path else path,
        "HOME": str(place), "XDG_CACHE_HOME": str(place / "cache"), "XDG_CONFIG_HOME": str(place / "config"),
        "XDG_DATA_HOME": str(place / "data"), "XDG_STATE_HOME": str(place / "state"), "TERM": "dumb",
    }  # fmt: skip


def complete_in_fish(environment: Environment, place: Path, line: str, *, in_path: bool = True) -> list[str]:
    """Words that fish offers for the end of the line."""
    done = subprocess.run(
        ["fish", "--no-config", "-c", 'source code.fish; complete -C "$argv[1]"', line],
        cwd=place, env=make_variables(environment, place, in_path=in_path), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=LONGEST_S,
    )  # fmt: skip
    assert done.stderr == ""
    return [offered.partition("\t")[0] for offered in done.stdout.splitlines()]


def complete_in_zsh(environment: Environment, place: Path, line: str, *, in_path: bool = True) -> str:
    """The line after Tab, as zsh has it in a terminal."""
    answer, ready = place / "answer", place / "ready"
    answer.unlink(missing_ok=True)
    ready.unlink(missing_ok=True)
    (place / "start.zsh").write_text(
        "autoload -U compinit\ncompinit -u -D\nLISTMAX=10000\nsource ./code.zsh\n"
        'show() { print -r -- "$BUFFER" >answer.new; mv answer.new answer }\n'
        "zle -N show\nbindkey '^X^X' show\n: >ready\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        os.execvpe("zsh", ["zsh", "-f", "-i"], dict(make_variables(environment, place, in_path=in_path)))
    try:
        os.write(terminal, b"source ./start.zsh\n")
        seen = _read_until(terminal, ready)
        os.write(terminal, f"{line}\t{_SHOW}".encode())
        seen += _read_until(terminal, answer)
        return answer.read_text().removesuffix("\n")
    finally:
        os.close(terminal)  # which ends it, as a terminal that is closed does
        os.waitpid(pid, 0)


def _read_until(terminal: int, file: Path) -> bytes:
    """What the terminal shows until the file is there."""
    seen, deadline = b"", time.monotonic() + LONGEST_S
    while not file.exists():
        assert time.monotonic() < deadline, seen.decode(errors="replace")
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536)
    return seen


COMPLETED = [
    ("switchover repr", "switchover repro "),
    ("switchover lab st", "switchover lab status "),
    ("switchover run --keep-l", "switchover run --keep-lab "),
    ("switchover plan precopy-by-machine.machine-pc-q35-8.1", "switchover plan precopy-by-machine.machine-pc-q35-8.1 "),
    ("switchover run mi", "switchover run mine.toml "),
    ("switchover irq report mi", "switchover irq report mine.toml "),
    ("switchover show la", "switchover show last "),
    ("switchover show last precopy.of", "switchover show last precopy.off "),
]
BY_PATH = ["./programs/switchover", "~/programs/switchover", r"with\ blank/switchover"]


@pytest.mark.parametrize(("line", "completed"), COMPLETED)
def test_zsh(with_pytest: Environment, place: Path, line: str, completed: str) -> None:
    """Verbs, actions, options, cases, files, runs and their cases."""
    make_run(place / "state" / "switchover" / "runs", [], [make_line("precopy.off")])
    assert complete_in_zsh(with_pytest, place, line) == completed


@pytest.mark.parametrize(("line", "completed"), COMPLETED)
def test_fish(with_pytest: Environment, place: Path, line: str, completed: str) -> None:
    """The same."""
    make_run(place / "state" / "switchover" / "runs", [], [make_line("precopy.off")])
    assert complete_in_fish(with_pytest, place, line) == [completed.split()[-1]]


@pytest.mark.parametrize("program", BY_PATH)
def test_a_program_that_is_not_in_path(with_pytest: Environment, place: Path, program: str) -> None:
    """As that of a clone is not: by its path, from the home directory, and with a blank in it."""
    assert complete_in_zsh(with_pytest, place, f"{program} repr", in_path=False) == f"{program} repro "
    assert complete_in_fish(with_pytest, place, f"{program} repr", in_path=False) == ["repro"]
