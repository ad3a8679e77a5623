# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab itself: closed, keyed, reaped, and gone when it is stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.lab.standard import PRE_COPY_ON

from switchover.hosts.local import LocalHost
from switchover.hosts.ssh import SshHost, SshLogin
from switchover.hosts.waiting import wait_until
from switchover.lab import lab as lab_module
from switchover.lab.images import Image, build_images, require_image
from switchover.lab.keys import generate_key_pair
from switchover.lab.lab import Lab, start_lab
from switchover.lab.labfile import find_labs, lab_processes, read_lab_file
from switchover.record.errors import HostLost, NotReady
from switchover.record.paths import labs_directory
from switchover.record.record import VerdictName
from switchover.record.rundir import make_run_directory
from switchover.runner.case_runner import run_repeat
from switchover.runner.host_pair import pair_of_lab


@pytest.mark.quick
def test_nothing_listens_beyond_loopback(lab: Lab) -> None:
    """Each lab host's QEMU listens on one port, and that on 127.0.0.1."""
    for process in lab_processes(lab.file):
        listening = [found.laddr for found in process.net_connections() if found.status == psutil.CONN_LISTEN]
        assert [address.ip for address in listening] == ["127.0.0.1"]


@pytest.mark.quick
def test_lab_hosts_reach_nothing_outside(lab: Lab) -> None:
    """A lab host reaches neither the controller through its user network nor any name server."""
    server = "exec 3<>/dev/tcp/10.0.2.2/{port}"
    port = next(iter(lab.file.ports.values()))  # something that does listen on the controller
    for target in (server.format(port=port), "exec 3<>/dev/tcp/10.0.2.3/53"):
        for host in lab.hosts():
            assert host.run(["timeout", "5", "bash", "-c", target], check=False).returncode != 0


@pytest.mark.quick
def test_accelerator_works_and_lab_host_has_as_many_cpus_as_it_may(lab: Lab) -> None:
    """Under TCG a lab host has exactly one vCPU; guests run with KVM inside it all the same."""
    for host in lab.hosts():
        assert host.run(["nproc"]).text.strip() == str(lab.file.accelerator["vcpus"])
        assert host.run(["test", "-c", "/dev/kvm"]).returncode == 0
    if str(lab.file.accelerator["accel"]).startswith("tcg"):
        assert lab.file.accelerator["vcpus"] == 1


@pytest.mark.quick
def test_first_process_reaps_orphans(lab: Lab) -> None:
    """A process whose parent ended does not stay a zombie."""
    host = lab.hosts()[0]
    host.run(["sh", "-c", "(sh -c 'sleep 0.2 & exec true') ; sleep 1"])
    assert host.run(["sh", "-c", "ps -eo stat= | grep -c ^Z || true"]).text.strip() == "0"


@pytest.mark.quick
def test_another_host_key_is_refused(lab: Lab) -> None:
    """A lab host that presents another key than its lab was given is not logged in to."""
    login = SshLogin("hosta", lab.private_key, generate_key_pair().public)
    with pytest.raises(HostLost, match="SSH to hosta failed"):
        SshHost(login, LocalHost().open_tcp("127.0.0.1", lab.file.ports["hosta"]))


@pytest.mark.quick
def test_another_key_does_not_log_in(lab: Lab) -> None:
    """Only the lab's own key opens its hosts."""
    host_key = (lab.directory / "host_key.pub").read_text()
    login = SshLogin("hosta", generate_key_pair().private, host_key)
    with pytest.raises(HostLost):
        SshHost(login, LocalHost().open_tcp("127.0.0.1", lab.file.ports["hosta"]))


@pytest.mark.quick
def test_secrets_are_private(lab: Lab) -> None:
    """Directories of a lab, and of its sockets, are closed to other users; so are keys."""
    for directory in (lab.directory, lab.directory / "hosta", Path(lab.file.sockets)):
        assert directory.stat().st_mode & 0o077 == 0
    assert (lab.directory / "key").stat().st_mode & 0o077 == 0


def test_damaged_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab host whose disk cannot be mounted ends the start with the reason and the way out; nothing stays."""
    whole = require_image("labhost")
    for name in ("vmlinuz", "initramfs.cpio"):
        (tmp_path / name).symlink_to(whole.artifact(name))
    (tmp_path / "root.ext4").write_bytes(bytes(64 << 20))
    (tmp_path / "manifest.json").symlink_to(whole.artifact("manifest.json"))
    images = build_images(["labhost-qemu"]) | {"labhost": Image("labhost", whole.digest, tmp_path, 0, 0.0)}
    monkeypatch.setattr(lab_module, "build_images", lambda names: images)
    with pytest.raises(NotReady) as caught, start_lab("damaged", hosts=1):
        pytest.fail("it must not come up")
    assert "root.ext4 is not what was built" in caught.value.what
    assert "images" in caught.value.fix
    assert not (labs_directory() / "damaged").exists()


def test_second_lab_of_a_name_is_refused_and_the_first_stays(lab: Lab) -> None:
    """Starting a lab under the name of one that runs is an error that says how to stop it."""
    with pytest.raises(NotReady, match="is running"), start_lab(lab.name):
        pytest.fail("it must not come up")
    assert len(lab_processes(lab.file)) == 2


def test_one_lab_host_is_both_ends(tmp_path: Path) -> None:
    """In a lab of one host the guest migrates within it; with one clock there is no bound on the downtime."""
    with start_lab("single", hosts=1) as single:
        directory = make_run_directory("test", tmp_path).repeat("case", 1)
        record = run_repeat(PRE_COPY_ON, 1, pair_of_lab(single), directory, {})
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.downtime["bound_s"] == 0


def test_interrupt_while_booting_leaves_nothing() -> None:
    """Ctrl-C in the middle of a lab's boot: exit code 130, and neither process nor file of that lab is left."""
    process = subprocess.Popen(
        [sys.executable, "-m", "switchover", "lab", "up", "interrupted", "--hosts", "1"],
        env={**os.environ, "PYTHONPATH": str(Path(lab_module.__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    directory = labs_directory() / "interrupted"

    def is_booting() -> bool:
        assert process.poll() is None
        return (directory / "hosta" / "console.log").exists()

    wait_until("the lab host to boot", is_booting, timeout=60, poll=0.05)
    token = read_lab_file(directory)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output.decode()
    assert lab_processes(token) == []
    assert directory not in find_labs()  # those of tests in another process come and go
    assert not directory.exists()
    assert not Path(token.sockets).exists()
