# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenario files: what they set, and every mistake told with file, line, key and what is allowed."""

import json
import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.scenarios.samples import HEAD, plan

from switchover.devices.binding import FunctionRequest
from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.record.planfile import PlannedComparison
from switchover.scenarios.case import Case
from switchover.scenarios.expand import expand
from switchover.scenarios.faults import Fault
from switchover.scenarios.keys import KeyProblem, is_mapping, list_set, require_key
from switchover.scenarios.limits import find_side
from switchover.scenarios.scenario import catalogue_directory, list_scenarios, load_scenario, parse_scenario
from switchover.scenarios.schema import Bounds, Device, Guest, Migration, ScenarioFile
from switchover.scenarios.tables import find_meanings, make_table, toml_type


def fail(text: str) -> list[str]:
    """What is said of a file that begins with HEAD: the lines of ``what``, without the file's name."""
    with pytest.raises(UsageError) as error:
        plan(text)
    return [line.removeprefix("scenario.toml:") for line in error.value.what.splitlines()]


def only(text: str) -> Case:
    """The one case of a scenario."""
    (planned,) = plan(text)
    return planned.case


def test_nothing_set_is_the_default_case() -> None:
    """A scenario that sets nothing has one case, named after its file, with everything as the harness has it."""
    (planned,) = expand(parse_scenario(HEAD, "some/where/plain.toml"))
    assert planned.case == Case("plain")
    assert planned.hosts == ("", "")


def test_no_devices() -> None:
    """``devices = []``: both sides have none, and no key can be about one."""
    without = HEAD.replace("[scenario]", "devices = []\n[scenario]")
    (planned,) = expand(parse_scenario(without))
    assert (planned.case.source.devices, planned.case.destination.devices) == ((), ())
    with pytest.raises(UsageError, match="the guest has no device"):
        parse_scenario(without + '[axes]\ndevice.pre_copy = ["on", "off"]\n')
    with pytest.raises(UsageError, match="the guest has no device"):
        parse_scenario(without + '[source.device]\npre_copy = "off"\n')


def test_what_a_side_has_otherwise() -> None:
    """Tables of a side override those of both, per device and per key; hosts are named."""
    (planned,) = plan("""
[guest]
machine = "pc-q35-10.0"
vcpus = 2
[source]
host = "rack1"
machine = "pc-q35-9.2"
[source.devices.second]
p2p = "off"
properties.x = "1"
[destination.device]
stop_copy_bytes = "2 MiB"
[[devices]]
id = "first"
type = "refdev-16vec"
[[devices]]
id = "second"
properties = { enable-migration = "auto", migration-events = "", y = 2 }
irq_rates = [100, 0, 50]
""")
    source, destination = planned.case.source, planned.case.destination
    assert planned.hosts == ("rack1", "")
    assert (source.guest.machine, destination.guest.machine) == ("pc-q35-9.2", "pc-q35-10.0")
    assert (source.guest.vcpus, destination.guest.vcpus) == (2, 2)
    assert [(device.id, device.type) for device in source.references] == [
        ("first", "refdev-16vec"),
        ("second", "refdev-4vec"),
    ]
    assert [device.knobs.p2p for device in source.references] == [True, False]
    assert [device.knobs.p2p for device in destination.references] == [True, True]
    assert [device.knobs.stop_copy_bytes for device in destination.references] == [2 << 20, 2 << 20]
    assert source.references[0].knobs.stop_copy_bytes == Knobs().stop_copy_bytes
    assert source.devices[1].properties == {"enable-migration": "auto", "y": "2", "x": "1"}
    assert destination.devices[1].properties == {"enable-migration": "auto", "y": "2"}
    assert source.references[1].knobs.irq_rates == (100, 0, 50)


def test_a_pci_function() -> None:
    """It replaces the reference device, with properties of its own: QEMU is to find out whether it can migrate."""
    case = only("""
[device]
pci = "3B:00.0"
vf = 2
vfio_driver = "mlx5_vfio_pci"
[destination.device]
pci = "0000:af:00.0"
vfs = 4
whole_group = "on"
properties.enable-migration = "on"
""")
    (here,), (there,) = case.source.functions, case.destination.functions
    assert here == FunctionRequest("0000:3b:00.0", 2, 0, "mlx5_vfio_pci")
    assert there == FunctionRequest("0000:af:00.0", 2, 4, "mlx5_vfio_pci", whole_group=True)
    assert dict(case.source.devices[0].properties) == {"migration-events": "on"}
    assert dict(case.destination.devices[0].properties) == {"migration-events": "on", "enable-migration": "on"}
    assert case.source.references == ()


