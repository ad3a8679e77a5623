# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference device's files, read and written."""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.fakes import FaultyHost

from switchover.devices.guest_driver import (
    DmaVerification,
    GuestDriver,
    InterruptCounts,
    WrongPage,
    parse_dma_verification,
)
from switchover.devices.mediated import MediatedDevice, start_mediated_device
from switchover.devices.reference import (
    OFFERS,
    PARENT,
    TYPE,
    Knobs,
    ReferenceDevice,
    StateChange,
    parse_history,
    parse_truth,
    render_knob,
    start_reference_device,
)
from switchover.hosts.host import Completed
from switchover.record.errors import CommandFailed, HostLost, NotReady, NotSupported

WORDS = st.from_regex(r"[A-Z_0-9]{1,12}", fullmatch=True)
CHANGES = st.builds(
    StateChange,
    sequence=st.integers(0, 2**63),
    monotonic_ns=st.integers(0, 2**63),
    realtime_ns=st.integers(0, 2**63),
    duration_ns=st.integers(0, 2**63),
    origin=WORDS,
    target=WORDS,
    result=st.integers(-4095, 0),
    cause=st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
)

TRUTH = """\
==> state
RUNNING
==> generation
3
==> history
1 1000 2000 STOP RUNNING 0 7 set_state
2 1100 2100 RUNNING PRE_COPY -22 8 reset
==> counters/precopy_bytes_read
67108864
==> counters/stop_copy_bytes_read
1048576
"""


@given(st.lists(CHANGES))
def test_a_history_is_read_as_it_was_written(changes: list[StateChange]) -> None:
    """Every column of a history line comes back in its own field."""
    lines = [
        f"{one.sequence} {one.monotonic_ns} {one.realtime_ns} {one.origin} {one.target} {one.result} "
        f"{one.duration_ns} {one.cause}"
        for one in changes
    ]
    assert parse_history("\n".join(lines)) == tuple(changes)


def test_a_line_that_is_cut_is_left_out() -> None:
    """A history that was read while it was written has all of its whole lines."""
    assert len(parse_history("1 1 1 A B 0 1 set_state\n2 1 1 A B 0")) == 1


def test_truth() -> None:
    """State, generation, counters by name, and the history."""
    truth = parse_truth(TRUTH)
    assert (truth.state, truth.generation) == ("RUNNING", 3)
    assert truth.counters == {"precopy_bytes_read": 67108864, "stop_copy_bytes_read": 1048576}
    assert [change.target for change in truth.history] == ["RUNNING", "PRE_COPY"]
    assert truth.history[1].result == -22


def test_knobs_in_sysfs_words() -> None:
    """Flags are y and n as the kernel writes them, numbers stay numbers, lists have no zeros at the end."""
    assert [render_knob(value) for value in (True, False, 0, 1, 1 << 40)] == ["y", "n", "0", "1", "1099511627776"]
    assert render_knob("PRE_COPY_P2P") == "PRE_COPY_P2P"
    lists = ((), (0, 0), (100,), (0, 5, 0), (100, 0, 0, 50))
    assert [render_knob(value) for value in lists] == ["0", "0", "100", "0 5", "100 0 0 50"]


@given(st.lists(st.integers(0, 10000), max_size=16))
def test_a_list_is_rendered_in_one_way(rates: list[int]) -> None:
    """All numbers up to the last that is not 0 are there, in order: the device's own way, which can be compared."""
    words = [int(word) for word in render_knob(tuple(rates)).split()]
    assert words + [0] * (len(rates) - len(words)) == (rates or [0])
    assert words == [0] or words[-1] != 0


def answer_knobs(argv: Sequence[str]) -> bytes:
    """A device that holds what it is told."""
    return "".join(f"{word.partition('=')[2]}\n" for word in argv[5:]).encode()


def make_host(**options: object) -> FaultyHost:
    return FaultyHost(lambda method, argument: f"{method} {argument.split()[-1]}", "", **options)  # type: ignore[arg-type]


def test_every_knob_is_set() -> None:
    """All knobs are set, by name, whatever their value, and read back."""
    asked: list[str] = []

    def answer(argv: Sequence[str]) -> bytes:
        asked.extend(argv)
        return answer_knobs(argv)

    knobs = Knobs(pre_copy=False, save_bytes_per_sec=5, irq_rates=(100, 0, 50, 0), fail_at="read:7")
    ReferenceDevice(MediatedDevice(make_host(outputs=answer), "uuid")).set_knobs(knobs)
    for field in fields(Knobs):
        assert f"{field.name}={render_knob(asdict(knobs)[field.name])}" in asked


