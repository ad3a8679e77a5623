# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover run --keep-on-fail`` on a terminal, and ``switchover attach`` from another, as people use them."""

import json
import os
import pty
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.lab.oopses import list_oopses

from switchover.hosts.host import Host
from switchover.lab.lab import Lab
from switchover.lab.release import list_leftovers

BLOCKED = """
version = 1
[scenario]
title = "A migration that is blocked, which is not expected"
[source.device.properties]
enable-migration = "off"
[expect]
verdict = "completed"
because = "this test wants a case that is not as expected"
"""
REFUSED = """
version = 1
[scenario]
title = "A destination that is refused, which is not expected"
[destination.device.properties]
x-no-mmap = "perhaps"
"""
_RUN = """
import contextlib, sys
from pathlib import Path
from switchover.cli import run
from switchover.cli.main import main
from switchover.lab.lab import Lab

run.acquire_lab = lambda **_: contextlib.closing(Lab(Path(sys.argv[1])))
sys.exit(main(["run", *sys.argv[2:], "--keep-on-fail", "--history", "off"]))
"""
"""The session's lab is leased by the session itself, and not a second time."""
_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "harness"), "TERM": "xterm"}


class Terminal:
    """A command on a terminal of its own; ``text``: what it has shown there."""

    def __init__(self, argv: Sequence[str], output: Path) -> None:
        self._master, slave = pty.openpty()
        with output.open("wb") as file:
            self.process = subprocess.Popen(argv, stdin=slave, stdout=file, stderr=slave, env=_ENVIRONMENT)
        os.close(slave)
        self.text = ""

    def read_until(self, words: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as ready:
            ready.register(self._master, selectors.EVENT_READ)
            while words not in self.text:
                assert ready.select(deadline - time.monotonic()), f"no {words!r} within {timeout} s in {self.text}"
                try:
                    self.text += os.read(self._master, 65536).decode(errors="replace")
                except OSError:  # its other side is closed
                    pytest.fail(f"ended without {words!r}: {self.text}")

    def enter(self) -> None:
        os.write(self._master, b"\n")

    def close(self) -> None:
        """A test that failed has the guests released too."""
        self.process.terminate()
        self.process.wait(timeout=60)
        os.close(self._master)


@contextmanager
def start_kept(lab: Lab, scenario: str, directory: Path) -> Iterator[tuple[Terminal, Path]]:
    """A run that keeps the guests of its one case, and the repeat's directory."""
    file = directory / "case.toml"
    file.write_text(scenario)
    runs = directory / "runs"
    words = [sys.executable, "-c", _RUN, str(lab.directory), str(file), "--output", str(runs)]
    terminal = Terminal(words, directory / "answers")
    try:
        terminal.read_until("Enter or Ctrl-C here ends", 120)
        yield terminal, next(runs.glob("*/*/01"))
    finally:
        terminal.close()


def attach(repeat: Path, side: str, way: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
    """``switchover attach`` to a case of a run; what is typed ends with its last line."""
    return subprocess.run(
        [*_attach(repeat), side, way], input=typed, env=_ENVIRONMENT, capture_output=True, text=True, timeout=60
    )


def _attach(repeat: Path) -> list[str]:
    return [sys.executable, "-m", "switchover", "attach", str(repeat.parents[1]), repeat.parents[0].name]


def start_console(repeat: Path, side: str) -> "subprocess.Popen[str]":
    """``--console``, in a process group of its own, as a shell gives it one."""
    return subprocess.Popen(
        [*_attach(repeat), side, "--console"],
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def follow_console(repeat: Path, side: str, words: str) -> None:
    """Until it shows ``words``; then Ctrl-C, as from a terminal: to the whole group."""
    process = start_console(repeat, side)
    try:
        assert process.stdout is not None
        shown: list[str] = []
        for line in process.stdout:
            shown.append(line)
            if words in line:
                break
        else:
            pytest.fail(f"no {words!r} on the console of the {side}: {''.join(shown)}")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=20)


def list_tails(host: Host) -> list[str]:
    return host.run(["sh", "-c", "pgrep -a tail; true"]).text.splitlines()


def test_guests_are_kept_and_reached(lab: Lab, tmp_path: Path) -> None:
    """Both monitors answer, the guest lets us in where it is, both consoles show it; Enter ends all, with exit code 1.

    Several may look one after the other. What is kept goes when the guests go, and nothing of the lookers stays.
    """
    with start_kept(lab, BLOCKED, tmp_path) as (terminal, repeat):
        assert f"attach {repeat.parents[1]} {repeat.parent.name} source" in terminal.text
        status = {side: attach(repeat, side, "--qmp", "query-status\n") for side in ("source", "destination")}
        assert '"status": "running"' in status["source"].stdout, status["source"]
        assert '"status": "inmigrate"' in status["destination"].stdout, status["destination"]
        assert [found.returncode for found in status.values()] == [0, 0]
        again = attach(repeat, "source", "--qmp", "query-name\n")
        assert '"name": "guest"' in again.stdout, again
        inside = attach(repeat, "source", "--ssh", "ip -4 address; ls /sys/bus/pci/drivers/refdev_guest; exit 7\n")
        assert inside.returncode == 7, inside
        assert "10.77.0.101/24" in inside.stdout
        assert "0000:" in inside.stdout
        before = [list_tails(host) for host in lab.hosts()]
        follow_console(repeat, "source", "switchover-guest: ready")
        for host, tails in zip(lab.hosts(), before, strict=True):
            assert list_tails(host) == tails, "what followed the console has ended there too"
            assert len(list_leftovers(host)) >= 3, "QEMU, its files, its device"
        assert {path.name for path in repeat.iterdir()} >= {"kept.json", "kept.key"}
        assert (repeat / "kept.key").stat().st_mode & 0o777 == 0o600
        follower = start_console(repeat, "source")
        assert follower.stdout is not None
        assert follower.stdout.readline()
        terminal.enter()
        assert terminal.process.wait(timeout=60) == 1
        follower.communicate(timeout=20)  # it ends with the guest
    assert not [path for path in repeat.iterdir() if path.name.startswith("kept.")]
    assert "NOT AS EXPECTED" in (tmp_path / "answers").read_text()
    gone = attach(repeat, "source", "--qmp")
    assert gone.returncode == 2
    assert "keeps no guests" in gone.stderr


def test_who_keeps_them_is_killed(lab: Lab, tmp_path: Path) -> None:
    """Then they are gone, ``attach`` says so, and ``clean`` undoes what stays: on the host, and the copy of the key."""
    with start_kept(lab, REFUSED, tmp_path) as (terminal, repeat):
        answer = attach(repeat, "source", "--qmp", "query-status\n")
        assert '"status": "running"' in answer.stdout, answer
        other = attach(repeat, "destination", "--ssh")
        assert other.returncode == 2
        assert "kept: source" in other.stderr
        terminal.process.kill()
        terminal.process.wait()
        late = attach(repeat, "source", "--console")
        assert late.returncode == 3
        assert "are gone" in late.stderr
        assert json.loads((repeat / "kept.json").read_text())["process"] == terminal.process.pid
        assert (repeat / "kept.key").exists()
    cleaned = subprocess.run(
        [sys.executable, "-m", "switchover", "clean"], env=_ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert cleaned.returncode == 0, cleaned
    assert f"process {terminal.process.pid}:" in cleaned.stdout
    assert not [path for path in repeat.iterdir() if path.name.startswith("kept.")]
    for host in lab.hosts():
        assert list_leftovers(host) == []
        assert list_oopses(host) == []
