# SPDX-License-Identifier: GPL-2.0-or-later
"""``repro.sh`` of real repeats, run on lab hosts that have nothing of this project but the module and the guest."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.lab.case_runner import CaseRunner

from switchover.hosts.host import Completed, Host
from switchover.hosts.waiting import wait_until
from switchover.lab.release import list_leftovers
from switchover.migration.libvirt_session import start_peer
from switchover.migration.settings import MigrationSettings
from switchover.record.record import Record, VerdictName
from switchover.run.pair import Pair
from switchover.run.standard import KNOBS, PRE_COPY_ON
from switchover.scenarios.case import Case, SideSpec, with_one_device
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.script import SCRIPT

DEVICE_FAILS = Case(
    "destination fails at RESUMING",
    PRE_COPY_ON.source,
    with_one_device(replace(KNOBS, fail_at="RESUMING", fail_times="always")),
    expectation=Expectation(VerdictName.FAILED, "destination"),
)
STUCK = Case(
    "destination stuck while loading",
    PRE_COPY_ON.source,
    SideSpec(devices=with_one_device(replace(KNOBS, load_initial_ms=600_000)).devices),
    MigrationSettings(hang_s=9),
    expectation=Expectation(VerdictName.HUNG, "destination"),
)


@contextlib.contextmanager
def copied(run_case: CaseRunner, *hosts: Host) -> Iterator[str]:
    """The script of the repeat that was run, in a directory of its own on hosts."""
    text = (run_case.directory / SCRIPT).read_bytes()
    for host in hosts:
        host.run(["mkdir", "/tmp/repro"])
        host.write_file(f"/tmp/repro/{SCRIPT}", text)
    try:
        yield f"/tmp/repro/{SCRIPT}"
    finally:
        for host in hosts:
            run(host, f"/tmp/repro/{SCRIPT}", "clean")
            host.run(["rm", "-r", "/tmp/repro"])


def run(host: Host, script: str, verb: str, **variables: str) -> Completed:
    environment = [f"{name}={value}" for name, value in variables.items()]
    return host.run(["env", *environment, "sh", script, verb], timeout=400, check=False)


@pytest.mark.parametrize("case", [PRE_COPY_ON, DEVICE_FAILS, STUCK], ids=lambda case: case.id)
def test_on_one_host(run_case: CaseRunner, pair: Pair, case: Case) -> None:
    """The script comes to the verdict of the record on one host, by itself, and leaves nothing there."""
    assert run_case(case).verdict.name is case.expectation.verdict
    with copied(run_case, pair.source.host) as script:
        completed = run(pair.source.host, script, "all")
        assert completed.returncode == 0, completed.text + completed.stderr.decode()
        assert f"verdict: {case.expectation.verdict}, as recorded" in completed.text
        assert list_leftovers(pair.source.host) == []


def test_between_two_hosts(run_case: CaseRunner, pair: Pair) -> None:
    """Destination, source and migrate, each on its host, come to the verdict of the record; clean leaves nothing."""
    assert run_case(PRE_COPY_ON).verdict.name is VerdictName.COMPLETED
    source, destination = pair.source.host, pair.destination.host
    address = {"DESTINATION": pair.destination.address}
    with copied(run_case, source, destination) as script:
        for host, verb, ready in ((destination, "destination", "listens"), (source, "source", "ready: sh")):
            _start(host, script, verb, ready, **address)
        completed = run(source, script, "migrate", **address)
        assert completed.returncode == 0, completed.text + completed.stderr.decode()
        assert "verdict: completed, as recorded" in completed.text
        for host in (source, destination):
            run(host, script, "clean")
            assert list_leftovers(host) == []


def _start(host: Host, script: str, verb: str, ready: str, **variables: str) -> None:
    """A script that goes on, until it says that it is ready."""
    words = [f"{name}={value}" for name, value in variables.items()]
    said = f"/tmp/repro/{verb}"
    host.run(["sh", "-c", ': >"$0"', said])
    running = host.start(
        ["sh", "-c", 'said=$1; shift; exec env "$@" >"$said" 2>&1', "sh", said, *words, "sh", script, verb]
    )

    def is_ready() -> bool:
        assert running.poll() is None, host.read_file(said).decode()
        return ready in host.read_file(said).decode()

    wait_until(f"{verb} to be ready", is_ready, timeout=200, poll=2.0)


def test_by_virsh_between_two_hosts(run_by_libvirt: tuple[CaseRunner, Record], pair: Pair) -> None:
    """The script of libvirt's record needs virsh and its two domains: it comes to the same verdict, and clean leaves
    nothing.
    """
    runner, record = run_by_libvirt
    assert record.verdict.name is VerdictName.COMPLETED
    source, destination = pair.source.host, pair.destination.host
    address = {"DESTINATION": pair.destination.address}
    with copied(runner, source, destination) as script:
        assert run(destination, script, "destination", **address).returncode == 0
        started = run(source, script, "source", **address)
        assert "ready: sh" in started.text, started.text + started.stderr.decode()
        with start_peer(source, "/tmp/repro", pair.destination.address, pair.destination.login) as uri:
            completed = run(source, script, "migrate", **address, DESTINATION_URI=uri)
        assert completed.returncode == 0, completed.text + completed.stderr.decode()
        assert "verdict: completed, as recorded" in completed.text
        assert "the guest on the destination: running" in completed.text
        for host in (source, destination):
            run(host, script, "clean")
            assert list_leftovers(host) == []
            assert host.run(["virsh", "list", "--all", "--name"]).text.split() == []


def test_another_verdict_is_told(run_case: CaseRunner, pair: Pair) -> None:
    """The script of a migration that failed exits with 1 where it completes: what it says depends on what happens."""
    assert run_case(DEVICE_FAILS).verdict.name is VerdictName.FAILED
    with copied(run_case, pair.source.host) as script:
        pair.source.host.run(["sed", "-i", "s/knob fail_at RESUMING/knob fail_at none/", script])
        completed = run(pair.source.host, script, "all")
        assert completed.returncode == 1, completed.text
        assert "verdict: completed; the recorded one is failed" in completed.text
