# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware of a guest in scenario files: what is said of a wrong one, and that storage is to be shared."""

import pytest
from tests.unit.scenarios.samples import plan

from switchover.guests.hardware import render_late, render_standbys
from switchover.guests.spec import GuestSpec
from switchover.record.errors import UsageError
from switchover.scenarios.building import build_case

NOT_SHARED = "storage that is not shared is not supported: use a path that leads to the same storage"


def explain(text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        plan(text)
    return str(caught.value.what).splitlines()


def test_keys_of_the_hardware() -> None:
    """By tables and axes, for both sides or one, whose properties come on top of those of both."""
    cases = plan(
        "[guest]\nvcpus = 2\ntopology = { sockets = 2 }\nfirmware = 'ovmf'\nnic = { host_uso = 'on', csum = 'off' }\n"
        "qemu_objects = ['rng-builtin,id=r']\nqemu_devices = ['virtio-rng-pci,rng=r']\n"
        "[destination]\nnic = { host_uso = 'off' }\n[axes]\nsource.nic.guest_uso4 = ['on', 'off']\n"
        "destination.qemu_devices = [['virtio-rng-pci,rng=r'], ['edu', 'edu']]\n"
    )
    case = cases[-1].case
    assert [entry.case.id for entry in cases[:2]] == [
        "source.nic.guest_uso4=on,destination.qemu_devices=virtio-rng-pci%2Crng=r",
        "source.nic.guest_uso4=on,destination.qemu_devices=edu+edu",
    ]
    assert case.source.guest.nic == {"host_uso": "on", "csum": "off", "guest_uso4": "off"}
    assert case.destination.guest.nic == {"host_uso": "off", "csum": "off"}
    assert (case.source.guest.topology, case.source.guest.firmware) == ({"sockets": 2}, "ovmf")
    assert case.source.guest.qemu_devices == ("virtio-rng-pci,rng=r",)
    assert case.destination.guest.qemu_devices == ("edu", "edu")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("topology = { cores = 3 }", "5: guest.topology.cores: x: 3 cores are 3 vCPUs, and vcpus is 1; levels"),
        ("vcpus = 4\ntopology = { cores = 3, threads = 2 }", "6: guest.topology.cores: x: 3 cores × 2 threads are 6"),
        ("topology = { core = 1 }", "5: guest.topology.core: x: is no level of a topology; did you mean 'cores'?"),
        ("topology = { cores = 0 }", "5: guest.topology.cores: x: must be at least 1 (it is 0)"),
        ("topology = { cores = '2' }", "5: guest.topology.cores: must be a whole number"),
        ("nic = { mac = 'x' }", "5: guest.nic.mac: x: write mac"),
        ("nic = { netdev = 'x' }", "5: guest.nic.netdev: x: write bridge"),
        ("nic = { id = 'x' }", "5: guest.nic.id: x: is the harness's"),
        ("nic = { csum = true }", '5: guest.nic.csum: write "on", in quotes'),
        ("bridge = ''\nnic = { csum = 'on' }", "6: guest.nic.csum: x: has no effect with bridge"),
        ("bridge = ''\nnic_queues = 2", "6: guest.nic_queues: x: has no effect with bridge"),
        ("nic_queues = 2\nnic = { mq = 'off' }", "6: guest.nic.mq: x: contradicts nic_queues = 2"),
        ("nic_queues = 0", "5: guest.nic_queues: must be 1 to 256 (it is 0)"),
        ("firmware = 'uefi'", '5: guest.firmware: must be "ovmf", the path of an image on the host, or ""'),
        ("iommu = 'intel'", "5: guest.iommu: begins with no emulated IOMMU of x86; did you mean 'intel-iommu'?"),
        ("iommu = 'intel-iommu,'", "5: guest.iommu: has a comma with no property after it"),
        ("qemu_objects = ['rng-builtin']", "5: guest.qemu_objects: x: [0] needs an id"),
        ("qemu_objects = ['a,id=r', 'b,id=r']", "5: guest.qemu_objects: x: [1] has the id 'r', which [0] has too"),
        ("qemu_devices = ['edu,id=port7']", "[0] has the id 'port7', which one of the harness's root ports has"),
        ("qemu_devices = ['edu,id=dut']", "[0] has the id 'dut', which a device to pass through has"),
        ("qemu_devices = ['edu', '-device edu']", "[1] write what follows -device on QEMU's command line"),
        ("disk = '/a'\n[destination]\ndisk = '/b'", f"'/b' is not the source's '/a': {NOT_SHARED}"),
        ("[migration]\ncapabilities = { block = 'on' }", f"about moving a guest's storage: {NOT_SHARED}"),
        ("[migration]\nparameters = { block-incremental = 'on' }", f"about moving a guest's storage: {NOT_SHARED}"),
        ("[migration]\ncopy_storage = 'all'", f"6: migration.copy_storage: {NOT_SHARED}"),
    ],
)  # fmt: skip
def test_mistakes(text: str, told: str) -> None:
    """Each is told with its line, its key and what is allowed."""
    lines = [line.replace("scenario: ", "x: ") for line in explain(f"[guest]\n{text}\n")]
    assert any(told in line for line in lines), lines


PAIR = "virtio-net-pci,id=s,failover=on"
PRIMARY = "[[devices]]\nid = 'nic'\npci = '0000:01:00.0'\nproperties = { failover_pair_id = 's' }\n"


def test_a_failover_pair() -> None:
    """The standby comes after the guest's own NIC, by which it is asked, and before the primary, which QEMU holds back
    then; other further devices come last.
    """
    (entry,) = plan(f"[guest]\nqemu_devices = ['edu', '{PAIR}']\n{PRIMARY}")
    guest = entry.case.source.guest
    assert (render_standbys(guest), render_late(guest)) == (["-device", PAIR], ["-device", "edu"])
    assert entry.rule.name == "failover-primary"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PRIMARY, "qemu_devices has no standby 's': write \"virtio-net-pci,id=s,failover=on,mac=MAC\" there"),
        (f"[guest]\nqemu_devices = ['virtio-net-pci,id=s']\n{PRIMARY}", "qemu_devices has no standby 's'"),
        (
            f"[guest]\nqemu_devices = ['{PAIR}']\n[device]\nproperties = {{ failover_pair_id = 's' }}\n",
            "needs a PCI function (pci) that is a NIC",
        ),
    ],
)
def test_no_failover_pair(text: str, told: str) -> None:
    assert any(told in line for line in explain(text))


def test_an_id_may_be_a_devices_and_an_objects() -> None:
    """QEMU keeps them apart; and a disk that the guest does not write may be another file on each host."""
    plan("[guest]\nqemu_objects = ['rng-builtin,id=r']\nqemu_devices = ['virtio-rng-pci,id=r,rng=r']\n")
    plan("[guest]\ndisk_readonly = 'on'\n[source]\ndisk = '/a'\n[destination]\ndisk = '/b'\n")


def test_cases_of_python_are_checked_alike() -> None:
    with pytest.raises(UsageError, match=r"x: source\.guest\.topology\.cores: 2 cores are 2 vCPUs"):
        build_case("x", guest=GuestSpec(topology={"cores": 2}))
