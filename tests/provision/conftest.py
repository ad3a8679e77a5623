# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare machine, and the role of ansible/ applied to it twice: once for all tests, since it takes minutes."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.provision.bare import BareMachine, start_bare_machine
from tests.provision.packages import serve_packages

from switchover.devices.reference import PARENT, TYPE
from switchover.hosts import processes
from switchover.hosts.host import Completed, Host
from switchover.hosts.inventory import open_inventory_host
from switchover.hosts.waiting import wait_until
from switchover.lab.accelerator import find_accelerator
from switchover.lab.images import build_images
from switchover.lab.mirror import read_mirror

ANSIBLE = Path(__file__).parents[2] / "ansible"
NAME = "bare"
NIC = "0000:01:00.0"
"""The e1000e of a bare machine."""
_PROXY_PORT = 3142


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareMachine]:
    """A VM as an installation leaves one: sshd and Python."""
    images = build_images(["bare", "labhost"])
    directory = tmp_path_factory.mktemp("machine")
    with start_bare_machine(NAME, images["bare"], find_accelerator(images["labhost"]), directory) as bare:
        yield bare


@pytest.fixture(scope="session")
def lacked(machine: BareMachine) -> list[str]:
    """What it did not have before the role came."""
    script = 'for name; do command -v "$name" >/dev/null || echo "$name"; done; [ -e /sys/module/vfio ] || echo vfio'
    with open_inventory_host(NAME, machine.entry) as host:
        return host.run(["sh", "-c", script, "sh", "qemu-system-x86_64", "virsh", "socat"]).text.splitlines()


@dataclass(frozen=True)
class Playbook:
    """``ansible-playbook`` on the machine."""

    machine: BareMachine
    directory: Path
    sockets: str

    def apply(self, *options: str, check: bool = True, **variables: object) -> Completed:
        words = ["-i", str(self.directory / "hosts.json"), "--extra-vars", json.dumps(variables), *options]
        program = processes.require_program("ansible-playbook", needed_to="apply the role", package="ansible-core")
        env = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.directory / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": self.sockets,
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        done = processes.run([program, *words, str(ANSIBLE / "hosts.yml")], timeout=2400, check=False, env=env)
        print(done.text)
        assert not check or done.returncode == 0, done.text + done.stderr.decode()
        return done


def count(completed: Completed, what: str) -> int:
    """``changed``, ``failed`` and the like, of Ansible's recap."""
    match = re.search(rf"{what}=(\d+)", completed.text.partition("PLAY RECAP")[2])
    assert match is not None, completed.text
    return int(match[1])


@pytest.fixture(scope="session")
def playbook(machine: BareMachine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playbook]:
    """With packages through the controller: a proxy there, at a port that SSH forwards from the machine."""
    directory = tmp_path_factory.mktemp("ansible")
    options = _write_inventory(machine, directory)
    packages = directory / "packages"
    packages.mkdir()
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(serve_packages(read_mirror(), packages))
        sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="switchover-ansible-"))
        forward = f"127.0.0.1:{_PROXY_PORT}:127.0.0.1:{port}"
        where = ["-p", str(machine.entry.port), "-i", machine.entry.key, f"root@{machine.entry.address}"]
        tunnel = processes.LocalProcess(
            ["ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-R", forward, *options, *where]
        )
        stack.callback(tunnel.kill)
        with open_inventory_host(NAME, machine.entry) as host:
            listens = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{_PROXY_PORT}"]
            wait_until("the way to packages", lambda: host.run(listens, check=False).returncode == 0, timeout=60)
        yield Playbook(machine, directory, sockets)


def _write_inventory(machine: BareMachine, directory: Path) -> list[str]:
    """Ansible's, and the harness's, of the one machine. Returns options of ssh."""
    images = build_images(["labhost"])
    entry = machine.entry
    known = directory / "known_hosts"
    known.write_text(f"[{entry.address}]:{entry.port} {entry.host_key}\n")
    options = ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"]
    of_host: dict[str, Any] = {
        "ansible_host": entry.address,
        "ansible_port": entry.port,
        "ansible_user": entry.user,
        "ansible_ssh_private_key_file": entry.key,
        "ansible_ssh_common_args": " ".join(options),
        "switchover_host_apt_proxy": f"http://127.0.0.1:{_PROXY_PORT}",
        "switchover_host_huge_2m_pages": 16,
        "switchover_host_functions": [{"address": NIC}],
        "switchover_host_guest": str(images["guest"].directory),
        "switchover_host_reference_device": str(images["modules"].artifact("refdev.ko")),
    }
    (directory / "hosts.json").write_text(json.dumps({"switchover": {"hosts": {machine.name: of_host}}}))
    lines = [
        "version = 1",
        f"[host.{machine.name}]",
        *(f"{key} = {json.dumps(getattr(entry, key))}" for key in ("address", "port", "key", "host_key", "link")),
        f"[[host.{machine.name}.device]]",
        f"mdev = {{ parent = {json.dumps(PARENT)}, type = {json.dumps(TYPE)} }}",
    ]
    (directory / "inventory.toml").write_text("\n".join(lines))
    return options


@dataclass(frozen=True)
class Applied:
    """What two applications of the role told."""

    first: Completed
    second: Completed


@pytest.fixture(scope="session")
def applied(lacked: Sequence[str], playbook: Playbook) -> Applied:
    assert lacked
    return Applied(playbook.apply(), playbook.apply())


@pytest.fixture
def host(applied: Applied, machine: BareMachine) -> Iterator[Host]:
    with open_inventory_host(NAME, machine.entry) as host:
        yield host
