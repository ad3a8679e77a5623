# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's command line for a guest."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.guests.arguments import GIVEN, TRACE_PATTERNS, build_arguments
from switchover.guests.spec import (
    LAB_INITRAMFS,
    LAB_KERNEL,
    GuestFiles,
    GuestSpec,
    Kernel,
    Launch,
    OnReboot,
    VfioDevice,
)
from switchover.lab.labhost import KERNELS

FILES = GuestFiles("/tmp/switchover-guest-source-0", "sw0")
NAMES = st.from_regex(r"[a-z][a-z-]{0,20}", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9_./:-]{1,20}", fullmatch=True)
DEVICES = st.builds(
    VfioDevice, NAMES, st.builds("/sys/bus/mdev/devices/{}".format, NAMES), st.dictionaries(NAMES, VALUES, max_size=5)
)


def values(words: list[str], option: str) -> list[str]:
    """Values of an option, in order."""
    return [value for name, value in pairwise(words) if name == option]


def build(spec: GuestSpec | None = None, *devices: VfioDevice, incoming: bool = False) -> list[str]:
    return build_arguments(Launch(spec or GuestSpec(), devices), FILES, incoming=incoming)


@given(st.lists(DEVICES, max_size=4))
def test_every_device_property_appears(devices: list[VfioDevice]) -> None:
    """Each device has its path and all of its properties, in their order, behind a root port of its own."""
    words = values(build(GuestSpec(), *devices), "-device")
    passed = [word for word in words if word.startswith("vfio-pci,")]
    assert len(passed) == len(devices)
    ports = set()
    for word, device in zip(passed, devices, strict=True):
        options = word.split(",")
        assert f"id={device.id}" in options
        assert f"sysfsdev={device.sysfsdev}" in options
        (bus,) = (option for option in options if option.startswith("bus="))
        ports.add(bus.removeprefix("bus="))
        end = len(options) - len(device.properties)
        assert options[end:] == [f"{name}={value}" for name, value in device.properties.items()]
    assert len(ports) == len(devices)
    roots = [word for word in words if word.startswith("pcie-root-port,")]
    assert {option for word in roots for option in word.split(",") if option.startswith("id=")} == {
        f"id={port}" for port in ports
    }
    assert len({option for word in roots for option in word.split(",") if option.startswith("chassis=")}) == len(roots)


def test_an_absent_device_leaves_its_port_empty() -> None:
    """All others stay where they are."""
    launch = Launch(GuestSpec(), (VfioDevice("a", "/sys/a"), VfioDevice("b", "/sys/b")))
    whole, without = (
        values(build_arguments(one, FILES, incoming=True), "-device")
        for one in (launch, replace(launch, absent=frozenset({"a"})))
    )
    assert without == [word for word in whole if not word.startswith("vfio-pci,id=a,")]
    assert without[-1] == "vfio-pci,id=b,sysfsdev=/sys/b,bus=port2"


@pytest.mark.parametrize(("on_reboot", "ends"), [("auto", True), ("shutdown", True), ("reset", False)])
def test_what_a_reboot_comes_to(on_reboot: OnReboot, ends: bool) -> None:
    """QEMU ends with it, unless the guest is to boot again."""
    assert ("-no-reboot" in build(GuestSpec(on_reboot=on_reboot))) is ends


def test_more_words() -> None:
    """They come last, as they are."""
    assert build_arguments(Launch(GuestSpec()), FILES, incoming=True, more=["-netdev", "user,id=a"])[-2:] == [
        "-netdev",
        "user,id=a",
    ]


def test_incoming() -> None:
    """Only a destination waits for a stream, and it does so without an address yet."""
    assert values(build(incoming=True), "-incoming") == ["defer"]
    assert "-incoming" not in build()


def test_source_and_destination_are_the_same_machine() -> None:
    """But for waiting, both sides are started alike: anything else would break the migration."""
    assert build(incoming=True) == [*build(), "-incoming", "defer"]


def test_without_a_bridge_there_is_no_network() -> None:
    """A guest without a bridge has neither NIC nor backend, and QEMU adds none of its own."""
    words = build(GuestSpec(bridge=""))
    assert "-netdev" not in words
    assert not any("net-pci" in word for word in words)
    assert "-nodefaults" in words


def test_with_a_bridge_there_is_a_tap() -> None:
    """The tap is the one that was made for the guest, and QEMU runs no script on it."""
    words = build(GuestSpec(mac="52:54:00:00:00:07"))
    assert values(words, "-netdev") == ["tap,id=net,ifname=sw0,script=no,downscript=no"]
    assert any("mac=52:54:00:00:00:07" in word.split(",") for word in values(words, "-device"))


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("machine", "pc-q35-8.0", "-machine"),
        ("accel", "tcg", "-accel"),
        ("cpu", "max", "-cpu"),
        ("vcpus", 3, "-smp"),
        ("kernel", "/k", "-kernel"),
        ("initramfs", "/i", "-initrd"),
    ],
)
def test_the_spec_is_used(field: str, value: object, option: str) -> None:
    """Each value of the spec is what QEMU is told."""
    spec = replace(GuestSpec(), **{field: value})  # type: ignore[arg-type]
    assert values(build(spec), option) == [str(value)]


