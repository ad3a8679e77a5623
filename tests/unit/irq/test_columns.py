# SPDX-License-Identifier: GPL-2.0-or-later
"""Latency columns are what the kernel's header says, and letters that cannot be of them are found out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.irq.made import COLUMNS, HEADER

from switchover.irq.columns import (
    KNOWN,
    LAYOUTS,
    TRACE_CMD,
    Columns,
    LatencyFormat,
    parse_columns,
    parse_header,
    require_columns,
)
from switchover.record.errors import UsageError

# kernel/trace/trace.c, print_func_help_header_irq, of these kernels
OLD = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 8/8   #P:4
#
#                              _-----=> irqs-off
#                             / _----=> need-resched
#                            | / _---=> hardirq/softirq
#                            || / _--=> preempt-depth
#                            ||| /     delay
#           TASK-PID   CPU#  ||||    TIMESTAMP  FUNCTION
#              | |       |   ||||       |         |
"""
OLD_RT = """\
# tracer: nop
#                              _-----=> irqs-off
#                             / _----=> need-resched
#                            |/  _-----=> need-resched_lazy
#                            || / _---=> hardirq/softirq
#                            ||| / _--=> preempt-depth
#                            |||| / _-=> preempt-lazy-depth
#                            ||||| / _-=> migrate-disable
#                            |||||| /    delay
#           TASK-PID   CPU#  |||||||   TIMESTAMP  FUNCTION
"""
RT = """\
# tracer: nop
#                                _-------=> irqs-off/BH-disabled
#                               / _------=> need-resched
#                              | / _-----=> need-resched-lazy
#                              || / _----=> hardirq/softirq
#                              ||| / _---=> preempt-depth
#                              |||| / _--=> preempt-lazy-depth
#                              ||||| / _-=> migrate-disable
#                              |||||| /     delay
#           TASK-PID     CPU#  |||||||  TIMESTAMP  FUNCTION
"""
NONE = "# tracer: nop\n#\n#           TASK-PID     CPU#     TIMESTAMP  FUNCTION\n"
LAZY = "PREEMPT_RT, with lazy fields"


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        (HEADER, COLUMNS),
        (OLD, LAYOUTS["before 5.15"]),
        (OLD_RT, LAYOUTS[LAZY]),
        (RT, LAYOUTS[LAZY]),
        (NONE, Columns(())),
        ("", None),
        ("# tracer: nop\n", None),
        (HEADER.replace("hardirq/softirq", "something"), None),
    ],
)
def test_headers(header: str, columns: Columns | None) -> None:
    """Of each kernel that is known; a header without what is needed says nothing."""
    assert parse_header(header.splitlines()) == columns


def test_a_column_that_is_new() -> None:
    """It takes its place: what stands behind it is found all the same."""
    text = HEADER.replace("need-resched\n", "need-resched\n#   | / _--=> weather\n")
    columns = parse_header(text.splitlines())
    assert columns is not None
    assert columns.is_hard("d.?h1.")
    assert not columns.is_hard("d.h.1.")


def test_the_latency_format() -> None:
    """It has other times: said, not read."""
    with pytest.raises(LatencyFormat):
        parse_header(["# wakeup_RT latency trace v1.1.5 on 6.4.0"])


@pytest.mark.parametrize(
    ("layout", "flags", "hard"),
    [
        ("5.15 and newer", "d.h1.", True),
        ("5.15 and newer", "DNs2.", False),
        ("5.15 and newer", "d..2.", False),
        ("5.15 and newer", "bbZ31", True),
        ("before 5.15", "dNH10", True),
        ("before 5.15", "d.h1", True),
        (LAZY, "d..h1..", True),
        (LAZY, "dN..3..", False),
        ("with need-resched-lazy only", "dn.h1", True),
    ],
)
def test_letters(layout: str, flags: str, hard: bool) -> None:
    """The one that says it is where the columns have it."""
    assert LAYOUTS[layout].fits(flags)
    assert LAYOUTS[layout].is_hard(flags) is hard


@given(st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(LAYOUTS)), st.sampled_from("hHZ"))
def test_letters_of_other_columns_do_not_fit(one: str, other: str, hard: str) -> None:
    """An interrupt's letters of one kernel are never read as those of another, unless they say the same there."""
    a, b = LAYOUTS[one], LAYOUTS[other]
    flags = "".join({"hardirq/softirq": hard, "preempt-depth": "1"}.get(name, ".") for name in a.names)
    assert a.fits(flags)
    assert not b.fits(flags) or b.is_hard(flags)


def test_columns_that_people_say() -> None:
    """In the kernel's words of any time; what is misspelt is named."""
    assert parse_columns("irqs-off/BH-disabled, need-resched,hardirq,preempt-depth,migrate-disable") == COLUMNS
    assert parse_columns("irqs-off,need-resched,need-resched_lazy,hardirq/softirq,preempt-depth").names[2] == KNOWN[2]
    with pytest.raises(UsageError, match="'hartirq'; did you mean 'hardirq/softirq'"):
        parse_columns("irqs-off,hartirq")
    for wrong in ("irqs-off,need-resched", "hardirq,hardirq", "irqs-off,irqs-off,hardirq"):
        with pytest.raises(UsageError, match="each column once"):
            parse_columns(wrong)


def test_advice() -> None:
    """The layouts that are offered are those that the letters can be of."""
    fix = require_columns("x", "d..h1").fix
    assert "irqs-off,need-resched,need-resched-lazy,hardirq/softirq,preempt-depth  " in fix
    assert "migrate-disable" not in fix


@pytest.mark.parametrize("flags", ["d.h1", "d.h1.", "d.h1..", "d.h10."])
def test_letters_of_trace_cmd(flags: str) -> None:
    """Four and more, by what the kernel has."""
    assert TRACE_CMD.fits(flags)
    assert TRACE_CMD.is_hard(flags)
