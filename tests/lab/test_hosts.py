# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts of a real lab host: kernel, KVM, QEMU, the reference device and its migration flags; the doctor on them."""

import json
import os
import sys
from pathlib import Path

import pytest

import switchover
from switchover.devices.abilities import Ability, read_abilities
from switchover.devices.checks import host_checks
from switchover.devices.functions import read_devices
from switchover.devices.migratability import P2P, PRE_COPY, STOP_COPY, read_migratability
from switchover.devices.reference import PARENT, TYPE, Knobs, start_reference_device
from switchover.devices.survey import survey_host
from switchover.hosts import processes
from switchover.hosts.checks import Outcome, run_checks
from switchover.hosts.host import Host
from switchover.hosts.inventory import DeviceEntry
from switchover.lab.lab import Lab
from switchover.runner.host_pair import HostPair

REFERENCE = DeviceEntry.model_validate({"mdev": {"parent": PARENT, "type": TYPE}})


@pytest.fixture
def host(pair: HostPair) -> Host:
    return pair.source.host


def test_a_lab_host_passes_every_check(host: Host) -> None:
    """A lab host has what the doctor asks of any host: KVM in which a kernel boots, VFIO, programs, QEMU, device."""
    survey = survey_host(host, "lab")
    assert survey.problems == {}
    assert survey.machine is not None
    assert survey.machine.release >= (6, 12)
    assert survey.machine.memory is not None
    assert survey.machine.memory > 2 << 30
    assert survey.kvm is not None
    assert survey.kvm.works is True
    assert survey.devices is not None
    assert {entry.type for entry in survey.devices.mdev_types} == {"refdev-4vec", "refdev-16vec"}
    results = run_checks(host_checks(survey, [REFERENCE]))
    assert [result for result in results if result.outcome is not Outcome.PASSED] == []


def test_abilities_of_its_qemu(host: Host) -> None:
    """QEMU of the lab host can migrate VFIO devices, and says what its machine types set."""
    qemu = read_abilities(host)
    needed = [
        (Ability.PROPERTY, "enable-migration"),
        (Ability.CAPABILITY, "switchover-ack"),
        (Ability.EVENT, "VFIO_MIGRATION"),
        (Ability.TRACE, "vfio_save_block"),
        (Ability.TRACE, "vmstate_downtime_checkpoint"),
        (Ability.MACHINE, "pc-q35-9.2"),
        (Ability.ACCELERATOR, "kvm"),
    ]
    assert qemu.missing(needed) == []
    assert qemu.missing([(Ability.PROPERTY, "x-allow-pre-copy")]) == ["vfio-pci property 'x-allow-pre-copy'"]
    assert qemu.compat_value("pc-q35-8.0", "migration", "multifd-clean-tls-termination") == "false"


def test_migration_flags_are_the_devices_own(host: Host) -> None:
    """The driver's flags come back as the knobs set them; a device that is open elsewhere is not touched."""
    with (
        start_reference_device(host, Knobs(pre_copy=True)) as everything,
        start_reference_device(host, Knobs(pre_copy=False)) as without,
        start_reference_device(host, Knobs(pre_copy=False, p2p=False)) as least,
    ):
        found = read_migratability(host, read_devices(host))
        flags = [found[device.mediated.uuid].flags for device in (everything, without, least)]
        assert flags == [STOP_COPY | P2P | PRE_COPY, STOP_COPY | P2P, STOP_COPY]
        devices = read_devices(host)
        busy = everything.mediated.uuid
        (group,) = [device.group for device in devices.mediated if device.uuid == busy]
        with host.open_stream(["sh", "-c", 'exec 3<>"/dev/vfio/$1" && echo open && cat', "sh", str(group)]) as holder:
            holder.settimeout(20)
            assert holder.recv(10) == b"open\n"
            found = read_migratability(host, devices)
        assert (found[busy].flags, found[busy].why) == (None, "in use")
        assert found[without.mediated.uuid].flags == STOP_COPY | P2P


def run_command(*words: str) -> str:
    """Standard output of the command, in a process of its own."""
    package = Path(switchover.__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": str(package)}
    return processes.run([sys.executable, "-m", "switchover", *words], timeout=300, env=env).text


@pytest.mark.quick
def test_doctor_for_a_lab(lab: Lab) -> None:
    """On a machine that runs a lab the doctor says that it can, and checks and lists a lab host as any other."""
    results = json.loads(run_command("doctor", "--for", "lab", "--json"))
    assert {result["name"] for result in results} >= {"image labhost", "image labhost-qemu", "namespaces", "labs"}
    name = lab.file.hosts[0]
    assert f"host {name}: ready" in run_command("doctor", "--for", "host", name, "--lab", lab.name)
    (row,) = json.loads(run_command("hosts", name, "--lab", lab.name, "--json"))
    assert (row["name"], row["reachable"], row["kvm"]["works"]) == (name, True, True)


def test_a_plan_that_asks_the_lab(lab: Lab, tmp_path: Path) -> None:
    """Cases that name no host are decided by what the lab hosts say: what one lacks is named, and only there."""
    scenario = tmp_path / "s.toml"
    scenario.write_text(
        'version = 1\n[scenario]\ntitle = "x"\n[axes]\ndestination.machine = ["pc-q35-9.2", "pc-q35-99.0"]\n'
    )
    plan = json.loads(run_command("plan", str(scenario), "--probe", "--lab", lab.name, "--json"))
    able, unable = (case["gate"] for case in plan["scenarios"][0]["cases"])
    assert able == {"runs": True, "asked": True, "missing": []}
    assert (unable["runs"], unable["asked"]) == (False, True)
    assert [("of hostb" in words, "pc-q35-99.0" in words) for words in unable["missing"]] == [(True, True)]