class OldKernelHost(FaultyHost):
    """A host whose kernel has no IOMMUFD_DRIVER: the knob cannot be set."""

    def run(self, argv: Sequence[str], **_options: object) -> Completed:
        return Completed(tuple(argv), 2, b"", b"sh: echo: I/O error")


def test_a_kernel_that_cannot_track_is_named() -> None:
    """A device that is to track dirty pages is not supported there, with the reason; nothing is set then."""
    device = ReferenceDevice(MediatedDevice(OldKernelHost(lambda method, argument: method, ""), "uuid"))
    with pytest.raises(NotSupported) as error:
        device.set_knobs(Knobs(dirty_tracking=True))
    assert "IOMMUFD_DRIVER" in error.value.why


def test_one_knob_is_set() -> None:
    """One knob of an open device is set and read back without touching the others."""
    asked: list[str] = []

    def answer(argv: Sequence[str]) -> bytes:
        asked.extend(argv)
        return answer_knobs(argv)

    ReferenceDevice(MediatedDevice(make_host(outputs=answer), "uuid")).set_knob("irq_rates", (0, 9))
    assert asked[5:] == ["irq_rates=0 9"]


def test_an_open_device_keeps_what_it_offers() -> None:
    """While QEMU has the device open, every knob is set but those that the device would refuse."""
    asked: list[str] = []

    def answer(argv: Sequence[str]) -> bytes:
        asked.extend(argv)
        return answer_knobs(argv)

    ReferenceDevice(MediatedDevice(make_host(outputs=answer), "uuid")).set_live_knobs(Knobs(dma_pages_per_sec=7))
    names = {pair.partition("=")[0] for pair in asked[5:]}
    assert names == {field.name for field in fields(Knobs)} - set(OFFERS)
    assert "dma_pages_per_sec=7" in asked


def test_a_device_in_order_is_the_same_device() -> None:
    """Faults, delays and limits go; what the device offers, its sizes, and what it does in the guest stay."""
    device = Knobs(p2p=False, initial_bytes=8192, dma_pages_per_sec=7, irq_rates=(5,))
    spoilt = replace(
        device, fail_at="load", corrupt="state", load_initial_ms=1, state_change_ms=1, save_bytes_per_sec=1
    )
    assert spoilt.in_order() == device


def test_another_value_than_set_is_found_out() -> None:
    """A device that holds another value than it was given does not pass for set."""
    device = ReferenceDevice(MediatedDevice(make_host(outputs=lambda argv: b"n\n" + answer_knobs(argv)[2:]), "uuid"))
    with pytest.raises(AssertionError, match="knobs read"):
        device.set_knobs(Knobs(pre_copy=True))
    ReferenceDevice(MediatedDevice(make_host(outputs=answer_knobs), "uuid")).set_knobs(Knobs(pre_copy=True))


def label_device(_: str, argument: str) -> str:
    if "/remove" in argument:
        return "end users, remove" if "pkill" in argument else "remove"
    return "create " + argument.partition(" sh ")[2] if argument.endswith("/create") else "set knobs"


def test_a_device_for_the_time_of_a_block() -> None:
    """Made under its parent by type, gone after the block, also when the block fails."""
    for error in (None, ValueError("in use")):
        host = FaultyHost(label_device, "")
        with contextlib.suppress(ValueError), start_mediated_device(host, PARENT, TYPE) as device:
            assert device.sysfs == f"/sys/bus/mdev/devices/{device.uuid}"
            if error:
                raise error
        assert host.log == [f"create {device.uuid} {PARENT}/mdev_supported_types/{TYPE}/create", "remove"]


def test_a_type_that_the_host_has_not() -> None:
    """A host that makes no such device is not ready, with what to look at. One that is made in spite of that goes."""
    host = FaultyHost(label_device, "", fail_at=0, error=CommandFailed("No such file"))
    with pytest.raises(NotReady, match="mdev_supported_types"), start_mediated_device(host, PARENT, TYPE):
        pytest.fail("there is no device")
    assert host.log[1:] == ["end users, remove"]


def test_a_failed_knob_removes_the_device() -> None:
    """A device whose knobs cannot be set does not stay."""
    host = FaultyHost(label_device, "", fail_at=1, error=CommandFailed("Invalid argument"), outputs=answer_knobs)
    with pytest.raises(CommandFailed, match="Invalid argument"), start_reference_device(host, Knobs()):
        pytest.fail("there is no device")
    assert host.log[1:] == ["set knobs", "remove"]


