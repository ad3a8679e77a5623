# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that a case cannot have: told with key and range, the same of files and of Python, and all of them at once."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scenarios.samples import HEAD, plan

from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.record.record import VerdictName
from switchover.scenarios.building import build_case
from switchover.scenarios.case import DeviceSpec
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.faults import Fault
from switchover.scenarios.limits import LIMITS, find_control, find_side

MODULE = Path(__file__).parents[3] / "images" / "modules" / "refdev"


def fail(text: str) -> list[str]:
    """What is said of a scenario that begins with HEAD, which has three lines: ``LINE: KEY: …`` each."""
    with pytest.raises(UsageError) as error:
        plan(text)
    return [line.removeprefix("scenario.toml:") for line in error.value.what.splitlines()]


def read_defines() -> dict[str, int]:
    """Numbers that the module's C source names."""
    text = "".join(path.read_text(encoding="utf-8") for path in MODULE.glob("*.[ch]"))
    found = re.findall(r"^#define\s+(REFDEV_\w+)\s+\(?(\d+)(?:ULL)?(?: << (\d+)\))?\s*$", text, re.MULTILINE)
    return {name: int(value) << int(shift or 0) for name, value, shift in found}


def test_ranges_of_knobs_are_those_of_the_device() -> None:
    """What a scenario may ask of the reference device is what its module takes, no more and no less."""
    named, knobs = read_defines(), LIMITS[Knobs]
    for knob in ("initial_bytes", "stop_copy_bytes"):
        limit = knobs[knob]
        assert (limit.low, limit.high, limit.multiple) == (named["REFDEV_SECTION_MIN"], named["REFDEV_SECTION_MAX"], 8)
    for knob in ("dirty_bytes_per_sec", "save_bytes_per_sec", "load_bytes_per_sec"):
        assert (knobs[knob].low, knobs[knob].high) == (0, named["REFDEV_RATE_MAX"])
    for knob in ("load_initial_ms", "state_change_ms"):
        assert (knobs[knob].low, knobs[knob].high) == (0, named["REFDEV_MAX_MS"])
    assert knobs["dma_pages_per_sec"].high == named["REFDEV_DMA_RATE_MAX"]
    assert knobs["irq_rates"].high == named["REFDEV_IRQ_RATE_MAX"]
    assert knobs["fail_errno"].high == 133  # EHWPOISON of asm-generic/errno.h, which knobs.c names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[device]\ninitial_bytes = 4088", "5: device.initial_bytes: must be 4096 to 1099511627776 bytes, and a mul"),
        ("[device]\nstop_copy_bytes = 8191", "5: device.stop_copy_bytes: must be 4096 to 1099511627776 bytes, and a"),
        ('[source.device]\ninitial_bytes = "2 TiB"', "5: source.device.initial_bytes: must be 4096 to 1099511627776"),
        ("[device]\nirq_rates = [5, 10001]", "5: device.irq_rates: each must be 0 to 10000 interrupts per second"),
        ("[device]\nirq_rates = [1, 1, 1, 1, 1]", "5: device.irq_rates: scenario: has 5 rates; a device of type ref"),
        ("[device]\nfail_errno = 0", "5: device.fail_errno: must be 1 to 133 (it is 0)"),
        ("[device]\nload_initial_ms = 600001", "5: device.load_initial_ms: must be 0 to 600000 milliseconds"),
        ('[device]\nfail_at = "read:18446744073709551616"', "5: device.fail_at: read:BYTE must be a byte from 0 to "),
        ("[device]\ndma_pages_per_sec = 1000001", "5: device.dma_pages_per_sec: must be 0 to 1000000 pages per second"),
        ("[guest]\nvcpus = 0", "5: guest.vcpus: must be 1 to 4096 (it is 0)"),
        ("[destination]\nmemory_mib = 8", "5: destination.memory_mib: must be 64 to 16777216 MiB (it is 8)"),
        ('[guest]\naddress = "10.77.0"', "5: guest.address: must be an IPv4 address, such as 10.77.0.101"),
        ('[guest]\naddress = "224.0.0.1"', "5: guest.address: must be the IPv4 address of a machine"),
        ('[guest]\naddress = ""', "5: guest.address: must be an IPv4 address"),
        ('[guest]\nmac = "53:54:00:00:00:01"', "5: guest.mac: must be a MAC address of one interface"),
        ("[guest]\nprefix = 0", "5: guest.prefix: must be 1 to 31 (it is 0)"),
        ('[guest]\nbridge = "a bridge"', "5: guest.bridge: must be the name of a network interface, 1 to 15 charact"),
        ('[guest]\nmachine = ""', "5: guest.machine: must not be empty"),
        *(
            (f"[bounds]\n{bound} = {value}", f"5: bounds.{bound}: must be more than 0 to 604800 seconds (it is {value}")
            for bound in ("timeout_s", "hang_s", "settle_timeout_s", "boot_timeout_s")
            for value in ("0", "inf", "nan", "-1")
        ),
        ("[bounds]\nhang_s = 181", "5: bounds.hang_s: scenario: 181 s is above timeout_s (180 s): it would never be"),
        ("[bounds]\nhang_s = 20\ntimeout_s = 10", "5: bounds.hang_s: scenario: 20 s is above timeout_s (10 s)"),
        ("[bounds]\nsettle_timeout_s = 20\ntimeout_s = 10", "5: bounds.settle_timeout_s: scenario: 20 s is above ti"),
        ("[bounds]\nhang_s = 9\n[axes]\nbounds.timeout_s = [9, 8]", "5: bounds.hang_s: bounds.timeout_s=8: 9 s is abo"),
        ("[probes]\nheartbeat_us = 1", "5: probes.heartbeat_us: must be 0, or 100 to 10000000 microseconds (it is 1)"),
        ("[migration]\ndowntime_limit_ms = 2000001", "5: migration.downtime_limit_ms: must be 0 to 2000000 millisec"),
        ("[migration]\ndowntime_steps_ms = [1, 2000001]", "5: migration.downtime_steps_ms: each must be 0 to 2000000"),
        ("[migration]\ndowntime_step_s = 5", "5: migration.downtime_step_s: scenario: has no effect without downtime"),
        ("[migration]\ndowntime_steps_ms = [9, 9]", "5: migration.downtime_steps_ms: scenario: 9 ms has no effect: it"),
        ("[migration]\ndowntime_steps_ms = [4000]", "5: migration.downtime_steps_ms: scenario: 4000 ms has no effect"),
        (
            "[migration]\ndowntime_steps_ms = [1, 2]\n[bounds]\ntimeout_s = 20\nhang_s = 9",
            "5: migration.downtime_steps_ms: scenario: the last limit would come after 20 s, and timeout_s is 20 s",
        ),
        ("[migration]\nmax_bandwidth = 9223372036854775808", "5: migration.max_bandwidth: must be 0 to 922337203685"),
        *(
            (f"[migration]\nparameters.{name} = 1", f"5: migration.parameters.{name}: has a key of its own, which it")
            for name in ("downtime-limit", "max-bandwidth", "avail-switchover-bandwidth")
        ),
        ("[axes]\nmigration.parameters.max-bandwidth = [1]", "5: axes.migration.parameters.max-bandwidth: has a key"),
        ('[[faults]]\naction = "slow link"\nphase = "setup"\nrate_bit = 0', "7: faults[0].rate_bit: must be 1000 to"),
        ('[device]\npci = "0000:01:00.0"\nvf = 2\nvfs = 2', "6: device.vf: scenario: must be 0 to 1, since vfs = 2"),
        ('[source.device]\nfail_at = "RESUMING"', "5: source.device.fail_at: scenario: 'RESUMING' has no effect on "),
        ("[destination.device]\nsave_bytes_per_sec = 9", "5: destination.device.save_bytes_per_sec: scenario: 9 has"),
        ('[destination.device]\ncorrupt = "stream"', "5: destination.device.corrupt: scenario: 'stream' has no effect"),
        ("[axes]\nsource.device.load_initial_ms = [0, 9]", "5: axes.source.device.load_initial_ms: source.device.lo"),
        ("[device]\nstream_version = 4", "5: device.stream_version: must be 1 to 3 (it is 4)"),
        ("[device]\nreinit_count = 1000001", "5: device.reinit_count: must be 0 to 1000000 (it is 1000001)"),
        ("[device]\nreinit_count = 1\nreinit_bytes = 4097", "6: device.reinit_bytes: must be 4096 to 1099511627776"),
        ("[device]\nreinit_bytes = 8192", "5: device.reinit_bytes: scenario: 8192 has no effect with reinit_count = 0"),
        (
            '[device]\nreinit_count = 1\nreinit_at = "PRE_COPY_P2P"\nreinit_after_bytes = 8',
            '7: device.reinit_after_bytes: scenario: 8 has no effect with reinit_at = "PRE_COPY_P2P"',
        ),
        (
            '[device]\nreinit_count = 1\npre_copy = "off"',
            '5: device.reinit_count: scenario: 1 has no effect with pre_copy = "off"',
        ),
        (
            '[device]\np2p = "off"\np2p_active = "all"',
            "6: device.p2p_active: scenario: 'all' has no effect with p2p = \"off\"",
        ),
        (
            '[device]\nlog_report = "fail"',
            "5: device.log_report: scenario: 'fail' has no effect with dirty_tracking = \"off\"",
        ),
        (
            '[device]\ndirty_tracking = "on"\nlog_page_bytes = 12288',
            "6: device.log_page_bytes: scenario: must be a power of 2 (it is 12288)",
        ),
        (
            "[destination.device]\nreinit_count = 1",
            "5: destination.device.reinit_count: scenario: 1 has no effect on the destination: it acts on the source's",
        ),
        (
            '[source.device]\nother_version = "read"',
            "5: source.device.other_version: scenario: 'read' has no effect on",
        ),
        ('[device]\nother_version = "read"', "5: device.other_version: scenario: 'read' has no effect: both sides' d"),
        (
            '[destination.device]\nstream_version = 1\nother_version = "read"\nversion_errno = 5',
            '7: destination.device.version_errno: scenario: 5 has no effect with other_version = "read"',
        ),
        ('[expect]\nverdict = "infrastructure-error"\nbecause = "x"', "4: expect: infrastructure-error is no outcom"),
        ('[expect]\nverdict = "completed"\nreason = "x"\nbecause = "x"', "4: expect: a migration that completes giv"),
        ('[axes]\n"a,b" = [{ name = "x", set = { vcpus = 1 } }]', "5: axes.a,b: the name of an axis must be letters"),
        ('[axes]\n"a=b" = [{ name = "x", set = { vcpus = 1 } }]', "5: axes.a=b: the name of an axis must be letters"),
        ('[axes]\na = [{ name = " ", set = { vcpus = 1 } }]', "5: axes.a[0].name: must not be blank: it is a part o"),
        (
            '[axes]\na.b = [{ name = "x", set = { vcpus = 1 } }]\n"a.b" = [{ name = "x", set = { prefix = 9 } }]',
            "6: axes.a.b: there is another axis of this name (scenario.toml:5)",
        ),
        ('[guest]\nappend = "a\\u0000b"', "5: guest.append: has the control character U+0000 at its place 2"),
        ('[guest]\nappend = """a\nb"""', "5: guest.append: has a line break at its place 2"),
        ('[axes]\ncpu = ["host", "a\\u001bb"]', "5: axes.cpu[1]: has the control character U+001B at its place 2"),
        ('[migration.parameters]\n"a\\u0000" = 1', "5: migration.parameters.a?: the key has the control character U"),
        ('[device]\nproperties.x = "\\u007f"', "5: device.properties.x: has the control character U+007F at its pla"),
    ],
)
def test_values_that_cannot_be(text: str, expected: str) -> None:
    """Each is the one mistake that is told, with its line, its key and what is allowed."""
    (told,) = fail(text + "\n")
    assert told.startswith(expected)


