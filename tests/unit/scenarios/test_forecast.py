# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of a migration by sizes, rates and times: what is known for sure, and nothing more."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.devices.reference import Knobs
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.units import MIB
from switchover.scenarios.faults import Fault
from switchover.scenarios.forecast import (
    DIP,
    Ending,
    Forecast,
    find_least_pending,
    find_least_seconds,
    find_threshold,
    forecast,
    make_stream,
    make_terms,
)

BUSY = Knobs(initial_bytes=64 * MIB, stop_copy_bytes=8 * MIB, dirty_bytes_per_sec=64 * MIB, save_bytes_per_sec=32 * MIB)
"""A device that gets dirty faster than it is read."""
SETTINGS = MigrationSettings(settle=False, switchover_bandwidth=32 * MIB, hang_s=12)


def look(
    *devices: Knobs,
    settings: MigrationSettings = SETTINGS,
    loading: Knobs | None = None,
    faults: tuple[Fault, ...] = (),
) -> Forecast:
    streams = [make_stream(device, loading or device, pre_copy=device.pre_copy) for device in devices]
    return forecast(streams, make_terms(settings, faults))


@pytest.mark.parametrize(
    ("limit", "ending"),
    [(300, Ending.NOT_CONVERGING), (1050, Ending.NOT_CONVERGING), (2150, Ending.OPEN), (60_000, Ending.OPEN)],
)
def test_a_device_that_gets_dirty_faster_than_it_is_read(limit: int, ending: Ending) -> None:
    """All of its state stays pending: 68 of 72 MiB at the least, and 32 MiB/s take 2.1 s for that."""
    assert look(BUSY, settings=replace(SETTINGS, downtime_limit_ms=limit)).ending is ending


def test_what_is_pending_of_a_device() -> None:
    """Without pre-copy all; with it what is left to stop-copy, and all again where nothing else can be."""
    terms = make_terms(SETTINGS)

    def least(knobs: Knobs) -> int:
        return find_least_pending([make_stream(knobs, knobs, pre_copy=knobs.pre_copy)], terms)

    assert least(replace(BUSY, pre_copy=False)) == 72 * MIB
    assert least(BUSY) == 72 * MIB - DIP
    assert least(replace(BUSY, dirty_bytes_per_sec=31 * MIB)) == 8 * MIB
    assert least(replace(BUSY, dirty_bytes_per_sec=35 * MIB)) == 8 * MIB  # too close to what is read
    assert least(replace(BUSY, save_bytes_per_sec=0)) == 8 * MIB  # nobody knows how fast it is read
    assert least(replace(BUSY, save_bytes_per_sec=0, load_bytes_per_sec=16 * MIB)) == 56 * MIB
    assert find_least_pending([], terms) == 0


def test_a_guest_that_is_paused_on_the_way() -> None:
    """Its device gets dirty no more, and what was read before that is unknown."""
    fault = Fault(Action.PAUSE_GUEST, Phase.ACTIVE)
    assert look(BUSY, settings=replace(SETTINGS, downtime_limit_ms=300), faults=(fault,)).ending is Ending.OPEN


def test_the_threshold() -> None:
    """As QEMU has it, bytes per whole millisecond; what it measures is bounded by max-bandwidth only."""
    assert find_threshold(300, make_terms(SETTINGS)) == 33554 * 300
    measured = replace(SETTINGS, switchover_bandwidth=0)
    assert find_threshold(300, make_terms(measured)) is None
    assert find_threshold(300, make_terms(replace(measured, max_bandwidth=10 * MIB))) == 20 * MIB * 300 // 1000


def test_without_a_bound_of_the_bandwidth_nothing_is_said() -> None:
    """A limit of 1 ms may be enough at the bandwidth that QEMU measures, whatever that is."""
    knobs = replace(BUSY, pre_copy=False)
    settings = replace(SETTINGS, switchover_bandwidth=0, downtime_limit_ms=1)
    assert look(knobs, settings=settings).ending is Ending.OPEN
    assert look(knobs, settings=replace(settings, max_bandwidth=100 * MIB)).ending is Ending.NOT_CONVERGING


