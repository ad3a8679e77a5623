# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI functions of a lab host with an IOMMU: passed through, kept from migrating, and given back however it ends."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.oopses import list_oopses
from tests.lab.script_runner import copied, migrate_by_virsh, run_script

from switchover.cli.main import main
from switchover.devices.binding import FunctionRequest
from switchover.devices.functions import read_devices
from switchover.devices.passthrough import start_function, start_virtual_functions
from switchover.guests.spec import GuestSpec
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.lab.lab import Lab, start_lab
from switchover.lab.labhost import GROUPED, PHYSICAL, SINGLE, VIRTUAL_FUNCTIONS
from switchover.lab.release import list_leftovers
from switchover.record.errors import NotReady, NotSupported, Refused
from switchover.record.record import VerdictName
from switchover.record.rundir import make_run_directory
from switchover.runner.case_runner import run_repeat
from switchover.runner.guest_session import start_guest_session
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.side import Side, start_side
from switchover.runner.verdict import judge_attempt
from switchover.scenarios.case import Case, FunctionSpec, SideSpec, make_case
from switchover.scenarios.expand import expand, select
from switchover.scenarios.expectation import find_mismatch
from switchover.scenarios.oracle import choose_rule, make_traits
from switchover.scenarios.scenario import catalogue_directory, load_scenario

NIC = "8086:10d3"
VIRTUAL_NIC = "8086:10ca"


@pytest.fixture(scope="module")
def pci_lab() -> Iterator[Lab]:
    """A lab with an IOMMU: the lab of the other tests has none."""
    with start_lab(f"pci-{os.getpid()}", pci=True) as lab:
        yield lab


@pytest.fixture
def host(pci_lab: Lab) -> Host:
    return pci_lab.hosts()[0]


@pytest.fixture(autouse=True)
def clean(pci_lab: Lab) -> Iterator[None]:
    """Around each test: every function has the driver and the override that it had, and as many virtual functions."""
    before = {host.name: read_devices(host) for host in pci_lab.hosts()}
    for devices in before.values():
        drivers = {function.address: function.driver for function in devices.functions}
        assert [drivers[address] for address in (*GROUPED, *SINGLE, PHYSICAL)] == ["e1000e"] * 4 + ["igb"]
    yield
    for host in pci_lab.hosts():
        assert read_devices(host) == before[host.name]
        assert list_leftovers(host) == []
        assert list_oopses(host) == []


def catalogue_case(driver: str) -> Case:
    (found,) = select(expand(load_scenario(catalogue_directory() / "pci-functions.toml")), f"driver={driver}")
    return found.case


@contextlib.contextmanager
def start_source(lab: Lab, spec: SideSpec) -> Iterator[Side]:
    pair = pair_of_lab(lab)
    with LoopThread() as loop, start_side(spec, pair.source.host, "source", pair.keys, loop, incoming=False) as side:
        yield side


@contextlib.contextmanager
def passed_on(host: Host, *requests: FunctionRequest) -> Iterator[None]:
    """VFIO has these functions, as it has to before a script is used."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(start_virtual_functions(host, requests))
        for request in requests:
            stack.enter_context(start_function(host, request))
        yield


# $1: driver of the guest's NIC; $2: its address; $3: who is pinged
_PING = r"""
for nic in /sys/class/net/*; do
    case $(readlink "$nic/device/driver") in */"$1") break ;; esac
    nic=