def test_a_disk_without_a_kernel_is_booted_from() -> None:
    """QEMU is told no kernel, and no words for one; the disk comes first, and no page cache is between the hosts."""
    words = build(GuestSpec(disk="/shared/a,b.qcow2", disk_format="qcow2"))
    assert not {"-kernel", "-initrd", "-append"} & set(words)
    assert values(words, "-drive") == ["if=none,id=disk,file=/shared/a,,b.qcow2,format=qcow2,cache=none"]
    assert "virtio-blk-pci,drive=disk,bootindex=1" in values(words, "-device")


def test_a_disk_beside_a_kernel() -> None:
    """The kernel is booted, without an initramfs that nobody named; a disk that nobody writes may be cached."""
    words = build(GuestSpec(disk="/d", disk_readonly=True, kernel=Kernel("/k"), append="root=/dev/vda"))
    assert values(words, "-kernel") == ["/k"]
    assert "-initrd" not in words
    assert "root=/dev/vda" in values(words, "-append")[0]
    assert values(words, "-drive") == ["if=none,id=disk,file=/d,format=raw,cache=writeback,readonly=on"]
    assert "virtio-blk-pci,drive=disk" in values(words, "-device")
    assert values(build(GuestSpec(disk="/d", kernel=Kernel("/k"), initramfs="/i")), "-initrd") == ["/i"]


def test_without_a_disk_the_labs_guest_is_booted() -> None:
    """A kernel of one's own does not change the initramfs."""
    assert (values(build(), "-kernel"), values(build(), "-initrd")) == ([LAB_KERNEL], [LAB_INITRAMFS])
    assert values(build(GuestSpec(kernel=Kernel("/k"))), "-initrd") == [LAB_INITRAMFS]
    assert "-drive" not in build()


def test_a_kernel_with_a_name() -> None:
    """It comes with an initramfs of its own, since modules fit one kernel only; one that is named is taken instead."""
    named = GuestSpec(kernel=Kernel("kernel-6.12-rt"))
    assert values(build(named), "-kernel") == [f"{KERNELS}/kernel-6.12-rt/vmlinuz"]
    assert values(build(named), "-initrd") == [f"{KERNELS}/kernel-6.12-rt/initramfs.cpio"]
    assert values(build(replace(named, initramfs="/i")), "-initrd") == ["/i"]
    assert "-initrd" not in build(replace(named, disk="/d"))
    assert named.is_of_lab
    assert not replace(named, initramfs="/i").is_of_lab
    assert named.programs == ("qemu-system-x86_64", "kernel-6.12-rt")
    assert GuestSpec(kernel=Kernel("/k")).programs == ("qemu-system-x86_64",)


def test_program_and_memory() -> None:
    """The first word is the spec's QEMU; memory is in MiB."""
    words = build(GuestSpec(qemu="/opt/qemu", memory_mib=128))
    assert words[0] == "/opt/qemu"
    assert values(words, "-m") == ["128M"]


def test_the_kernel_command_line() -> None:
    """The guest finds its address there, its console, and what the case adds."""
    (append,) = values(build(GuestSpec(address="10.77.0.9", prefix=16, append="threadirqs")), "-append")
    assert {"console=ttyS0", "switchover.address=10.77.0.9/16", "threadirqs"} <= set(append.split())


def test_traces_with_times_go_to_the_log() -> None:
    """All events are traced with their times, the checkpoints of the downtime among them."""
    words = build()
    assert values(words, "-trace") == list(TRACE_PATTERNS)
    assert "vmstate_downtime_*" in TRACE_PATTERNS
    assert values(words, "-D") == [FILES.log]
    assert values(words, "-msg") == ["timestamp=on"]


def test_nothing_listens_on_a_network() -> None:
    """Monitor and console are in the guest's private directory."""
    words = build(incoming=True)
    (monitor,) = values(words, "-qmp")
    assert monitor.startswith(f"unix:{FILES.directory}/")
    assert any(f"path={FILES.console}" in value for value in values(words, "-chardev"))
    assert not {"-vnc", "-spice", "-monitor", "-gdb", "-s"} & set(words)
    assert not any("tcp:" in word for word in words)


def test_keys_are_files_not_arguments() -> None:
    """Keys reach the guest by file name: a command line is readable by every user."""
    names = values(build(), "-fw_cfg")
    assert names == [f"name=opt/switchover/{name},file={FILES.directory}/{name}" for name in GIVEN]
    assert "identity" in GIVEN