def test_settings_bounds_probes_faults() -> None:
    """Settings, bounds, probes and faults come to the case, in the types that it has."""
    case = only("""
[migration]
switchover_ack = "on"
switchover_bandwidth = "1 GiB"
parameters = { multifd-channels = 4, x = "on", y = "none" }
destination_capabilities.switchover-ack = "off"
[bounds]
hang_s = 3
boot_timeout_s = 7.5
[probes]
heartbeat_us = 5000
[[faults]]
action = "slow link"
phase = "active"
rate_bit = 1000
[[faults]]
action = "cancel"
phase = "device pre-copy"
""")
    assert case.settings == MigrationSettings(
        switchover_ack=True,
        switchover_bandwidth=1 << 30,
        hang_s=3,
        parameters={"multifd-channels": 4, "x": True, "y": "none"},
        destination_capabilities={"switchover-ack": False},
    )
    assert case.source.guest.boot_timeout_s == case.destination.guest.boot_timeout_s == 7.5
    assert case.settings.given_bounds == ("hang_s",)
    assert case.source.guest.given_bounds == case.destination.guest.given_bounds == ("boot_timeout_s",)
    assert case.heartbeat_us == 5000
    assert case.faults == (Fault(Action.SLOW_LINK, Phase.ACTIVE, 1000), Fault(Action.CANCEL, Phase.DEVICE_PRE_COPY))


def test_bounds_that_are_set_are_known() -> None:
    """Those that are set to the default too, in a table or by an axis: they are not stretched on a slow lab."""
    assert (only("").settings.given_bounds, only("").source.guest.given_bounds) == ((), ())
    case = only("[bounds]\ntimeout_s = 180\nboot_timeout_s = 180\n[axes]\n'bounds.hang_s' = [30]\n")
    assert case.settings.given_bounds == ("timeout_s", "hang_s")
    assert case.source.guest.boot_deadline(2) == 180


def test_allow_pre_copy_is_a_property() -> None:
    """``allow_pre_copy`` is the property of patched QEMUs, on the side that it is set for; left to the machine type it
    is not set, but still needed.
    """
    case = only('[source.device]\nallow_pre_copy = "off"\n[destination.device]\nallow_pre_copy = "by-machine"\n')
    source, destination = case.source.devices[0], case.destination.devices[0]
    assert source.given_properties()["x-allow-pre-copy"] == "off"
    assert "x-allow-pre-copy" not in destination.given_properties()
    assert "x-allow-pre-copy" in destination.named_properties()
    assert "x-allow-pre-copy" not in only("").source.devices[0].named_properties()


def test_every_field_is_a_key() -> None:
    """Every knob, setting and guest value can be set; none is accepted twice or without effect."""
    assert {field.name for field in fields(Knobs)} <= set(Device.model_fields)
    assert {field.name for field in fields(MigrationSettings)} - {"given_bounds"} == (
        set(Migration.model_fields) | set(Bounds.model_fields) - {"boot_timeout_s"}
    )
    assert set(Migration.model_fields) & set(Bounds.model_fields) == set()
    left = {field.name for field in fields(GuestSpec)} - set(Guest.model_fields)
    assert left == {"name", "boot_timeout_s", "given_bounds"}


NEEDED: dict[str, dict[str, tuple[object, object]]] = {
    **{name: {"reinit_count": (3, 3)} for name in ("reinit_bytes", "reinit_after_bytes", "reinit_at")},
    **{
        name: {"dirty_tracking": ("on", True)}
        for name in ("log_report", "log_page_bytes", "log_max_ranges", "log_max_pages")
    },
}
"""Knobs without which others have no effect: by name, their words in a file and their values."""


