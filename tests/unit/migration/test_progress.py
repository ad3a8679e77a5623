# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a migration gets anywhere: what is pending, when that is progress, and the kinds of hangs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.migration.progress import (
    Hang,
    HangKind,
    Pending,
    Unchanged,
    judge_pending,
    last_minimum,
    parse_pending,
)
from switchover.migration.traces import parse_trace
from switchover.record.units import MIB

SIZES = st.integers(0, 1 << 50)
EXACT = "7@1795301138.{n:06}:migrate_pending_exact exact pending size {size} (pre = {size} post=0)\n"
ESTIMATE = "7@1795301138.{n:06}:migrate_pending_estimate estimate pending size {size} (pre = {size} post=0)\n"
TRANSFERRED = (
    "7@1795301138.{n:06}:migrate_transferred transferred 1048576 time_spent 100 bandwidth 10485 "
    "switchover_bw {bandwidth} max_size {threshold}\n"
)


def parse(*lines: str) -> Pending | None:
    return parse_pending(parse_trace("".join(lines)), 5.5)


def test_what_is_pending() -> None:
    """The exact size, the threshold in bytes and the bandwidth in bytes per millisecond, as QEMU 10.0 writes them."""
    lines = (
        ESTIMATE.format(n=1, size=900),
        EXACT.format(n=2, size=1000),
        TRANSFERRED.format(n=3, bandwidth=67108, threshold=6710800),
    )
    assert parse(*lines) == Pending(5.5, 1000, 6710800, 67108)


def test_an_estimate_is_better_than_nothing() -> None:
    """QEMU asks for the exact size only near the threshold: else the estimate is what is known."""
    assert parse(ESTIMATE.format(n=1, size=900)) == Pending(5.5, 900, None, None)


def test_what_is_pending_in_an_old_qemu() -> None:
    """QEMU 7.2 has one event for both sizes, and one bandwidth."""
    log = (
        "7@1795301138.000001:migrate_pending pending size 1000 max 6710800 (pre = 1000 compat=0 post=0)\n"
        "7@1795301138.000002:migrate_transferred transferred 5 time_spent 100 bandwidth 67108 max_size 6710800\n"
    )
    assert parse(log) == Pending(5.5, 1000, 6710800, 67108)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "qemu: something else\n",
        "7@1795301138.000001:migrate_set_state new state active\n",
        TRANSFERRED.format(n=1, bandwidth=1, threshold=2),
        EXACT.format(n=1, size=5)[:-1],
        "7@1795301138.000001:migrate_pending_exact in other words\n",
    ],
)
def test_nothing_pending_was_told(text: str) -> None:
    """A log without a size, or with a line of it that is cut or worded otherwise, tells nothing."""
    assert parse(text) is None


@given(st.lists(st.tuples(st.booleans(), SIZES, SIZES, st.integers(0, 1 << 40)), min_size=1, max_size=5))
def test_the_last_of_each_counts(rows: list[tuple[bool, int, int, int]]) -> None:
    """Of several lines the last of its kind counts, and an exact size before any estimate."""
    lines = []
    for number, (exact, size, threshold, bandwidth) in enumerate(rows):
        lines += [
            (EXACT if exact else ESTIMATE).format(n=number, size=size),
            TRANSFERRED.format(n=number, bandwidth=bandwidth, threshold=threshold),
        ]
    sizes = [size for exact, size, _, _ in rows if exact] or [size for _, size, _, _ in rows]
    assert parse(*lines) == Pending(5.5, sizes[-1], *rows[-1][2:])


def pendings(*sizes: int, threshold: int | None = 100, every: float = 10) -> list[Pending]:
    """Looks at what is pending, at a distance of ``every`` seconds."""
    return [Pending(number * every, size, threshold, 1) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "index"),
    [((5,), 0), ((1000, 1000, 1000), 0), ((1000, 500, 700), 1), ((1000, 991, 995), 0), ((1000, 989, 2000), 1)],
)
def test_the_last_minimum(sizes: tuple[int, ...], index: int) -> None:
    """A new minimum is clearly less than all before it: by more than a hundredth."""
    looks = pendings(*sizes)
    assert last_minimum(looks) == looks[index]


def test_slow_drift_adds_up() -> None:
    """A size that goes down by less than a hundredth each time is progress once it is clearly less in all."""
    looks = pendings(1000, 995, 991, 989)
    assert last_minimum(looks) == looks[3]


