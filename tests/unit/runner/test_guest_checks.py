# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks after a migration: all pass on a good one, and each is seen to fail when its input is not as it must be."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_answers, make_change, make_moved, make_truth, render_view
from tests.unit.fakes import FaultyHost
from tests.unit.scripted_host import ScriptedHost, answer_questions

from switchover.devices.reference import Knobs, Truth
from switchover.guests.capabilities import LAB_CAPABILITIES, Need
from switchover.hosts.questions import Answer
from switchover.migration.bytes import RESIDUAL_BOUND, MigrationBytes
from switchover.migration.traces import DeviceBytes
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, make_check
from switchover.runner.guest_checks import (
    GuestAnswers,
    Unanswered,
    ask_guest,
    check_console,
    check_fired,
    compare_bytes,
    compare_functions,
    compare_guest,
    compare_states,
    count_since,
    fire_interrupt,
    prepare_guest,
    read_functions,
    reinitialise,
    wait_for_functions,
)
from switchover.scenarios.case import DeviceSpec

NAMES = ["dut"]


def failed(checks: Sequence[Check]) -> list[str]:
    return [check.label for check in checks if not check.passed]


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
        (lambda answers: replace(answers, boot_id="other"), ["guest.boot-id"]),
        (lambda answers: replace(answers, canary="other"), ["guest.canary"]),
        (change_view(generation=1), ["device.generation, device 1"]),
        (change_view(generation=3), ["device.generation, device 1"]),
        (change_view(scratch=("1", "3")), ["device.scratch, device 1"]),
        (change_view(seed="8"), ["device.seed, device 1"]),
        (change_view(checksum="bad"), ["device.checksum, device 1", "device.checksum-by-guest, device 1"]),
        (change_view(checksum_expected="bad"), ["device.checksum-by-guest, device 1"]),
        (change_view(checksum="bad", checksum_expected="bad"), ["device.checksum, device 1"]),
    ],
)
def test_another_guest_fails(change: Callable[[GuestAnswers], GuestAnswers], names: list[str]) -> None:
    """Each difference fails its own check and no other."""
    assert failed(compare_guest(make_answers(1), change(make_answers(2)), loads=1)) == names


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (change_view(generation=1), "device.generation"),
        (change_view(scratch=("1", "3")), "device.scratch"),
        (change_view(seed="8"), "device.seed"),
        (change_view(checksum_expected="bad"), "device.checksum-by-guest"),
    ],
)
def test_each_device_has_its_checks(change: Callable[[GuestAnswers], GuestAnswers], name: str) -> None:
    """Of two devices each has its own checks, and those of the second say so."""
    before, after = make_answers(1, devices=2), make_answers(2, devices=2)
    checks = compare_guest(before, change(after), loads=1)
    assert len({check.label for check in checks}) == len(checks) == 2 + 2 * 5
    assert failed(checks) == [f"{name}, device 2"]
    assert [check.name.endswith(", device 2") for check in checks if not check.passed] == [True]


@given(st.integers(1, 9), st.integers(0, 3), st.integers(0, 9))
def test_the_generation_is_counted(before: int, loads: int, after: int) -> None:
    """The generation grows by one with each load of the device's state and not otherwise: a guest that stayed has 0."""
    found = failed(compare_guest(make_answers(before), make_answers(after), loads=loads))
    assert found == ([] if after == before + loads else ["device.generation, device 1"])


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
        (with_device(63, 16), ["bytes.vfio.precopy, device 1"]),
        (with_device(64, 17), ["bytes.vfio.stop-copy, device 1"]),
        (
            lambda moved: replace(moved, devices=()),
            ["bytes.vfio.precopy, device 1", "bytes.vfio.stop-copy, device 1"],
        ),
        (
            lambda moved: replace(moved, vfio_transferred=79, wire=moved.wire - 1),
            ["bytes.vfio.transferred"],
        ),
        (
            lambda moved: replace(moved, vfio_transferred=None),
            [
                "bytes.vfio.transferred",
                "bytes.residual",
            ],
        ),
        (
            lambda moved: replace(moved, wire=moved.wire - 51),
            ["bytes.residual"],
        ),
        (
            lambda moved: replace(moved, wire=moved.wire + RESIDUAL_BOUND),
            ["bytes.residual"],
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
        ({"vfio_transferred": 79}, "bytes.vfio.transferred"),
        ({"vfio_transferred": 81 + RESIDUAL_BOUND}, "bytes.vfio.transferred"),
        ({"multifd": 0, "wire": RESIDUAL_BOUND * 9}, "bytes.residual"),
        ({"devices": (DeviceBytes("dut", 63, None, 1),)}, "bytes.vfio.precopy, device 1"),
    ],
)
def test_bytes_over_multifd_that_disagree_fail(changes: dict[str, Any], name: str) -> None:
    """What is told is compared as without multifd."""
    moved = replace(over_multifd(make_moved(64, 16)), **changes)
    assert failed(compare_bytes(moved, NAMES, BEFORE, AFTER)) == [name]


