# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules of the oracle: each fits the case that it is about, and not the same case put right."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scenarios.samples import plan
from tests.unit.scenarios.transport_examples import TRANSPORT_EXAMPLES

from switchover.migration.settings import MigrationSettings
from switchover.record.checks import CheckId, parse_check_id
from switchover.record.measurement import make_check
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.case import Case, SideSpec, make_case
from switchover.scenarios.expand import expand
from switchover.scenarios.expectation import find_mismatch
from switchover.scenarios.oracle import DEFAULT, ORACLE, Rule, choose_rule, find_rule, make_traits
from switchover.scenarios.oracle.rule import quote
from switchover.scenarios.scenario import catalogue_directory, list_scenarios, load_scenario

V = VerdictName
ACK = 'migration.switchover_ack = "on"'
NO_RETURN = 'migration.return_path = "off"'
ACK_AT_SOURCE = f'{ACK}, migration.destination_capabilities.switchover-ack = "off"'
TWO = '[[devices]]\nid = "a"\n[[devices]]\nid = "b"\n'
LIBVIRT = 'driver = "libvirt"'

SECTION = "0000:00:03.0:00.0/vfio"
TRANSFER = "properties.x-migration-multifd-transfer"
MULTIFD = 'migration.capabilities.multifd = "on"'
FUNCTION = 'device.pci = "0000:01:00.0"'
PLAIN, VARIANT = (f'{FUNCTION}, device.vfio_driver = "{driver}"' for driver in ("vfio-pci", "mlx5_vfio_pci"))

