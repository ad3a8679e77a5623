# SPDX-License-Identifier: GPL-2.0-or-later
"""Which IRQ threads are secondary ones. Pure.

A handler whose driver has a thread function of its own gets two threads where interrupts are forced to be threaded:
``irq/N-NAME``, which the hard handler wakes, and right after it ``irq/N-s-NAME``, which the first one wakes
(kernel/irq/manage.c, setup_irq_thread). A handler that is called ``s-NAME`` has a first thread of just that name.
"""

import re
from collections.abc import Mapping, Sequence

_NAME = re.compile(r"irq/(\d+)-(.*)", re.DOTALL)
_SECOND = "s-"
_SHORT = 15
"""A name's length in traces, and in /proc of kernels before 5.17; longer ones are cut."""


def find_secondary(names: Mapping[int, str], actions: Mapping[int, Sequence[str]]) -> frozenset[int]:
    """Pids of secondary threads, of all IRQ threads with their names. ``actions``: names of each interrupt's handlers,
    where they are known.

    >>> sorted(find_secondary({7: "irq/17-bus", 8: "irq/17-s-bus"}, {17: ["bus"]}))
    [8]
    >>> sorted(find_secondary({8: "irq/17-s-bus"}, {17: ["s-bus"]}))
    []
    """
    by_irq: dict[int, dict[int, str]] = {}
    for pid, name in sorted(names.items()):
        if match := _NAME.fullmatch(name):
            by_irq.setdefault(int(match[1]), {})[pid] = match[2]
    return frozenset(pid for irq, threads in by_irq.items() for pid in _find_among(irq, threads, actions.get(irq, ())))


def _find_among(irq: int, threads: Mapping[int, str], actions: Sequence[str]) -> set[int]:
    """``threads``: what is behind ``irq/N-`` in their names, in the order of pids, in which they were made."""
    length = _SHORT - len(f"irq/{irq}-")
    found: set[int] = set()
    for pid, name in threads.items():
        if not name.startswith(_SECOND):
            continue
        rest = name.removeprefix(_SECOND)
        firsts = [
            other for other, of in threads.items() if other != pid and _are_kin(of, rest, length, known=bool(actions))
        ]
        own = sum(_is_cut(name, action, length) for action in actions)
        others = sum(_is_cut(name, _SECOND + action, length) for action in actions)
        if own and (not firsts or not others):
            continue
        if own:
            # handlers NAME and s-NAME: of as many threads as there are handlers of this name each is a first one; of
            # more, that which was made right after irq/N-NAME is the second
            alike = [other for other, of in threads.items() if of == name]
            later = [other for other in alike if any(first < other for first in firsts)]
            if len(alike) <= own or pid not in later[: len(alike) - own]:
                continue
        elif not firsts and not others:
            continue
        found.add(pid)
    return found


def _are_kin(first: str, rest: str, length: int, *, known: bool) -> bool:
    """Whether a thread can be the first of a second one of which ``rest`` is known. Where the handlers are known, it is
    enough that one is the beginning of the other.
    """
    if first == rest or (len(rest) == length - len(_SECOND) and first.startswith(rest)):
        return True
    return known and bool(first) and (first.startswith(rest) or rest.startswith(first))


def _is_cut(name: str, whole: str, length: int) -> bool:
    """Whether a thread's name is that of a handler, whole or cut."""
    return name == whole or (len(name) == length and whole.startswith(name))
