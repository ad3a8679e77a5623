# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of the oracle: each fits the case that it is about, and not the same case put right."""

import re

import pytest
from tests.unit.scenarios.samples import plan

from switchover.migration.settings import MigrationSettings
from switchover.record.checks import parse_check_id
from switchover.record.measurement import make_check
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.case import Case, SideSpec, make_case
from switchover.scenarios.expectation import find_mismatch
from switchover.scenarios.oracle import DEFAULT, ORACLE, Rule, choose_rule, find_rule, make_traits

V = VerdictName
ACK = 'migration.switchover_ack = "on"'
NO_RETURN = 'migration.return_path = "off"'
ACK_AT_SOURCE = f'{ACK}, migration.destination_capabilities.switchover-ack = "off"'
TWO = '[[devices]]\nid = "a"\n[[devices]]\nid = "b"\n'
LIBVIRT = 'driver = "libvirt"'

FUNCTION = 'device.pci = "0000:01:00.0"'
PLAIN, VARIANT = (f'{FUNCTION}, device.vfio_driver = "{driver}"' for driver in ("vfio-pci", "mlx5_vfio_pci"))

EXAMPLES = [
    # rule, what the case sets, what puts it right, verdict, side, what QEMU or the harness would say
    ("B1 (realize)", 'device.migration = "off"', 'device.migration = "on"', V.REFUSED, "",
     "d: VFIO migration is not supported in kernel"),
    ("B1 (realize)", 'destination.device.migration = "off"', "", V.REFUSED, "",
     "d: VFIO migration init failed: migration is not supported in kernel"),
    ("B1 (realize, vfio-pci)", f'{PLAIN}, destination.device.properties.enable-migration = "on"', VARIANT,
     V.REFUSED, "",
     "0000:01:00.0: VFIO migration is not supported in kernel"),
    ("B1 (vfio-pci)", PLAIN, VARIANT, V.BLOCKED, "source", "0000:01:00.0: VFIO migration is not supported in kernel"),
    ("B1", f'{VARIANT}, device.properties.enable-migration = "off"', VARIANT, V.BLOCKED, "source",
     "0000:01:00.0: Migration is disabled for VFIO device"),
    ("B8", f'{VARIANT}, migration.capabilities.postcopy-ram = "on"', VARIANT, V.BLOCKED, "source",
     "0000:01:00.0: VFIO migration is not supported with postcopy migration"),
    ("B2", 'device.stop_copy = "off"', "", V.REFUSED, "",
     "d: Migration couldn't be initialized for VFIO device, err: -95 (Operation not supported)"),
    ("A8", f"{ACK}, {NO_RETURN}", ACK, V.REFUSED, "",
     "Capability 'switchover-ack' requires capability 'return-path'"),
    ("B9 (return path)", 'migration.capabilities.background-snapshot = "on"', "", V.REFUSED, "",
     "Background-snapshot is not compatible with return-path"),
    ("B1", 'device.properties.enable-migration = "off"', "", V.BLOCKED, "source",
     "0000:01:00.0: Migration is disabled for VFIO device"),
    ("B1 (kernel)", 'device.properties.enable-migration = "auto", device.migration = "off"', "", V.BLOCKED, "source",
     "d: VFIO migration is not supported in kernel"),
    ("B3", 'device.properties.enable-migration = "auto"', "", V.BLOCKED, "source",
     "d: VFIO device doesn't support device and IOMMU dirty tracking"),
    ("B3", 'device.properties.enable-migration = ""', "", V.BLOCKED, "source",
     "d: VFIO device doesn't support device and IOMMU dirty tracking"),
    ("B8", 'migration.capabilities.postcopy-ram = "on"', "", V.BLOCKED, "source",
     "d: VFIO migration is not supported with postcopy migration"),
    ("B9", f'migration.capabilities.background-snapshot = "on", {NO_RETURN}', NO_RETURN, V.BLOCKED, "source",
     "d: VFIO migration is not supported with background snapshot"),
    ("A15", 'source.machine = "pc-q35-9.2,usb=off", destination.machine = "pc-q35-10.0"',
     'source.machine = "q35", destination.machine = "pc-q35-10.0"', V.FAILED, "destination",
     "Machine type received is 'pc-q35-9.2' and local is 'pc-q35-10.0'"),
    ("A15 (memory)", "destination.memory_mib = 128", "memory_mib = 128", V.FAILED, "destination",
     "Size mismatch: pc.ram: 0x10000000 != 0x8000000: Invalid argument"),
    ("L1 (machine)", f'{LIBVIRT}, source.machine = "pc-q35-9.2", destination.machine = "pc-q35-10.0"', LIBVIRT,
     V.BLOCKED, "source", "unsupported: Target domain machine type pc-q35-10.0 does not match source pc-q35-9.2"),
    ("L1 (memory)", f"{LIBVIRT}, destination.memory_mib = 128", LIBVIRT, V.BLOCKED, "source",
     "unsupported: Target domain max memory 131072 does not match source 262144"),
    ("D kill source", 'fault.action = "kill source", fault.phase = "active"', "", V.CRASHED, "source", "SIGKILL"),
    ("D kill destination", 'fault.action = "kill destination", fault.phase = "active"', "", V.CRASHED, "destination",
     "SIGKILL"),
    ("D panic guest", 'fault.action = "panic guest", fault.phase = "active"', "", V.CRASHED, "source",
     "Kernel panic - not syncing"),
    ("D cancel", 'fault.action = "cancel", fault.phase = "active"', 'fault.action = "cancel", fault.phase = "before"',
     V.CANCELLED, "source", ""),
    ("D cut link", 'fault.action = "cut link", fault.phase = "active"',
     'fault.action = "slow link", fault.phase = "active"', V.HUNG, "destination", "no progress"),
    ("D source device", 'source.device.fail_at = "STOP_COPY"', 'source.device.fail_at = "none"',
     V.FAILED, "source", "failed: x"),
    ("D source device", 'source.device.fail_at = "read:4096"', 'source.device.fail_at = "none"',
     V.FAILED, "source", "failed: x"),
    ("D destination device", 'destination.device.fail_at = "write:4096"', 'destination.device.fail_at = "none"',
     V.FAILED, "destination", "failed: x"),
    ("D destination device", 'destination.device.fail_at = "load"', "", V.FAILED, "destination", "failed: x"),
    ("D stream corrupt", 'source.device.corrupt = "stream"', 'source.device.corrupt = "none"',
     V.FAILED, "destination", "failed: x"),
    ("D device type", 'destination.device.type = "refdev-16vec"', 'device.type = "refdev-16vec"',
     V.FAILED, "destination", "failed: x"),
    ("A4", f'{ACK}, destination.device.pre_copy = "off"', 'destination.device.pre_copy = "off"',
     V.FAILED, "destination", "d: Received INIT_DATA_SENT but switchover ack is not used"),
    ("A5", f'{ACK}, source.device.pre_copy = "off"', f'{ACK}, device.pre_copy = "off"', V.HUNG, "source",
     "ack-starved: pending 0 B is below the threshold"),
    ("A5", f'{ACK}, source.device.allow_pre_copy = "off"', f'{ACK}, device.allow_pre_copy = "off"', V.HUNG, "source",
     "ack-starved: pending 0 B is below the threshold"),
    ("A5", f'{LIBVIRT}, source.device.pre_copy = "off"', 'source.device.pre_copy = "off"', V.HUNG, "source",
     "ack-starved: pending 0 B is below the threshold"),
    ("A6", ACK_AT_SOURCE, 'migration.destination_capabilities.switchover-ack = "on"', V.FAILED, "destination",
     "d: Received INIT_DATA_SENT but switchover ack is not used"),
    ("A6 (no pre-copy)", f'{ACK_AT_SOURCE}, device.pre_copy = "off"', 'device.pre_copy = "off"', V.HUNG, "source",
     "ack-starved: pending 0 B is below the threshold"),
    ("C1", 'device.properties.x-migration-multifd-transfer = "on"',
     'device.properties.x-migration-multifd-transfer = "on", migration.capabilities.multifd = "on"', V.FAILED, "",
     "d: Multifd device transfer requested but unsupported in the current config"),
    ("C2", 'source.device.properties.x-migration-multifd-transfer = "on", migration.capabilities.multifd = "on", '
     'destination.device.properties.x-migration-multifd-transfer = "off"', 'migration.capabilities.multifd = "on"',
     V.FAILED, "destination", "d: got device state packet but not doing multifd transfer"),
    ("C3", 'destination.device.properties.x-migration-multifd-transfer = "on", migration.capabilities.multifd = "on", '
     'source.device.properties.x-migration-multifd-transfer = "off"', "", V.FAILED, "destination",
     "d: got DEV_CONFIG_STATE in main migration channel but doing multifd transfer"),
    ("D state corrupt", 'destination.device.corrupt = "state"', 'destination.device.corrupt = "none"',
     V.CHECKS_FAILED, "",
     "device.checksum-by-guest"),
]  # fmt: skip