@pytest.mark.parametrize("side", ["", "source.", "destination."])
@pytest.mark.parametrize("knob", [field.name for field in fields(Knobs)])
def test_every_knob_has_its_effect(knob: str, side: str) -> None:
    """Each knob changes exactly itself, on the sides that it is set for."""
    default = getattr(Knobs(), knob)
    source: dict[str, object] = {}
    others = ""
    if knob in ("other_version", "version_errno"):  # they are about a stream of another version
        source, others = {"stream_version": 1}, "source.device.stream_version = 1, "
    both = NEEDED.get(knob, {})
    others += "".join(f"device.{name} = {json.dumps(word)}, " for name, (word, _) in both.items())
    text: str
    expected: object
    match default:
        case bool():
            text, expected = ('"off"', False) if default else ('"on"', True)
        case int() if knob == "stream_version":
            text, expected = "1", 1
        case int():
            text, expected = ("77", 77) if not knob.endswith("_bytes") else ("8192", 8192)
        case tuple():
            text, expected = "[7]", (7,)
        case _:
            words = {"fail_at": "load", "fail_times": "always", "fail_device": "error", "corrupt": "state"}
            words |= {"other_version": "read", "reinit_at": "PRE_COPY_P2P", "p2p_active": "all", "log_report": "fail"}
            text, expected = f'"{words[knob]}"', words[knob]
    if (acts := find_side(knob, expected)) and side not in ("", f"{acts}."):
        table = "".join(f"[device]\n{name} = {json.dumps(word)}\n" for name, (word, _) in both.items())
        (told,) = fail(f"{table}[{side}device]\n{knob} = {text}\n")
        assert f": {side}device.{knob}: " in told
        assert f"it acts on the {acts}'s device only" in told
        return
    variant = f'[axes]\n[[axes.it]]\nname = "x"\nset = {{ {others}{side}device.{knob} = {text} }}\n'
    case = only(variant)
    for name, spec in (("source.", case.source), ("destination.", case.destination)):
        changed = {
            key: value for key, value in asdict(spec.references[0].knobs).items() if value != getattr(Knobs(), key)
        }
        given: dict[str, object] = {knob: expected} if side in ("", name) else {}
        given |= {name: value for name, (_, value) in both.items()}
        assert changed == given | (source if name == "source." else {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[load]\nkind = 1", ["4: load: unknown key; Allowed: version, scenario, guest, source, "]),
        ('[source]\nstart = "warm"', ["5: source.start: unknown key; "]),
        ('[guest]\nstart = "hot"', ["5: guest.start: "]),
        ('[guest]\nmachin = "q35"', ["5: guest.machin: unknown key; did you mean 'machine'? Allowed: qemu, machine"]),
        ('[guest]\nvcpus = "2"', ["5: guest.vcpus: must be a whole number (it is '2')"]),
        ("[guest]\nmachine = 8.0", ["5: guest.machine: must be a valid string (it is 8.0)"]),
        ("[device]\npre_copy = true", ['5: device.pre_copy: write "on", in quotes (it is True)']),
        ("[device]\npre_copy = false", ['5: device.pre_copy: write "off", in quotes (it is False)']),
        ('[device]\npre_copy = "no"', ['5: device.pre_copy: must be "on" or "off" (it is \'no\')']),
        ('[device]\ninitial_bytes = "1 MB"', ["5: device.initial_bytes: must be a number of bytes or a size such as"]),
        ('[guest]\nssh_key = "id"', ["5: guest.ssh_key: must be an absolute path of the controller"]),
        ('[guest]\nssh_key = "/no/such"', ["5: guest.ssh_key: /no/such: No such file or directory"]),
        ('[guest]\nssh_key = "/dev/null"', ["5: guest.ssh_key: /dev/null holds no private SSH key"]),
        ('[guest]\nssh_host_key = "x"', ["5: guest.ssh_host_key: must be a public key"]),
        ('[guest]\nkernel = "kernel-6.12-tr"', ["5: guest.kernel: is neither a path nor the name of a kernel"]),
        ('[guest]\nkernel = "qemu-11.1"', ["5: guest.kernel: is neither a path nor the name of a kernel"]),
        ('[guest]\ndisk_format = "vmdk"', ["5: guest.disk_format: "]),
        ('[source]\nssh_user = "me"', ["5: source.ssh_user: unknown key"]),
        ("[device]\nproperties.a = true", ['5: device.properties.a: write "on", in quotes (it is True)']),
        ("[migration]\nparameters.a = 1.5", ["5: migration.parameters.a: must be a string or a whole number"]),
        (
            '[migration.capabilities]\nswitchover-ack = "on"\nevents = "off"',
            [
                "5: migration.capabilities.switchover-ack: write migration.switchover_ack",
                "6: migration.capabilities.events: is always on: the harness needs it",
            ],
        ),
        ("[bounds]\nhang_s = -1", ["5: bounds.hang_s: must be more than 0 to 604800 seconds (it is -1)"]),
        (
            '[[faults]]\naction = "cancle"\nphase = "setup"',
            ["5: faults[0].action: must be 'cancel', 'kill source',"],
        ),
        ('[[faults]]\naction = "cancel"', ["4: faults[0].phase: is missing, and no axis sets it"]),
        ('[device]\n[[devices]]\nid = "a"', ["4: device: a scenario has either [device] or [[devices]]"]),
        ('[[devices]]\nid = "a"\n[[devices]]\nid = "a"', ["7: devices[1].id: there is another device 'a'"]),
        ('[[devices]]\np2p = "on"', ["4: devices[0].id: is missing"]),
        ('[[devices]]\nid = "a b"', ["5: devices[0].id: must begin with a letter, then"]),
        (
            '[[devices]]\nid = "first"\n[source.devices.firts]\np2p = "on"',
            ["7: source.devices.firts.p2p: there is no device 'firts'; did you mean 'first'? Allowed: first"],
        ),
        (
            '[device]\nfail_at = "STOPCOPY"',
            ['5: device.fail_at: must be "none", "load", "read:BYTE", "write:BYTE", or a'],
        ),
        ('[device]\nfail_at = "read:"', ["5: device.fail_at: must be"]),
        ('[axes]\nsource.device.fail_at = ["none", "ERROR"]', ["5: axes.source.device.fail_at[1]: must be"]),
        ('[expect]\nverdict = "failed"', ["4: expect: needs because, the reason why this is expected"]),
        ('[expect]\ndowntime_ms = "300"', ["5: expect.downtime_ms: must be ≤, <, ≥ or > (or <=, >=) with more than 0"]),
        ("[expect]\ndowntime_ms = 300", ['5: expect.downtime_ms: write "≤ 300", in quotes']),
        ('[expect]\noutside_downtime_ms = "≤ 3600001"', ["5: expect.outside_downtime_ms: must be ≤, <, ≥ or >"]),
        (
            '[expect]\ndowntime_ms = "≤ 300"\npre_copy = "on"\nbecause = "x"',
            ["4: expect: because, pre_copy without verdict and oracle: a bound overrides nothing"],
        ),
        (
            '[expect]\nverdict = "failed"\ndowntime_ms = "≤ 300"\nbecause = "x"',
            ["4: expect: downtime_ms and outside_downtime_ms are told of migrations that complete"],
        ),
        (
            '[expect]\noracle = "other-machine"\ndowntime_ms = "≤ 300"\nbecause = "x"',
            ["4: expect: downtime_ms and outside_downtime_ms are told of migrations that complete"],
        ),
        ('[expect]\nverdict = "fails"\nbecause = "x"', ["5: expect.verdict: must be 'completed', 'checks-failed',"]),
        ('[expect]\nbecause = "x"', ["4: expect: needs either verdict or oracle"]),
        (
            '[expect]\noracle = "other-machine"\nside = "source"\nbecause = "x"',
            ["4: expect: side, reason, pre_copy and checks are those of the"],
        ),
        (
            '[expect]\nverdict = "checks-failed"\nbecause = "x"',
            ["4: expect: needs checks, the ids of those that may fail"],
        ),
        (
            '[expect]\nverdict = "failed"\nchecks = ["device.seed"]\nbecause = "x"',
            ["4: expect: checks are those that may fail where checks-failed is expected"],
        ),
        (
            '[expect]\nverdict = "checks-failed"\nchecks = ["device.sed"]\nbecause = "x"',
            ["6: expect.checks[0]: is no check that may fail; did you mean 'device.seed'?"],
        ),
        (
            '[expect]\nverdict = "checks-failed"\nchecks = ["device.fault"]\nbecause = "x"',
            ["6: expect.checks[0]: is no check that may fail"],
        ),
        (
            '[expect]\nverdict = "checks-failed"\nchecks = ["guest.canary, device 1"]\nbecause = "x"',
            ["6: expect.checks[0]: names a subject, and there is only one guest.canary"],
        ),
        (
            '[expect]\nverdict = "failed"\npre_copy = "on"\nbecause = "x"',
            ["4: expect: pre_copy is told of migrations that complete"],
        ),
        (
            '[expect]\nverdict = "completed"\npre_copy = "yes"\nbecause = "x"',
            ["6: expect.pre_copy: must be 'on', 'off' or ''"],
        ),
        (
            '[device]\nproperties.x-allow-pre-copy = "off"',
            ["5: device.properties.x-allow-pre-copy: write allow_pre_copy"],
        ),
        ('[device]\npci = "1:0.0"', ["5: device.pci: must be a PCI address as lspci -D prints it"]),
        (
            '[device]\npci = "0000:01:00.0"\nvfio_driver = "e1000e"\nvf = -1',
            ["6: device.vfio_driver: must be a driver of VFIO", "7: device.vf: must be 0 to 65534 (it is -1)"],
        ),
        ('[device]\nallow_pre_copy = "auto"', ["5: device.allow_pre_copy: must be 'on', 'off' or 'by-machine'"]),
        (
            '[expect]\noracle = "ack-at-source"\nbecause = "x"',
            ["5: expect.oracle: there is no rule 'ack-at-source'; did you mean 'ack-at-source-only'?"],
        ),
        (
            '[expect]\nverdict = "failed"\nbecause = ""',
            ["6: expect.because: must have at least 1 character (it is '')"],
        ),
        (
            '[expect]\nverdict = "failed"\nreason = "("\nbecause = "x"',
            ["6: expect.reason: is no regular expression: missing ), unterminated subpattern"],
        ),
    ],
)
def test_mistakes_in_tables(text: str, expected: list[str]) -> None:
    """Each mistake is told with its line, its key, and what is allowed."""
    told = fail(text + "\n")
    assert len(told) == len(expected)
    for line, start in zip(told, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("device.pre_copy = [true]", '5: axes.device.pre_copy[0]: write "on", in quotes (it is True)'),
        ("device.pre_copy = []", "5: axes.device.pre_copy: must be a list with at least one value (it is [])"),
        ('device.pre_copy = "on"', "5: axes.device.pre_copy: must be a list with at least one value (it is 'on')"),
        ('vcpus = [1, "2"]', "5: axes.vcpus[1]: must be a whole number (it is '2')"),
        ('machine = ["a", "b", "a"]', "5: axes.machine[2]: is the same as [0]"),
        ('device.pre_coppy = ["on"]', "5: axes.device.pre_coppy: unknown key in device; did you mean 'pre_copy'?"),
        ('machin = ["a"]', "5: axes.machin: unknown key; did you mean 'machine'? Allowed: qemu, machine"),
        ('destination.start = ["warm"]', "5: axes.destination.start: unknown key in destination; "),
        ('source.hots = ["a"]', "5: axes.source.hots: unknown key in source; did you mean 'host'?"),
        ('device = ["a"]', "5: axes.device: unknown key in device; Allowed: "),
        ('device.properties = ["a"]', "5: axes.device.properties: one value has the form device.properties.NAME"),
        ('machine.x = ["a"]', "5: axes.machine.x: one value has the form guest.machine"),
        ('devices.x.p2p = ["on"]', "5: axes.devices.x.p2p: there is no device 'x'; Allowed: dut"),
        (
            'migration.capabilities.return-path = ["on"]',
            "5: axes.migration.capabilities.return-path: write migration.return_path",
        ),
        ('x = [1, { name = "a" }]', "5: axes.x: must have either values or variants, not both"),
        ('x = [{ nam = "a", set = {} }]', "5: axes.x[0].name: is missing"),
        ('x = [{ name = "a", set = { machin = "q35" } }]', "5: axes.x[0].set.machin: machin: unknown key;"),
        ('x = [{ name = "a", set = { vcpus = "1" } }]', "5: axes.x[0].set.vcpus: vcpus: must be a whole number"),
        (
            'x = [{ name = "a", set = { machine = "b", source.machine = "c" } }]',
            "5: axes.x[0].set.source.machine: source.machine: is set twice",
        ),
        ('fault.action = ["cancel"]', "5: faults[0].phase: is missing, and no axis sets it"),
    ],
)
def test_mistakes_in_axes(text: str, expected: str) -> None:
    """An axis that names no key, or a value that the key does not take, is told with its line."""
    assert fail(f"[axes]\n{text}\n")[0].startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[axes]\nmachine = ["a", "b"]\nguest.machine = ["c"]',
            "6: axes.guest.machine: sets what axes.machine (scenario.toml:5) sets too",
        ),
        (
            '[axes]\nmachine = ["a", "b"]\nsource.machine = ["c"]',
            "6: axes.source.machine: sets what axes.machine (scenario.toml:5) sets too",
        ),
        (
            '[axes]\n"device.properties.x-allow-pre-copy" = ["off"]',
            "5: axes.device.properties.x-allow-pre-copy: write allow_pre_copy",
        ),
        (
            '[guest]\nmachine = "a"\n[axes]\nmachine = ["a", "b"]',
            "5: guest.machine: has no effect: axes.machine (scenario.toml:7) sets it too; leave one of them out",
        ),
        (
            '[source]\nmachine = "a"\n[axes]\nmachine = ["a", "b"]',
            "5: source.machine: has no effect: axes.machine (scenario.toml:7) sets it too; leave one of them out",
        ),
        (
            '[[faults]]\naction = "cancel"\nphase = "setup"\n[axes]\nfault.phase = ["active"]',
            "6: faults[0].phase: has no effect: axes.fault.phase (scenario.toml:8) sets it too; leave one of them out",
        ),
        (
            '[[faults]]\naction = "cancel"\nphase = "setup"\n[[faults]]\naction = "cut link"\nphase = "setup"\n'
            "[axes]\nfault.rate_bit = [1000]",
            "11: axes.fault.rate_bit: there are 2 [[faults]]; an axis varies the only one",
        ),
    ],
)
def test_contradictions(text: str, expected: str) -> None:
    """Two axes, or an axis and a table, that set the same thing are a mistake: one would have no effect."""
    assert fail(text + "\n") == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[[faults]]\naction = "cancel"\nphase = "setup"\nrate_bit = 1000',
            ['7: faults[0].rate_bit: has no effect with the action "cancel"'],
        ),
        ('[[faults]]\naction = "slow link"\nphase = "setup"\nrate_bit = 1000', []),
        (
            '[migration]\nsettle = "off"\nsettle_vfio_bytes = 1\n[bounds]\nsettle_timeout_s = 1',
            [
                '6: migration.settle_vfio_bytes: has no effect with migration.settle = "off"',
                '8: bounds.settle_timeout_s: has no effect with migration.settle = "off"',
            ],
        ),
        ("[bounds]\nsettle_timeout_s = 1", []),
        ('[probes]\nirq_load = "fair"', ["5: probes.irq_load: has no effect without irq_seconds"]),
        ('[probes]\nirq_placement = "default"', ["5: probes.irq_placement: has no effect without irq_seconds"]),
        ('[probes]\nirq_forbid_cpus = "2-3"', ["5: probes.irq_forbid_cpus: has no effect without irq_seconds"]),
        ("[probes]\nirq_seconds = 1.0", ["5: probes.irq_seconds: needs device.irq_rates: no interrupt would fire"]),
        ('[probes]\nirq_load = "fair"\nirq_seconds = 1.0\n[axes]\ndevice.irq_rates = [[1], [2]]', []),
        (
            '[guest]\ndisk_format = "raw"\ndisk_readonly = "on"',
            ["5: guest.disk_format: has no effect without disk", "6: guest.disk_readonly: has no effect without disk"],
        ),
        (
            '[guest]\ndisk = "/d"\nappend = "quiet"',
            ["6: guest.append: has no effect with disk and no kernel: QEMU boots from the disk"],
        ),
        ('[guest]\ndisk = "/d"\ndisk_format = "qcow2"\nkernel = "/k"\nappend = "quiet"', []),
        ('[guest]\ndisk_readonly = "on"\n[axes]\ndisk = ["/a", "/b"]', []),
        ('[bounds]\nsettle_timeout_s = 1\n[axes]\nmigration.settle = ["on", "off"]', []),
        (
            '[device]\nvf = 0\n[source.device]\nwhole_group = "on"',
            [
                "5: device.vf: has no effect without pci, the address of a PCI function",
                "7: source.device.whole_group: has no effect without pci, the address of a PCI function",
            ],
        ),
        (
            '[device]\npci = "0000:01:00.0"\ntype = "refdev-4vec"\n[axes]\ndevice.pre_copy = ["on", "off"]',
            [
                "6: device.type: has no effect on a PCI function: only reference devices have it",
                "8: axes.device.pre_copy: has no effect on a PCI function: only reference devices have it",
            ],
        ),
        ('[source.device]\npci = "01:00.0"\nvf = 1\n[device]\npre_copy = "off"', []),
        ('[device]\nvf = 0\n[axes]\ndevice.pci = ["01:00.0", "02:00.0"]', []),
        (
            '[device]\np2p = "on"\n[axes]\n[[axes.kind]]\nname = "a"\nset = { device.pci = "01:00.0" }\n'
            '[[axes.kind]]\nname = "b"\nset = { device.pre_copy = "on" }',
            [],
        ),
    ],
)
def test_values_without_effect(text: str, expected: list[str]) -> None:
    """What another value switches off is a mistake, unless an axis switches that on."""
    if expected:
        assert fail(text + "\n") == expected
    else:
        plan(text + "\n")


