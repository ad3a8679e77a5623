# SPDX-License-Identifier: GPL-2.0-or-later
"""A secondary thread is one beside its first thread; what it is called alone says nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.irq.secondary import find_secondary

LONG = "dw-mmc-controller"


@pytest.mark.parametrize(
    ("names", "actions", "secondary"),
    [
        ({7: "irq/17-bus", 8: "irq/17-s-bus"}, ["bus"], {8}),
        ({7: "irq/17-bus", 8: "irq/17-s-bus"}, [], {8}),
        ({8: "irq/17-s-bus"}, ["s-bus"], set()),
        ({8: "irq/17-s-bus"}, [], set()),
        ({8: "irq/17-s-bus", 9: "irq/17-s-s-bus"}, ["s-bus"], {9}),
        # two handlers, bus and s-bus: with a thread each, with a second one of the first, of the second
        ({7: "irq/17-bus", 8: "irq/17-s-bus"}, ["bus", "s-bus"], set()),
        ({7: "irq/17-bus", 8: "irq/17-s-bus", 9: "irq/17-s-bus"}, ["bus", "s-bus"], {8}),
        ({7: "irq/17-s-bus", 8: "irq/17-bus", 9: "irq/17-s-bus"}, ["bus", "s-bus"], {9}),
        ({7: "irq/17-bus", 8: "irq/17-s-bus", 9: "irq/17-s-s-bus"}, ["bus", "s-bus"], {9}),
        # names of more than 15 characters are cut
        ({7: f"irq/17-{LONG}"[:15], 8: f"irq/17-s-{LONG}"[:15]}, [LONG], {8}),
        ({7: f"irq/17-{LONG}"[:15], 8: f"irq/17-s-{LONG}"[:15]}, [], {8}),
        ({8: f"irq/17-s-{LONG}"[:15]}, [f"s-{LONG}"], set()),
        ({7: f"irq/17-{LONG}", 8: f"irq/17-s-{LONG}"}, [LONG], {8}),
        # of another interrupt
        ({7: "irq/18-bus", 8: "irq/17-s-bus"}, [], set()),
    ],
)
def test_who_is_secondary(names: dict[int, str], actions: list[str], secondary: set[int]) -> None:
    """By the other threads of the interrupt, the names of its handlers, and the order in which threads were made."""
    assert find_secondary(names, {17: actions}) == secondary


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["bus", "s-bus", "s-s-bus", "net", "s-net"]), st.booleans()), unique_by=lambda one: one[0]
)


@given(ACTIONS)
def test_every_set_of_handlers(handlers: list[tuple[str, bool]]) -> None:
    """Threads as the kernel makes them, each handler's first and then its second if it has one: there are as many
    secondary threads as there are, of the names that they have.
    """
    names, expected, pid = {}, [], 100
    for action, has_second in handlers:
        names[pid] = f"irq/5-{action}"
        pid += 1
        if has_second:
            names[pid] = f"irq/5-s-{action}"
            expected.append(names[pid])
            pid += 1
    found = find_secondary(names, {5: [action for action, _ in handlers]})
    assert sorted(names[one] for one in found) == sorted(expected)
