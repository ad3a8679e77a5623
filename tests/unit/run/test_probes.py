# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks after a migration: all pass on a good one, and each is seen to fail when its input is not as it must be."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_answers, make_change, make_moved, make_truth
from tests.unit.fakes import FaultyHost

from switchover.devices.reference import Truth
from switchover.hosts.waiting import wait_until
from switchover.migration.bytes import RESIDUAL_BOUND, MigrationBytes
from switchover.migration.traces import DeviceBytes
from switchover.record.errors import GuestCrashed
from switchover.record.measurement import Check
from switchover.run import probes
from switchover.run.probes import (
    GuestAnswers,
    ask_guest,
    check_console,
    compare_bytes,
    compare_guest,
    compare_states,
    count_since,
    fire_interrupt,
    place_canary,
    reinitialise,
    seed_device,
)

NAMES = ["dut"]


def failed(checks: Sequence[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def change_view(**changes: object) -> Callable[[GuestAnswers], GuestAnswers]:
    def change(answers: GuestAnswers) -> GuestAnswers:
        changed = replace(answers.devices[-1], **changes)  # type: ignore[arg-type]
        return replace(answers, devices=(*answers.devices[:-1], changed))

    return change


def test_the_same_guest_passes() -> None:
    """The same boot and device state, one generation later, passes every check."""
    checks = compare_guest(make_answers(1), make_answers(2), loads=1)
    assert len(checks) == 7
    assert failed(checks) == []


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda answers: replace(answers, boot_id="other"), ["guest is the same boot"]),
        (lambda answers: replace(answers, canary="other"), ["guest memory keeps its canary"]),
        (change_view(generation=1), ["device generation is one more"]),
        (change_view(generation=3), ["device generation is one more"]),
        (change_view(scratch=("1", "3")), ["device scratch registers are kept"]),
        (change_view(seed="8"), ["device seed is kept"]),
        (change_view(checksum="bad"), ["device state checksum is the source's", "guest computes the same checksum"]),
        (change_view(checksum_expected="bad"), ["guest computes the same checksum"]),
        (change_view(checksum="bad", checksum_expected="bad"), ["device state checksum is the source's"]),
    ],
)
def test_another_guest_fails(change: Callable[[GuestAnswers], GuestAnswers], names: list[str]) -> None:
    """Each difference fails its own check and no other."""
    assert failed(compare_guest(make_answers(1), change(make_answers(2)), loads=1)) == names


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (change_view(generation=1), "device generation is one more"),
        (change_view(scratch=("1", "3")), "device scratch registers are kept"),
        (change_view(seed="8"), "device seed is kept"),
        (change_view(checksum_expected="bad"), "guest computes the same checksum"),
    ],
)
def test_the_second_device_is_named(change: Callable[[GuestAnswers], GuestAnswers], name: str) -> None:
    """Of two devices each has its own checks, and those of the second say so."""
    before, after = make_answers(1, devices=2), make_answers(2, devices=2)
    checks = compare_guest(before, change(after), loads=1)
    assert len({check.name for check in checks}) == len(checks) == 2 + 2 * 5
    assert failed(checks) == [f"{name}, device 2"]


@given(st.integers(1, 9), st.integers(0, 3), st.integers(0, 9))
def test_the_generation_is_counted(before: int, loads: int, after: int) -> None:
    """The generation grows by one with each load of the device's state and not otherwise: a guest that stayed has 0."""
    found = failed(compare_guest(make_answers(before), make_answers(after), loads=loads))
    name = "device generation is one more" if loads == 1 else "device generation is as before"
    assert found == ([] if after == before + loads else [name])


def test_interrupts_may_go_on() -> None:
    """Interrupts that came meanwhile are no difference."""
    after = change_view(irq_hard=(5, 9))(make_answers(2))
    assert failed(compare_guest(make_answers(1), after, loads=1)) == []


BEFORE = (
    (make_truth(precopy_bytes_read=1000, stop_copy_bytes_read=100, bytes_written=10),),
    (make_truth(precopy_bytes_read=7, bytes_written=3),),
)
AFTER = (
    (make_truth(precopy_bytes_read=1064, stop_copy_bytes_read=116, bytes_written=10),),
    (make_truth(precopy_bytes_read=7, bytes_written=83),),
)