def test_a_key_needs_the_host_key(tmp_path: Path) -> None:
    """Whoever is logged in to with a key of the user is known by its host key."""
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    text = f'[guest]\nssh_key = "{tmp_path}/id"\n'
    assert fail(text) == ["5: guest.ssh_key: needs ssh_host_key, the only host key that is accepted of the guest"]
    plan(text + f'ssh_host_key = "ssh-ed25519 {"A" * 68}"\n')


def test_a_general_table_and_a_more_special_axis() -> None:
    """What holds for both sides may be varied for one."""
    cases = [entry.case for entry in plan('[guest]\nmachine = "a"\n[axes]\nsource.machine = ["b", "c"]\n')]
    assert [(case.source.guest.machine, case.destination.guest.machine) for case in cases] == [("b", "a"), ("c", "a")]


def test_yaml_habits() -> None:
    """Words and addresses without quotes are no TOML: the line is named, and the quotes."""
    for text, fix in (
        ("[device]\npre_copy = off", '"off"'),
        ("[axes]\ndevice.pre_copy = [on, off]", '"on"'),
        ("[source]\nhost = 01:00.0", '"01:00.0"'),
    ):
        with pytest.raises(UsageError) as error:
            plan(text + "\n")
        assert error.value.what == "scenario.toml:5: this is no TOML."
        assert error.value.fix == f"quote the value: {fix}"


