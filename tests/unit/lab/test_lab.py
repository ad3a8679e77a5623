# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab on the controller: its file, its port, and that stopping leaves nothing."""

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from switchover.hosts.waiting import wait_until
from switchover.lab import lab as module
from switchover.lab import labfile
from switchover.lab.boot import connect_labhost, parse_forwarded_port
from switchover.lab.lab import Lab, require_lab, start_lab
from switchover.lab.labfile import (
    LabFile,
    find_labs,
    is_running,
    lab_processes,
    read_lab_file,
    stop_lab,
    write_lab_file,
)
from switchover.record.errors import HostLost, NotReady, UsageError
from switchover.record.paths import labs_directory

USERNET = """\
Hub -1 (user):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[HOST_FORWARD]  12       127.0.0.1 36809       10.0.2.15    22     0     0
"""


@pytest.fixture
def lab_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabFile:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    return LabFile(
        name="default",
        token=f"switchover-lab-{uuid.uuid4().hex[:12]}",
        sockets=str(sockets),
        owner=0,
        images={"labhost": "0"},
        accelerator={"accel": "tcg"},
        hosts=["hosta", "hostb"],
        ports={"hosta": 1, "hostb": 2},
    )


@pytest.fixture
def directory(lab_file: LabFile) -> Path:
    """The lab's directory, as a lab that came up leaves it."""
    path = labs_directory() / "default"
    path.mkdir(parents=True)
    (path / "lab.json").write_text(json.dumps(asdict(lab_file)))
    for name in ("key", "key.pub", "host_key.pub", "guest_host_key", "guest_host_key.pub"):
        (path / name).write_text("x\n")
    return path


@pytest.fixture
def strays(lab_file: LabFile) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that carry the lab's token where its QEMUs carry it."""
    words = [f"{lab_file.token}-{name}" for name in lab_file.hosts]
    script = "trap '' TERM; exec -a \"$0\" sleep 60"
    started = [subprocess.Popen(["bash", "-c", script, word]) for word in words]

    def became_sleep() -> bool:
        # while bash becomes sleep, a process has no command line to be found by
        return [psutil.Process(process.pid).cmdline()[:1] for process in started] == [[word] for word in words]

    wait_until("the stray processes", became_sleep, timeout=10)
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_the_forwarded_port() -> None:
    """The port of 127.0.0.1 that leads to the lab host's SSH; None without one."""
    assert parse_forwarded_port(USERNET) == 36809
    assert parse_forwarded_port(USERNET.replace("TCP[HOST_FORWARD]", "UDP[HOST_FORWARD]")) is None
    assert parse_forwarded_port(USERNET.replace("127.0.0.1", "0.0.0.0")) is None
    assert parse_forwarded_port("") is None


def test_the_file_is_read_back(directory: Path, lab_file: LabFile) -> None:
    """What was written is what is read."""
    write_lab_file(directory, replace(lab_file, ready_seconds=12.5))
    assert read_lab_file(directory) == replace(lab_file, ready_seconds=12.5)
    assert [path.name for path in directory.glob("lab.json*")] == ["lab.json"]


def test_processes_of_a_lab(lab_file: LabFile, strays: list[subprocess.Popen[bytes]]) -> None:
    """A lab's processes are those with its token, not those of another lab."""
    wait_until("the processes", lambda: len(lab_processes(lab_file)) == 2, timeout=5)
    assert {process.pid for process in lab_processes(lab_file)} == {process.pid for process in strays}
    assert lab_processes(replace(lab_file, token=lab_file.token[:-1])) == []


def test_stopping_leaves_nothing(directory: Path, lab_file: LabFile, strays: list[subprocess.Popen[bytes]]) -> None:
    """Processes that ignore a polite signal, keys, consoles and sockets are gone, and it is said how many."""
    wait_until("the processes", lambda: is_running(directory), timeout=5)
    (Path(lab_file.sockets) / "hosta.qmp").touch()
    (directory / "hosta").mkdir()
    (directory / "hosta" / "console.log").touch()
    said = stop_lab(directory)
    assert said[0] == "2 QEMU processes ended"
    assert not any(psutil.pid_exists(process.pid) for process in strays)
    assert lab_processes(lab_file) == []
    assert not directory.exists()
    assert not Path(lab_file.sockets).exists()
    assert stop_lab(directory) == []