EXAMPLES = [
    *TRANSPORT_EXAMPLES,
    # rule, what the case sets, what puts it right, verdict, side, what QEMU or the harness would say
    ("enable-migration-on-without-migration", 'device.migration = "off"', 'device.migration = "on"', V.REFUSED, "",
     "d: VFIO migration is not supported in kernel"),
    ("enable-migration-on-without-migration", 'destination.device.migration = "off"', "", V.REFUSED, "",
     "d: VFIO migration init failed: migration is not supported in kernel"),
    ("enable-migration-on-with-generic-driver", f'{PLAIN}, destination.device.properties.enable-migration = "on"',
     VARIANT, V.REFUSED, "",
     "0000:01:00.0: VFIO migration is not supported in kernel"),
    ("generic-vfio-pci-driver", PLAIN, VARIANT, V.BLOCKED, "source",
     "0000:01:00.0: VFIO migration is not supported in kernel"),
    ("enable-migration-off", f'{VARIANT}, device.properties.enable-migration = "off"', VARIANT, V.BLOCKED, "source",
     "0000:01:00.0: Migration is disabled for VFIO device"),
    ("postcopy-with-vfio", f'{VARIANT}, migration.capabilities.postcopy-ram = "on"', VARIANT, V.BLOCKED, "source",
     "0000:01:00.0: VFIO migration is not supported with postcopy migration"),
    ("enable-migration-on-without-stop-copy", 'device.stop_copy = "off"', "", V.REFUSED, "",
     "d: Migration couldn't be initialized for VFIO device, err: -95 (Operation not supported)"),
    ("ack-without-return-path", f"{ACK}, {NO_RETURN}", ACK, V.REFUSED, "",
     "Capability 'switchover-ack' requires capability 'return-path'"),
    ("background-snapshot-with-return-path", 'migration.capabilities.background-snapshot = "on"', "", V.REFUSED, "",
     "Background-snapshot is not compatible with return-path"),
    ("enable-migration-off", 'device.properties.enable-migration = "off"', "", V.BLOCKED, "source",
     "0000:01:00.0: Migration is disabled for VFIO device"),
    ("no-migration-in-kernel", 'device.properties.enable-migration = "auto", device.migration = "off"', "",
     V.BLOCKED, "source", "d: VFIO migration is not supported in kernel"),
    ("no-dirty-tracking", 'device.properties.enable-migration = "auto"', "", V.BLOCKED, "source",
     "d: VFIO device doesn't support device and IOMMU dirty tracking"),
    ("no-dirty-tracking", 'device.properties.enable-migration = ""', "", V.BLOCKED, "source",
     "d: VFIO device doesn't support device and IOMMU dirty tracking"),
    ("postcopy-with-vfio", 'migration.capabilities.postcopy-ram = "on"', "", V.BLOCKED, "source",
     "d: VFIO migration is not supported with postcopy migration"),
    ("background-snapshot-with-vfio", f'migration.capabilities.background-snapshot = "on", {NO_RETURN}', NO_RETURN,
     V.BLOCKED, "source", "d: VFIO migration is not supported with background snapshot"),
    ("other-machine", 'source.machine = "pc-q35-9.2,usb=off", destination.machine = "pc-q35-10.0"',
     'source.machine = "q35", destination.machine = "pc-q35-10.0"', V.FAILED, "destination",
     "Machine type received is 'pc-q35-9.2' and local is 'pc-q35-10.0'"),
    ("other-memory", "destination.memory_mib = 128", "memory_mib = 128", V.FAILED, "destination",
     "Size mismatch: pc.ram: 0x10000000 != 0x8000000: Invalid argument"),
    ("libvirt-other-machine", f'{LIBVIRT}, source.machine = "pc-q35-9.2", destination.machine = "pc-q35-10.0"', LIBVIRT,
     V.BLOCKED, "source", "unsupported: Target domain machine type pc-q35-10.0 does not match source pc-q35-9.2"),
    ("libvirt-other-memory", f"{LIBVIRT}, destination.memory_mib = 128", LIBVIRT, V.BLOCKED, "source",
     "unsupported: Target domain max memory 131072 does not match source 262144"),
    ("source-killed", 'fault.action = "kill source", fault.phase = "active"', "", V.CRASHED, "source", "SIGKILL"),
    ("destination-killed", 'fault.action = "kill destination", fault.phase = "active"', "", V.CRASHED, "destination",
     "SIGKILL"),
    ("guest-panics", 'fault.action = "panic guest", fault.phase = "active"', "", V.CRASHED, "source",
     "Kernel panic - not syncing"),
    *(("cancelled", 'fault.action = "cancel", fault.phase = "active"',
       'fault.action = "cancel", fault.phase = "before"', V.CANCELLED, "source", words)
      for words in ("", "Channel error: Input/output error",
                    "operation aborted: job 'migration out' canceled by client")),
    ("link-cut", 'fault.action = "cut link", fault.phase = "active"',
     'fault.action = "slow link", fault.phase = "active"', V.HUNG, "destination",
     "no progress at the destination: status device, nothing is sent, and neither QEMU writes to its log, for 10 s"),
    *(("device-fails-state-change-at-source", f'{more}source.device.fail_at = "{state}"',
       f'{more}source.device.fail_at = "none"', V.FAILED, "source",
       f"failed: 776a: Failed setting device state to {state}. {recovery}: Input/output error")
      for more, state, recovery in (
          ("", "PRE_COPY", "Setting device in recover state RUNNING"),
          ("", "PRE_COPY_P2P", "Recover state is ERROR. Resetting device"),
          ("", "STOP_COPY", "Recover state is ERROR. Resetting device"),
          ('device.pre_copy = "off", ', "STOP", "Recover state is ERROR. Resetting device"),
      )),
    ("device-fails-read", 'source.device.fail_at = "read:4096"', 'source.device.fail_at = "none"',
     V.FAILED, "source", "failed: Channel error: Input/output error"),
    *(("device-fails-state-change-at-destination", f'destination.device.fail_at = "{state}"',
       'destination.device.fail_at = "none"', V.FAILED, "destination", words)
      for state, words in (
          ("RESUMING", f"failed: Load state of device {SECTION} failed: 99b4: Failed setting device state to RESUMING. "
                       "Setting device in recover state RUNNING: Input/output error; load of migration failed: I…"),
          ("RUNNING_P2P", "failed: load of migration failed: Invalid argument"),
      )),
    *(("device-fails-write", 'destination.device.fail_at = "write:4096"', 'source.device.fail_at = "none"',
       V.FAILED, "destination", words)
      for words in (f"failed: error while loading state section id 45({SECTION}); load of migration failed: Input/o…",
                    "failed: load of migration failed: Input/output error")),
    ("device-refuses-stream", 'source.device.corrupt = "stream"', 'source.device.corrupt = "none"',
     V.FAILED, "destination",
     f"failed: error while loading state section id 43({SECTION}); load of migration failed: Invalid argument"),
    ("other-device-type", 'destination.device.type = "refdev-16vec"', 'device.type = "refdev-16vec"',
     V.FAILED, "destination",
     f"failed: error while loading state section id 45({SECTION}); load of migration failed: Invalid argument"),
    *(("device-fails-once-it-is-loaded", f'destination.device.fail_at = "{point}"', 'source.device.fail_at = "RUNNING"',
       V.CHECKS_FAILED, "", "device.generation")
      for point in ("load", "RUNNING")),
    ("device-state-corrupt", 'destination.device.corrupt = "state"', 'source.device.corrupt = "none"', V.CHECKS_FAILED,
     "", "device.checksum-by-guest"),
    ("ack-with-pre-copy-at-source-only", f'{ACK}, destination.device.pre_copy = "off"',
     'destination.device.pre_copy = "off"', V.FAILED, "destination",
     "d: Received INIT_DATA_SENT but switchover ack is not used"),
    *(("ack-with-pre-copy-at-destination-only", wrong, right, V.HUNG, "source",
       "ack-starved: pending 0 B is below the threshold")
      for wrong, right in (
          (f'{ACK}, source.device.pre_copy = "off"', f'{ACK}, device.pre_copy = "off"'),
          (f'{ACK}, source.device.allow_pre_copy = "off"', f'{ACK}, device.allow_pre_copy = "off"'),
          (f'{LIBVIRT}, source.device.pre_copy = "off"', 'source.device.pre_copy = "off"'),
      )),
    ("ack-at-source-only", ACK_AT_SOURCE, 'migration.destination_capabilities.switchover-ack = "on"', V.FAILED,
     "destination", "d: Received INIT_DATA_SENT but switchover ack is not used"),
    ("ack-at-source-only-without-pre-copy", f'{ACK_AT_SOURCE}, device.pre_copy = "off"', 'device.pre_copy = "off"',
     V.HUNG, "source", "ack-starved: pending 0 B is below the threshold"),
    ("multifd-transfer-without-multifd", f'device.{TRANSFER} = "on"', f'device.{TRANSFER} = "on", {MULTIFD}',
     V.FAILED, "", "d: Multifd device transfer requested but unsupported in the current config"),
    ("multifd-transfer-at-source-only",
     f'source.device.{TRANSFER} = "on", {MULTIFD}, destination.device.{TRANSFER} = "off"', MULTIFD,
     V.FAILED, "destination", "d: got device state packet but not doing multifd transfer"),
    ("multifd-transfer-at-destination-only",
     f'destination.device.{TRANSFER} = "on", {MULTIFD}, source.device.{TRANSFER} = "off"', "", V.FAILED, "destination",
     "d: got DEV_CONFIG_STATE in main migration channel but doing multifd transfer"),
]  # fmt: skip


