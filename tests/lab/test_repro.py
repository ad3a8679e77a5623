# SPDX-License-Identifier: GPL-2.0-or-later
"""``repro.sh`` of real repeats, run on lab hosts that have nothing of this project but the module and the guest.

The repeats are cases; what is looked at is what the scripts do on the hosts.
"""

from dataclasses import replace

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.script_runner import copied, migrate_by_virsh, run_script, start_script
from tests.lab.standard import DEVICE, KNOBS, PRE_COPY_ON

from switchover import Case, Expectation, MigrationSettings, Record, Testbed, VerdictName, build_case
from switchover.lab.release import list_leftovers
from switchover.runner.host_pair import HostPair

DEVICE_FAILS = build_case(
    "destination fails at RESUMING",
    device=DEVICE,
    destination_device=replace(DEVICE, knobs=replace(KNOBS, fail_at="RESUMING", fail_times="always")),
    expectation=Expectation(VerdictName.FAILED, "destination"),
)
STUCK = build_case(
    "destination stuck while loading",
    device=DEVICE,
    destination_device=replace(DEVICE, knobs=replace(KNOBS, load_initial_ms=600_000)),
    migration=MigrationSettings(hang_s=9),
    expectation=Expectation(VerdictName.HUNG, "destination"),
)


@pytest.mark.parametrize(
    "case", [pytest.param(PRE_COPY_ON, marks=pytest.mark.quick), DEVICE_FAILS, STUCK], ids=lambda case: case.id
)
def test_on_one_host(run_case: CaseRunner, pair: HostPair, case: Case) -> None:
    """The script comes to the verdict of the record on one host, by itself, and leaves nothing there."""
    assert run_case.alone(case).verdict.name is case.expectation.verdict
    with copied(run_case.directory, pair.source.host) as script:
        completed = run_script(pair.source.host, script, "all")
        assert completed.returncode == 0, completed.text + completed.stderr.decode()
        assert f"verdict: {case.expectation.verdict}, as recorded" in completed.text
        assert list_leftovers(pair.source.host) == []


def test_between_two_hosts(run_case: CaseRunner, pair: HostPair) -> None:
    """Destination, source and migrate, each on its host, come to the verdict of the record; clean leaves nothing."""
    assert run_case.alone(PRE_COPY_ON).verdict.name is VerdictName.COMPLETED
    source, destination = pair.source.host, pair.destination.host
    address = {"DESTINATION": pair.destination.address}
    with copied(run_case.directory, source, destination) as script:
        for host, verb, ready in ((destination, "destination", "listens"), (source, "source", "ready: sh")):
            start_script(host, script, verb, ready, **address)
        completed = run_script(source, script, "migrate", **address)
        assert completed.returncode == 0, completed.text + completed.stderr.decode()
        assert "verdict: completed, as recorded" in completed.text
        for host in (source, destination):
            run_script(host, script, "clean")
            assert list_leftovers(host) == []


def test_by_virsh_between_two_hosts(testbed: Testbed, run_by_libvirt: Record, pair: HostPair) -> None:
    """The script of libvirt's record needs virsh and its two domains: it comes to the same verdict, and clean leaves
    nothing.
    """
    assert run_by_libvirt.verdict.name is VerdictName.COMPLETED
    source, destination = pair.source.host, pair.destination.host
    with copied(testbed.directory_of(run_by_libvirt), source, destination) as script:
        completed = migrate_by_virsh(pair, script)
        assert completed.returncode == 0, completed.text + completed.stderr.decode()
        assert "verdict: completed, as recorded" in completed.text
        assert "the guest on the destination: running" in completed.text
        for host in (source, destination):
            run_script(host, script, "clean")
            assert list_leftovers(host) == []
            assert host.run(["virsh", "list", "--all", "--name"]).text.split() == []


def test_another_verdict_is_told(run_case: CaseRunner, pair: HostPair) -> None:
    """The script of a migration that failed exits with 1 where it completes: what it says depends on what happens."""
    assert run_case.alone(DEVICE_FAILS).verdict.name is VerdictName.FAILED
    with copied(run_case.directory, pair.source.host) as script:
        pair.source.host.run(["sed", "-i", "s/knob fail_at RESUMING/knob fail_at none/", script])
        completed = run_script(pair.source.host, script, "all")
        assert completed.returncode == 1, completed.text
        assert "verdict: completed; the recorded one is failed" in completed.text
