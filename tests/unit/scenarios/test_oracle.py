# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of the oracle: each fits the case that it is about, and not the same case put right."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scenarios.oracle_examples import ACK, ACK_AT_SOURCE, EVERY, NO_RETURN, PAUSED, TWO, V, case_with

from switchover.migration.settings import MigrationSettings
from switchover.record.checks import CheckId, parse_check_id
from switchover.record.measurement import make_check
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.case import Case, SideSpec, make_case
from switchover.scenarios.expectation import find_mismatch
from switchover.scenarios.oracle import DEFAULT, choose_rule, find_rule, make_traits
from switchover.scenarios.oracle.cpus import CONTROLS, list_controls


@pytest.mark.parametrize(
    ("name", "changes", "right", "verdict", "side", "reason"),
    EVERY,
    ids=[f"{name} {number}" for number, (name, *_) in enumerate(EVERY)],
)
def test_rule(name: str, changes: str, right: str, verdict: VerdictName, side: str, reason: str) -> None:
    """The rule fits its case, what happens then is right by it, and put right the case completes. ``reason``: of the
    verdict, or the id of the check that failed.
    """
    case, rule = case_with(changes)
    assert rule.name == name
    assert rule.expectation.because
    checks = [make_check(parse_check_id(reason), False, "1", "2")] if verdict is V.CHECKS_FAILED else []
    assert find_mismatch(case.expectation, Verdict(verdict, side, "" if checks else reason), checks) == ""
    assert find_mismatch(case.expectation, Verdict(V.COMPLETED), ())
    if verdict is V.CHECKS_FAILED:
        other = make_check(CheckId.GUEST_CANARY, False, "1", "2")
        assert find_mismatch(case.expectation, Verdict(verdict, side), [*checks, other])
    if rule.expectation.reason:
        assert find_mismatch(case.expectation, Verdict(verdict, side, "something else"), ())
    assert case_with(right)[1] is DEFAULT


def test_several_devices_one_without_p2p() -> None:
    """Two devices: the rule is about the one without P2P, whichever it is; one device alone needs none."""
    for changes in ('devices.a.p2p = "off"', 'devices.b.p2p = "off"', 'source.device.p2p = "off"'):
        case, rule = case_with(changes, TWO)
        assert rule.name == "several-devices-one-without-p2p"
        text = "Multiple VFIO devices migration is supported only if all of them support P2P migration"
        assert find_mismatch(case.expectation, Verdict(V.REFUSED, "", f"start source: {text}"), ()) == ""
    assert case_with("", TWO)[1] is DEFAULT
    assert case_with('device.p2p = "off"')[1] is DEFAULT


def test_a_property_of_no_release_only_where_a_scenario_names_it() -> None:
    """A property that this QEMU may lack makes no expectation by itself: lacking it is a skip, not a success."""
    case, rule = case_with('device.allow_pre_copy = "off"')
    assert rule is DEFAULT
    named = find_rule("x-allow-pre-copy-on-a-release")
    assert named is not None
    assert not named.automatic
    assert named.condition(make_traits(case))
    assert not named.condition(make_traits(Case("plain")))
    assert re.search(named.expectation.reason, "Property 'vfio-pci.x-allow-pre-copy' not found")


def test_a_device_that_fails_once_it_is_saved() -> None:
    """With pre-copy STOP is the last change: the migration completes all the same."""
    case, rule = case_with('source.device.fail_at = "STOP"')
    assert (rule.name, case.expectation.verdict) == ("device-fails-once-it-is-saved", V.COMPLETED)


NEVER = [
    'device.pre_copy = "off", source.device.fail_at = "PRE_COPY"',
    'device.pre_copy = "off", source.device.fail_at = "PRE_COPY_P2P"',
    'device.allow_pre_copy = "off", source.device.fail_at = "PRE_COPY"',
    'device.p2p = "off", source.device.fail_at = "PRE_COPY_P2P"',
    'device.p2p = "off", device.pre_copy = "off", source.device.fail_at = "RUNNING_P2P"',
    'source.device.fail_at = "RUNNING_P2P"',
    f'source.device.fail_at = "read:{5 << 20}"',
    f'destination.device.fail_at = "write:{5 << 20}"',
    'destination.device.p2p = "off", destination.device.fail_at = "RUNNING_P2P"',
]


@pytest.mark.parametrize("changes", NEVER)
def test_a_fault_that_never_happens(changes: str) -> None:
    """A state that the migration does not pass, or a byte that the stream does not have: it completes."""
    case, rule = case_with(changes)
    assert (rule.name, case.expectation.verdict) == ("fault-that-never-happens", V.COMPLETED)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (f'source.device.fail_at = "read:{(5 << 20) - 1}"', "device-fails-read"),
        (f'destination.device.fail_at = "write:{(5 << 20) - 1}"', "device-fails-write"),
        ('device.pre_copy = "off", source.device.fail_at = "RUNNING_P2P"', "device-fails-state-change-at-source"),
        ('destination.device.fail_at = "STOP"', "device-fails-state-change-at-destination"),
        (f'{PAUSED}, source.device.fail_at = "PRE_COPY"', "fault-that-never-happens"),
        (f'{PAUSED}, source.device.fail_at = "STOP_COPY"', "device-fails-state-change-at-source"),
        # how much gets dirty decides whether it comes to that
        (f'device.dirty_bytes_per_sec = 4096, source.device.fail_at = "read:{5 << 20}"', ""),
    ],
)
def test_where_a_device_comes_to_its_fault(changes: str, name: str) -> None:
    """The last byte of the stream is one; without pre-copy a device goes through RUNNING_P2P before it is saved."""
    assert case_with(changes)[1].name == name