def test_bytes_that_agree_pass() -> None:
    """Traces, query-migrate and both devices' counters agree on this migration, whatever was counted before it."""
    checks = compare_bytes(make_moved(64, 16), NAMES, BEFORE, AFTER)
    assert len(checks) == 5
    assert failed(checks) == []


def with_device(precopy: int, stop_copy: int) -> Callable[[MigrationBytes], MigrationBytes]:
    return lambda moved: replace(moved, devices=(DeviceBytes("dut", precopy, stop_copy, 1),))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (with_device(63, 16), ["traced pre-copy bytes equal the device's"]),
        (with_device(64, 17), ["traced stop-copy bytes equal the device's"]),
        (
            lambda moved: replace(moved, devices=()),
            ["traced pre-copy bytes equal the device's", "traced stop-copy bytes equal the device's"],
        ),
        (
            lambda moved: replace(moved, vfio_transferred=79, wire=moved.wire - 1),
            ["query-migrate's vfio.transferred equals them"],
        ),
        (
            lambda moved: replace(moved, vfio_transferred=None),
            [
                "query-migrate's vfio.transferred equals them",
                "wire - RAM - VFIO is what headers and other devices take",
            ],
        ),
        (
            lambda moved: replace(moved, wire=moved.wire - 51),
            ["wire - RAM - VFIO is what headers and other devices take"],
        ),
        (
            lambda moved: replace(moved, wire=moved.wire + RESIDUAL_BOUND),
            ["wire - RAM - VFIO is what headers and other devices take"],
        ),
    ],
)
def test_bytes_that_disagree_fail(change: Callable[[MigrationBytes], MigrationBytes], names: list[str]) -> None:
    """A byte that was counted elsewhere, or is missing, fails the check of its source."""
    assert failed(compare_bytes(change(make_moved(64, 16)), NAMES, BEFORE, AFTER)) == names


def over_multifd(moved: MigrationBytes, **changes: Any) -> MigrationBytes:
    """The stop-copy bytes and 20 of headers went over multifd, RAM too."""
    assert moved.wire is not None
    whole = {"devices": (DeviceBytes("dut", 64, None, 1),), "vfio_transferred": 100, "multifd": 1036}
    return replace(moved, wire=moved.wire + 1020, **{**whole, **changes})


def test_bytes_over_multifd_are_compared_as_far_as_they_are_told() -> None:
    """Stop-copy blocks are not traced there: that check is not made, and QEMU's counter has headers in it."""
    assert len(checks := compare_bytes(over_multifd(make_moved(64, 16)), NAMES, BEFORE, AFTER)) == 4
    assert failed(checks) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"vfio_transferred": 79}, "query-migrate's vfio.transferred is these and what headers take"),
        ({"vfio_transferred": 81 + RESIDUAL_BOUND}, "query-migrate's vfio.transferred is these and what headers take"),
        ({"multifd": 0, "wire": RESIDUAL_BOUND * 9}, "wire - RAM - VFIO is what headers and other devices take"),
        ({"devices": (DeviceBytes("dut", 63, None, 1),)}, "traced pre-copy bytes equal the device's"),
    ],
)
def test_bytes_over_multifd_that_disagree_fail(changes: dict[str, Any], name: str) -> None:
    """What is told is compared as without multifd."""
    moved = replace(over_multifd(make_moved(64, 16)), **changes)
    assert failed(compare_bytes(moved, NAMES, BEFORE, AFTER)) == [name]


def test_no_residual_is_claimed_where_nothing_was_traced() -> None:
    """An untraced guest over multifd: there is nothing to compare, and no failed check either."""
    moved = over_multifd(make_moved(64, 16), devices=(), vfio_transferred=80)
    assert failed(compare_bytes(moved, [], BEFORE, AFTER)) == []


def test_the_residuals_edges_pass() -> None:
    """Nothing left over, and just as much as the bound, are both in order."""
    moved = make_moved(64, 16)
    assert moved.wire is not None
    for wire in (moved.wire - 50, moved.wire - 50 + RESIDUAL_BOUND):
        assert failed(compare_bytes(replace(moved, wire=wire), NAMES, BEFORE, AFTER)) == []


