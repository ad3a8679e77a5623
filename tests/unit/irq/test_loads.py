# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads prove that they ran, and their scripts do what they say on this machine's shell."""

import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.scripted_host import ScriptedHost

from switchover.hosts.host import Completed
from switchover.hosts.local import LocalHost
from switchover.hosts.waiting import wait_until
from switchover.irq.loads import start_churn, start_detached_hog, start_hog, start_hotplug, start_offline
from switchover.record.errors import NotReady, NotSupported


class LoadedHost(ScriptedHost):
    """``says`` first, then ``answers`` when it is told something."""

    def __init__(self, says: str, answers: str = "") -> None:
        super().__init__(lambda argv: "")
        self._says, self._answers = says, answers
        self.started: Sequence[str] = ()

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        self.started = argv
        ours, theirs = socket.socketpair()
        theirs.sendall(self._says.encode())

        def answer() -> None:
            with theirs:
                if theirs.recv(1):
                    theirs.sendall(self._answers.encode())

        threading.Thread(target=answer, daemon=True).start()
        return ours


def test_a_load() -> None:
    """Its policy, priority and CPUs; its own count once it has ended."""
    host = LoadedHost("running\n", "spun 12345 moved 2 woken 30 late 400\n")
    with start_hog(host, "2", policy="fifo", priority=40, period_us=1000) as hog:
        pass
    assert (hog.spun_ns, hog.moved, hog.woken, hog.late_us) == (12345, 2, 30, 400)
    assert host.started == ["switchover-hog", "fifo", "40", "2", "1000"]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ("", ""),
        ("spun 0 moved 0 woken 0 late 0\n", "spun 0 moved 0 woken 0 late 0"),
        ("over spun 9 moved 0 woken 0 late 0\n", "it ended by itself after three minutes"),
    ],
)
def test_a_load_that_did_not_run(answers: str, why: str) -> None:
    """Not at all, or not as long as it was wanted."""
    with pytest.raises(NotReady, match="did not run") as caught, start_hog(LoadedHost("running\n", answers), "2"):
        pass
    assert caught.value.why == why


def test_a_load_that_does_not_start() -> None:
    with pytest.raises(NotReady, match="did not start"), start_hog(LoadedHost("x\n"), "2"):
        pytest.fail("it started")


HOG = """#!/bin/sh
echo running; read -r word; echo "spun 5 moved 0 woken 0 late 0"
"""


def put_hog(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = directory / "switchover-hog"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_a_load_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on by itself, tells its CPU time, ends when it is told to, and leaves nothing."""
    put_hog(tmp_path, monkeypatch, HOG)
    with start_detached_hog(LocalHost(), "0", policy="other") as hog:
        assert hog.read_spun_ns() > 0
        place = Path(hog.place)
        assert place.exists()
        hog.end()
        with pytest.raises(NotReady, match="has ended"):
            wait_until("its end", lambda: hog.read_spun_ns() < 0, timeout=20)
    assert not place.exists()


def test_a_load_that_fails_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words are the reason."""
    put_hog(tmp_path, monkeypatch, "#!/bin/sh\necho no such CPU\n")
    monkeypatch.setattr("switchover.irq.loads._TIMEOUT_S", 0.5)
    with (
        pytest.raises(NotReady, match="did not start") as caught,
        start_detached_hog(LocalHost(), "9", policy="fifo", priority=40),
    ):
        pytest.fail("it started")
    assert caught.value.why == "no such CPU"


class FileHost(LocalHost):
    """This machine, with files of a test in place of the kernel's."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _move(self, argv: Sequence[str]) -> list[str]:
        places = {"/proc/irq/4": self._directory, "/sys/devices/system/cpu/cpu2": self._directory}
        moved = list(argv)
        for old, new in places.items():
            moved = [word.replace(old, str(new)) for word in moved]
        return moved

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"", check: bool = True) -> Completed:
        return super().run(self._move(argv), timeout=timeout, stdin=stdin, check=check)

    def open_stream(self, argv: Sequence[str]) -> socket.socket:
        return super().open_stream(self._move(argv))

    def read_file(self, path: str) -> bytes:
        return super().read_file(self._move([path])[0])


def wait_for_words(path: Path, words: Sequence[str]) -> None:
    """Until a file has had each of these contents, one after the other."""
    for word in words:

        def is_there(word: str = word) -> bool:
            return path.read_text().strip() == word

        wait_until(f"{word} in {path.name}", is_there, timeout=20, poll=0.005)


def test_churn(tmp_path: Path) -> None:
    """Each of the masks is written, it counts how often, and the mask is again what it was."""
    mask = tmp_path / "smp_affinity_list"
    mask.write_text("0-3")
    with start_churn(FileHost(tmp_path), 4, ["1", "2"]) as churn:
        wait_for_words(mask, ["1", "2", "1"])
    assert mask.read_text() == "0-3"
    assert churn.times is not None
    assert churn.times >= 3


def test_hotplug(tmp_path: Path) -> None:
    """The CPU goes and comes, it counts how often, and at the end the CPU is online."""
    online = tmp_path / "online"
    online.write_text("1\n")
    with start_hotplug(FileHost(tmp_path), 2) as hotplug:
        wait_for_words(online, ["0", "1", "0"])
    assert online.read_text() == "1\n"
    assert hotplug.times is not None
    assert hotplug.times >= 1


def test_offline(tmp_path: Path) -> None:
    online = tmp_path / "online"
    online.write_text("1\n")
    with start_offline(FileHost(tmp_path), 2):
        assert online.read_text() == "0\n"
    assert online.read_text() == "1\n"


def test_a_cpu_that_cannot_go_offline(tmp_path: Path) -> None:
    """CPU 0 of most machines has no such file."""
    with pytest.raises(NotSupported, match="cannot go offline"), start_hotplug(FileHost(tmp_path), 2):
        pytest.fail("it started")