ENDLESS = 'device.pre_copy = "off", migration.downtime_limit_ms = 70'


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ('source.device.fail_at = "STOP_COPY"', "never-converges"),
        ('destination.device.fail_at = "load"', "never-converges"),
        ('source.device.corrupt = "stream"', "never-converges"),
        ('destination.device.fail_at = "RESUMING"', "device-fails-state-change-at-destination"),
        (
            'migration.pause_before_switchover = "on", fault.action = "kill source", fault.phase = "pre-switchover"',
            "never-converges",
        ),
        ('fault.action = "kill source", fault.phase = "device stop-copy"', "never-converges"),
        ('fault.action = "kill source", fault.phase = "active"', "source-killed"),
        ('fault.action = "cancel", fault.phase = "active"', "cancelled"),
        (PAUSED, "never-converges"),
        ('migration.capabilities.postcopy-ram = "on"', "postcopy-with-vfio"),
    ],
)
def test_what_comes_before_a_migration_without_an_end(changes: str, name: str) -> None:
    """What happens before the switchover does; what would come with it does not."""
    assert case_with(f"{ENDLESS}, {changes}")[1].name == name


@pytest.mark.parametrize(
    "changes",
    [
        PAUSED,
        f'{PAUSED}, {ACK}, source.device.pre_copy = "off"',
        f'{PAUSED}, {ACK}, destination.device.pre_copy = "off"',
        f"{PAUSED}, {ACK_AT_SOURCE}",
    ],
)
def test_paused_before(changes: str) -> None:
    """A guest that is paused before it migrates completes without PRE_COPY, whatever the sides make of the ack."""
    case, rule = case_with(changes)
    assert rule.name == "paused-before"
    assert (case.expectation.verdict, case.expectation.pre_copy) == (V.COMPLETED, "off")
    assert case_with(changes.replace('"before"', '"active"'))[1].name != "paused-before"


def test_a_driver_that_knows_more_than_one_version() -> None:
    """What it reads as what it is completes, from either version to the other."""
    for changes in ("source.device.stream_version = 1", "destination.device.stream_version = 1"):
        case, rule = case_with(f'{changes}, destination.device.other_version = "read"')
        assert (rule.name, case.expectation.verdict) == ("stream-version-read", V.COMPLETED)


def test_versions_that_differ_in_nothing_that_is_read_wrong() -> None:
    """Registers are elsewhere in the first version only: a driver of the second reads a third one right by mistake."""
    misread = 'destination.device.other_version = "misread"'
    assert case_with(f"source.device.stream_version = 2, {misread}")[1] is DEFAULT
    assert case_with(f"source.device.stream_version = 1, {misread}")[1].name == "stream-version-misread"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ("", "no-dirty-tracking"),
        ('device.dirty_tracking = "on"', ""),
        ('destination.device.dirty_tracking = "on"', "no-dirty-tracking"),
        (
            'device.dirty_tracking = "on", device.properties.x-device-dirty-page-tracking = "off"',
            "no-dirty-tracking",
        ),
    ],
)
def test_a_device_that_tracks_dirty_pages_is_no_blocker(changes: str, name: str) -> None:
    """With enable-migration=auto the source's device has to log its DMA itself, and QEMU to use that."""
    auto = 'device.properties.enable-migration = "auto"'
    assert case_with(f"{auto}, {changes}" if changes else auto)[1].name == name


@pytest.mark.parametrize(
    ("machine", "name", "pre_copy"),
    [
        ("pc-q35-2.9", "x-allow-pre-copy-of-old-machines", "off"),
        ("pc-q35-8.0", "x-allow-pre-copy-of-old-machines", "off"),
        ("pc-i440fx-7.2,usb=off", "x-allow-pre-copy-of-old-machines", "off"),
        ("pc-q35-8.1", "x-allow-pre-copy-of-new-machines", "on"),
        ("pc-q35-10.0", "x-allow-pre-copy-of-new-machines", "on"),
        ("q35", "x-allow-pre-copy-of-new-machines", "on"),
    ],
)
def test_x_allow_pre_copy_by_machine(machine: str, name: str, pre_copy: str) -> None:
    """Left to the machine type, the patch's compat entry decides; and a device without PRE_COPY has none to lose."""
    changes = f'machine = "{machine}", device.allow_pre_copy = "by-machine"'
    case, rule = case_with(changes)
    assert (rule.name, case.expectation.verdict, case.expectation.pre_copy) == (name, V.COMPLETED, pre_copy)
    assert case_with(f'{changes}, device.pre_copy = "off"')[1] is DEFAULT
    assert case_with(f'machine = "{machine}", device.allow_pre_copy = "on"')[1] is DEFAULT