def test_all_mistakes_at_once() -> None:
    """Mistakes of tables, axes and rules are told together, in the order of their lines."""
    told = fail("""
[[rules]]
when = { machin = "a" }
expect = { verdict = "failed" }
[axes]
machine = ["a", 1]
[guest]
vcpu = 1
""")
    assert [line.partition(":")[0] for line in told] == ["6", "7", "9", "11"]


def test_versions() -> None:
    """A file without a version, or of another one, is not read."""
    with pytest.raises(UsageError, match=r"scenario.toml: version: is missing"):
        parse_scenario('[scenario]\ntitle = "x"\n')
    with pytest.raises(UsageError, match=r"scenario.toml:1: version: must be 1 \(it is 2\)"):
        parse_scenario('version = 2\n[scenario]\ntitle = "x"\n')


LINES = ("", "# a comment", "[guest]", "vcpus = 1", "[device]", "p2p = 'on'", "[migration]", "settle = 'off'")
TABLES = {"guest": Guest, "device": Device, "migration": Migration, "bounds": Bounds}


@given(st.sampled_from(sorted(TABLES)), st.data(), st.integers(0, 5))
def test_unknown_keys(table: str, data: st.DataObject, blank: int) -> None:
    """Any key with one character too many is told with its line, and with the key that it was meant to be."""
    key = data.draw(st.sampled_from(sorted(TABLES[table].model_fields)))
    at = data.draw(st.integers(0, len(key)))
    wrong = key[:at] + "z" + key[at:]
    told = fail("\n" * blank + f"[{table}]\n{wrong} = 1\n")
    assert len(told) == 1
    assert re.match(rf"{5 + blank}: {table}\.{wrong}: unknown key; did you mean '\w+'\? Allowed: ", told[0])
    assert key in told[0]


