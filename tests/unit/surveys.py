# SPDX-License-Identifier: GPL-2.0-or-later
"""A host that has everything; each test takes away the one thing it is about."""

from dataclasses import replace
from typing import Any

from tests.unit.builders import DATA

from switchover.devices.abilities import MachineType, QemuAbilities
from switchover.devices.functions import parse_devices
from switchover.devices.migratability import Migratability
from switchover.devices.survey import HostSurvey
from switchover.hosts.inventory import DeviceEntry
from switchover.hosts.kvm import KvmProbe
from switchover.hosts.machine import Hugepages, Machine

QEMU = "/opt/q/bin/qemu-system-x86_64"
MACHINE = Machine(
    host="rack1",
    kernel="6.12.0 #1 SMP",
    machine="x86_64",
    cmdline="intel_iommu=on",
    boot_id="b",
    cpu="Intel(R) Xeon(R)",
    cpus=8,
    memory=8 << 30,
    memory_available=4 << 30,
    memlock=None,
    uid=1000,
    hugepages=(Hugepages(2048, 512, 500), Hugepages(1048576, 0, 0)),
    iommus=("dmar0",),
    kvm="usable",
    nested=True,
    nodes=("/dev/vfio/vfio",),
    modules=("vfio", "vfio_pci", "vfio_iommu_type1", "kvm_intel"),
    programs=("bash", "setpriv", "socat", "ip", "sha256sum", "perl"),
    clock_offset_s=0.01,
    clock_bound_s=0.02,
)
ABILITIES = QemuAbilities(
    path=QEMU,
    digest="d",
    version="10.0.13",
    package="Debian",
    vfio_pci={"enable-migration": "OnOffAuto", "migration-events": "bool"},
    capabilities={"switchover-ack": False},
    parameters={},
    machines=(MachineType("pc-q35-9.2", None, False, ()), MachineType("pc-q35-10.0", "q35", False, ())),
    commands=(),
    events=(),
    traces=(),
    accelerators=("kvm",),
)
SURVEY = HostSurvey(
    name="rack1",
    origin="inventory",
    machine=MACHINE,
    kvm=KvmProbe(True, "a kernel boots in it"),
    devices=parse_devices((DATA / "sysfs.txt").read_text()),
    migratability={"0000:3b:00.2": Migratability(7, True), "0000:5e:00.0": Migratability(0, False)},
    qemus={QEMU: ABILITIES},
)
FUNCTION = DeviceEntry(name="vf", pci="3b:00.2")
MDEV = DeviceEntry.model_validate({"mdev": {"parent": "/sys/devices/platform/refdev", "type": "refdev-4vec"}})


def with_machine(**changes: Any) -> HostSurvey:
    return replace(SURVEY, machine=replace(MACHINE, **changes))