COMPLETING = ("A14", "A16 (8.0 and older)", "A16 (8.1 and newer)")


def case_with(changes: str, tables: str = "") -> tuple[Case, Rule]:
    (planned,) = plan(f'{tables}[axes]\n[[axes.it]]\nname = "x"\nset = {{ {changes} }}\n')
    return planned.case, planned.rule


@pytest.mark.parametrize(
    ("name", "changes", "right", "verdict", "side", "reason"),
    EXAMPLES,
    ids=[f"{name} {number}" for number, (name, *_) in enumerate(EXAMPLES)],
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
    if rule.expectation.reason:
        assert find_mismatch(case.expectation, Verdict(verdict, side, "something else"), ())
    assert case_with(right)[1] is DEFAULT


def test_b4() -> None:
    """Two devices: the rule is about the one without P2P, whichever it is; one device alone needs none."""
    for changes in ('devices.a.p2p = "off"', 'devices.b.p2p = "off"', 'source.device.p2p = "off"'):
        case, rule = case_with(changes, TWO)
        assert rule.name == "B4"
        text = "Multiple VFIO devices migration is supported only if all of them support P2P migration"
        assert find_mismatch(case.expectation, Verdict(V.REFUSED, "", f"start source: {text}"), ()) == ""
    assert case_with("", TWO)[1] is DEFAULT
    assert case_with('device.p2p = "off"')[1] is DEFAULT


def test_a16_only_where_a_scenario_names_it() -> None:
    """A property that this QEMU may lack makes no expectation by itself: lacking it is a skip, not a success."""
    case, rule = case_with('device.allow_pre_copy = "off"')
    assert rule is DEFAULT
    a16 = find_rule("A16")
    assert a16 is not None
    assert not a16.automatic
    assert a16.condition(make_traits(case))
    assert not a16.condition(make_traits(Case("plain")))
    assert re.search(a16.expectation.reason, "Property 'vfio-pci.x-allow-pre-copy' not found")


PAUSED = 'fault.action = "pause guest", fault.phase = "before"'


@pytest.mark.parametrize(
    "changes",
    [
        PAUSED,
        f'{PAUSED}, {ACK}, source.device.pre_copy = "off"',
        f'{PAUSED}, {ACK}, destination.device.pre_copy = "off"',
        f"{PAUSED}, {ACK_AT_SOURCE}",
    ],
)
def test_a14(changes: str) -> None:
    """A guest that is paused before it migrates completes without PRE_COPY, whatever the sides make of the ack."""
    case, rule = case_with(changes)
    assert rule.name == "A14"
    assert (case.expectation.verdict, case.expectation.pre_copy) == (V.COMPLETED, "off")
    assert case_with(changes.replace('"before"', '"active"'))[1].name != "A14"


@pytest.mark.parametrize(
    ("machine", "name", "pre_copy"),
    [
        ("pc-q35-2.9", "A16 (8.0 and older)", "off"),
        ("pc-q35-8.0", "A16 (8.0 and older)", "off"),
        ("pc-i440fx-7.2,usb=off", "A16 (8.0 and older)", "off"),
        ("pc-q35-8.1", "A16 (8.1 and newer)", "on"),
        ("pc-q35-10.0", "A16 (8.1 and newer)", "on"),
        ("q35", "A16 (8.1 and newer)", "on"),
    ],
)
def test_a16_by_machine(machine: str, name: str, pre_copy: str) -> None:
    """Left to the machine type, the patch's compat entry decides; and a device without PRE_COPY has none to lose."""
    changes = f'machine = "{machine}", device.allow_pre_copy = "by-machine"'
    case, rule = case_with(changes)
    assert (rule.name, case.expectation.verdict, case.expectation.pre_copy) == (name, V.COMPLETED, pre_copy)
    assert case_with(f'{changes}, device.pre_copy = "off"')[1] is DEFAULT
    assert case_with(f'machine = "{machine}", device.allow_pre_copy = "on"')[1] is DEFAULT


def test_a_machine_type_that_allows_no_pre_copy_sends_no_initial_data() -> None:
    """With the ack on both sides a source that may not use pre-copy starves, by its machine type as by its property."""
    on_source = 'source.device.allow_pre_copy = "by-machine", destination.device.allow_pre_copy = "on"'
    assert case_with(f'{ACK}, machine = "pc-q35-8.0", {on_source}')[1].name == "A5"
    assert case_with(f'{ACK}, machine = "pc-q35-8.1", {on_source}')[1].name == "A16 (8.1 and newer)"


def test_a4_needs_the_initial_data_to_be_sent() -> None:
    """Without settle the downtime limit may let the switchover come before that, and nothing is said for sure."""
    changes = f'{ACK}, destination.device.pre_copy = "off", migration.settle = "off"'
    assert case_with(changes)[1] is DEFAULT


NAMED = ("B1 (protocol 1)", "B1 (destination)", "A15 (virtio queues)")


@pytest.mark.parametrize(
    ("name", "verdict", "side", "reason"),
    [
        ("A15 (virtio queues)", V.FAILED, "destination", "failed: VQ 0 vring.num 1024 exceeds allocated max 256; load"),
        ("B1 (protocol 1)", V.BLOCKED, "source", "migrate: 0b6e: VFIO device doesn't support migration"),
        ("B1 (destination)", V.FAILED, "destination",
         "Unknown savevm section or instance '0000:00:01.0/vfio' 0. Make sure that your current VM setup matches"),
    ],
)  # fmt: skip
def test_what_a_version_decides_only_where_a_scenario_names_it(
    name: str, verdict: VerdictName, side: str, reason: str
) -> None:
    """What such a QEMU says is known; that a case has one is not seen in the case, and says its scenario."""
    (planned,) = plan(
        f'[axes]\nqemu = ["qemu-7.2"]\n[[rules]]\nwhen = {{ qemu = "qemu-7.2" }}\n'
        f'expect.oracle = "{name}"\nexpect.because = "QEMU 7.2"\n'
    )
    assert find_mismatch(planned.case.expectation, Verdict(verdict, side, reason), ()) == ""
    assert find_mismatch(planned.case.expectation, Verdict(V.COMPLETED), ())
    assert choose_rule(make_traits(planned.case)) is DEFAULT


def test_without_devices_vfio_rejects_nothing() -> None:
    """Rules about VFIO are not for a guest that has no device."""
    for capability in ("postcopy-ram", "background-snapshot"):
        settings = MigrationSettings(return_path=False, capabilities={capability: True})
        case = make_case("ram", SideSpec(devices=()), settings=settings)
        assert choose_rule(make_traits(case)) is DEFAULT


def test_every_rule_has_an_example() -> None:
    """No rule without a test, no two of one name."""
    names = [rule.name for rule in ORACLE]
    assert len(set(names)) == len(names)
    assert {name for name, *_ in EXAMPLES} | {"B4", "A16", *NAMED, *COMPLETING} == set(names)
    assert find_rule("Z1") is None


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
        assert case_with(", ".join(order[number:]))[1] is first[number]
