# SPDX-License-Identifier: GPL-2.0-or-later
"""Masks that are set, read back, and put back."""

from collections.abc import Callable, Sequence

import pytest
from tests.unit.irq.test_state import TEXT
from tests.unit.scripted_host import ScriptedHost

from switchover.irq.placement import set_mask, set_thread_affinity, start_mask
from switchover.irq.state import parse_state
from switchover.record.errors import NotSupported


class MaskedHost(ScriptedHost):
    """Has one mask. ``take`` makes of what is written what the kernel makes of it; None: it refuses."""

    def __init__(self, take: Callable[[str], str | None] = lambda mask: mask) -> None:
        super().__init__(self._reply)
        self.mask = "0-3"
        self._take = take

    def _reply(self, argv: Sequence[str]) -> str | int:
        if "printf %s" in argv[2] and "/proc/irq/4/smp_affinity_list" in " ".join(argv):
            word = argv[4] if len(argv) > 4 else "0-3"
            taken = self._take(word)
            if taken is None:
                return 1
            self.mask = taken
        return ""

    def read_file(self, path: str) -> bytes:
        if path != "/proc/irq/4/smp_affinity_list":
            return super().read_file(path)
        return f"{self.mask}\n".encode()


def test_a_mask_for_some_time() -> None:
    """Set inside the block, what it was before afterwards."""
    host = MaskedHost()
    with start_mask(host, 4, "1,2"):
        assert host.mask == "1,2"
    assert host.mask == "0-3"


def test_another_way_to_write_it_is_the_same_mask() -> None:
    set_mask(MaskedHost(lambda mask: "1-2"), 4, "1,2")


@pytest.mark.parametrize(("taken", "words"), [(None, "cannot be sent"), ("0", "made 0 of it")])
def test_a_mask_that_the_kernel_does_not_take(taken: str | None, words: str) -> None:
    """Refused, or not what was asked for: named, and never taken for granted."""
    with pytest.raises(NotSupported, match=words):
        set_mask(MaskedHost(lambda mask: taken), 4, "7")


def test_an_affinity_of_a_thread() -> None:
    """By a mask in hex, which every taskset reads; what the kernel forbids is not-supported."""
    (thread, *_) = parse_state(TEXT).threads
    host = ScriptedHost(lambda argv: "")
    set_thread_affinity(host, thread, "0,5")
    assert host.commands == [["taskset", "-p", "21", "154"]]
    with pytest.raises(NotSupported, match="irq/4-ttyS0"):
        set_thread_affinity(ScriptedHost(lambda argv: 1), thread, "0")