COMPLETING = (
    "device-fails-once-it-is-saved", "paused-before", "x-allow-pre-copy-of-old-machines",
    "x-allow-pre-copy-of-new-machines",
)  # fmt: skip


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
def test_paused_before(changes: str) -> None:
    """A guest that is paused before it migrates completes without PRE_COPY, whatever the sides make of the ack."""
    case, rule = case_with(changes)
    assert rule.name == "paused-before"
    assert (case.expectation.verdict, case.expectation.pre_copy) == (V.COMPLETED, "off")
    assert case_with(changes.replace('"before"', '"active"'))[1].name != "paused-before"


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


NAMED = ("old-protocol-at-source", "old-protocol-at-destination", "other-virtio-queue-size")


@pytest.mark.parametrize(
    ("name", "verdict", "side", "reason"),
    [
        ("other-virtio-queue-size", V.FAILED, "destination",
         "failed: VQ 0 vring.num 1024 exceeds allocated max 256; load"),
        ("old-protocol-at-source", V.BLOCKED, "source", "migrate: 0b6e: VFIO device doesn't support migration"),
        ("old-protocol-at-destination", V.FAILED, "destination",
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
    """No rule without a test."""
    alone = {"several-devices-one-without-p2p", "x-allow-pre-copy-on-a-release"}
    assert {name for name, *_ in EXAMPLES} | {*alone, *NAMED, *COMPLETING} == {rule.name for rule in ORACLE}


def test_names() -> None:
    """A name is one rule's, also an alias; names are words with hyphens; a rule is found by each of them."""
    names = [name for rule in ORACLE for name in (rule.name, *rule.aliases)]
    assert len(set(names)) == len(names)
    assert [rule.name for rule in ORACLE if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+|cancelled", rule.name)] == []
    assert all(find_rule(name) is rule for rule in ORACLE for name in (rule.name, *rule.aliases))
    assert find_rule("no-such-rule") is None
    assert find_rule("") is None


@pytest.mark.parametrize("rule", ORACLE, ids=lambda rule: rule.name)
def test_what_a_rule_says_of_itself(rule: Rule) -> None:
    """What it is about, in a sentence; why, with the source at the end; programs with versions. What is not said by
    its verdict alone has a reason to be looked for.
    """
    assert re.fullmatch(r"[^.].*\.", rule.about)
    assert rule.source
    assert rule.expectation.because.endswith(f" ({rule.source})")
    assert len(rule.expectation.because) > len(f" ({rule.source})")
    assert all(program and re.match(r"\d", version) for program, version in rule.seen)
    no_words = {"source-killed", "destination-killed"}  # by a signal: the verdict says it
    says = bool(rule.expectation.reason or rule.expectation.checks)
    assert says is (rule.expectation.verdict is not V.COMPLETED and rule.name not in no_words)


OLD_NAMES = (
    "A4", "A5", "A6", "A6 (no pre-copy)", "A8", "A14", "A15", "A15 (memory)", "A15 (virtio queues)", "A16",
    "A16 (8.0 and older)", "A16 (8.1 and newer)", "B1", "B1 (destination)", "B1 (kernel)", "B1 (protocol 1)",
    "B1 (realize)", "B1 (realize, vfio-pci)", "B1 (vfio-pci)", "B2", "B3", "B4", "B8", "B9", "B9 (return path)", "C1",
    "C2", "C3", "D cancel", "D cut link", "D destination device", "D device type", "D kill destination",
    "D kill source", "D panic guest", "D source device", "D state corrupt", "D stream corrupt", "L1 (machine)",
    "L1 (memory)",
)  # fmt: skip
"""Names that rules had first. Scenarios of users may have them, and plans of old runs do."""


def test_old_names_stay() -> None:
    """Each is an alias of a rule, and in a scenario it means that rule, which is told by its name of today."""
    assert [name for rule in ORACLE for name in rule.aliases if name not in OLD_NAMES] == []
    for name in OLD_NAMES:
        rule = find_rule(name)
        assert rule is not None
        (planned,) = plan(f'[expect]\noracle = "{name}"\nbecause = "x"\n')
        told = f"x (oracle {rule.name}: {rule.expectation.because})"
        assert planned.case.expectation == replace(rule.expectation, because=told)


WITHOUT_A_CASE = {
    "enable-migration-on-with-generic-driver",  # of a machine with PCI functions: tests/lab/test_pci_functions.py
    "libvirt-other-machine",
    "multifd-transfer-at-destination-only",
    "multifd-transfer-at-source-only",
    "multifd-transfer-without-multifd",
    "no-migration-in-kernel",
    "other-machine",
}
"""Rules that no case of the catalogue is about: they were read in the source of QEMU and libvirt."""


def test_cases_of_the_catalogue() -> None:
    """A rule has a case in the catalogue, by itself or since a scenario names it; those without are known."""
    planned = [entry for path in list_scenarios(catalogue_directory()) for entry in expand(load_scenario(path))]
    fitting = {choose_rule(make_traits(entry.case)).name for entry in planned}
    because = "\n".join(entry.case.expectation.because for entry in planned)
    named = {rule.name for rule in ORACLE if f"(oracle {rule.name}: " in because}
    assert {rule.name for rule in ORACLE} - fitting - named == WITHOUT_A_CASE


@given(st.text(st.characters(exclude_characters="\n%")), st.text(st.characters(exclude_characters="\n")))
def test_a_text_as_a_regular_expression(text: str, varying: str) -> None:
    """It is found with anything in the place of %s, and what is special in expressions stands for itself."""
    assert re.fullmatch(quote(f"{text}%s{text}"), f"{text}{varying}{text}")
    assert not re.search(quote(text + "."), text)


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