def test_what_stays_is_named(directory: Path, lab_file: LabFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that cannot be removed is an error with its name, never a lab that counts as stopped."""
    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: None if str(path) == lab_file.sockets else real(path, **_))
    with pytest.raises(NotReady, match="sockets"):
        stop_lab(directory)


def test_a_process_that_stays_is_named(
    directory: Path, monkeypatch: pytest.MonkeyPatch, strays: list[subprocess.Popen[bytes]], lab_file: LabFile
) -> None:
    """A process that survives is an error with its id."""
    wait_until("the processes", lambda: len(lab_processes(lab_file)) == 2, timeout=5)
    monkeypatch.setattr(psutil.Process, "kill", lambda self: None)
    monkeypatch.setattr(psutil, "wait_procs", lambda found, timeout: ([], found))
    monkeypatch.setattr(labfile, "_STOP_TIMEOUT_S", 0.2)
    with pytest.raises(NotReady, match=f"process {strays[0].pid}"):
        stop_lab(directory)


def test_a_directory_without_a_file_is_removed(directory: Path) -> None:
    """A lab that was killed before its file was written leaves a directory, which goes."""
    (directory / "lab.json").unlink()
    assert stop_lab(directory) == []
    assert not directory.exists()


def test_running_means_all_of_it(directory: Path, lab_file: LabFile, strays: list[subprocess.Popen[bytes]]) -> None:
    """A lab of which one lab host is gone, or that never came up, does not run."""
    wait_until("the lab", lambda: is_running(directory), timeout=5)
    assert find_labs() == [directory]
    assert require_lab("default").name == "default"
    write_lab_file(directory, replace(lab_file, ports={}))
    assert not is_running(directory)
    write_lab_file(directory, lab_file)
    strays[0].kill()
    strays[0].wait()
    assert not is_running(directory)
    with pytest.raises(UsageError, match="is dead"):
        require_lab("default")


def test_no_such_lab(directory: Path) -> None:
    """A lab that is not there is the user's mistake, with what to do."""
    with pytest.raises(UsageError, match="switchover lab up"):
        require_lab("other")
    assert not is_running(labs_directory() / "other")


def test_hosts_by_name(directory: Path) -> None:
    """A host that the lab has not is the user's mistake; one that does not answer is lost, and its last words are told.
    Addresses go by order.
    """
    lab = Lab(directory)
    (directory / "hosta").mkdir()
    (directory / "hosta" / "qemu.log").write_text("qemu: out of luck\n")
    (directory / "hosta" / "console.log").write_text("Kernel panic - not syncing\n")
    assert [lab.link_address(name) for name in lab.file.hosts] == ["10.77.0.1", "10.77.0.2"]
    assert [lab.link(peer) for peer in lab.file.hosts] == ["link1", "link2"]
    outlet = lab.outlet("hostb")
    assert [Path(socket).name for socket in outlet.sockets] == [f"hostb.seen.{place}" for place in range(9)]
    assert {Path(socket).parent for socket in outlet.sockets} == {Path(lab.file.sockets)}
    with pytest.raises(UsageError, match="one of: hosta, hostb"):
        lab.host("hostc")
    with pytest.raises(HostLost, match="Lab host hosta does not answer") as lost:
        lab.host("hosta")
    assert lost.value.why.endswith("its QEMU and its console end with: qemu: out of luck\nKernel panic - not syncing")


def test_a_host_without_a_port_is_lost(directory: Path, lab_file: LabFile) -> None:
    """A lab host whose port is not known yet does not answer."""
    with pytest.raises(HostLost, match="hosta"):
        connect_labhost(directory, replace(lab_file, ports={}), "hosta")


def test_stopping_does_not_wait_for_long(directory: Path, strays: list[subprocess.Popen[bytes]]) -> None:
    """Stopping is quick: processes are killed, not asked."""
    start = time.monotonic()
    stop_lab(directory)
    assert time.monotonic() - start < 5


def test_a_disk_that_cannot_be_read(tmp_path: Path) -> None:
    """It is an error of who named it, before anything is built or made."""
    for disk in (tmp_path / "none.qcow2", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"), start_lab("disks", disks=[disk]):
            pass
    assert not (labs_directory() / "disks").exists()


@pytest.mark.parametrize("hosts", [0, 5, -1])
def test_a_lab_of_too_many(hosts: int) -> None:
    """It is the user's mistake, before anything is built or made."""
    with pytest.raises(UsageError, match=f"1 to 4 hosts, not {hosts}"), start_lab("many", hosts=hosts):
        pytest.fail("it must not come up")


def test_a_lab_without_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is said before a lab host is started, and nothing is left of it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    asked: list[int] = []

    def refuse(hosts: int) -> None:
        asked.append(hosts)
        raise NotReady("there is no room")

    monkeypatch.setattr(module, "build_images", lambda names: {})
    monkeypatch.setattr(module, "boot_lab", None)
    monkeypatch.setattr(module, "require_room", refuse)
    with pytest.raises(NotReady, match="no room"), start_lab("many", hosts=3):
        pytest.fail("it must not come up")
    assert asked == [3]
    assert find_labs() == []
    assert not (labs_directory() / "many").exists()


def test_a_lab_file_of_before_has_the_pace_of_1(directory: Path) -> None:
    """Labs that are up when the harness is updated are still read; what is not known is still refused."""
    path = directory / "lab.json"
    fields = json.loads(path.read_text())
    del fields["pace"]
    path.write_text(json.dumps(fields))
    assert read_lab_file(directory).pace == 1
    path.write_text(json.dumps({**fields, "pace": 2.4}))
    assert read_lab_file(directory).pace == 2.4
    path.write_text(json.dumps({**fields, "haste": 1}))
    with pytest.raises(NotReady, match="cannot be read"):
        read_lab_file(directory)
