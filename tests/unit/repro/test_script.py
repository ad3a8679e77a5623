# SPDX-License-Identifier: GPL-2.0-or-later
"""``repro.sh`` is a sound shell script, says what it is about, and starts what the record says."""

import os
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchover.devices.reference import Knobs
from switchover.guests.arguments import build_arguments
from switchover.guests.spec import GuestFiles, GuestSpec, Kernel, Launch
from switchover.migration.drivers import DRIVERS
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings, TransportName
from switchover.record.checks import CheckId
from switchover.record.errors import UsageError
from switchover.record.measurement import Check
from switchover.record.record import Record, Verdict, VerdictName
from switchover.repro import script as render_module
from switchover.repro.script import render_script
from switchover.repro.shell import quote, render_here_document, render_variable
from switchover.runner.standard import PRE_COPY_ON
from switchover.scenarios.case import (
    Case,
    DeviceSpec,
    FunctionSpec,
    Hop,
    SideSpec,
    make_case,
    make_mediated,
    with_driver,
)
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.faults import Fault
from switchover.scenarios.recorded import render_settings

QEMU_VERSION = {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": "Debian 1:10.0.2"}
ODD = SideSpec(
    GuestSpec(
        name="it's $HOME",
        append='a="b c" `id` ${PATH}}',
        qemu="/opt/a b/qemu",
        bridge="br0",
        memory_mib=512,
        nic={"tx": "it's $HOME"},
        nic_queues=2,
        firmware="/a b/$c.bin",
        qemu_objects=("rng-random,id=r,filename=/a b/$c",),
        qemu_devices=("virtio-rng-pci,rng=r",),
    ),
    (
        DeviceSpec("du't", knobs=Knobs(irq_rates=(100, 0, 50), dma_pages_per_sec=5), properties={"x-a": "1,2 $y"}),
        DeviceSpec("second"),
    ),
)
FUNCTIONS = SideSpec(
    GuestSpec(),
    (
        FunctionSpec(pci="0000:3b:00.0", vf=3, vfio_driver="mlx5_vfio_pci"),
        FunctionSpec("second", pci="0000:01:00.0"),
        DeviceSpec("third"),
    ),
)

MEDIATED = SideSpec(devices=(make_mediated("mtty-2"), make_mediated("nobody-1", "second")))
HARDWARE = SideSpec(
    GuestSpec(
        firmware="ovmf",
        iommu="intel-iommu,caching-mode=on",
        nic_queues=2,
        vcpus=2,
        topology={"cores": 2},
        nic={"csum": "off"},
    )
)
FIRST, _, THIRD = FUNCTIONS.devices
MANAGED = replace(FUNCTIONS, devices=(FIRST, FunctionSpec("second", pci="0000:01:00.0", managed=True), THIRD))


def record_of(case: Case, verdict: Verdict | VerdictName = VerdictName.COMPLETED, **others: Any) -> Record:
    return Record(
        case=case.id,
        repeat=2,
        started="2026-11-21T10:00:00+00:00",
        verdict=verdict if isinstance(verdict, Verdict) else Verdict(verdict),
        settings=render_settings(case),
        fingerprint={"switchover": "0.1.0", "source": {"kernel": "6.12.1"}, "qemu": {"source": QEMU_VERSION}},
        expectation=asdict(case.expectation),
        **others,
    )


def with_faults(*actions: Action) -> Case:
    return replace(PRE_COPY_ON, faults=tuple(Fault(action, Phase.DEVICE_PRE_COPY) for action in actions))


def by_libvirt(case: Case) -> Case:
    return with_driver(case, "libvirt")


def head_of(script: str) -> dict[str, str]:
    """Variables at the start of lines, without their quotes."""
    found = re.findall(r"^([A-Z_0-9]+)=(\S*|'[^']*')(?:  #.*)?$", script, re.MULTILINE)
    return {name: value.strip("'") for name, value in found}


SCRIPTS = {
    "plain": record_of(PRE_COPY_ON),
    "odd": record_of(Case("x; rm -rf /\n$(id)", ODD, replace(ODD, devices=()))),
    "disk": record_of(make_case("disk", SideSpec(GuestSpec(disk="/it's $HOME", disk_format="qcow2")))),
    "functions": record_of(make_case("functions", FUNCTIONS)),
    "mediated": record_of(make_case("mediated", MEDIATED)),
    "every fault": record_of(with_faults(*Action)),
    "unix": record_of(replace(with_faults(*Action), settings=MigrationSettings(transport="unix"))),
    "file": record_of(replace(PRE_COPY_ON, settings=MigrationSettings(transport="file"))),
    "by time": record_of(replace(PRE_COPY_ON, faults=(Fault(Action.CUT_LINK, at_s=1.5, seconds=3),))),
    "libvirt": record_of(by_libvirt(PRE_COPY_ON)),
    "libvirt, odd": record_of(by_libvirt(Case("odd", replace(ODD, guest=replace(ODD.guest, name="odd")), ODD))),
    "libvirt, functions": record_of(by_libvirt(make_case("functions", MANAGED))),
    "libvirt, every fault": record_of(by_libvirt(with_faults(*Action))),
    "libvirt, disk": record_of(by_libvirt(make_case("disk", SideSpec(GuestSpec(disk="/it's $HOME"))))),
    "hardware": record_of(make_case("hardware", HARDWARE)),
    "libvirt, hardware": record_of(by_libvirt(make_case("hardware", HARDWARE))),
    "failed": record_of(
        replace(PRE_COPY_ON, settings=MigrationSettings(settle=False, switchover_ack=True)),
        Verdict(VerdictName.FAILED, "destination", 'two\nlines "quoted" $(id) `id`\r\x1b[31m'),
        mismatch="expected completed, was failed",
        checks=(Check(CheckId.GUEST_ON_SOURCE, "guest runs on the source", False, "yes", "no\nno"),),
    ),
}


def test_each_driver_has_a_script() -> None:
    """Whatever started and migrated the guest, its record can be repeated by one."""
    assert list(render_module.SCRIPTS) == list(DRIVERS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_is_sound(name: str, tmp_path: Path) -> None:
    """A shell parses it, shellcheck has nothing to say about it (where it is installed), and all before the first
    command is a comment, whatever the record says.
    """
    path = tmp_path / "repro.sh"
    text = render_script(SCRIPTS[name])
    path.write_text(text, encoding="utf-8")
    subprocess.run(["sh", "-n", path], check=True)
    if shutil.which("shellcheck"):
        checked = subprocess.run(
            ["shellcheck", "--severity=warning", path], capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout) == (0, "")
    comments = text[: text.index("\nset -eu\n")].splitlines()
    assert all(line.startswith("#") or not line for line in comments)
    assert all(line.isprintable() and len(line) <= 120 for line in comments)
    assert "fw_cfg" not in text
    assert "PRIVATE" not in text


def test_a_device_that_is_not_ours() -> None:
    """It is made by its type, wherever such devices are made, and has no knobs; the module that it needs is named."""
    script = render_script(SCRIPTS["mediated"])
    _, _, side = script.partition("start_source() {")
    assert 'make_device "$SOURCE_UUID_1" mtty-2' in side
    assert 'make_device "$SOURCE_UUID_2" nobody-1' in side
    assert "    knob " not in side
    assert "mediated devices of type mtty-2: the kernel module mtty, loaded" in script
    assert "x-device-dirty-page-tracking=off" in side
    assert "refdev, loaded" not in script


def test_what_a_guests_hardware_needs_is_made() -> None:
    """A tap with as many queues as its NIC, and for OVMF a flash of the guest's own, before QEMU or the domain."""
    by_qmp = render_script(SCRIPTS["hardware"])
    start = by_qmp[by_qmp.index("start_source() {") :]
    made = start[: start.index("start_qemu")]
    assert 'cat /usr/share/OVMF/OVMF_VARS_4M.fd >"$here/variables.fd"' in made
    assert re.search(r"connect_guest sw\w+s 2\n", made)
    domain = render_script(SCRIPTS["libvirt, hardware"])
    for side in ("source", "destination"):
        made = domain[domain.index(f"make_{side}() {{") :]
        assert 'cat /usr/share/OVMF/OVMF_VARS_4M.fd >"$here/variables.fd"' in made[: made.index("\n}")]
    assert "<nvram>$here/variables.fd</nvram>" in domain or "<nvram>${here}/variables.fd</nvram>" in domain


def test_the_comments_say_what_it_is_about() -> None:
    """Case, what was observed and expected, in what the sides differ, and what it was made on."""
    there = replace(PRE_COPY_ON.destination, guest=GuestSpec(machine="pc-q35-9.2"))
    case = replace(
        PRE_COPY_ON, destination=there, expectation=Expectation(VerdictName.COMPLETED, because="nothing is in its way")
    )
    verdict = Verdict(VerdictName.FAILED, "source", "no space")
    text = render_script(record_of(case, verdict, mismatch="expected completed, was failed"))
    for line in (
        "# case: device.pre_copy=on, repeat 2, 2026-11-21T10:00:00+00:00",
        "# observed: failed (source): no space",
        "# expected: completed, because nothing is in its way",
        "# not right: expected completed, was failed",
        "# sides differ: guest.machine: source q35, destination pc-q35-9.2",
        "#   source: QEMU 10.0.2 Debian 1:10.0.2, Linux 6.12.1",
        "#   destination: QEMU unknown, Linux unknown",
    ):
        assert line in text.splitlines()


def test_what_is_not_as_in_the_record_is_said() -> None:
    """A guest that was restored, DMA that the guest let its device do, checks and faults that need a login."""
    side = replace(ODD, guest=replace(ODD.guest, start="warm"))
    lines = render_script(record_of(Case("odd", side, side), VerdictName.CHECKS_FAILED)).splitlines()
    for words in ("here it boots", "let its device do DMA", "this script sees the migration complete"):
        assert any(line.startswith("#") and words in line for line in lines)
    lab = {"lab": {"accelerator": {"guest_words": "pci=lastbus=0"}}}
    in_lab = render_script(replace(record_of(PRE_COPY_ON), fingerprint=lab))
    assert "had more words, for the lab's sake: pci=lastbus=0" in in_lab
    panicked = render_script(record_of(with_faults(Action.PANIC_GUEST)))
    assert (
        "#   no shell can panic the guest: one has to log in to it: this case cannot be repeated by a script\n"
        in panicked
    )
    again = Check(CheckId.MIGRATION_AGAIN, "a second migration completes, with all its checks", True, "yes", "yes")
    stayed = render_script(record_of(PRE_COPY_ON, checks=(again,)))
    assert "#   no checks after the migration (1 in the record)\n#   no second migration of the guest" in stayed
    plain = render_script(record_of(PRE_COPY_ON))
    assert "#   no checks after the migration (0 in the record)\n" in plain
    assert not any(words in plain for words in ("here it boots", "DMA, which", "the guest panic", "second migration"))


def test_a_guest_that_boots_from_a_disk() -> None:
    """The script names the disk and no kernel, and does not wait for words that the guest does not say."""
    text = render_script(SCRIPTS["disk"])
    assert "# needed on each host: QEMU, socat\n" in text
    assert "#   the guest's disk at /it's $HOME, which is the same storage on both hosts" in text
    assert "-kernel" not in text
    assert "${KERNEL:-" not in text
    assert "BOOTED=${BOOTED-}" in text
    assert "BOOTED=${BOOTED-'switchover-guest: ready'}" in render_script(SCRIPTS["plain"])


def test_the_same_record_gives_the_same_script() -> None:
    """And another repeat has devices of its own, so that two scripts do not meet."""
    one, other = record_of(PRE_COPY_ON), replace(record_of(PRE_COPY_ON), repeat=3)
    assert render_script(one) == render_script(one)
    uuids = [re.findall(r"_UUID_1-([0-9a-f-]{36})\}", render_script(record)) for record in (one, other)]
    assert len({*uuids[0], *uuids[1]}) == 4


def test_a_record_of_a_case_that_was_not_run_has_no_script() -> None:
    """It is an error that says so."""
    with pytest.raises(UsageError, match="does not say how to repeat"):
        render_script(replace(record_of(PRE_COPY_ON), settings={}))


@pytest.mark.parametrize(
    ("verdict", "side", "expected", "from_source"),
    [
        (VerdictName.FAILED, "destination", "failed", "failed"),
        (VerdictName.CRASHED, "destination", "crashed", "failed"),
        (VerdictName.CRASHED, "source", "crashed", "crashed"),
        (VerdictName.CHECKS_FAILED, "", "completed", "completed"),
        (VerdictName.INFRASTRUCTURE_ERROR, "", "blocked", "blocked"),
    ],
)
def test_the_verdict_to_look_for(verdict: VerdictName, side: str, expected: str, from_source: str) -> None:
    """That of the record, as far as a shell can see it; where the record has none on QEMU, the expected one."""
    case = replace(PRE_COPY_ON, expectation=Expectation(VerdictName.BLOCKED))
    head = head_of(render_script(record_of(case, Verdict(verdict, side))))
    assert (head["RECORDED"], head["RECORDED_SEEN_FROM_SOURCE"]) == (expected, from_source)


@pytest.mark.parametrize(("seconds", "deadline"), [({"migrate": 20.2}, "51"), ({"migrate": 300.0}, "180"), ({}, "180")])
def test_a_hang_is_not_waited_for_longer_than_needed(seconds: dict[str, float], deadline: str) -> None:
    """Twice what the record took and some seconds, and never beyond the case's own bound."""
    assert head_of(render_script(record_of(PRE_COPY_ON, VerdictName.HUNG, seconds=seconds)))["DEADLINE"] == deadline
    assert head_of(render_script(record_of(PRE_COPY_ON, VerdictName.FAILED, seconds=seconds)))["DEADLINE"] == "180"


def test_the_script_takes_as_long_as_the_lab_did() -> None:
    """Bounds by default are those that held in a slow lab; those of the case are as they are."""
    record = replace(record_of(PRE_COPY_ON, VerdictName.FAILED), fingerprint={"lab": {"pace": 2.5}})
    head = head_of(render_script(record))
    assert (head["DEADLINE"], head["SETTLE_SECONDS"]) == ("450", "300")
    given = replace(PRE_COPY_ON, settings=replace(PRE_COPY_ON.settings, timeout_s=40))
    record = replace(record_of(given, VerdictName.FAILED), fingerprint={"lab": {"pace": 2.5}})
    assert head_of(render_script(record))["DEADLINE"] == "40"


def test_limits_that_follow_each_other() -> None:
    """The script has them too, in whole seconds."""
    settings = replace(PRE_COPY_ON.settings, downtime_steps_ms=(300, 1050), downtime_step_s=2.6)
    head = head_of(render_script(record_of(replace(PRE_COPY_ON, settings=settings))))
    assert (head["DOWNTIME_STEPS"], head["STEP_SECONDS"]) == ("300 1050", "3")
    assert head_of(render_script(record_of(PRE_COPY_ON)))["DOWNTIME_STEPS"] == ""


@pytest.mark.parametrize(
    ("action", "command", "needs"),
    [
        (Action.CANCEL, "cancel", {}),
        (Action.PAUSE_GUEST, "pause_guest", {}),
        (Action.KILL_SOURCE, "kill_side source", {}),
        (
            Action.KILL_DESTINATION,
            "kill_side destination",
            {"NEEDS_DESTINATION": "this case kills the QEMU of the destination"},
        ),
        (Action.CUT_LINK, "disturb_link loss 100%", {"NEEDS_LINK": "yes"}),
        (Action.SLOW_LINK, "disturb_link rate 8000000bit", {"NEEDS_LINK": "yes"}),
        (
            Action.PANIC_GUEST,
            'give_up "$IMPOSSIBLE"',
            {"IMPOSSIBLE": "no shell can panic the guest: one has to log in to it"},
        ),
    ],
)
def test_faults(action: Action, command: str, needs: dict[str, str]) -> None:
    """Each fault is a command in its phase, and what it needs is known before anything starts."""
    text = render_script(record_of(with_faults(action)))
    assert f"    'device pre-copy')\n        {command}\n        ;;\n" in text
    names = ("NEEDS_LINK", "NEEDS_DESTINATION", "IMPOSSIBLE")
    assert {name: value for name, value in head_of(text).items() if name in names and value} == needs


def test_faults_by_time() -> None:
    """They come in their second, rounded up; a link that comes back has its time."""
    faults = (
        Fault(Action.CUT_LINK, at_s=1.5, seconds=9.5),
        Fault(Action.PAUSE_GUEST, at_s=2),
        Fault(Action.CANCEL, at_s=13),
        Fault(Action.SLOW_LINK, Phase.ACTIVE, seconds=3),
    )
    record = record_of(replace(PRE_COPY_ON, faults=faults))
    for text in (render_script(record), render_script(record_of(by_libvirt(replace(PRE_COPY_ON, faults=faults))))):
        assert "    active)\n        disturb_link rate 8000000bit\n        restore_in 3\n        ;;\n" in text
        timed = text[text.index("timed_faults() {") :].partition("\n}\n")[0]
        assert (
            "    2)\n        disturb_link loss 100%\n        restore_in 10\n        pause_guest\n        ;;\n" in timed
        )
        assert "    13)\n        cancel\n        ;;\n" in timed
        assert text.count("            do_timed\n") == 1
    assert "#   cut link at 1.5 s, for 9.5 s\n" in text.replace("# on purpose: ", "#   ")


@pytest.mark.parametrize(
    "action",
    [Action.REBOOT_GUEST, Action.SUSPEND_GUEST, Action.RESET_DEVICE, Action.UNPLUG_DEVICE, Action.PLUG_DEVICE],
)
def test_what_a_script_cannot_do(action: Action) -> None:
    """It says so, before anything starts, and why."""
    text = render_script(record_of(with_faults(action)))
    assert "    'device pre-copy')\n        give_up \"$IMPOSSIBLE\"\n        ;;\n" in text
    assert head_of(text)["IMPOSSIBLE"]
    assert "this case cannot be repeated by a script" in " ".join(text.replace("\n#", "").split())


def test_capabilities_by_side() -> None:
    """Only those that are on are named: a QEMU need not know the others."""
    settings = MigrationSettings(
        switchover_ack=True, capabilities={"multifd": True}, destination_capabilities={"switchover-ack": False}
    )
    head = head_of(render_script(record_of(replace(PRE_COPY_ON, settings=settings))))
    listed = {
        name: re.findall(r'"capability": "([\w-]+)"', head[f"{name}_CAPABILITIES"])
        for name in ("SOURCE", "DESTINATION")
    }
    assert listed == {
        "SOURCE": ["events", "return-path", "switchover-ack", "multifd"],
        "DESTINATION": ["events", "return-path", "multifd"],
    }


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.text(st.sampled_from("$`\"'\\ {}h_1*~#!\n;é\0"), max_size=8), st.booleans()), min_size=1))
def test_words_reach_the_program_as_they_are(words: list[tuple[str, bool]]) -> None:
    """Whatever is in a word, a shell hands it on unchanged, with the value of a variable in the middle of it."""
    here = "va'l \"$ue"
    rendered = " ".join(quote(f"{text}{render_variable('here')}{text}" if middle else text) for text, middle in words)
    ran = subprocess.run(
        ["sh", "-c", f"here=$1; set -- {rendered}; for word; do printf '%s\\0' \"$word\"; done", "sh", here],
        capture_output=True,
        check=True,
    )
    texts = [(text.replace("\0", "?"), middle) for text, middle in words]
    wanted = [f"{text}{here}{text}" if middle else text for text, middle in texts]
    assert ran.stdout.decode().split("\0")[:-1] == wanted


