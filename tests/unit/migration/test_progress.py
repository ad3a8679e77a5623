# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a migration gets anywhere: what is pending, when that is progress, and the kinds of hangs."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.migration.simulated import GIB, Simulated

from switchover.migration.progress import (
    PENDING_EVENTS,
    Hang,
    HangKind,
    Pending,
    Progress,
    Unchanged,
    find_progress,
    judge_pending,
    parse_pending,
)
from switchover.migration.settings import MigrationSettings
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
    assert parse(*lines) == Pending(5.5, 1000, 6710800, 67108, exact=True)


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


def test_events_that_a_qemu_may_lack_are_patterns() -> None:
    """A name that it does not have is an error, even if what is unavailable is to be ignored; a pattern is none."""
    assert [name for name in PENDING_EVENTS if not name.endswith("*")] == ["migrate_transferred"]


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_pending_in_a_newer_qemu(exact: bool) -> None:
    """QEMU 11.1 has one event for both sizes, which says which it is; the exact one is taken, whichever is the last."""
    look = (
        "7@1795301138.{n:06}:qemu_savevm_query_pending exact={exact}, final=0, precopy=500, stopcopy=500, postcopy=0, "
        "total={total}, collected switchover ack pending=0, total switchover ack pending=1\n"
    )
    lines = [look.format(n=2, exact=0, total=900), TRANSFERRED.format(n=3, bandwidth=67108, threshold=6710800)]
    if exact:
        lines.insert(0, look.format(n=1, exact=1, total=1000))
    assert parse(*lines) == Pending(5.5, 1000 if exact else 900, 6710800, 67108, exact=exact)


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
    assert parse(*lines) == Pending(5.5, sizes[-1], *rows[-1][2:], exact=any(exact for exact, *_ in rows))


def pendings(*sizes: int, threshold: int | None = 100, every: float = 10) -> list[Pending]:
    """Looks at a migration that spins, each of them at another pass, at a distance of ``every`` seconds."""
    return [
        Pending(number * every, size, threshold, 1, exact=True, passes=1000 * number)
        for number, size in enumerate(sizes)
    ]


def look(at: float, size: int, passes: int, sent: int) -> Pending:
    return Pending(at, size, 100, 1, False, passes, sent)


@pytest.mark.parametrize(
    ("sizes", "index"),
    [((5,), 0), ((1000, 1000, 1000), 0), ((1000, 500, 700), 1), ((1000, 991, 995), 0), ((1000, 989, 2000), 1)],
)
def test_the_last_pass_that_was_smaller(sizes: tuple[int, ...], index: int) -> None:
    """A pass is smaller if it begins with clearly less than all before it: by more than a hundredth."""
    looks = pendings(*sizes)
    assert find_progress(looks).converged == looks[index]


def test_slow_drift_adds_up() -> None:
    """Passes that get smaller by less than a hundredth each are progress once they are clearly smaller in all."""
    looks = pendings(1000, 995, 991, 989)
    assert find_progress(looks).converged == looks[3]


def test_within_a_pass_every_byte_is_progress() -> None:
    """A first pass that goes down by less than a hundredth in the bound gets on all the same."""
    looks = [look(0, 10**9, 1, 0), look(40, 10**9 - 1000, 1, 1000), look(80, 10**9 - 2000, 1, 2000)]
    assert find_progress(looks) == Progress(looks[2], looks[2])
    assert judge_pending(looks, 30, 300) is None


def test_a_pass_that_is_not_smaller_is_no_progress() -> None:
    """However far it goes down: it began with as much as the one before it, whenever in both QEMU was asked."""
    looks = [look(0, 900, 1, 100), look(10, 200, 1, 800), look(20, 700, 2, 300), look(30, 50, 2, 950)]
    assert find_progress(looks) == Progress(looks[1], looks[3])


def test_one_pass_that_is_not_smaller_may_be_a_burst() -> None:
    """The bound is over, and yet it is no hang before a second one begins, or nothing of the first is sent."""
    looks = [look(0, 100, 1, 900), look(10, 990, 2, 10), look(40, 500, 2, 500)]
    assert judge_pending(looks, 30, 300) is None
    second = judge_pending([*looks, look(50, 990, 3, 10)], 30, 300)
    assert second is not None
    assert (second.kind, second.seconds) == (HangKind.NOT_CONVERGING, 50)
    assert judge_pending([*looks, look(70, 500, 2, 500)], 30, 300) is not None


