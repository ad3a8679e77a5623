# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare machine, and the role of ansible/ applied to it twice: once for all tests, since it takes minutes."""

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.provision.bare import BARE, LINK, Machine, start_machines
from tests.provision.packages import serve_packages

from switchover.devices.reference import PARENT, TYPE
from switchover.hosts import processes
from switchover.hosts.host import Completed, Host
from switchover.hosts.inventory import HostEntry, open_inventory_host
from switchover.hosts.waiting import wait_until
from switchover.lab.images import Image, build_images
from switchover.lab.labhost import LINK_MTU
from switchover.lab.mirror import read_mirror

ANSIBLE = Path(__file__).parents[2] / "ansible"
NIC = "0000:01:00.0"
"""The e1000e of a bare machine."""
PHYSICAL = "0000:02:00.0"
"""Its igb, which has virtual functions."""
_PROXY_PORT = 3142


def outer_environment() -> dict[str, str]:
    """Without the one of tox, which has no binding of libvirt: ``./switchover`` finds its own."""
    ours = str(Path(sys.executable).parent)
    path = os.pathsep.join(place for place in os.environ["PATH"].split(os.pathsep) if place != ours)
    left_out = ("PYTHONPATH", "VIRTUAL_ENV")
    return {**{name: value for name, value in os.environ.items() if name not in left_out}, "PATH": path}


@pytest.fixture(scope="session")
def images() -> Mapping[str, Image]:
    return build_images(["bare", "labhost", "labhost-qemu"])


@pytest.fixture(scope="session")
def machines(
    images: Mapping[str, Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, Machine]]:
    """A VM as an installation leaves it, with sshd and Python; and a lab host, linked to it."""
    with start_machines(images, tmp_path_factory.mktemp("machines")) as machines:
        yield machines


_LACKED = """
for name; do command -v "$name" >/dev/null || echo "$name"; done
[ -e /sys/module/vfio ] || echo vfio
grep -q -w intel_iommu=on /proc/cmdline || echo intel_iommu=on
"""


@pytest.fixture(scope="session")
def lacked(machines: Sequence[Machine]) -> list[str]:
    """What it did not have before the role came."""
    with open_inventory_host(machines[0].name, machines[0].entry) as host:
        return host.run(["sh", "-c", _LACKED, "sh", "qemu-system-x86_64", "virsh", "socat"]).text.splitlines()


@dataclass(frozen=True)
class Ansible:
    """``ansible-playbook`` on the machine. ``inventory``: that of the harness. ``tunnel``: command of a way from the
    machine to packages.
    """

    machine: Machine
    directory: Path
    sockets: str
    tunnel: Sequence[str]

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory.toml"

    def apply(self, *options: str, check: bool = True) -> Completed:
        return self.play("hosts.yml", *options, check=check)

    def play(self, playbook: str, *options: str, check: bool = True, **variables: object) -> Completed:
        words = ["-i", str(self.directory / "hosts.json"), "--extra-vars", json.dumps(variables), *options]
        program = processes.require_program("ansible-playbook", needed_to="apply the role")
        env = {
            **outer_environment(),
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.directory / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": self.sockets,
            "ANSIBLE_LOG_PATH": str(self.directory / "ansible.log"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }
        with self._start_tunnel():
            done = processes.run([program, *words, str(ANSIBLE / playbook)], timeout=2400, check=False, env=env)
        print(done.text)
        assert not check or done.returncode == 0, done.text + done.stderr.decode()
        return done

    @contextlib.contextmanager
    def _start_tunnel(self) -> Iterator[None]:
        """For one playbook: a machine that reboots ends it."""
        tunnel = processes.LocalProcess(list(self.tunnel))
        listens = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{_PROXY_PORT}"]
        try:
            with open_inventory_host(self.machine.name, self.machine.entry) as host:
                wait_until("the way to packages", lambda: not host.run(listens, check=False).returncode, timeout=60)
            yield
        finally:
            tunnel.kill()


def count(completed: Completed, what: str) -> int:
    """``changed``, ``failed`` and the like, of the machine in Ansible's recap."""
    match = re.search(rf"^{BARE} +:.*\b{what}=(\d+)", completed.text.partition("PLAY RECAP")[2], re.MULTILINE)
    assert match is not None, completed.text
    return int(match[1])


@pytest.fixture(scope="session")
def ansible(
    machines: Sequence[Machine], images: Mapping[str, Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ansible]:
    """With packages through the controller: a proxy there, at a port that SSH forwards from the machine."""
    directory = tmp_path_factory.mktemp("ansible")
    _write_inventory(machines, directory / "inventory.toml")
    entry = machines[0].entry
    options = _write_hosts(entry, images, directory)
    packages = directory / "packages"
    packages.mkdir()
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(serve_packages(read_mirror(), packages))
        sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="switchover-ansible-"))
        forward = f"127.0.0.1:{_PROXY_PORT}:127.0.0.1:{port}"
        where = ["-p", str(entry.port), "-i", entry.key, f"root@{entry.address}"]
        tunnel = ["ssh", "-N", "-o", "ExitOnForwardFailure=yes", "-R", forward, *options, *where]
        yield Ansible(machines[0], directory, sockets, tunnel)


def _write_hosts(entry: HostEntry, images: Mapping[str, Image], directory: Path) -> list[str]:
    """Ansible's inventory, of the machine. Returns options of ssh."""
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
        "switchover_host_huge_1g_pages": 1,
        "switchover_host_huge_2m_pages": 16,
        "switchover_host_reboot": True,
        "switchover_host_functions": [{"address": NIC}],
        "switchover_host_vfs": [{"pf": PHYSICAL, "count": 2}],
        "switchover_host_bridge_address": f"{entry.link}/24",
        "switchover_host_bridge_port": LINK,
        "switchover_host_bridge_mtu": LINK_MTU,
        "switchover_host_guest": str(images["guest"].directory),
        "switchover_host_reference_device": str(images["modules"].artifact("refdev.ko")),
    }
    (directory / "hosts.json").write_text(json.dumps({"switchover": {"hosts": {BARE: of_host}}}))
    return options


def _write_inventory(machines: Sequence[Machine], path: Path) -> None:
    """The harness's, of both."""
    lines = ["version = 1"]
    for machine in machines:
        keys = ("address", "port", "key", "host_key", "link")
        lines += [
            f"[host.{machine.name}]",
            *(f"{key} = {json.dumps(getattr(machine.entry, key))}" for key in keys),
            f"[[host.{machine.name}.device]]",
            f"mdev = {{ parent = {json.dumps(PARENT)}, type = {json.dumps(TYPE)} }}",
        ]
    path.write_text("\n".join(lines))


@dataclass(frozen=True)
class Applied:
    """What two applications of the role told."""

    first: Completed
    second: Completed


@pytest.fixture(scope="session")
def applied(lacked: Sequence[str], ansible: Ansible) -> Applied:
    assert lacked
    return Applied(ansible.apply(), ansible.apply())


@pytest.fixture(scope="session")
def hosts(applied: Applied, machines: Sequence[Machine]) -> Iterator[list[Host]]:
    """The machine, now that the role has made it a host, and its partner."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(open_inventory_host(machine.name, machine.entry)) for machine in machines]