def test_several_devices() -> None:
    """What is pending is the sum: one alone is below a threshold above which two are."""
    one = Knobs(initial_bytes=20 * MIB, stop_copy_bytes=1 * MIB, pre_copy=False)
    settings = replace(SETTINGS, downtime_limit_ms=1000)
    assert look(one, settings=settings).ending is Ending.OPEN
    assert look(one, one, settings=settings).ending is Ending.NOT_CONVERGING
    assert look(settings=settings).ending is Ending.OPEN


@pytest.mark.parametrize(
    ("knobs", "ending"),
    [
        (
            {"initial_bytes": 1 << 30, "save_bytes_per_sec": 1 * MIB, "load_bytes_per_sec": 100 << 10},
            Ending.OUT_OF_TIME,
        ),
        ({"initial_bytes": 1 << 30, "save_bytes_per_sec": 1 * MIB}, Ending.OUT_OF_TIME),
        ({"initial_bytes": 1 << 30, "load_bytes_per_sec": 1 * MIB}, Ending.OUT_OF_TIME),
        ({"initial_bytes": 1 << 30, "save_bytes_per_sec": 8 * MIB}, Ending.OPEN),
        ({"initial_bytes": 205 * MIB, "save_bytes_per_sec": 1 * MIB}, Ending.OPEN),  # too close
        ({"state_change_ms": 15_000}, Ending.OPEN),
        ({"state_change_ms": 60_000}, Ending.STUCK),
        ({"load_initial_ms": 35_000}, Ending.OPEN),  # too close
        ({"load_initial_ms": 60_000}, Ending.STUCK),
        ({"save_bytes_per_sec": 10_000}, Ending.STUCK),
    ],
)
def test_what_takes_its_time(knobs: dict[str, int], ending: Ending) -> None:
    """With the harness's own settings: 180 s for all of it, 30 s without progress."""
    found = look(Knobs(**knobs), settings=MigrationSettings())  # type: ignore[arg-type]
    assert found.ending is ending
    if ending is Ending.OUT_OF_TIME:
        assert found.seconds == 180


def test_a_device_that_never_settles() -> None:
    """The switchover is held back for settle_timeout_s, and then comes; where there is no time left it does not."""
    knobs = Knobs(dirty_bytes_per_sec=1 * MIB, save_bytes_per_sec=32 * MIB)
    found = look(knobs, settings=MigrationSettings())
    assert (found.ending, round(found.seconds)) == (Ending.OPEN, 120)
    assert look(knobs, settings=MigrationSettings(settle_vfio_bytes=8 * MIB)).seconds < 10
    assert look(BUSY, settings=MigrationSettings(timeout_s=60, downtime_limit_ms=10)).ending is Ending.OUT_OF_TIME
    assert look(BUSY, settings=MigrationSettings(downtime_limit_ms=10)).ending is Ending.NOT_CONVERGING


def test_a_slow_link() -> None:
    """Whatever the devices are, the guest's memory has to pass; it may have passed before a link that is slow later."""
    slow = Fault(Action.SLOW_LINK, Phase.ACTIVE, rate_bit=10_000)
    assert look(faults=(slow,)).ending is Ending.OUT_OF_TIME
    assert look(faults=(replace(slow, rate_bit=100_000_000),)).ending is Ending.OPEN
    assert look(faults=(replace(slow, phase=Phase.DEVICE_STOP_COPY),)).ending is Ending.OPEN


def test_initial_data_that_comes_anew_takes_its_time() -> None:
    """Each time it is read and loaded while the switchover is held back; with PRE_COPY_P2P nothing waits for it."""

    settings = MigrationSettings(timeout_s=600, settle_timeout_s=300)

    def estimate(**knobs: Any) -> float:
        return look(replace(Knobs(save_bytes_per_sec=MIB, load_initial_ms=500), **knobs), settings=settings).seconds

    once = estimate(reinit_count=1, reinit_bytes=4 * MIB)
    assert once == pytest.approx(estimate() + 4.5)
    assert estimate(reinit_count=2, reinit_bytes=4 * MIB) == pytest.approx(once + 4.5)
    assert estimate(reinit_count=2, reinit_bytes=4 * MIB, reinit_at="PRE_COPY_P2P") == pytest.approx(estimate())