def test_a_huge_guest_that_converges_is_no_hang() -> None:
    """128 GiB at 1 GiB/s, half of it dirtied again while it is sent: 256 s, of which each pass but the first begins
    with far more than the one before it ended with.
    """
    guest = Simulated()
    assert sum(one.end - one.begin for one in guest.passes()) == pytest.approx(255.5)
    looks = list(guest.looks(30, first=10))
    assert len(looks) > 40
    for count in range(1, len(looks)):
        assert judge_pending(looks[:count], 30, 300) is None, looks[count - 1]


GUESTS = st.builds(
    Simulated,
    size=st.floats(4, 128).map(lambda size: size * GIB),
    bandwidth=st.floats(0.5, 10).map(lambda rate: rate * GIB),
)


@settings(max_examples=15, deadline=None)
@given(GUESTS, st.floats(0, 0.9), st.floats(0, 5))
def test_what_converges_is_never_called_hung(guest: Simulated, ratio: float, phase: float) -> None:
    """With the default bound, for any size and bandwidth, and whenever QEMU is asked, as long as the guest dirties
    clearly less than is sent.
    """
    guest = replace(guest, dirty=ratio * guest.bandwidth, working_set=guest.size)
    bound = MigrationSettings().hang_s
    looks = list(guest.looks(bound, bound / 3 + phase))
    for count in range(1, len(looks) + 1):
        assert judge_pending(looks[:count], bound, 300) is None


@settings(max_examples=15, deadline=None)
@given(GUESTS, st.floats(1, 10), st.floats(0.3, 1), st.floats(0, 5))
def test_what_does_not_converge_is_told_in_bounded_time(
    guest: Simulated, ratio: float, part: float, phase: float
) -> None:
    """Whatever part of its memory a guest dirties, as fast as it is sent or faster: within the first pass, three of
    that part, and the bound with two looks.
    """
    working_set = part * guest.size
    bandwidth = min(guest.bandwidth, working_set)  # else all that it dirties is below the threshold
    guest = Simulated(guest.size, bandwidth, ratio * bandwidth, working_set)
    bound = MigrationSettings().hang_s
    latest = (guest.size + 3 * guest.working_set) / guest.bandwidth + bound * 4 / 3 + bound / 3 + phase
    seen: list[Pending] = []
    hang = None
    for pending in guest.looks(bound, bound / 3 + phase):
        seen.append(pending)
        if hang := judge_pending(seen, bound, 300):
            break
    assert hang is not None
    assert hang.kind is HangKind.NOT_CONVERGING
    assert seen[-1].at_s <= latest


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


def test_a_vgpu_that_is_dirty_faster_than_it_is_sent() -> None:
    """64 MiB dirtied a second, 32 MiB sent a second: it never ends, and what is left when a pass ends says nothing."""
    guest = Simulated(72 * MIB, 32 * MIB, 64 * MIB, 72 * MIB)
    looks = list(itertools.takewhile(lambda one: one.at_s < 60, guest.looks(12, first=4)))
    hangs = [
        at for count in range(1, len(looks)) if judge_pending(looks[:count], 12, 300) for at in [looks[count].at_s]
    ]
    assert hangs
    assert hangs[0] <= 24


@pytest.mark.parametrize(
    "sizes", [(), (500,), (500, 500, 500), (500, 500, 500, 490), (9000, 500, 500, 500), (900, 800, 700, 600, 500)]
)
def test_progress_is_no_hang(sizes: tuple[int, ...]) -> None:
    """Before the bound, and with a smaller pass within it, nothing hangs."""
    assert judge_pending(pendings(*sizes), 30, 300) is None


@given(st.lists(SIZES, min_size=1, max_size=8), st.integers(1, 100), SIZES)
def test_a_hang_needs_its_bound(sizes: list[int], bound: int, threshold: int) -> None:
    """Of a migration that spins there is a hang exactly if no pass was smaller for the bound, and its kind is that of
    the last look.
    """
    looks = pendings(*sizes, threshold=threshold)
    hang = judge_pending(looks, bound, 300)
    since = find_progress(looks).converged
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
