# SPDX-License-Identifier: GPL-2.0-or-later
"""``bench resume``: what a lab host's one CPU did until a guest was heard again, and what follows from that."""

from collections import Counter
from dataclasses import replace

import pytest

from switchover.bench.kvm_trace import PARTS, Window, find_window, parse_kvm_trace
from switchover.bench.resume import Resumption, find_silence, find_stretches, parse_jit, render_summary
from switchover.hosts.heartbeat import Arrival

VCPU = 700
TRACE = """\
overrun: 0
commit overrun: 0
dropped events: 0
# tracer: nop
 qemu-system-x86-700     [000] d....     9.100000: kvm_entry: vcpu 0, rip 0x1
 qemu-system-x86-700     [000] d....     9.200000: kvm_exit: vcpu 0 reason hlt rip 0x1 info1 0x0 info2 0x0
 qemu-system-x86-700     [000] d..2.     9.300000: sched_switch: prev_comm=qemu-system-x86 prev_pid=700 prev_prio=120 \
prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120
          <idle>-0       [000] d..2.     9.900000: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 \
prev_state=R ==> next_comm=qemu-system-x86 next_pid=690 next_prio=120
 qemu-system-x86-690     [000] ...1.     9.950000: net_dev_start_xmit: dev=observe0 queue_mapping=0 len=74
 qemu-system-x86-690     [000] d..2.     9.960000: sched_switch: prev_comm=qemu-system-x86 prev_pid=690 prev_prio=120 \
prev_state=S ==> next_comm=qemu-system-x86 next_pid=700 next_prio=120
 qemu-system-x86-700     [000] d....    10.000000: kvm_entry: vcpu 0, rip 0x1
 qemu-system-x86-700     [000] d....    10.100000: kvm_exit: vcpu 0 reason npf rip 0x1 info1 0x14 info2 0x2000
 qemu-system-x86-700     [000] d....    10.300000: kvm_entry: vcpu 0, rip 0x1
 qemu-system-x86-700     [000] d....    10.340000: kvm_exit: vcpu 0 reason npf rip 0x1 info1 0x1f info2 0xfe00
 qemu-system-x86-700     [000] .....    10.350000: kvm_mmio: mmio write len 2 gpa 0xfe00 val 0x1
 qemu-system-x86-700     [000] d..2.    10.360000: sched_switch: prev_comm=qemu-system-x86 prev_pid=700 prev_prio=120 \
prev_state=R ==> next_comm=qemu-system-x86 next_pid=690 next_prio=120
 qemu-system-x86-690     [000] d..2.    10.370000: sched_switch: prev_comm=qemu-system-x86 prev_pid=690 prev_prio=120 \
prev_state=S ==> next_comm=sshd next_pid=80 next_prio=120
            sshd-80      [000] d..2.    10.400000: sched_switch: prev_comm=sshd prev_pid=80 prev_prio=120 \
prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120
          <idle>-0       [000] d..2.    10.450000: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 \
prev_state=R ==> next_comm=qemu-system-x86 next_pid=700 next_prio=120
 qemu-system-x86-700     [000] d....    10.460000: kvm_entry: vcpu 0, rip 0x1
 qemu-system-x86-700     [000] d....    10.560000: kvm_exit: vcpu 0 reason msr rip 0x1 info1 0x1 info2 0x0
 qemu-system-x86-700     [000] ..s1.    10.600000: net_dev_start_xmit: dev=observe0 queue_mapping=0 len=74
 qemu-system-x86-700     [000] d....    10.900000: kvm_entry: vcpu 0, rip 0x1
"""


def test_the_window_of_a_guest_that_stood_still() -> None:
    """It begins at the entry after the longest time outside, ends when the first heartbeat after that leaves, and what
    the one CPU did in it adds up; an exit with MMIO in it is no fault of a page.
    """
    window = find_window(parse_kvm_trace(TRACE), [VCPU], arrived=False)
    assert window is not None
    assert window.seconds == pytest.approx(0.6)
    assert window.stood_s == pytest.approx(0.8)
    assert window.parts == {
        "guest": pytest.approx(0.24),
        "page faults": pytest.approx(0.2),
        "MMIO": pytest.approx(0.03),
        "other exits": pytest.approx(0.04),
        "other threads of QEMU": pytest.approx(0.01),
        "other tasks": pytest.approx(0.03),
        "idle": pytest.approx(0.05),
    }
    assert sum(window.parts.values()) == pytest.approx(window.seconds)
    assert window.exits == Counter(npf=1, mmio=1, msr=1)