def test_a_machine_type_that_allows_no_pre_copy_sends_no_initial_data() -> None:
    """With the ack on both sides a source that may not use pre-copy starves, by its machine type as by its property."""
    on_source = 'source.device.allow_pre_copy = "by-machine", destination.device.allow_pre_copy = "on"'
    assert case_with(f'{ACK}, machine = "pc-q35-8.0", {on_source}')[1].name == "ack-with-pre-copy-at-destination-only"
    assert case_with(f'{ACK}, machine = "pc-q35-8.1", {on_source}')[1].name == "x-allow-pre-copy-of-new-machines"


def test_what_is_said_of_initial_bytes_needs_them_to_be_sent() -> None:
    """Without settle the downtime limit may let the switchover come before that, and nothing is said for sure."""
    changes = f'{ACK}, destination.device.pre_copy = "off", migration.settle = "off"'
    assert case_with(changes)[1] is DEFAULT


def test_the_errno_of_a_state_change_is_in_the_reason() -> None:
    """QEMU says it after its own words; of two devices with different ones nobody knows which fails first."""
    case, rule = case_with('source.device.fail_at = "PRE_COPY", device.fail_errno = 95')
    said = "failed: 776a: Failed setting device state to PRE_COPY. Setting device in recover state RUNNING"
    assert rule.name == "device-fails-state-change-at-source"
    assert find_mismatch(case.expectation, Verdict(V.FAILED, "source", f"{said}: Operation not supported"), ()) == ""
    assert find_mismatch(case.expectation, Verdict(V.FAILED, "source", f"{said}: Input/output error"), ())
    several = 'source.devices.a.fail_at = "PRE_COPY", source.devices.b.fail_at = "PRE_COPY", devices.b.fail_errno = 95'
    both, _ = case_with(several, TWO)
    for errno in ("Operation not supported", "Input/output error"):
        assert find_mismatch(both.expectation, Verdict(V.FAILED, "source", f"{said}: {errno}"), ()) == ""


def test_other_mac_addresses_stop_nothing() -> None:
    """QEMU does not compare them: a check tells which one the guest has afterwards."""
    assert case_with('destination.mac = "52:54:00:53:67:02"')[1] is DEFAULT


WITHOUT_EFFECT = (
    "dump-guest-core=off", "mem-merge=off", "graphics=off", "fd-bootchk=off", "usb=off", "hpet=on", "smm=off",
    "nvdimm=on",
    "default-bus-bypass-iommu=on", "suppress-vmdesc=on", "x-oem-id=x", "kernel-irqchip=split", "vmport=auto",
)  # fmt: skip


@pytest.mark.parametrize("option", WITHOUT_EFFECT)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_options_of_a_machine_that_leave_the_stream_as_it_is(option: str, side: str) -> None:
    """Such an option on one side stops nothing."""
    assert case_with(f'{side}.machine = "q35,{option}"')[1] is DEFAULT


@pytest.mark.parametrize("option", ["sata=off", "smbus=off"])
def test_options_without_effect_on_the_older_chipset(option: str) -> None:
    """i440fx has neither AHCI nor ICH9's SMBus."""
    assert case_with(f'source.machine = "pc", destination.machine = "pc,{option}"')[1] is DEFAULT


@given(st.lists(st.sampled_from(sorted(CONTROLS)), min_size=2, max_size=2))
def test_a_cpu_is_not_less_than_itself(models: list[str]) -> None:
    """Of two models one offers less, or the other, or neither; with another feature on top none is less."""
    here, there = (list_controls(model) for model in models)
    assert here is not None
    assert there is not None
    assert list_controls(f"{models[0]},+umip") == here | {"umip"}
    assert list_controls(f"{models[0]},-smep") == here - {"smep"}
    assert list_controls("no-such-model") is None


def test_without_devices_vfio_rejects_nothing() -> None:
    """Rules about VFIO are not for a guest that has no device."""
    for capability in ("postcopy-ram", "background-snapshot"):
        settings = MigrationSettings(return_path=False, capabilities={capability: True})
        case = make_case("ram", SideSpec(devices=()), settings=settings)
        assert choose_rule(make_traits(case)) is DEFAULT


def test_a_case_made_by_hand() -> None:
    """The oracle is about cases, however they were made."""
    assert choose_rule(make_traits(Case("plain"))) is DEFAULT


def test_earlier_rules_win() -> None:
    """What stops a case first is what it ends in: realize before capabilities before migrate before the way."""
    order = [
        'device.migration = "off"',
        f"{ACK}, {NO_RETURN}",
        'migration.capabilities.postcopy-ram = "on"',
        'fault.action = "cancel", fault.phase = "active"',
        'source.device.fail_at = "STOP_COPY"',
    ]
    first = [case_with(changes)[1] for changes in order]
    for number in range(len(order)):
        assert case_with(", ".join(order[number:]))[1].name == first[number].name
