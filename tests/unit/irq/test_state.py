# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine tells of its interrupts and their threads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.local import LocalHost
from switchover.irq.state import choose_interrupts, parse_counters, parse_cpus, parse_state, read_state, render_cpus

TEXT = """\
= online 0,2-3
= cmdline quiet threadirqs
= kernel 6.12.117+deb13-amd64 #1 SMP
= thread 154 (irq/4-ttyS0) S 2 0 0 0 -1 2129984 0 0 0 0 0 2 0 0 -51 0 1 0 362 0 0 18446744073709551615 0 0 0 0 0 0 0 \
2147483647 0 1 0 0 17 3 50 1 0 0 0 0 0 0 0 0 0 0 0
= cpus 154 2
= thread 171 (irq/25-virtio0) in.0) S 2 0 0 0 -1 69238848 0 0 0 0 0 8 0 0 -51 0 1 0 500 0 0 18446744073709551615 0 0 \
0 0 0 0 0 2147483647 0 1 0 0 17 3 50 1 0 0 0 0 0 0 0 0 0 0 0
= cpus 171 0-3
= thread 172 (irq/25-s-virtio0) S 2 0 0 0 -1 2129984 0 0 0 0 0 8 0 0 -51 0 1 0 500 0 0 18446744073709551615 0 0 0 0 \
0 0 0 2147483647 0 1 0 0 17 3 49 1 0 0 0 0 0 0 0 0 0 0 0
= thread 900 (irq/4-imposter) S 850 0 0 0 -1 2129984 0 0 0 0 0 8 0 0 -51 0 1 0 500 0 0 18446744073709551615 0 0 0 0 \
0 0 0 2147483647 0 1 0 0 17 3 50 1 0 0 0 0 0 0 0 0 0 0 0
= asked 4 0-3
= effective 4 2
= actions 4 ttyS0
= chip 4 IO-APIC
= asked 25 0-3
= effective 25 \n\
= actions 25 virtio0-input.0,other
= actions 26 (null)
= interrupts
           CPU0       CPU2       CPU3
  4:          5         24          0   IO-APIC   4-edge      ttyS0
 25:          0          0         35  PCI-MSIX-0000:00:01.0   1-edge      virtio0-input.0
 26:          0          0          1  PCI-MSIX-0000:00:01.0   2-edge
NMI:          0          0          0   Non-maskable interrupts
ERR:          0
= runs 154 20879467 2922068 15
= runs 171 86374406 51708 42
"""


def test_interrupts() -> None:
    """Counters by the CPUs of the columns, masks, handlers; a CPU that is offline has none."""
    state = parse_state(TEXT)
    first, second, third = state.interrupts
    assert (state.online, state.cmdline, state.kernel.split()[0]) == (
        "0,2-3",
        "quiet threadirqs",
        "6.12.117+deb13-amd64",
    )
    assert (first.number, first.counts, first.asked, first.effective, first.chip) == (
        4,
        {0: 5, 2: 24, 3: 0},
        "0-3",
        "2",
        "IO-APIC",
    )
    assert (second.effective, second.actions) == ("", ("virtio0-input.0", "other"))
    assert second.description == "PCI-MSIX-0000:00:01.0 1-edge virtio0-input.0"
    assert third.actions == ()


def test_threads() -> None:
    """Kernel threads only, whatever is in their names; where they may run, with which policy, and who may change it."""
    first, second, third = parse_state(TEXT).threads
    assert (first.pid, first.irq, first.cpus, first.policy, first.priority, first.cpu, first.settable) == (
        154,
        4,
        "2",
        "FIFO",
        50,
        3,
        True,
    )
    assert (second.name, second.cpus, second.settable, second.secondary) == (
        "irq/25-virtio0) in.0",
        "0-3",
        False,
        False,
    )
    assert (third.secondary, third.priority) == (True, 49)


def test_only_interrupts_with_a_thread_are_threaded() -> None:
    assert [interrupt.number for interrupt in parse_state(TEXT).threaded] == [4, 25]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [([], [4, 25]), (["25"], [25]), (["tty"], [4]), (["MSIX", "4"], [4, 25]), (["26"], []), (["5"], [])],
)
def test_interrupts_by_number_or_name(words: list[str], numbers: list[int]) -> None:
    """A number is a number, not a part of a name; what has no thread cannot be meant."""
    assert [interrupt.number for interrupt in choose_interrupts(parse_state(TEXT), words)] == numbers


def test_counters() -> None:
    counters = parse_counters(TEXT)
    assert counters.interrupts[25] == {0: 0, 2: 0, 3: 35}
    assert counters.runs == {154: 15, 171: 42}


def test_nothing_told_is_nothing_known() -> None:
    """A host that answers with nothing, or half, makes no error here: what follows says what is missing."""
    assert parse_state("").interrupts == ()
    assert parse_state("= thread 1 (irq/4-x) S\n= asked 4\n= interrupts\n").threads == ()


@given(st.sets(st.integers(0, 300)))
def test_lists_of_cpus(cpus: set[int]) -> None:
    """What is written as the kernel writes it is read again."""
    assert parse_cpus(render_cpus(cpus)) == cpus


def test_a_real_machine() -> None:
    """The script runs in this machine's shell."""
    state = read_state(LocalHost())
    assert state.kernel
    assert parse_cpus(state.online)
    assert all(interrupt.counts for interrupt in state.interrupts)