def test_bytes_that_did_not_arrive_fail() -> None:
    """A destination's device that took fewer bytes than were read is found out."""
    lossy = (AFTER[0], (make_truth(precopy_bytes_read=7, bytes_written=82),))
    assert failed(compare_bytes(make_moved(64, 16), NAMES, BEFORE, lossy)) == ["destination's devices took every byte"]


OLD = make_truth("RUNNING_P2P", "RUNNING")
NEW = make_truth("RUNNING_P2P", "RUNNING", "PRE_COPY", "PRE_COPY_P2P", "STOP_COPY", "STOP")
EVENTS = ["pre-copy", "pre-copy-p2p", "stop-copy", "stop"]


def test_states_that_agree_pass() -> None:
    """QEMU's states are the device's since the migration began; one that the device passed on its way may be more."""
    assert compare_states(EVENTS, NEW, OLD, "source").passed
    assert compare_states(["pre-copy", "stop-copy", "stop"], NEW, OLD, "source").passed


@pytest.mark.parametrize(
    "events",
    [
        [],
        EVENTS[:-1],
        [*EVENTS, "running"],
        ["running", *EVENTS],
        ["pre-copy-p2p", "pre-copy", "stop-copy", "stop"],
        ["pre-copy", "pre-copy", "stop-copy", "stop"],
        ["resuming", "stop"],
    ],
)
def test_states_that_disagree_fail(events: list[str]) -> None:
    """Another end, another order, a state twice or one that the device never was in: not the device's history."""
    assert not compare_states(events, NEW, OLD, "source").passed


def test_getting_ready_for_a_state_is_none() -> None:
    """What QEMU 11.1 says before PRE_COPY_P2P is no state that the device has to have been in."""
    truth = make_truth("PRE_COPY", "PRE_COPY_P2P", "STOP_COPY", "STOP")
    events = ["pre-copy", "pre-copy-p2p-prepare", "pre-copy-p2p", "stop-copy", "stop"]
    assert compare_states(events, truth, Truth("x", 0, {}, ()), "source").passed
    assert not compare_states(["pre-copy-p2p-prepare"], truth, Truth("x", 0, {}, ()), "source").passed


def test_a_device_that_did_not_change_has_no_events() -> None:
    """No event and no history agree; an event without a history does not."""
    assert compare_states([], OLD, OLD, "source").passed
    assert not compare_states(["stop"], OLD, OLD, "source").passed


def test_that_the_device_was_closed_is_no_change_of_state() -> None:
    """A QEMU that ended, as libvirt's source does, has closed the device; a reset is a change all the same."""
    for cause, passed in (("close", True), ("reset", False)):
        last = replace(make_change(9, "RUNNING"), sequence=99, cause=cause)
        truth = replace(NEW, history=(*NEW.history, last))
        assert compare_states(EVENTS, truth, OLD, "source").passed is passed


def test_the_check_of_states_shows_both() -> None:
    """The check names its side and shows both lists."""
    check = compare_states(["stop"], make_truth("STOP"), Truth("x", 0, {}, ()), "destination")
    assert check == Check("destination: states by events are those of the device's history", True, "stop", "stop")


def test_console_check() -> None:
    """A console with an oops fails with its lines, another one passes."""
    assert check_console("source", "switchover-guest: ready\n").passed
    check = check_console("source", "BUG: kernel NULL pointer dereference\nOops: 0000 [#1]\n")
    assert not check.passed
    assert check.observed == "BUG: kernel NULL pointer dereference; Oops: 0000 [#1]"


