# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest is told and asked: in one exchange, in order, and nothing is made up that it did not answer."""

import time
from collections.abc import Sequence
from typing import Any, cast

import pytest
from tests.unit.builders import make_answers, render_view
from tests.unit.fakes import FaultyHost
from tests.unit.scripted_host import ScriptedHost, answer_questions

from switchover.devices.reference import Knobs, KnobValue, ReferenceDevice
from switchover.guests import questions
from switchover.guests.capabilities import LAB_CAPABILITIES, Need
from switchover.guests.questions import (
    Unanswered,
    ask_guest,
    fire_interrupt,
    mend_device,
    prepare_guest,
    read_functions,
    reinitialise,
    stop_interrupts,
    wait_for_functions,
)


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
            case "macs":
                return "52:54:00:53:67:01\n"
            case "device":
                return render_view(make_answers().devices[0])
            case "fire":
                return f"1 3 4\n1 3 4\n1 3 {4 + self.fires[0]}\n1 3 {4 + self.fires[1]}\n"
        return ""


def test_asking_a_guest() -> None:
    """The answers have the boot's id and the device as the guest sees it; nothing is raised that was not asked for."""
    guest = Guest()
    reply = ask_guest(guest)
    (device,) = reply.answers.devices
    assert (reply.answers.boot_id, reply.answers.canary, device.seed) == ("3f1c", "d41d8c", "7")
    assert reply.answers.macs == ("52:54:00:53:67:01",)
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
    assert fire_interrupt(guest, 1).ok
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


def test_every_repeat_has_a_state_of_its_own() -> None:
    """Two repeats give the device different states, and so do two devices of one."""
    guest = Guest()
    seeds = []
    for _ in range(2):
        prepare_guest(guest, [Knobs(), Knobs()], LAB_CAPABILITIES)
        seeds += [guest.scripts["seed-0"], guest.scripts["seed-1"]]
    words = [script.split("echo ")[1].split(" >scratch")[0].split() for script in seeds]
    assert [len(one) for one in words] == [16] * 4
    assert len({tuple(one) for one in words}) == 4
    assert len({script.split("echo ")[2] for script in seeds}) == 4


TOLD = Knobs(dma_pages_per_sec=7)


def test_all_is_prepared_in_one_exchange_and_in_order() -> None:
    """The driver has the devices before they get a state, and that before they are asked for it."""
    guest = Guest()
    answers = prepare_guest(guest, [TOLD, Knobs()], LAB_CAPABILITIES, restored=True, awaits=True).answers
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
        "macs",
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
        ({"capabilities": LAB_CAPABILITIES.without(Need.CLOCK)}, {"clock"}),
        ({"capabilities": LAB_CAPABILITIES.without(Need.DIGEST)}, {"place-canary", "canary"}),
        (
            {"capabilities": LAB_CAPABILITIES.without(Need.DRIVER)},
            {"devices-taken", "seed-0", "enable-dma-0", "device-0"},
        ),
    ],
)
def test_what_is_not_wanted_or_cannot_be_is_not_told(changes: dict[str, Any], left_out: set[str]) -> None:
    """Each of these leaves out its own questions and no other."""
    whole, part = Guest(), Guest()
    values: dict[str, Any] = {"capabilities": LAB_CAPABILITIES, "restored": True, "awaits": True}
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


class Device:
    """A device whose rates can be set."""

    def __init__(self) -> None:
        self.set: list[tuple[str, KnobValue]] = []

    def set_knob(self, name: str, value: KnobValue) -> None:
        self.set.append((name, value))


def make_guest(**files: str) -> ScriptedHost:
    """A guest whose driver's files read so."""

    def answer(argv: Sequence[str]) -> str:
        return "".join(f"==> {name} <==\n{text}\n" for name, text in files.items())

    return ScriptedHost(answer)


def make_interrupts(raised: str, hard: str, thread: str) -> ScriptedHost:
    return make_guest(irq_hard="0 5", irq_thread="0 5", irq_raised=f"0 {raised}", irq_seen=f"0 {hard} {thread}")


@pytest.mark.parametrize(("raised", "hard", "thread"), [("9", "9", "9"), ("9", "8", "9")])
def test_interrupts_at_a_rate_are_stopped_and_counted(
    monkeypatch: pytest.MonkeyPatch, raised: str, hard: str, thread: str
) -> None:
    """Once handler and thread have seen the last one, or after the time in which they would have."""
    monkeypatch.setattr(questions, "_CAUGHT_UP_S", 0.1)
    device = Device()
    counts = stop_interrupts(make_interrupts(raised, hard, thread), cast(ReferenceDevice, device), [])
    assert (counts.seen == counts.raised) is (hard == "9")
    assert device.set == [("irq_rates", ())]


@pytest.mark.parametrize(("enabled", "mended"), [("1", False), ("0", True)])
def test_only_a_device_that_was_reset_is_mended(enabled: str, mended: bool) -> None:
    """The driver sets it up again if it raises no interrupts any more, and only then."""
    guest = make_guest(enabled=enabled)
    mend_device(guest)
    assert any("reinit" in command[-1] for command in guest.commands) is mended