def test_all_mistakes_at_once() -> None:
    """A value out of its range hides no contradiction elsewhere, an axis that is wrong no table, and none is told twice
    or makes up another one.
    """
    told = fail(
        "[bounds]\nhang_s = 600\ntimeout_s = 10\nsettle_timeout_s = 0\n[device]\nirq_rates = [20000]\n"
        'fail_errno = 999\n[probes]\nirq_seconds = 1\n[guest]\nssh_user = "a\\u0000"\n[source.device]\n'
        'fail_at = "load"\n[axes]\nvcpus = [0]\n'
    )
    assert [line.split(": ")[:2] for line in told] == [
        ["5", "bounds.hang_s"],
        ["7", "bounds.settle_timeout_s"],
        ["9", "device.irq_rates"],
        ["10", "device.fail_errno"],
        ["14", "guest.ssh_user"],
        ["16", "source.device.fail_at"],
        ["18", "axes.vcpus[0]"],
    ]


@pytest.mark.parametrize(
    "text",
    [
        '[guest]\naddress = "192.168.7.9"\nmac = "02:00:00:00:00:01"\nprefix = 16\nbridge = ""\n',
        '[device]\ntype = "refdev-16vec"\nirq_rates = [1, 1, 1, 1, 1, 1]\n',
        '[device]\nfail_at = "write:0"\nload_initial_ms = 600000\n',
        '[source.device]\nfail_at = "read:0"\n[destination.device]\nfail_at = "load"\n',
        "[bounds]\nhang_s = 180\n",
        "[bounds]\ntimeout_s = 10\n",
        "[probes]\nheartbeat_us = 0\n",
        '[expect]\nverdict = "failed"\nreason = "a\\\\nb"\nbecause = "two\\nlines"\n',
        "[migration]\ndowntime_limit_ms = 0\nparameters.multifd-channels = 2\n",
    ],
)
def test_values_at_the_edge(text: str) -> None:
    """What can be is read."""
    assert plan(text)