def test_the_window_of_a_guest_that_arrived() -> None:
    """Its first entry is its start, whatever comes later; a heartbeat from before does not end the window."""
    window = find_window(parse_kvm_trace(TRACE), [VCPU], arrived=True)
    assert window is not None
    assert window.seconds == pytest.approx(0.85)
    assert window.stood_s is None
    arrived = TRACE[TRACE.index(" qemu-system-x86-690     [000] ...1.") :]
    window = find_window(parse_kvm_trace(arrived), [VCPU], arrived=True)
    assert window is not None
    assert window.seconds == pytest.approx(0.6)


@pytest.mark.parametrize(
    "text", ["", TRACE.replace("net_dev_start_xmit", "net_dev_xmit"), TRACE.replace("-700 ", "-9 ")]
)
def test_no_window(text: str) -> None:
    """Without a heartbeat, or an entry of the guest, there is none, and nothing is made up."""
    assert find_window(parse_kvm_trace(text), [VCPU], arrived=True) is None
    assert find_window(parse_kvm_trace(text), [VCPU], arrived=False) is None


def test_lost_events_are_no_shorter_window() -> None:
    """A trace that lost events is none."""
    with pytest.raises(ValueError, match="overrun: 7"):
        parse_kvm_trace(TRACE.replace("overrun: 0", "overrun: 7", 1))


def test_the_silence() -> None:
    """From one side to the other, be there longer times between arrivals; on one side the longest."""
    times = (0, 10_000_000, 700_000_000, 710_000_000)
    arrivals = [Arrival("source", at, 0, 0) for at in times]
    assert find_silence(arrivals) == pytest.approx((0.01, 0.7))
    assert find_silence([*arrivals[:3], replace(arrivals[3], side="destination")]) == pytest.approx((0.7, 0.71))
    assert find_silence(arrivals[:1]) is None


def test_the_stretches_add_up() -> None:
    """To the silence less the downtime, by the controller's clock: that of the host is ahead by a second."""
    window = Window(13.05, 13.25, None, {}, Counter())
    stretches = find_stretches((10.0, 12.3), (10.01, 12.0), window, 1.0)
    assert list(stretches.values()) == pytest.approx([0.01, 0.05, 0.2, 0.05])
    assert sum(stretches.values()) == pytest.approx(12.3 - 10.0 - (12.0 - 10.01))


@pytest.mark.parametrize("text", ["", "TB count  12\n", "accelerator is not tcg"])
def test_an_emulator_that_does_not_tell(text: str) -> None:
    """Another wording is no number of blocks."""
    assert parse_jit(text) is None


def make_resumption(guest: float, faults: float, count: int) -> Resumption:
    parts = dict.fromkeys(PARTS, 0.0) | {"guest": guest, "page faults": faults}
    return Resumption(guest + faults, Window(0, guest + faults, None, parts, Counter(npf=count)), 100)


def test_shares_of_what_a_migration_takes_more() -> None:
    """Differences of medians against the floor, and what dropped mappings alone come to."""
    found = {
        "in place": [make_resumption(0.010, 0.0, 0)] * 2,
        "unmapped": [make_resumption(0.010, 0.050, 100)] * 3,
        "untranslated": [make_resumption(0.040, 0.0, 0)],
        "migration": [make_resumption(0.030, 0.080, 100), make_resumption(1, 1, 9), make_resumption(0.01, 0.07, 100)],
    }
    lines = list(render_summary(found))
    for way, values in found.items():
        assert f"{way} (n={len(values)})" in lines[0]
    assert "110 [80 … 2000] ms" in lines[1]
    told = "\n".join(lines)
    assert "a migration takes 100 ms more" in told
    assert "page faults                 80 ms    80%" in told
    assert "guest                       20 ms    20%" in told
    assert "unmapped: 50 ms more than in place, 50% of that" in told
    assert "untranslated: 30 ms more than in place, 30% of that" in told
    assert "a page fault in unmapped: 500 us" in told
    assert not any("more" in line for line in render_summary(found | {"unmapped": []}))