def test_a_narrow_bandwidth() -> None:
    """RAM has to pass before the switchover, and what is sent after it is not limited."""
    narrow = MigrationSettings(settle=False, max_bandwidth=64 << 10, downtime_limit_ms=100)
    assert look(settings=narrow).ending is Ending.OUT_OF_TIME
    assert look(settings=replace(narrow, downtime_limit_ms=4000)).ending is Ending.OPEN
    assert look(settings=replace(narrow, max_bandwidth=4 * MIB)).ending is Ending.OPEN


def test_a_device_that_is_saved_without_a_word() -> None:
    """Without traces nothing is seen of a device that is saved for longer than a migration may get nowhere."""
    knobs = Knobs(stop_copy_bytes=64 * MIB, save_bytes_per_sec=1 * MIB)
    for silent, ending in ((False, Ending.OPEN), (True, Ending.STUCK)):
        stream = make_stream(knobs, knobs, pre_copy=True, silent=silent)
        assert forecast([stream], make_terms(MigrationSettings())).ending is ending


def test_in_words() -> None:
    """With the numbers that decide."""
    assert look(BUSY).why == ""
    told = look(BUSY, settings=replace(SETTINGS, downtime_limit_ms=300)).why
    assert told == "at least 68.0 MiB pending, and a threshold of at most 9.6 MiB"
    slow = Knobs(initial_bytes=1 << 30, save_bytes_per_sec=1 * MIB)
    assert look(slow).why == "takes at least 17 min 3 s"


SIZES = st.integers(1, 1 << 20).map(lambda n: n * 4096)
RATES = st.integers(1, 1 << 16).map(lambda n: n * 4096)
KNOBS = st.builds(
    Knobs,
    initial_bytes=SIZES,
    stop_copy_bytes=SIZES,
    dirty_bytes_per_sec=st.one_of(st.just(0), RATES),
    save_bytes_per_sec=st.one_of(st.just(0), RATES),
    load_bytes_per_sec=st.one_of(st.just(0), RATES),
    pre_copy=st.booleans(),
)
LIMITS = st.integers(0, 100_000)
PATIENT = MigrationSettings(settle=False, timeout_s=1e9, hang_s=1e8)


def converges(*devices: Knobs, settings: MigrationSettings) -> bool:
    streams = [make_stream(device, device, pre_copy=device.pre_copy) for device in devices]
    terms = make_terms(settings)
    return forecast(streams, terms).ending is not Ending.NOT_CONVERGING


@given(KNOBS, LIMITS, LIMITS, RATES, RATES)
def test_a_larger_limit_or_bandwidth_never_hurts(
    knobs: Knobs, limit: int, more: int, bandwidth: int, faster: int
) -> None:
    """What may converge does so with a larger limit too, and with more bandwidth."""
    settings = replace(PATIENT, downtime_limit_ms=limit, switchover_bandwidth=bandwidth)
    if converges(knobs, settings=settings):
        assert converges(knobs, settings=replace(settings, downtime_limit_ms=limit + more))
        assert converges(knobs, settings=replace(settings, switchover_bandwidth=bandwidth + faster))


@given(KNOBS, SIZES, LIMITS, RATES)
def test_more_state_never_helps(knobs: Knobs, more: int, limit: int, bandwidth: int) -> None:
    """What never converges does not with more to stop-copy, nor with one device more."""
    settings = replace(PATIENT, downtime_limit_ms=limit, switchover_bandwidth=bandwidth)
    if not converges(knobs, settings=settings):
        larger = replace(knobs, stop_copy_bytes=knobs.stop_copy_bytes + more)
        assert not converges(larger, settings=settings)
        assert not converges(knobs, Knobs(), settings=settings)


@given(KNOBS, SIZES)
def test_more_state_takes_longer(knobs: Knobs, more: int) -> None:
    """The least time grows with the sizes, and no more than all of the state is ever pending."""
    terms = make_terms(replace(PATIENT, downtime_limit_ms=10_000_000))
    larger = replace(knobs, initial_bytes=knobs.initial_bytes + more)
    few, many = ([make_stream(one, one, pre_copy=one.pre_copy)] for one in (knobs, larger))
    assert find_least_seconds(few, terms) <= find_least_seconds(many, terms)
    assert 0 < find_least_pending(few, terms) <= few[0].all_bytes