@given(st.permutations(["guest", "device", "migration", "bounds"]), st.data())
def test_every_mistake_names_its_line(tables: list[str], data: st.DataObject) -> None:
    """However many mistakes there are, and wherever, the lines told are those of the mistakes."""
    lines = HEAD.splitlines()
    wrong = []
    for table in tables:
        lines += ["#"] * data.draw(st.integers(0, 2)) + [f"[{table}]"]
        for key in data.draw(st.lists(st.sampled_from(["zzz", "yyy", "xxx"]), unique=True)):
            lines.append(f"{key} = 1")
            wrong.append(len(lines))
    text = "\n".join(lines)
    if not wrong:
        parse_scenario(text)
        return
    with pytest.raises(UsageError) as error:
        parse_scenario(text)
    told = [int(line.split(":")[1]) for line in error.value.what.splitlines()]
    assert told == wrong


@given(st.text("abc[]{}=\"'\n.,# 1on", max_size=60))
def test_any_text_is_read_or_told(text: str) -> None:
    """No text of a scenario brings up another error than ours."""
    try:
        plan(text)
    except UsageError:
        return


def test_rules_and_exclusions_name_axes() -> None:
    """``when`` names axes and values that exist."""
    axes = '[axes]\nmachine = ["a", "b"]\n'
    because = 'because = "x"\n'
    assert fail(axes + '[[exclude]]\nwhen = { machin = "a" }\n' + because) == [
        "7: exclude[0].when.machin: is no axis; did you mean 'machine'? Allowed: machine"
    ]
    assert fail(axes + '[[exclude]]\nwhen = { machine = ["a", "c"] }\n' + because) == [
        "7: exclude[0].when.machine: the axis has no value 'c'; Allowed: a, b"
    ]
    assert fail(axes + "[[exclude]]\nwhen = {}\n" + because) == [
        "7: exclude[0].when: fits every case; name an axis and its values"
    ]


