# SPDX-License-Identifier: GPL-2.0-or-later
"""What a killed harness left: labs that nobody will stop, hosts that are reached again or are gone."""

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from switchover.cli.main import main
from switchover.hosts.journal import own_journal, undo_dead_journals
from switchover.hosts.local import LocalHost
from switchover.hosts.ownership import OwnedFile, take_file
from switchover.hosts.waiting import pace, wait_until
from switchover.lab import host_kinds
from switchover.lab.host_kinds import KINDS, find_kind, reach_host
from switchover.lab.labfile import LabFile, find_user, lease_path, starter_path, write_lab_file
from switchover.lab.release import find_dead_labs, stop_dead_lab
from switchover.record.errors import HostLost, NotReady
from switchover.record.paths import journals_directory, labs_directory


@pytest.fixture
def lab_file(tmp_path: Path) -> LabFile:
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    token = f"switchover-lab-{uuid.uuid4().hex[:12]}"
    return LabFile("run-7", token, str(sockets), 7, {}, {"accel": "tcg"}, ["hosta", "hostb"], {"hosta": 1, "hostb": 2})


@pytest.fixture
def directory(lab_file: LabFile) -> Path:
    path = labs_directory() / "run-7"
    path.mkdir(parents=True)
    for name in ("key", "host_key.pub"):
        (path / name).write_text("x\n")
    write_lab_file(path, lab_file)
    return path


@pytest.fixture
def hosta(lab_file: LabFile) -> Iterator[subprocess.Popen[bytes]]:
    """The process of one lab host."""
    word = f"{lab_file.token}-hosta"
    process = subprocess.Popen(["bash", "-c", 'exec -a "$0" sleep 60', word])
    wait_until("the process", lambda: psutil.Process(process.pid).cmdline()[:1] == [word], timeout=10)
    yield process
    process.kill()
    process.wait()


def own(path: Path) -> OwnedFile:
    owned = take_file(path, note="process 7: switchover demo")
    assert owned is not None
    return owned


def address(directory: Path, file: LabFile, host: str) -> dict[str, str]:
    return {"kind": "lab", "directory": str(directory), "token": file.token, "host": host}