done
cat "$nic/address"
nic=${nic##*/}
ip address add "$2/30" dev "$nic" && ip link set "$nic" up
tries=0
until ping -q -c 1 -W 1 "$3" >/dev/null || [ "$tries" -ge 20 ]; do tries=$((tries + 1)); done # the link comes up
ping -q -c 3 -W 5 "$3"
grep "$nic" /proc/interrupts
"""


@contextlib.contextmanager
def interface_up(host: Host, function: str, address: str) -> Iterator[None]:
    """The host's interface of a PCI function, with an address of its own."""
    name = host.run(["ls", f"/sys/bus/pci/devices/{function}/net"]).text.strip()
    host.run(["sh", "-c", 'ip address add "$2/30" dev "$1" && ip link set "$1" up', "sh", name, address])
    try:
        yield
    finally:
        host.run(["sh", "-c", 'ip link set "$1" down; ip address flush dev "$1"', "sh", name])


@pytest.mark.quick
def test_functions_work_in_a_guest(pci_lab: Lab) -> None:
    """A guest sends and receives frames with a NIC, over its wire, and with a virtual function, by way of the physical
    one: both read and write the guest's memory through the IOMMU, and interrupt the guest. They do so after a migration
    that QEMU blocked, and the NIC's own address is read from it.
    """
    case, pair = catalogue_case("qmp"), pair_of_lab(pci_lab)
    host = pair.source.host
    address = host.run(["sh", "-c", f"cat /sys/bus/pci/devices/{SINGLE[0]}/net/*/address"]).text.strip()
    with (
        interface_up(host, SINGLE[1], "192.0.2.1"),
        interface_up(host, PHYSICAL, "192.0.2.5"),
        LoopThread() as loop,
        start_guest_session(case.source, pair, loop) as guest_session,
    ):
        attempt = guest_session.attempt(case)
        verdict = judge_attempt(attempt)
        with guest_session.side.guest.open_ssh(pair.keys) as guest:
            said = [
                guest.run(["sh", "-c", _PING, "sh", *words], check=False, timeout=60).text
                for words in (("e1000e", "192.0.2.2", "192.0.2.1"), ("igbvf", "192.0.2.6", "192.0.2.5"))
            ]
    assert "VFIO migration is not supported in kernel" in verdict.reason
    assert find_mismatch(case.expectation, verdict, attempt.checks) == ""
    assert said[0].startswith(address)
    # received, sent, state of the link; a virtual function's third is for messages of the physical one: there were none
    for text, used in zip(said, (3, 2), strict=True):
        assert " 0% packet loss" in text
        counts = [int(line.split()[1]) for line in text.splitlines() if "PCI-MSIX" in line]
        assert len(counts) == 3
        assert sum(count > 0 for count in counts) == used


def test_functions_of_a_domain(pci_lab: Lab, tmp_path: Path) -> None:
    """With libvirt too a NIC and a virtual function are seen by the guest's kernel, its drivers have them, and QEMU
    blocks a migration in its own words. What the host's drivers say of migration was asked before. The script of the
    record comes to the same with virsh.
    """
    directory, pair = make_run_directory("test", tmp_path).repeat("case", 1), pair_of_lab(pci_lab)
    case = catalogue_case("libvirt")
    record = run_repeat(case, 1, pair, directory, {})
    assert (record.verdict.name, record.verdict.side) == (VerdictName.BLOCKED, "source"), record.verdict
    assert f"{SINGLE[0]}: VFIO migration is not supported in kernel" in record.verdict.reason
    assert record.mismatch == ""
    assert record.check("guest.pci-functions").observed == f"{NIC} e1000e, {VIRTUAL_NIC} igbvf"
    assert record.check("guest.pci-drivers").expected == f"{NIC} e1000e, {VIRTUAL_NIC} igbvf"
    functions = record.fingerprint["functions"]
    assert functions["source nic"]["address"] == SINGLE[0]
    assert functions["destination vf"]["physical"] == PHYSICAL
    assert {function["driver"] for function in functions.values()} == {"vfio-pci"}
    assert [function["migration"]["flags"] for function in functions.values()] == [0] * 4
    assert len({function["group"] for function in functions.values()}) == 4
    source, destination = pair.source.host, pair.destination.host
    with (
        passed_on(source, *case.source.functions),
        passed_on(destination, *case.destination.functions),
        copied(directory.path, source, destination) as script,
    ):
        completed = migrate_by_virsh(pair, script)
    assert "verdict: blocked, as recorded" in completed.text, completed.text + completed.stderr.decode()


def test_a_script_of_functions(pci_lab: Lab, host: Host, tmp_path: Path) -> None:
    """The script of a record by QMP names a function that VFIO has not; when it has all, the verdict is the same."""
    directory, case = make_run_directory("test", tmp_path).repeat("case", 1), catalogue_case("qmp")
    assert run_repeat(case, 1, pair_of_lab(pci_lab), directory, {}).verdict.name is VerdictName.BLOCKED
    with copied(directory.path, host) as script:
        refused = run_script(host, script, "all")
        with passed_on(host, *case.source.functions, *case.destination.functions):
            completed = run_script(host, script, "all")
    assert refused.returncode == 2
    assert "0000:02:00.0 is with the driver e1000e, and has to be with vfio-pci" in refused.stderr.decode()
    assert completed.returncode == 0, completed.text + completed.stderr.decode()
    assert "verdict: blocked, as recorded" in completed.text


def test_a_failover_pair(pci_lab: Lab, tmp_path: Path) -> None:
    """QEMU has the guest give its NIC back before anything is sent, and plugs the destination's in: what blocks a
    migration alone does not as a primary, and the guest has a NIC at the end.
    """
    (found,) = select(expand(load_scenario(catalogue_directory() / "failover-pair.toml")), "nic=primary")
    directory = make_run_directory("test", tmp_path).repeat("case", 1)
    record = run_repeat(found.case, 1, pair_of_lab(pci_lab), directory, {})
    assert record.verdict.name is VerdictName.COMPLETED, record.verdict
    assert record.mismatch == ""
    assert record.check("guest.pci-drivers").observed == f"{NIC} e1000e"
    assert record.properties["destination"]["failover_pair_id"] == "standby"
    statuses = re.findall(r'"status": "([a-z-]+)"', (directory.path / "source.events.jsonl").read_text())
    assert statuses[:3] == ["setup", "wait-unplug", "active"]


def test_a_function_that_must_migrate_is_refused(pci_lab: Lab) -> None:
    """With enable-migration=on QEMU does not even start with a function whose driver has no migration."""
    device = FunctionSpec(pci=SINGLE[0], vfio_driver="vfio-pci", properties={"enable-migration": "on"})
    with pytest.raises(Refused) as caught, start_source(pci_lab, SideSpec(devices=(device,))):
        raise AssertionError("it started")
    case = make_case("must", SideSpec(devices=(device,)))
    assert re.search(choose_rule(make_traits(case)).expectation.reason, str(caught.value))


def test_libvirt_binds_a_function_itself(pci_lab: Lab, host: Host) -> None:
    """With managed it has the host's driver until libvirt starts the domain; the fixture sees that it has it again."""
    spec = SideSpec(GuestSpec(driver="libvirt"), (FunctionSpec(pci=SINGLE[0], managed=True, properties={}),))
    with start_source(pci_lab, spec) as side:
        bound = read_devices(host).find_function(SINGLE[0])
        before = side.functions["dut"].function
    assert bound is not None
    assert (before.driver, bound.driver) == ("e1000e", "vfio-pci")


def test_a_group_goes_to_vfio_as_a_whole(host: Host) -> None:
    """Of two functions in one group none is taken while a driver of the host has the other, unless that is asked for;
    the driver that the host's kernel names for a function without one of its own is vfio-pci.
    """
    groups = {function.address: function.group for function in read_devices(host).functions}
    assert groups[GROUPED[0]] == groups[GROUPED[1]]
    assert groups[SINGLE[0]] != groups[SINGLE[1]]
    with pytest.raises(NotReady, match="is not viable") as caught, start_function(host, FunctionRequest(GROUPED[0])):
        raise AssertionError("it was passed on")
    assert f"{GROUPED[1]} is with e1000e" in caught.value.why
    with start_function(host, FunctionRequest(GROUPED[0], whole_group=True)) as passed:
        drivers = {function.address: function.driver for function in read_devices(host).functions}
        assert [drivers[address] for address in GROUPED] == ["vfio-pci"] * 2
        assert passed.migratability.describe() == "none"


LACKING = [
    (FunctionRequest("0000:09:00.0"), "has no PCI function 0000:09:00.0"),
    (FunctionRequest(SINGLE[0], vf=0), "has no SR-IOV"),
    (FunctionRequest(PHYSICAL, vf=VIRTUAL_FUNCTIONS), f"at most {VIRTUAL_FUNCTIONS} virtual functions"),
    (FunctionRequest(SINGLE[0], driver="mlx5_vfio_pci"), "has no driver mlx5_vfio_pci"),
]


def test_what_a_host_lacks_is_named(host: Host) -> None:
    """Nothing is changed on a host that cannot give what is asked for, and what it lacks is told with a way out."""
    for wanted, words in LACKING:
        with (
            pytest.raises(NotSupported, match=words) as caught,
            start_virtual_functions(host, [wanted]),
            start_function(host, wanted),
        ):
            raise AssertionError("it was passed on")
        assert caught.value.fix


def test_without_an_iommu(lab: Lab) -> None:
    """A host without one cannot give a function away, and says so."""
    host = lab.hosts()[0]
    nic = next(function for function in read_devices(host).functions if function.pci_class == 0x020000)
    with pytest.raises(NotSupported, match="in no IOMMU group") as caught:
        start_function(host, FunctionRequest(nic.address)).__enter__()
    assert "iommu=on" in caught.value.fix


def test_what_others_use_stays_theirs(host: Host) -> None:
    """Neither an interface of the host with an address is taken, nor a function that another process has open, nor
    virtual functions that somebody else made, nor their physical function. No driver of the host takes those that are
    made for guests.
    """
    name = host.run(["ls", f"/sys/bus/pci/devices/{SINGLE[0]}/net"]).text.strip()
    host.run(["ip", "address", "add", "192.0.2.1/32", "dev", name])
    try:
        with pytest.raises(NotReady, match="uses what the guest is to have") as caught:
            start_function(host, FunctionRequest(SINGLE[0])).__enter__()
        assert f"interface {name} has an address" in caught.value.why
    finally:
        host.run(["ip", "address", "delete", "192.0.2.1/32", "dev", name])
    with (
        start_function(host, FunctionRequest(SINGLE[0])) as passed,
        open_group(host, str(passed.function.group)),
        pytest.raises(NotReady, match="is in use"),
    ):
        start_function(host, FunctionRequest(SINGLE[0])).__enter__()
    with start_virtual_functions(host, [FunctionRequest(PHYSICAL, vf=0)]):
        made = [function for function in read_devices(host).functions if function.physical == PHYSICAL]
        assert [(function.numbers, function.driver) for function in made] == [(VIRTUAL_NIC, None)]
        with pytest.raises(NotReady, match="has 1 virtual functions, too few for number 1"):
            start_virtual_functions(host, [FunctionRequest(PHYSICAL, vf=1)]).__enter__()
        with pytest.raises(NotReady, match="VFIO does not take it with them"):
            start_function(host, FunctionRequest(PHYSICAL)).__enter__()


@contextlib.contextmanager
def open_group(host: Host, group: str) -> Iterator[None]:
    with host.open_stream(["sh", "-c", 'exec 3<>"/dev/vfio/$1" && echo open && cat', "sh", group]) as holder:
        holder.settimeout(20)
        assert holder.recv(10) == b"open\n"
        yield


_REPEAT = """
import sys
from pathlib import Path
from switchover.lab.lab import Lab
from switchover.record.log import set_up_logging
from switchover.record.rundir import RunDirectory
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.case_runner import run_repeat
from tests.lab.test_pci_functions import catalogue_case

set_up_logging(verbose=True)
repeat = RunDirectory(Path(sys.argv[2])).repeat("case", 1)
run_repeat(catalogue_case(sys.argv[3]), 1, pair_of_lab(Lab(Path(sys.argv[1]))), repeat, {})
"""


@pytest.mark.parametrize(("driver", "step"), [("qmp", "start source"), ("libvirt", "guest boot")])
def test_clean_after_a_harness_that_was_killed(pci_lab: Lab, tmp_path: Path, driver: str, step: str) -> None:
    """SIGKILL while functions are bound, or while guests have them: ``clean`` gives all of them back, and the fixture
    looks at drivers, overrides and numbers of virtual functions.
    """
    top = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", _REPEAT, str(pci_lab.directory), str(tmp_path), driver],
        env={**os.environ, "PYTHONPATH": f"{top / 'harness'}:{top}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    # of the first step not its first moment: virtual functions and the NIC are given to VFIO one after the other
    last = f"step: {step}" if step != "start source" else "drivers_probe"
    for line in process.stderr:
        if last in line:
            break
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert main(["clean"]) == 0