def test_places(tmp_path: Path) -> None:
    """A file, a directory, or a name in the catalogue; anything else is told, with the names there are."""
    (tmp_path / "b.toml").write_text(HEAD)
    (tmp_path / "a.toml").write_text(HEAD)
    assert [path.name for path in list_scenarios(tmp_path)] == ["a.toml", "b.toml"]
    assert list_scenarios(tmp_path / "b.toml") == [tmp_path / "b.toml"]
    assert list_scenarios(Path("precopy")) == [catalogue_directory() / "precopy.toml"]
    with pytest.raises(UsageError, match="did you mean 'precopy'"):
        list_scenarios(Path("precpy"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no scenario"):
        list_scenarios(tmp_path / "empty")
    (tmp_path / "bad.toml").write_text("version = 1\n")
    with pytest.raises(UsageError, match=r"bad.toml: scenario: is missing"):
        load_scenario(tmp_path / "bad.toml")


def test_keys_of_tables_are_keys_of_axes() -> None:
    """What a table can set, an axis can."""
    for prefix, table in (("guest.", Guest), ("device.", Device), ("migration.", Migration), ("bounds.", Bounds)):
        for name in table.model_fields:
            if is_mapping(table, name):
                with pytest.raises(KeyProblem, match="one value has the form"):
                    require_key(prefix + name, ["dut"])
                assert require_key(f"{prefix}{name}.x", ["dut"]).words == (name, "x")
            else:
                assert require_key(prefix + name, ["dut"]).words == (name,)


def test_values_set_are_listed() -> None:
    """Only what a file sets is listed, one value each."""
    device = Device.model_validate({"p2p": "off", "properties": {"a": "b"}})
    assert list(list_set("device.", device)) == [("device.properties.a", "b"), ("device.p2p", False)]
    assert list(list_set("device.", None)) == []


def test_what_no_toml_stands_for() -> None:
    """A field whose type has no TOML is noticed when the harness is made, not when a scenario is read."""
    with pytest.raises(TypeError, match="nothing in TOML"):
        toml_type("x", dict[str, list[int]])
    with pytest.raises(TypeError, match="both have pre_copy"):
        make_table("T", Knobs, ["pre_copy"], pre_copy=(int, 1))


def test_meanings() -> None:
    """The string below a field is its meaning."""
    assert find_meanings(Fault)["rate_bit"] == "of a slowed link, bits per second"
    assert find_meanings(ScenarioFile)["version"] == "the version of this schema, which is 1"
    assert find_meanings(int) == {}


def test_what_is_compared() -> None:
    """An axis of the file and one of its values, as ids have it."""
    scenario = parse_scenario(
        HEAD + '[axes]\nmemory_mib = [128, 192]\n[compare]\naxis = "memory_mib"\nbaseline = 192\n'
    )
    assert scenario.compare == PlannedComparison("memory_mib", "192")
    assert parse_scenario(HEAD).compare is None


@pytest.mark.parametrize(
    ("axes", "compare", "expected"),
    [
        (
            "memory_mib = [128, 256]",
            'axis = "memory"\nbaseline = 128',
            "7: compare.axis: there is no axis 'memory'; did you mean 'memory_mib'?",
        ),
        ("memory_mib = [128, 256]", 'axis = "memory_mib"\nbaseline = 3', "8: compare.baseline: the axis has no value"),
        ("memory_mib = [128]", 'axis = "memory_mib"\nbaseline = 128', "7: compare.axis: has one value: there is"),
        ("memory_mib = [128, 256]", 'axis = "memory_mib"', "6: compare.baseline: is missing"),
    ],
)
def test_what_cannot_be_compared(axes: str, compare: str, expected: str) -> None:
    """It is told with its line, and what there is."""
    assert fail(f"[axes]\n{axes}\n[compare]\n{compare}\n")[0].startswith(expected)