@pytest.mark.parametrize(
    ("sizes", "threshold", "kind"),
    [
        ((50, 50, 50, 50), 100, HangKind.ACK_STARVED),
        ((100, 100, 100, 100), 100, HangKind.NOT_CONVERGING),
        ((0, 0, 0, 0), 0, HangKind.ACK_STARVED),
        ((500, 500, 500, 500), 100, HangKind.NOT_CONVERGING),
        ((500, 600, 550, 505), 100, HangKind.NOT_CONVERGING),
        ((500, 500, 500, 500), -1, HangKind.NOT_CONVERGING),
    ],
)
def test_the_kinds_of_hangs(sizes: tuple[int, ...], threshold: int, kind: HangKind) -> None:
    """Below the threshold the switchover is kept from coming; above it, it does not converge."""
    hang = judge_pending(pendings(*sizes, threshold=threshold), 30, 300)
    assert hang is not None
    assert (hang.kind, hang.seconds) == (kind, 30)


@pytest.mark.parametrize(
    "sizes", [(), (500,), (500, 500, 500), (500, 500, 500, 490), (9000, 500, 500, 500), (900, 800, 700, 600, 500)]
)
def test_progress_is_no_hang(sizes: tuple[int, ...]) -> None:
    """Before the bound, and with a new minimum within it, nothing hangs."""
    assert judge_pending(pendings(*sizes), 30, 300) is None


@given(st.lists(SIZES, min_size=1, max_size=8), st.integers(1, 100), SIZES)
def test_a_hang_needs_its_bound(sizes: list[int], bound: int, threshold: int) -> None:
    """There is a hang exactly if there was no new minimum for the bound, and its kind is that of the last look."""
    looks = pendings(*sizes, threshold=threshold)
    hang = judge_pending(looks, bound, 300)
    since = last_minimum(looks)
    assert since.size <= min(sizes) / 0.99
    seconds = looks[-1].at_s - since.at_s
    assert (hang is None) is (seconds < bound)
    if hang:
        assert hang.seconds == seconds
        assert (hang.kind is HangKind.ACK_STARVED) is (sizes[-1] == 0 or sizes[-1] < threshold)


def test_the_evidence() -> None:
    """The evidence has what was pending, the threshold, and what that is made of; without one no hang is told."""
    looks = [Pending(at, 9 * MIB, 4 * MIB, 1048) for at in (0, 31)]
    assert str(judge_pending(looks, 30, 4000)) == (
        "not converging: pending 9.0 MiB stays above the threshold 4.0 MiB (4000 ms at 1023.4 KiB/s), for 31 s"
    )
    starved = judge_pending([Pending(0, 0, 4 * MIB, None), Pending(60, 0, 4 * MIB, None)], 30, 4000)
    assert str(starved) == (
        "ack-starved: pending 0 B is below the threshold 4.0 MiB (4000 ms) and the switchover does not come, for 60 s"
    )
    assert judge_pending([Pending(0, 5, None, None), Pending(60, 5, None, None)], 30, 4000) is None


def test_a_hang_in_words() -> None:
    """Kind, evidence and time."""
    assert str(Hang(HangKind.NO_PROGRESS, 31.4, "nothing is sent")) == (
        "no progress at the destination: nothing is sent, for 31 s"
    )


@given(st.lists(st.tuples(st.floats(0.1, 100), st.integers(0, 1)), min_size=1, max_size=10))
def test_how_long_something_is_the_same(rows: list[tuple[float, int]]) -> None:
    """It is the time since the first look at what it has been from then on; 0 when it is another thing."""
    unchanged = Unchanged()
    times = list(itertools.accumulate(step for step, _ in rows))
    marks = [mark for _, mark in rows]
    for number, now in enumerate(times):
        first = number
        while first and marks[first - 1] == marks[number]:
            first -= 1
        assert unchanged.note(now, marks[number]) == now - times[first]


def test_forgetting() -> None:
    """What was forgotten counts from the next look, even if it is the same."""
    unchanged = Unchanged()
    assert [unchanged.note(now, "x") for now in (1, 5)] == [0, 4]
    unchanged.forget()
    assert [unchanged.note(now, "x") for now in (9, 10)] == [0, 1]
    assert unchanged.note(11, None) == 0
    assert unchanged.note(12, None) == 1