def test_a_lost_host_took_its_devices_with_it() -> None:
    """The error in use passes when the host is gone at the end."""
    host = make_host(fail_at=1, error=HostLost("gone"))
    with pytest.raises(ValueError, match="in use"), start_mediated_device(host, PARENT, TYPE):
        raise ValueError("in use")


VIEW = """\
==> scratch
1
18446744073709551615
==> generation
2
==> seed
42
==> checksum
c0ffee
==> checksum_expected
c0ffef
==> irq_hard
0 1 2 3
1 0 0 7
==> irq_thread
0 1 2 2
1 0 0 0
==> irq_raised
0 9
1 8
==> irq_seen
0 9 9
1 8 7
==> irq_rate
0 0
1 500
"""


def test_the_guests_view() -> None:
    """Each file in its field; interrupts are summed over CPUs, by vector."""
    driver = GuestDriver(make_host(outputs=lambda argv: VIEW.encode()))
    view = driver.read()
    assert view.scratch == ("1", "18446744073709551615")
    assert (view.generation, view.seed) == (2, "42")
    assert (view.checksum, view.checksum_expected) == ("c0ffee", "c0ffef")
    assert (view.irq_hard, view.irq_thread) == ((6, 7), (5, 0))
    assert (view.irq_raised, view.irq_seen) == ((9, 8), (9, 7))
    counts = driver.read_interrupts()
    assert (counts.hard, counts.thread) == ((6, 7), (5, 0))
    assert (counts.raised, counts.hard_seen, counts.thread_seen) == ((9, 8), (9, 8), (9, 7))
    assert driver.read_interrupt_rates() == (0, 500)


def test_what_both_handlers_have_seen() -> None:
    """A vector is as far as the slower of its primary handler and its thread."""
    counts = InterruptCounts((1, 1), (1, 1), raised=(5, 5), hard_seen=(5, 4), thread_seen=(3, 5))
    assert counts.seen == (3, 4)


WRONG_PAGES = st.builds(
    WrongPage, st.integers(0, 2**20), st.integers(0, 511), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)
)


@given(st.integers(0, 2**64 - 1), st.lists(WRONG_PAGES, max_size=16))
def test_a_verification_is_read_as_the_driver_writes_it(sequence: int, wrong: list[WrongPage]) -> None:
    """The next number, how many pages are wrong, and the first of them, each number in its field."""
    lines = [f"wrong {sequence} {len(wrong) + 3}"]
    lines += [f"{one.page} {one.word} 0x{one.found:016x} 0x{one.expected:016x}" for one in wrong]
    verified = parse_dma_verification("\n".join(lines) + "\n")
    assert verified == DmaVerification(sequence, len(wrong) + 3, tuple(wrong))
    assert not verified.ok
    assert parse_dma_verification(f"ok {sequence}\n") == DmaVerification(sequence)
    assert parse_dma_verification(f"ok {sequence}\n").ok


@given(st.text())
@example("")
@example("ok")
@example("okay 5")
@example("wrong 5")
def test_another_text_is_no_verification(text: str) -> None:
    """Nothing but the driver's own two forms passes for a verified buffer."""
    if re.match(r"\s*(ok|wrong \S+)\s+\S+\s*", text):
        return
    with pytest.raises(ValueError, match="DMA buffer"):
        parse_dma_verification(text)


def test_writing_to_the_guests_driver() -> None:
    """Registers, seed, trigger, rates and DMA reach the driver's files."""
    asked: list[str] = []

    def keep(argv: Sequence[str]) -> bytes:
        asked.append(argv[-1])
        return b""

    driver = GuestDriver(make_host(outputs=keep))
    driver.write(scratch=[1, 2], seed=9)
    driver.trigger(3)
    driver.set_interrupt_rate(2, 100)
    driver.enable_dma()
    driver.disable_dma()
    assert "echo 1 2 >scratch" in asked[0]
    assert "echo 9 >seed" in asked[0]
    assert "echo 3 >trigger" in asked[1]
    assert "echo 2 100 >irq_rate" in asked[2]
    assert "echo 1 >dma_enable" in asked[3]
    assert "echo 0 >dma_enable" in asked[4]


def test_verifying_asks_the_driver() -> None:
    """What the driver says of its buffer is what the verification holds."""
    driver = GuestDriver(make_host(outputs=lambda argv: b"==> dma_verify <==\nok 77\n\n==> /dev/null <==\n"))
    assert driver.verify_dma() == DmaVerification(77)
