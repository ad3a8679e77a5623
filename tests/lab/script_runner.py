# SPDX-License-Identifier: GPL-2.0-or-later
"""``repro.sh`` of a repeat on lab hosts, in a directory of its own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from switchover.hosts.host import Completed, Host
from switchover.hosts.waiting import wait_until
from switchover.migration.libvirt_session import start_peer
from switchover.repro.script import SCRIPT
from switchover.runner.host_pair import HostPair

_DIRECTORY = "/tmp/repro"


@contextlib.contextmanager
def copied(repeat: Path, *hosts: Host) -> Iterator[str]:
    """The script of the repeat in the directory ``repeat``, on hosts: its path there. It cleans up at the end."""
    path = f"{_DIRECTORY}/{SCRIPT}"
    for host in hosts:
        host.run(["mkdir", _DIRECTORY])
        host.write_file(path, (repeat / SCRIPT).read_bytes())
    try:
        yield path
    finally:
        for host in hosts:
            run_script(host, path, "clean")
            host.run(["rm", "-r", _DIRECTORY])


def run_script(host: Host, script: str, verb: str, **variables: str) -> Completed:
    environment = [f"{name}={value}" for name, value in variables.items()]
    return host.run(["env", *environment, "sh", script, verb], timeout=400, check=False)


def start_script(host: Host, script: str, verb: str, ready: str, **variables: str) -> None:
    """One that goes on, until it says that it is ready."""
    words = [f"{name}={value}" for name, value in variables.items()]
    said = f"{_DIRECTORY}/{verb}"
    host.run(["sh", "-c", ': >"$0"', said])
    running = host.start(
        ["sh", "-c", 'said=$1; shift; exec env "$@" >"$said" 2>&1', "sh", said, *words, "sh", script, verb]
    )

    def is_ready() -> bool:
        assert running.poll() is None, host.read_file(said).decode()
        return ready in host.read_file(said).decode()

    wait_until(f"{verb} to be ready", is_ready, timeout=200, poll=2.0)


def migrate_by_virsh(pair: HostPair, script: str) -> Completed:
    """The script of a case by libvirt, each of its steps on its host; what the last one, the migration, said."""
    source, address = pair.source.host, {"DESTINATION": pair.destination.address}
    prepared = run_script(pair.destination.host, script, "destination", **address)
    assert prepared.returncode == 0, prepared.text + prepared.stderr.decode()
    started = run_script(source, script, "source", **address)
    assert "ready: sh" in started.text, started.text + started.stderr.decode()
    with start_peer(source, _DIRECTORY, pair.destination.address, pair.destination.login) as uri:
        return run_script(source, script, "migrate", **address, DESTINATION_URI=uri)
