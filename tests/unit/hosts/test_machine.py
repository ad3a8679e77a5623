# SPDX-License-Identifier: GPL-2.0-or-later
"""Facts of a host, from what its shell says."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.local import LocalHost
from switchover.hosts.machine import Hugepages, parse_machine, read_machine

TEXT = """kernel=6.12.117+deb13-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-12)
machine=x86_64
uid=1000
clock_ns=2500000000
memlock=8192
cmdline=BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on iommu=pt quiet
boot_id=6afb956c-7675-4782-b282-29537d0289aa
model name\t: Intel(R) Xeon(R) CPU = 2.5GHz
cpus=8
MemTotal:        3055648 kB
MemAvailable:    2844008 kB
hugepages-1048576kB=0 0
hugepages-2048kB=512 500
iommu=dmar0
iommu=dmar1
kvm=present
kvm=usable
node=/dev/vfio/vfio
module=vfio
module=vfio_pci
program=bash
program=socat
nested=Y
sha256=5eed /opt/my qemu
"""


def test_facts_of_a_host() -> None:
    """Every fact is read, sizes in bytes; the clock against the middle of the reading."""
    machine = parse_machine("rack1", TEXT, 1_000_000_000, 2_000_000_000)
    assert machine.release == (6, 12)
    assert machine.cpu == "Intel(R) Xeon(R) CPU = 2.5GHz"
    assert (machine.cpus, machine.uid) == (8, 1000)
    assert (machine.memory, machine.memory_available, machine.memlock) == (3055648 << 10, 2844008 << 10, 8 << 20)
    assert machine.hugepages == (Hugepages(2048, 512, 500), Hugepages(1048576, 0, 0))
    assert machine.iommus == ("dmar0", "dmar1")
    assert machine.iommu_options == ("intel_iommu=on", "iommu=pt")
    assert (machine.kvm, machine.nested) == ("usable", True)
    assert (machine.nodes, machine.modules) == (("/dev/vfio/vfio",), ("vfio", "vfio_pci"))
    assert machine.programs == ("bash", "socat")
    assert machine.digests == {"/opt/my qemu": "5eed"}
    assert (machine.clock_offset_s, machine.clock_bound_s) == (1.0, 0.5)


def test_what_is_not_told_is_missing() -> None:
    """A host that says nothing has no facts, and no zeros in their place where they would mean something."""
    machine = parse_machine("rack1", "memlock=unlimited\n", 0, 0)
    assert (machine.memory, machine.memory_available, machine.memlock) == (None, None, None)
    assert (machine.kvm, machine.nested, machine.iommus, machine.hugepages) == ("", None, (), ())
    assert machine.uid == -1, "nobody is taken for root"
    assert machine.release == (0, 0)


@given(st.text(alphabet=st.sampled_from("abc=: 01\nkB²-")))
def test_other_lines_do_not_matter(text: str) -> None:
    """Lines of which nothing is known change no fact."""
    assert parse_machine("rack1", f"{text}\n{TEXT}", 0, 0) == parse_machine("rack1", TEXT, 0, 0)


def test_facts_of_this_machine() -> None:
    """A real shell says what the parser reads."""
    machine = read_machine(LocalHost())
    assert machine.kernel.split()[0] == os.uname().release
    assert machine.cpus == os.cpu_count()
    assert machine.uid == os.geteuid()
    assert machine.memory is not None
    assert machine.memory > 1 << 20
    assert "bash" in machine.programs
    assert len(machine.boot_id) == 36
    assert machine.clock_offset_s == pytest.approx(0, abs=machine.clock_bound_s)