def test_bytes_of_a_function_are_those_of_its_traces() -> None:
    """A function has no counters: what was traced of it is in QEMU's counter, beside what the other devices counted."""
    plain = make_moved(64, 16)
    assert plain.wire is not None
    devices = (*plain.devices, DeviceBytes("0000:3b:00.2", 7, 3, 1))
    moved = replace(plain, devices=devices, vfio_transferred=90, wire=plain.wire + 10)
    assert failed(compare_bytes(moved, NAMES, BEFORE, AFTER, ["0000:3b:00.2"])) == []
    assert failed(compare_bytes(moved, NAMES, BEFORE, AFTER)) == ["bytes.vfio.transferred"]


def test_bytes_of_a_function_that_is_saved_by_threads() -> None:
    """How many they are is told by nobody: they are compared with nothing, and those of the others still are."""
    moved = over_multifd(make_moved(64, 16))
    with_function = replace(moved, devices=(*moved.devices, DeviceBytes("0000:3b:00.2", 7, None, 1)))
    checks = compare_bytes(with_function, NAMES, BEFORE, AFTER, ["0000:3b:00.2"])
    assert [check for check in checks if check.id == CheckId.BYTES_VFIO_TRANSFERRED] == []
    assert failed(compare_bytes(with_function, NAMES, BEFORE, AFTER)) == []
    less = replace(with_function, devices=(DeviceBytes("dut", 63, None, 1), *with_function.devices[1:]))
    told = failed(compare_bytes(less, NAMES, BEFORE, AFTER, ["0000:3b:00.2"]))
    assert told == ["bytes.vfio.precopy, device 1"]


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
    assert failed(compare_bytes(make_moved(64, 16), NAMES, BEFORE, lossy)) == ["bytes.vfio.loaded"]


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
    assert check == make_check(CheckId.DEVICE_STATES, True, "stop", "stop", "destination")
    assert check.name == "destination: states by events are those of the device's history"


def test_console_check() -> None:
    """A console with an oops fails with its lines, another one passes."""
    assert check_console("source", "switchover-guest: ready\n").passed
    check = check_console("source", "BUG: kernel NULL pointer dereference\nOops: 0000 [#1]\n")
    assert not check.passed
    assert check.observed == "BUG: kernel NULL pointer dereference; Oops: 0000 [#1]"


class Guest(ScriptedHost):
    """A guest with the reference device's driver; ``fires`` says what a trigger does to (hard, thread)."""

    def __init__(self, fires: tuple[int, int] = (1, 1)) -> None:
        super().__init__(lambda argv: answer_questions(argv[-1], self.answer), "guest")
        self.fires = fires
        self.scripts: dict[str, str] = {}
        self.unable: set[str] = set()

    def answer(self, name: str, script: str) -> str | int:
        self.scripts[name] = script
        if name in self.unable:
            return 1
        match name.partition("-")[0]:
            case "boot":
                return "3f1c\n"
            case "canary":
                return "d41d8c  -\n"
            case "device":
                return render_view(make_answers().devices[0])
            case "fire":
                return f"1 3 4\n1 3 4\n1 3 {4 + self.fires[0]}\n1 3 {4 + self.fires[1]}\n"
        return ""


def test_an_interrupt_that_arrives() -> None:
    """One interrupt of the last vector, in the primary handler and in the thread, passes."""
    check = fire_interrupt(Guest((1, 1)))
    assert check.passed
    assert "vector 1" in check.name
    assert check.label == "device.interrupt, device 1"


@pytest.mark.parametrize(("fires", "observed"), [((0, 0), "(7, 7)"), ((1, 0), "(8, 7)"), ((0, 1), "(7, 8)")])
def test_an_interrupt_that_is_lost(fires: tuple[int, int], observed: str) -> None:
    """An interrupt that does not arrive in both fails, with what was seen."""
    check = fire_interrupt(Guest(fires))
    assert not check.passed
    assert (check.expected, check.observed) == ("(8, 8)", observed)