DEVICE = DeviceSpec()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"guest": GuestSpec(vcpus=0)}, "source.guest.vcpus: must be 1 to 4096"),
        ({"guest": GuestSpec(append="a\nb")}, "source.guest.append: has a line break at its place 2"),
        ({"destination_guest": GuestSpec(address="x")}, "destination.guest.address: must be an IPv4 address"),
        ({"device": replace(DEVICE, knobs=Knobs(initial_bytes=100))}, "source.devices.dut.initial_bytes: must be 4096"),
        ({"device": replace(DEVICE, properties={"x": "\0"})}, "source.devices.dut.properties.x: has the control char"),
        (
            {"device": replace(DEVICE, knobs=Knobs(fail_at="load")), "destination_device": DEVICE},
            "source.devices.dut.fail_at: 'load' has no effect on the source",
        ),
        ({"migration": MigrationSettings(timeout_s=float("inf"))}, "settings.timeout_s: must be more than 0 to 604800"),
        ({"migration": MigrationSettings(hang_s=600)}, "settings.hang_s: 600 s is above timeout_s (180 s)"),
        (
            {"migration": MigrationSettings(parameters={"downtime-limit": 1})},
            "settings.parameters.downtime-limit: has a field of its own, which it would silently override: write d",
        ),
        (
            {"faults": [Fault(Action.CANCEL, Phase.PRE_SWITCHOVER)]},
            'faults.0.phase: the phase "pre-switchover" exists only',
        ),
        ({"heartbeat_us": 1}, "probes.heartbeat_us: must be 0, or 100 to 10000000 microseconds"),
        ({"irq_seconds": float("nan")}, "probes.irq_seconds: must be 0 to 3600 seconds"),
        (
            {"expectation": Expectation(VerdictName.INFRASTRUCTURE_ERROR)},
            "expectation: infrastructure-error is no outc",
        ),
        ({"expectation": Expectation(VerdictName.COMPLETED, reason="x")}, "expectation: a migration that completes"),
    ],
)
def test_a_case_of_python_is_checked_the_same(given: dict[str, Any], words: str) -> None:
    """What a file may not say, Python may not either."""
    with pytest.raises(UsageError, match=re.escape(f"mine: {words}")):
        build_case("mine", **given)