@settings(deadline=None, max_examples=50)
@given(st.text(st.sampled_from("$`\"'\\ {}h_END\n;\0"), max_size=20).map("END\n".__add__), st.booleans())
def test_a_here_document_holds_any_text(text: str, follows: bool) -> None:
    """No line of a text ends the here-document that it is in, and nothing of it is run; variables are expanded."""
    document = render_here_document(f"{text}{render_variable('here') if follows else ''}|")
    script = f"here=$1\ncat {document}\n"
    ran = subprocess.run(["sh", "-c", script, "sh", "a $(b)"], capture_output=True, check=True)
    assert ran.stdout.decode() == f"{text}{'a $(b)' if follows else ''}|\n".replace("\0", "?")
    assert ran.stderr == b""


@pytest.mark.parametrize("driver", ["qmp", "libvirt"])
@pytest.mark.parametrize("around", ["\0({})\0", "\0}}\n{}\n\0", "'\n{}\n'", "\nEND\n{}\ncat <<END\n", '"$({})"'])
def test_nothing_of_a_record_is_run(tmp_path: Path, driver: str, around: str) -> None:
    """Whatever an old record has in its texts, no part of the script that is made of it becomes a command: NUL, quotes,
    the end of a here-document.
    """
    canary = tmp_path / "canary"
    hostile = around.format(f"touch {canary}")
    knobs = replace(Knobs(), fail_at=hostile)
    device = DeviceSpec(hostile, hostile, knobs=knobs, properties={hostile: hostile})
    function = FunctionSpec("f", pci=hostile, vfio_driver=hostile)
    guest = replace(
        GuestSpec(),
        name="g",
        qemu=hostile,
        accel=hostile,
        cpu=hostile,
        append=hostile,
        machine=hostile,
        bridge=hostile,
        kernel=Kernel(hostile),
        initramfs=hostile,
        disk=hostile,
        address=hostile,
        mac=hostile,
        nic={hostile: hostile},
        firmware=hostile,
        qemu_objects=(hostile,),
        qemu_devices=(hostile,),
        qemu_arguments=(hostile,),
    )
    side = SideSpec(guest, (device, function))
    named = {hostile: hostile} if driver == "qmp" else {}
    told = MigrationSettings(parameters=named, capabilities=dict.fromkeys(named, True))
    expectation = Expectation(VerdictName.COMPLETED, "source", hostile, hostile)
    case = Case(hostile, side, replace(side, devices=(device,)), told, expectation=expectation)
    record = record_of(
        by_libvirt(case) if driver == "libvirt" else case,
        Verdict(VerdictName.FAILED, hostile, hostile),
        mismatch=hostile,
    )
    script = tmp_path / "repro.sh"
    script.write_text(render_script(record), encoding="utf-8")
    functions = (
        "make_device() { :; }; knob() { :; }; need_function() { passed=x; }; begin_side() { here=h; netdev=n; "
        "mkdir -p h; }; connect_guest() { :; }; start_qemu() { :; }; find_emulator() { :; }; render_address() { :; }; "
    )
    text = script.read_text(encoding="utf-8")
    own = Path(render_module.__file__).with_name("script-common.sh").read_text(encoding="utf-8")
    head = text[: text.index(own)]
    sides = "make_source; make_destination; xml_source; xml_destination" if driver == "libvirt" else ""
    sides = sides or "start_source; start_destination"
    script.write_text(f"{head}\n{functions}\nset +eu\n{sides}\nfaults active\necho ended", encoding="utf-8")
    ran = subprocess.run(["sh", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stdout.endswith("ended\n"), ran.stderr
    assert not canary.exists()
    assert "not found" not in ran.stderr


@pytest.mark.parametrize("bridge", ["", "none"])
@pytest.mark.parametrize("side", ["source", "destination"])
def test_qemu_is_started_as_in_the_record(tmp_path: Path, side: str, bridge: str) -> None:
    """QEMU gets the words that the harness gives it, but for the keys and the network, and its own words are shown.
    A QEMU that does not start is a refusal.
    """
    spec = SideSpec(replace(ODD.guest, bridge=bridge), ())
    case = Case("odd", spec, spec)
    script = tmp_path / "repro.sh"
    script.write_text(render_script(record_of(case, Verdict(VerdictName.REFUSED, side))), encoding="utf-8")
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "qemu", f'printf "%s\\0" "$@" >"{tmp_path}/words"; echo "no such thing" >&2; exit 1')
    write_program(programs / "socat", "exec sleep 30")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "QEMU": str(programs / "qemu"),
        "WORK": str(tmp_path / "work"),
        "KERNEL": "/other/kernel",
    }
    ran = subprocess.run(["sh", script, side], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "no such thing" in ran.stdout
    assert "verdict: refused, as recorded" in ran.stdout
    assert not (tmp_path / "work").exists()
    files = GuestFiles(str(tmp_path / "work" / side), "tap")
    launch = Launch(replace(spec.guest, kernel=Kernel("/other/kernel")))
    wanted = build_arguments(launch, files, incoming=side == "destination")[1:]
    while "-fw_cfg" in wanted:
        at = wanted.index("-fw_cfg")
        del wanted[at : at + 2]
    if bridge:
        at = wanted.index("-netdev")
        wanted[at : at + 2] = ["-netdev", "hubport,id=net,hubid=0", "-netdev", "hubport,id=nowhere,hubid=0"]
    assert (tmp_path / "words").read_text().split("\0")[:-1] == wanted


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    """A directory that exists is somebody else's: it is left alone, and the exit status is that of nothing tried."""
    script = tmp_path / "repro.sh"
    script.write_text(render_script(record_of(Case("x", SideSpec(devices=()), SideSpec(devices=())))), encoding="utf-8")
    (tmp_path / "work" / "source").mkdir(parents=True)
    environment = {"PATH": os.environ["PATH"], "WORK": str(tmp_path / "work")}
    ran = subprocess.run(
        ["sh", script, "all"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 2
    assert "runs already, or was not cleaned up" in ran.stderr
    assert (tmp_path / "work" / "source").is_dir()


def test_a_directory_of_somebody_else(tmp_path: Path) -> None:
    """Under a name that can be foreseen there may be a link, or another user's directory: nothing is put there."""
    script = tmp_path / "repro.sh"
    script.write_text(render_script(record_of(Case("x", SideSpec(devices=()), SideSpec(devices=())))), encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "work").symlink_to(tmp_path / "other")
    environment = {"PATH": os.environ["PATH"], "WORK": str(tmp_path / "work")}
    ran = subprocess.run(
        ["sh", script, "all"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, "is somebody else's" in ran.stderr) == (2, True)
    assert list((tmp_path / "other").iterdir()) == []


def test_usage(tmp_path: Path) -> None:
    """Without a verb the script says which there are."""
    script = tmp_path / "repro.sh"
    script.write_text(render_script(record_of(PRE_COPY_ON)), encoding="utf-8")
    ran = subprocess.run(["sh", script], capture_output=True, text=True, check=False)
    assert (ran.returncode, "all | source | destination | migrate | clean" in ran.stderr) == (2, True)


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("transport", ["tcp", "unix", "file"])
def test_the_way_of_the_stream(transport: TransportName) -> None:
    """Each is in the script of a case that has it, and no other; what is not as in the record is said."""
    settings = MigrationSettings(transport=transport, path="" if transport == "tcp" else "/run/x")
    text = render_script(record_of(replace(PRE_COPY_ON, settings=settings)))
    assert {word for word in ("tcp:$DESTINATION", "TCP-LISTEN:$PORT", "file:$WORK") if f"{word}" in text} == {
        {"tcp": "tcp:$DESTINATION", "unix": "TCP-LISTEN:$PORT", "file": "file:$WORK"}[transport]
    }
    assert ("not by /run/x" in text) is (transport != "tcp")
    assert (head_of(text)["NEEDS_DESTINATION"] != "") is (transport == "file")


def test_certificates_are_not_in_a_script() -> None:
    """It says so before anything starts; by libvirt the way is another one, which is said too."""
    text = render_script(record_of(replace(PRE_COPY_ON, settings=MigrationSettings(tls=True))))
    assert "certificates" in head_of(text)["IMPOSSIBLE"]
    unix = with_driver(replace(PRE_COPY_ON, settings=MigrationSettings(transport="unix")), "libvirt")
    assert "the stream goes over TCP, where the record has proxies" in render_script(record_of(unix))


@pytest.mark.parametrize(
    ("hop", "qemus", "said"),
    [
        (0, ("first", "second"), ["repeats hop 1 of it", "the 2 after it are left out"]),
        (2, ("second", "third"), ["repeats hop 2 of it", "had come by 1 before", "the 1 after it are left out"]),
        (3, ("third", "fourth"), ["repeats hop 3 of it", "had come by 2 before"]),
    ],
)
def test_one_migration_of_a_chain(hop: int, qemus: tuple[str, str], said: list[str]) -> None:
    """The one that ended the chain, or the first; with what is left out."""
    sides = [SideSpec(GuestSpec(qemu=name)) for name in ("first", "second", "third", "fourth")]
    case = Case("x", sides[0], sides[1], then=(Hop(sides[2]), Hop(sides[3])))
    verdict = Verdict(VerdictName.HUNG, "source", hop=hop) if hop else Verdict(VerdictName.COMPLETED)
    record = replace(record_of(case, verdict), seconds={"migrate": 1.0, "hop 2: migrate": 20.0, "hop 3: migrate": 30.0})
    text = render_script(record)
    assert [name for name in ("first", "second", "third", "fourth") if f"QEMU:-{name}" in text] == list(qemus)
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))
    assert [words for words in said if words not in comments] == []
    assert head_of(text)["DEADLINE"] == {0: "180", 2: "50", 3: "70"}[hop]