def test_an_interrupt_that_fires_twice() -> None:
    """More interrupts than were raised are not in order either."""
    check = fire_interrupt(Guest((2, 2)))
    assert not check.passed
    assert check.observed == "(9, 9)"


def test_counts_of_a_script_that_failed() -> None:
    """Counts that look right are not believed of a script that says it failed."""
    text = "1 7\n1 7\n1 8\n1 8\n"
    assert check_fired(Answer(0, text)).passed
    assert not check_fired(Answer(2, text)).passed


def test_asking_a_guest() -> None:
    """The answers have the boot's id and the device as the guest sees it; nothing is raised that was not asked for."""
    guest = Guest()
    reply = ask_guest(guest)
    (device,) = reply.answers.devices
    assert (reply.answers.boot_id, reply.answers.canary, device.seed) == ("3f1c", "d41d8c", "7")
    assert (reply.fired, reply.dma) == ({}, {})
    assert len(guest.commands) == 1


def test_asking_a_guest_with_two_devices() -> None:
    """Each device is asked by the number of its slot, and told to do things by it; all in one exchange."""
    guest = Guest()
    reply = ask_guest(guest, 2, fire=[0, 1], dma=[1])
    assert (len(reply.answers.devices), len(reply.fired), list(reply.dma)) == (2, 2, [1])
    assert len(guest.commands) == 1
    by_device = {name: script for name, script in guest.scripts.items() if "shift" in script}
    assert list(by_device) == ["device-0", "device-1", "fire-0", "fire-1", "dma-1"]
    assert all(f"shift {name[-1]};" in script for name, script in by_device.items())
    reinitialise(guest, 1)
    assert fire_interrupt(guest, 1).subject == "device 2"
    assert all("shift 1;" in command[-1] for command in guest.commands[1:])


@pytest.mark.parametrize("name", ["boot", "canary", "device-0", "device-1"])
def test_a_guest_that_cannot_answer(name: str) -> None:
    """What it was asked and did not answer is named: no answer is made up."""
    guest = Guest()
    guest.unable = {name}
    with pytest.raises(Unanswered, match=name) as caught:
        ask_guest(guest, 2)
    assert caught.value.question == name


def test_an_interrupt_that_cannot_be_raised_is_no_missing_answer() -> None:
    """A check says so; what the guest says besides is kept."""
    guest = Guest()
    guest.unable = {"fire-0", "dma-0"}
    reply = ask_guest(guest, fire=[0], dma=[0])
    assert (reply.fired[0].ok, reply.dma[0].ok) == (False, False)
    assert reply.answers.boot_id == "3f1c"


class Functions(FaultyHost):
    """A guest that sees PCI functions."""

    def __init__(self, *seen: str) -> None:
        super().__init__(lambda method, argument: method, "", outputs=lambda argv: "".join(seen).encode())


def test_a_guest_tells_of_the_functions_that_it_was_given() -> None:
    """Those with the ids that were passed through, with the drivers that have them; one without a driver says so."""
    guest = Functions("1af4:1041 virtio-pci\n", "8086:10d3 e1000e\n", "8086:10d3 \n")
    assert read_functions(guest, ["8086:10d3"]) == ("8086:10d3 e1000e", "8086:10d3 none")


def test_functions_are_compared() -> None:
    """A guest must see as many as it was given, and after a migration with the drivers that they had before."""
    before = replace(make_answers(), functions=("8086:10d3 e1000e",))
    wanted = ["8086:10d3"]
    assert [check.passed for check in compare_functions(wanted, before, before)] == [True, True]
    lost = replace(before, functions=())
    assert [check.passed for check in compare_functions(wanted, before, lost)] == [False, False]
    assert [check.passed for check in compare_functions(wanted * 2, before, before)] == [False, True]
    without = replace(before, functions=("8086:10d3 none",))
    assert [check.passed for check in compare_functions(wanted, before, without)] == [True, False]
    assert compare_functions([], before, lost) == []
    unable = replace(before, means=LAB_CAPABILITIES.without(Need.PCI))
    assert compare_functions(wanted, unable, unable) == []


def test_functions_that_are_plugged_in_are_waited_for() -> None:
    """Until they are there, and as they were a moment ago: the guest's driver comes later than the function."""
    answers = iter(["", "8086:10d3 \n", "8086:10d3 e1000e\n", "8086:10d3 e1000e\n"])
    guest = FaultyHost(lambda method, argument: method, "", outputs=lambda argv: next(answers).encode())
    wait_for_functions(guest, ["8086:10d3"], [])
    assert len(guest.log) == 4