def test_all_mistakes_of_a_case_at_once() -> None:
    """Each with its own line."""
    with pytest.raises(UsageError) as error:
        build_case("mine", guest=GuestSpec(vcpus=0, prefix=99), migration=MigrationSettings(hang_s=0))
    lines = error.value.what.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "source.guest.vcpus",
        "source.guest.prefix",
        "destination.guest.vcpus",
        "destination.guest.prefix",
        "settings.hang_s",
    ]


@given(st.text(max_size=20))
def test_no_control_character_passes(text: str) -> None:
    """A text of one line has neither what a terminal obeys nor what ends a line, and anything else may be in it."""
    wrong = any(ord(one) < 32 or 127 <= ord(one) < 160 or one in "\u2028\u2029" for one in text)
    assert bool(find_control(text)) == wrong
    if not wrong:
        assert text.splitlines() in ([], [text])


def test_a_knob_that_acts_on_both_sides_has_no_side() -> None:
    """Nor has one that is off, nor a state that both sides go to."""
    assert [find_side("fail_at", word) for word in ("none", "RUNNING", "STOP", "RUNNING_P2P")] == [""] * 4
    assert [find_side(knob, 0) for knob in ("save_bytes_per_sec", "load_initial_ms")] == ["", ""]
    assert find_side("state_change_ms", 5) == ""


def test_head() -> None:
    """Line numbers of this file's tests count from here."""
    assert HEAD.count("\n") == 3
