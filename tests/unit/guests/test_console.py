# SPDX-License-Identifier: GPL-2.0-or-later
"""Consoles: what in them is trouble, and following one as it grows."""

import socket
import threading

import pytest

from switchover.guests.console import Console, find_trouble
from switchover.hosts.waiting import wait_until

# each as the kernel writes it; the line that must be found first
TROUBLES = {
    "null pointer": (
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "[    7.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
        "[    7.000001] #PF: supervisor read access in kernel mode\n"
        "[    7.000002] Oops: Oops: 0000 [#1] SMP NOPTI\n",
    ),
    "panic": (
        "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        "[    1.5] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
    ),
    "warning": (
        "WARNING: CPU: 0 PID: 71 at kernel/irq/manage.c:1234 __free_irq+0x1/0x2",
        "------------[ cut here ]------------\n"
        "WARNING: CPU: 0 PID: 71 at kernel/irq/manage.c:1234 __free_irq+0x1/0x2\n"
        "Call Trace:\n <TASK>\n",
    ),
    "protection fault": (
        "general protection fault, probably for non-canonical address 0xdead: 0000 [#1]",
        "general protection fault, probably for non-canonical address 0xdead: 0000 [#1] PREEMPT SMP\n",
    ),
    "lockup": (
        "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [insmod:71]",
        "[   40.1] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [insmod:71]\n",
    ),
    "stall": (
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "[   60.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n",
    ),
    "hung task": (
        "Call Trace:",
        "INFO: task kworker/0:1:9 blocked for more than 120 seconds.\n      Not tainted 6.12\nCall Trace:\n",
    ),
    "sanitizer": (
        "BUG: KASAN: slab-use-after-free in refdev_read+0x1/0x2",
        "BUG: KASAN: slab-use-after-free in refdev_read+0x1/0x2\n",
    ),
    "newer warning": (
        "WARNING: kernel/irq/manage.c:1234 at __free_irq",
        "WARNING: kernel/irq/manage.c:1234 at __free_irq+0x1/0x2, CPU#0: insmod/71\nCall Trace:\n",
    ),
    "filesystem": (
        "EXT4-fs error (device vda): ext4_lookup:1859: inode #2: comm ls: deleted inode referenced",
        "EXT4-fs error (device vda): ext4_lookup:1859: inode #2: comm ls: deleted inode referenced\n",
    ),
}

NORMAL = """\
[    0.000000] Linux version 6.12.57+deb13-cloud-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC
[    0.000000] Command line: console=ttyS0 quiet panic=-1 net.ifnames=0 switchover.address=10.77.0.101/24
[    0.000000] [Firmware Bug]: TSC doesn't count with P0 frequency!
[    0.012000] ACPI BIOS Error (bug): Could not resolve symbol [^PCI0], AE_NOT_FOUND
[    0.1] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible!
[    0.2] rcu: Hierarchical RCU implementation.
[    0.2] rcu: \tRCU restricting CPUs from NR_CPUS=512 to nr_cpu_ids=1.
[    0.3] refdev_guest: loading out-of-tree module taints kernel.
[    0.3] refdev_guest: module verification failed: signature and/or required key missing - tainting kernel
[    0.4] debug: Oops is what we call it, a call trace is not here
[    0.5] sched_clock: Marking stable (412000000, 1234)->(500000000, -1)
[    0.6] watchdog: Disabling watchdog on nohz_full cores by default
[    0.7] NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.
[    1.0] EXT4-fs (vda): mounted filesystem with ordered data mode. Quota mode: none.
[    1.1] random: crng init done
[   17.1] hrtimer: interrupt took 4523000 ns
[   18.1] clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable
switchover-guest: ready
[101] Nov 21 10:00:00 Not backgrounding
"""


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_is_found(name: str) -> None:
    """The kernel's own report is found among normal lines, whole, first of all."""
    first, text = TROUBLES[name]
    found = find_trouble(f"{NORMAL}{text}{NORMAL}")
    assert found
    assert first in found[0]


@pytest.mark.parametrize("line", NORMAL.splitlines())
def test_normal_lines_are_no_trouble(line: str) -> None:
    """Nothing that a healthy kernel says counts."""
    assert find_trouble(line) == []


@pytest.mark.parametrize(
    "line",
    [
        "[   60.1] rcu: INFO: rcu_preempt self-detected stall on CPU",
        "[   60.1] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-....  } 6002 jiffies s: 1",
    ],
)
def test_other_stalls(line: str) -> None:
    """RCU has three texts for a stall (kernel/rcu/tree_stall.h, tree_exp.h)."""
    assert find_trouble(line)


def test_a_debug_line_is_no_trouble() -> None:
    """A program's DEBUG lines on the console are not the kernel's BUG."""
    assert find_trouble("dropbear DEBUG: accepted") == []


def test_a_console_is_followed() -> None:
    """Text is there as it arrives, cut characters included, and stays after the end."""
    ours, theirs = socket.socketpair()
    console = Console(ours)
    assert console.text() == ""
    euro = "€".encode()
    theirs.sendall(b"one\n" + euro[:1])
    wait_until("the first part", lambda: "one" in console.text(), timeout=5)
    theirs.sendall(euro[1:])
    wait_until("the second part", lambda: console.text() == "one\n€", timeout=5)
    theirs.close()
    console.close()
    assert console.text() == "one\n€"


def test_closing_a_console_ends_its_thread() -> None:
    """A console of a guest that is still silent can be closed, twice even."""
    ours, theirs = socket.socketpair()
    before = threading.active_count()
    console = Console(ours)
    console.close()
    console.close()
    assert threading.active_count() == before
    theirs.close()