class Guest(FaultyHost):
    """A guest with the reference device's driver; ``fires`` says what a trigger does to (hard, thread)."""

    def __init__(self, fires: tuple[int, int]) -> None:
        super().__init__(lambda method, argument: argument, "", outputs=self.answer)
        self.fires = fires
        self.hard = [3, 7]
        self.thread = [3, 7]
        self.written: list[str] = []

    def answer(self, argv: Sequence[str]) -> bytes:
        command = argv[-1]
        if "boot_id" in command:
            return b"3f1c\nd41d8c  -\n"
        if ">trigger" in command:
            vector = int(command.split("echo ")[1].split()[0])
            self.hard[vector] += self.fires[0]
            self.thread[vector] += self.fires[1]
        if ">scratch" in command:
            self.written.append(command)
        lines = {
            "scratch": "1\n",
            "generation": "1\n",
            "seed": "2\n",
            "checksum": "c\n",
            "checksum_expected": "c\n",
            "irq_hard": "".join(f"{vector} {count}\n" for vector, count in enumerate(self.hard)),
            "irq_thread": "".join(f"{vector} {count}\n" for vector, count in enumerate(self.thread)),
        }
        return "".join(f"==> {name}\n{text}" for name, text in lines.items()).encode()


def test_an_interrupt_that_arrives() -> None:
    """One interrupt of the last vector, in the primary handler and in the thread, passes."""
    check = fire_interrupt(Guest((1, 1)), [])
    assert check.passed
    assert "vector 1" in check.name


@pytest.mark.parametrize(("fires", "observed"), [((0, 0), "(7, 7)"), ((1, 0), "(8, 7)"), ((0, 1), "(7, 8)")])
def test_an_interrupt_that_is_lost(fires: tuple[int, int], observed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt that does not arrive in both fails, with what was seen."""
    monkeypatch.setattr(
        probes, "wait_until", lambda *args, **options: wait_until(*args, **(options | {"timeout": 0.1}))
    )
    check = fire_interrupt(Guest(fires), [])
    assert not check.passed
    assert (check.expected, check.observed) == ("(8, 8)", observed)


def test_an_interrupt_that_fires_twice() -> None:
    """More interrupts than were raised are not in order either."""
    check = fire_interrupt(Guest((2, 2)), [])
    assert not check.passed
    assert check.observed == "(9, 9)"


def test_an_interrupt_in_a_dead_guest() -> None:
    """A guest that dies meanwhile is a crash, not a lost interrupt."""

    def dead() -> None:
        raise GuestCrashed("QEMU ended")

    with pytest.raises(GuestCrashed):
        fire_interrupt(Guest((0, 0)), [dead])


def test_asking_a_guest() -> None:
    """The answers have the boot's id and the device as the guest sees it."""
    answers = ask_guest(Guest((0, 0)))
    (device,) = answers.devices
    assert (answers.boot_id, answers.canary, device.seed, device.irq_hard) == ("3f1c", "d41d8c", "2", (3, 7))


def test_asking_a_guest_with_two_devices() -> None:
    """Each device is asked by the number of its slot, and told to do things by it."""
    guest = Guest((1, 1))
    assert len(ask_guest(guest, 2).devices) == 2
    assert ["shift 0;" in line for line in guest.log[1:]] == [True, False]
    assert "shift 1;" in guest.log[2]
    guest.log.clear()
    seed_device(guest, random.Random(1), 1)
    reinitialise(guest, 1)
    assert fire_interrupt(guest, [], 1).name.endswith(", device 2")
    assert all("shift 1;" in line for line in guest.log)


def test_the_canary_is_the_guests_own() -> None:
    """The canary lies where the digest is taken; two guests with the same random numbers still have two of them."""
    guest = Guest((0, 0))
    place_canary(guest)
    place_canary(guest)
    ask_guest(guest)
    (placed, other, asked) = guest.log[:3]
    assert "/dev/urandom; } >/canary" in placed
    assert placed != other
    assert "md5sum </canary" in asked


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=3), st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_counting_since(before: list[int], more: list[int]) -> None:
    """What counters grew by is summed over the devices; one that a device had not before counts from 0."""
    old = tuple(make_truth(loads=count) for count in before)
    new = tuple(make_truth(loads=count + add, resets=1) for count, add in zip(before, more, strict=False))
    assert count_since(old, new) == {"loads": sum(more[: len(before)]), "resets": len(before)}


def test_every_repeat_has_a_state_of_its_own() -> None:
    """Two repeats give the device different states; the same generator gives the same."""
    guest = Guest((0, 0))
    for seed in (1, 2, 1):
        seed_device(guest, random.Random(seed))
    first, second, third = guest.written
    assert first == third != second
    assert len(first.split("echo ")[1].split(" >scratch")[0].split()) == 16