def test_the_canary_is_the_guests_own() -> None:
    """The canary lies where the digest is taken; two guests with the same random numbers still have two of them."""
    guest = Guest()
    placed = []
    for _ in range(2):
        prepare_guest(guest, [], LAB_CAPABILITIES)
        placed.append(guest.scripts["place-canary"])
    assert "/dev/urandom; } >/canary" in placed[0]
    assert placed[0] != placed[1]
    assert "md5sum </canary" in guest.scripts["canary"]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=3), st.lists(st.integers(0, 1000), min_size=3, max_size=3))
def test_counting_since(before: list[int], more: list[int]) -> None:
    """What counters grew by is summed over the devices; one that a device had not before counts from 0."""
    old = tuple(make_truth(loads=count) for count in before)
    new = tuple(make_truth(loads=count + add, resets=1) for count, add in zip(before, more, strict=False))
    assert count_since(old, new) == {"loads": sum(more[: len(before)]), "resets": len(before)}


def test_every_repeat_has_a_state_of_its_own() -> None:
    """Two repeats give the device different states, and so do two devices of one."""
    guest = Guest()
    seeds = []
    for _ in range(2):
        prepare_guest(guest, [DeviceSpec("a"), DeviceSpec("b")], LAB_CAPABILITIES)
        seeds += [guest.scripts["seed-0"], guest.scripts["seed-1"]]
    words = [script.split("echo ")[1].split(" >scratch")[0].split() for script in seeds]
    assert [len(one) for one in words] == [16] * 4
    assert len({tuple(one) for one in words}) == 4
    assert len({script.split("echo ")[2] for script in seeds}) == 4


TOLD = DeviceSpec("dut", knobs=Knobs(dma_pages_per_sec=7))


def test_all_is_prepared_in_one_exchange_and_in_order() -> None:
    """The driver has the devices before they get a state, and that before they are asked for it."""
    guest = Guest()
    answers = prepare_guest(guest, [TOLD, DeviceSpec("other")], LAB_CAPABILITIES, restored=True, awaits=True).answers
    assert list(guest.scripts) == [
        "clock",
        "place-canary",
        "devices-taken",
        "seed-0",
        "enable-dma-0",
        "seed-1",
        "boot",
        "canary",
        "device-0",
        "device-1",
    ]
    assert len(guest.commands) == 1
    assert answers == make_answers(devices=2)
    assert guest.scripts["enable-dma-0"].endswith("echo 1 >dma_enable")


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({"restored": False}, {"clock"}),
        ({"awaits": False}, {"devices-taken"}),
        ({"canary": False}, {"place-canary"}),
        ({"means": LAB_CAPABILITIES.without(Need.CLOCK)}, {"clock"}),
        ({"means": LAB_CAPABILITIES.without(Need.DIGEST)}, {"place-canary", "canary"}),
        ({"means": LAB_CAPABILITIES.without(Need.DRIVER)}, {"devices-taken", "seed-0", "enable-dma-0", "device-0"}),
    ],
)
def test_what_is_not_wanted_or_cannot_be_is_not_told(changes: dict[str, Any], left_out: set[str]) -> None:
    """Each of these leaves out its own questions and no other."""
    whole, part = Guest(), Guest()
    values: dict[str, Any] = {"means": LAB_CAPABILITIES, "restored": True, "awaits": True}
    prepare_guest(whole, [TOLD], **values)
    prepare_guest(part, [TOLD], **(values | changes))
    assert whole.scripts.keys() - part.scripts.keys() == left_out
    assert part.scripts.keys() <= whole.scripts.keys()


@pytest.mark.parametrize("name", ["clock", "place-canary", "devices-taken", "seed-0", "enable-dma-0"])
def test_what_could_not_be_done_is_named(name: str) -> None:
    """A guest that was told something and could not do it is not taken for prepared."""
    guest = Guest()
    guest.unable = {name}
    with pytest.raises(Unanswered) as caught:
        prepare_guest(guest, [TOLD], LAB_CAPABILITIES, restored=True, awaits=True)
    assert caught.value.question == name


def test_the_clock_is_the_controllers() -> None:
    """A guest that was restored gets the time of now."""
    guest = Guest()
    before = int(time.time())
    prepare_guest(guest, [], LAB_CAPABILITIES, restored=True)
    told = int(guest.scripts["clock"].removeprefix("date -u -s @"))
    assert before <= told <= time.time() + 1