def test_a_lab_whose_harness_died_is_dead(
    directory: Path, lab_file: LabFile, hosta: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """While its starter lives a run's lab is left alone, whatever process id it noted; then clean stops it."""
    starter = own(starter_path(directory))
    assert find_dead_labs() == []
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "nothing was left\n"
    starter.release(remove=False)
    assert find_dead_labs() == [directory]
    assert main(["clean", "--dry-run"]) == 3
    assert "lab run-7: nobody will stop it" in capsys.readouterr().out
    assert hosta.poll() is None
    assert main(["clean"]) == 0
    assert "lab run-7: 1 QEMU processes ended" in capsys.readouterr().out
    assert not psutil.pid_exists(hosta.pid)
    assert list(labs_directory().iterdir()) == []
    assert main(["clean"]) == 0


@pytest.mark.parametrize("state", ["up", "booting", "half booted", "no process left", "no file"])
def test_a_lab_that_stays(directory: Path, lab_file: LabFile, hosta: subprocess.Popen[bytes], state: str) -> None:
    """A lab that is up stays up, one that boots is left alone; one that came to nothing is dead."""
    write_lab_file(directory, replace(lab_file, owner=0, ports={} if "boot" in state else lab_file.ports))
    if state == "booting":
        own(starter_path(directory))
    if state == "no process left":
        hosta.kill()
        hosta.wait()
    if state == "no file":
        (directory / "lab.json").unlink()
    assert find_dead_labs() == ([] if state in ("up", "booting") else [directory])
    if state == "up":
        assert stop_dead_lab(directory) == []
        assert directory.exists()


def test_a_lab_that_somebody_starts_meanwhile_is_left_alone(directory: Path) -> None:
    """Between finding a dead lab and stopping it one of its name may be started: that one stays."""
    assert find_dead_labs() == [directory]
    own(starter_path(directory))
    assert stop_dead_lab(directory) == []
    assert directory.exists()


def test_hosts_that_are_gone(directory: Path, lab_file: LabFile, hosta: subprocess.Popen[bytes]) -> None:
    """A lab host is gone with its process, its lab, or when another lab has the name; else it must answer."""
    assert reach_host(address(directory, lab_file, "hostb")) is None
    assert reach_host(address(directory, replace(lab_file, token="another"), "hosta")) is None
    assert reach_host(address(labs_directory() / "none", lab_file, "hosta")) is None
    context = reach_host(address(directory, lab_file, "hosta"))
    assert context is not None
    with pytest.raises(HostLost, match="hosta does not answer"), context:
        pytest.fail("there is no SSH")
    hosta.kill()
    hosta.wait()
    assert reach_host(address(directory, lab_file, "hosta")) is None


def test_a_slow_lab_gets_its_time(directory: Path, lab_file: LabFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is undone on a slow lab host may take as long as it might in the harness that made the change."""
    write_lab_file(directory, replace(lab_file, pace=3.5))
    monkeypatch.setattr(host_kinds, "_runs", lambda file, name: True)
    monkeypatch.setattr(host_kinds, "connect_labhost", lambda *_: contextlib.nullcontext(LocalHost()))
    context = reach_host(address(directory, lab_file, "hosta"))
    assert context is not None
    with context:
        assert pace() == 3.5
    assert pace() == 1


def test_other_addresses() -> None:
    """This machine is always there; what a later version wrote is told, not guessed."""
    context = reach_host(LocalHost().address)
    assert context is not None
    with context as host:
        assert host.name == "local"
    for unknown in ({"kind": "inventory", "name": "a"}, {"kind": "lab", "host": "hosta"}, {"kind": "pigeon"}, {}):
        with pytest.raises(NotReady, match="cannot reach a host"):
            reach_host(unknown)


def test_an_address_is_of_one_kind(directory: Path, lab_file: LabFile) -> None:
    """The kinds have names of their own, and each takes the addresses with its name that have all it needs."""
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        whole = {"kind": kind.name, **dict.fromkeys(kind.keys, "x")}
        assert find_kind(whole) is kind
        for key in whole:
            assert find_kind({name: value for name, value in whole.items() if name != key}) is None
    kind_of_lab = find_kind(address(directory, lab_file, "hosta"))
    assert kind_of_lab is not None
    assert kind_of_lab.build_login(address(directory, lab_file, "hosta"))[-1] == "hosta"


def test_a_lab_that_cannot_be_read_remains(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A damaged ``lab.json`` is told with what to do, and keeps nothing else from being undone."""
    (directory / "lab.json").write_text("{")
    leave_journal(tmp_path, address={"kind": "local"}, gone="true")
    assert main(["clean"]) == 3
    said = capsys.readouterr().out
    assert "lab run-7: REMAINS" in said
    assert "lab.json cannot be read" in said
    assert "file f on x: undone" in said
    assert directory.exists()


def leave_journal(tmp_path: Path, *, address: dict[str, str], gone: str) -> None:
    change = {
        "change": 1,
        "address": address,
        "host": "x",
        "what": "file f",
        "undo": ["rm", "-f", str(tmp_path / "f")],
        "gone": [gone],
    }
    (tmp_path / "f").touch()
    journals_directory().mkdir(parents=True)
    lines = [{"journal": 1, "owner": "process 9: switchover demo"}, change]
    (journals_directory() / "1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_clean_undoes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``clean`` shows what it would undo, undoes it, and then there is nothing left."""
    leave_journal(tmp_path, address={"kind": "local"}, gone="true")
    assert main(["clean", "--dry-run"]) == 3
    assert "  file f on x: would be undone" in capsys.readouterr().out
    assert (tmp_path / "f").exists()
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "process 9: switchover demo, which is gone:\n  file f on x: undone\n"
    assert not (tmp_path / "f").exists()
    assert main(["clean"]) == 0
    assert capsys.readouterr().out == "nothing was left\n"


def test_clean_says_what_remains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be undone is exit code 3, with what to do by hand, again and again until it is."""
    leave_journal(tmp_path, address={"kind": "local"}, gone="false")
    for _ in range(2):
        assert main(["clean"]) == 3
        assert "file f on x: REMAINS: it is still there; by hand, on x: rm -f" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["run-7"], ["--all"]])
def test_down_leaves_a_lab_in_use_alone(
    directory: Path, hosta: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """Neither a lab that a run has borrowed nor one that a run has started is taken away, but by force."""
    for path in (lease_path(directory), starter_path(directory)):
        owned = own(path)
        assert find_user(directory) == "process 7: switchover demo"
        assert main(["lab", "down", *words]) == (0 if words == ["--all"] else 3)
        assert "process 7: switchover demo" in "".join(capsys.readouterr())
        assert hosta.poll() is None
        owned.release()
    own(lease_path(directory))
    assert main(["lab", "down", *words, "--force"]) == 0
    assert not psutil.pid_exists(hosta.pid)
    assert not directory.exists()


def test_a_journal_of_a_lab_that_is_stopped_ends(tmp_path: Path, directory: Path, lab_file: LabFile) -> None:
    """What could not be undone on a lab host that was lost is gone with the lab: the next command does not ask."""

    class Lost(LocalHost):
        name = "hosta"

    host = Lost()
    host.address = address(directory, lab_file, "hosta")
    with own_journal().change(host, "a", undo=["true"], gone=["false"]):
        pass
    (path,) = journals_directory().iterdir()
    own_journal()._file.release(remove=False)  # type: ignore[union-attr]  # as if the harness had died
    (dead,) = undo_dead_journals(reach_host)
    assert [outcome.how for outcome in dead.outcomes] == ["gone with its host"]
    assert not path.exists()
