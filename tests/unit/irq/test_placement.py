# SPDX-License-Identifier: GPL-2.0-or-later
"""Masks that are set, read back, and put back."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.unit.irq.test_state import TEXT
from tests.unit.scripted_host import ScriptedHost

from switchover.hosts.local import LocalHost
from switchover.irq.placement import _WRITE_OR_SAY, explain_refusal, set_mask, set_thread_affinity, start_mask
from switchover.irq.state import parse_state
from switchover.record.errors import CommandFailed, NotSupported


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


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("dd: error writing: Input/output error\neffective 2", r"it is managed: .* now 2 \(EIO"),
        ("dd: error writing: Operation not permitted\neffective 2", r"it is managed: .* now 2 \(EPERM"),
        (
            "dd: error writing '/proc/irq/4/smp_affinity_list': Numerical result out of range\neffective 1",
            "none of these",
        ),
        ("dd: error writing: Input/output error\n       effective ", "its chip sets no mask"),
        ("dd: error writing: Invalid argument\neffective 2", "none of these CPUs is online"),
        ("dd: error writing: Value too large for defined data type\neffective 0", "none of these CPUs"),
        ("dd: error writing: No space left on device\neffective 0", "these CPUs have no vector left"),
        ("something else\neffective 0", "something else"),
    ],
)
def test_what_the_kernel_means_by_it(said: str, why: str) -> None:
    """A managed interrupt, a chip that sets no mask, and CPUs that are not there are told apart."""
    assert re.match(why, explain_refusal(said)[0])


def test_a_shell_says_why(tmp_path: Path) -> None:
    """What cannot be written is said in the kernel's words, and the effective mask behind it."""
    (tmp_path / "effective_affinity_list").write_text("2\n")
    with pytest.raises(CommandFailed) as caught:
        LocalHost().run(["sh", "-c", _WRITE_OR_SAY, "sh", "3", str(tmp_path / "none" / ".." / "smp_affinity_list")])
    assert "none" in caught.value.why
    (tmp_path / "smp_affinity_list").symlink_to("/dev/full")
    with pytest.raises(CommandFailed) as caught:
        LocalHost().run(["sh", "-c", _WRITE_OR_SAY, "sh", "3", str(tmp_path / "smp_affinity_list")])
    assert explain_refusal(caught.value.why)[0] == "these CPUs have no vector left for it (ENOSPC)"


def test_interrupts_whose_mask_nobody_may_set() -> None:
    """The mode of the file says it, of kernels that tell so; why is by the effective mask."""
    text = TEXT.replace("= chip 4 IO-APIC", "= chip 4 IO-APIC\n= fixed 4 yes\n= fixed 25 yes")
    first, second, third = parse_state(text).interrupts
    assert (first.fixed, first.why_fixed) == (True, "managed by its driver")
    assert (second.fixed, second.why_fixed) == (True, "its chip sets no mask")
    assert not third.fixed
