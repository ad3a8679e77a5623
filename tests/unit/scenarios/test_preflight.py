# SPDX-License-Identifier: GPL-2.0-or-later
"""The preflight: what is missing is named, and what nobody asked is not taken for missing."""

from dataclasses import replace

import pytest
from tests.unit.scenarios.samples import plan
from tests.unit.surveys import ABILITIES, SURVEY

from switchover.devices.abilities import Ability, QemuAbilities
from switchover.guests.spec import LAB_KERNEL, OVMF_CODE, OVMF_VARIABLES, GuestSpec, Kernel
from switchover.hosts.kvm import KvmProbe
from switchover.record.record import VerdictName
from switchover.scenarios.case import Case
from switchover.scenarios.hardware import SHARED
from switchover.scenarios.preflight import (
    NOT_ASKED,
    HostFacts,
    Known,
    decide,
    find_qemus,
    foresee,
    list_needs,
    list_places,
    make_facts,
)

QEMU = "qemu-system-x86_64"
ABLE: QemuAbilities = replace(
    ABILITIES,
    capabilities=dict.fromkeys(("events", "return-path", "switchover-ack"), False),
    parameters=dict.fromkeys(("downtime-limit", "max-bandwidth", "avail-switchover-bandwidth")),
)
GOOD = HostFacts("hosta", {QEMU: ABLE}, frozenset({"refdev-4vec"}))
PAIR = Known((GOOD, replace(GOOD, name="hostb")))
_PAUSES = {QEMU: replace(ABLE, capabilities={**ABLE.capabilities, "pause-before-switchover": False})}
ABLE_TO_PAUSE = Known((replace(GOOD, binaries=_PAUSES), replace(GOOD, name="hostb", binaries=_PAUSES)))
PLAIN = Case("plain")


def missing(text: str, known: Known) -> tuple[str, ...]:
    """What is missing for the one case of a scenario."""
    (planned,) = plan(text)
    return decide(planned.case, planned.hosts, known).missing


def with_source(**changes: object) -> Known:
    return Known((replace(GOOD, **changes), PAIR.pair[1]))  # type: ignore[arg-type]


def test_nothing_is_missing() -> None:
    """A case whose needs are all met runs."""
    decision = decide(PLAIN, ("", ""), PAIR)
    assert decision.runs
    assert decision.asked
    assert decision.verdict is None


def test_nobody_asked() -> None:
    """Without facts a case runs, as far as is known."""
    decision = decide(PLAIN, ("", ""), None)
    assert decision is NOT_ASKED
    assert decision.runs
    assert not decision.asked
    assert decide(PLAIN, ("", ""), Known((HostFacts("a"), HostFacts("b")))).runs


def test_places_of_a_host() -> None:
    """A file or the bridge that is not there is told with what puts it there; another host's is not asked for."""
    absent = frozenset({f"file:{LAB_KERNEL}", "bridge:br0:10.77.0.101", "file:/other"})
    assert decide(PLAIN, ("", ""), with_source(absent=absent)).missing == (
        f"hosta has no file {LAB_KERNEL} (the role of ansible/ puts it there: switchover_host_guest)",
        "hosta has no bridge 'br0' by which 10.77.0.101 is reached (the role of ansible/ makes one)",
    )
    spec = GuestSpec(kernel=Kernel("/boot/vmlinuz"), initramfs="/i", disk="/d", bridge="")
    assert list_places(spec) == {
        **{f"file:{path}": f"no file {path}" for path in ("/boot/vmlinuz", "/i", "/d")},
        "shared:/d": f"/d on storage of its own: {SHARED}",
    }
    ours = {f"file:{path}": f"no file {path} (Debian's package ovmf)" for path in (OVMF_CODE, OVMF_VARIABLES)}
    assert ours.items() <= list_places(GuestSpec(firmware="ovmf")).items()
    assert list_places(replace(spec, firmware="/f", disk=""))["file:/f"] == "no file /f"


def test_a_disk_that_the_hosts_do_not_share() -> None:
    """Where the guest writes to it and the hosts are two, with what to use instead; one host has one storage."""
    absent = with_source(absent=frozenset({"shared:/d"}))
    (planned,) = plan('[guest]\ndisk = "/d"\n')
    (told,) = decide(planned.case, ("", ""), absent).missing
    assert told.startswith(
        "hosta has /d on storage of its own: storage that is not shared is not supported: use a path"
    )
    alone = replace(absent, pair=(absent.pair[0], absent.pair[0]))
    assert decide(planned.case, ("", ""), alone).runs
    (planned,) = plan('[guest]\ndisk = "/d"\ndisk_readonly = "on"\n')
    assert decide(planned.case, ("", ""), absent).runs


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('nic = { x-none = "on" }', "virtio-net-pci property 'x-none'"),
        ('qemu_devices = ["x-none,id=a"]', "device 'x-none'"),
        ('qemu_objects = ["x-none,id=a"]', "object 'x-none'"),
    ],
)
def test_hardware_that_a_binary_does_not_know(text: str, told: str) -> None:
    """Named by QEMU's words for it; where the case expects to be refused, it is run."""
    assert missing(f"[guest]\n{text}\n", PAIR)[0].endswith(f"has no {told}")
    expected = '[expect]\nverdict = "refused"\nreason = "x-none"\nbecause = "there is none"\n'
    assert missing(f"[guest]\n{text}\n{expected}", PAIR) == ()


def test_a_warm_guest_has_no_disk() -> None:
    """Not even where nobody was asked: the saved memory would not fit what is on the disk."""
    text = '[guest]\nstart = "warm"\ndisk = "/d"\n'
    assert missing(text, PAIR)[0].startswith("a warm guest with a disk")
    (planned,) = plan(text)
    assert not decide(planned.case, planned.hosts, None).runs
    assert missing('[guest]\ndisk = "/d"\n', PAIR) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[device]\nallow_pre_copy = "on"', "vfio-pci property 'x-allow-pre-copy'"),
        ('[device]\nallow_pre_copy = "by-machine"', "vfio-pci property 'x-allow-pre-copy'"),
        ('[migration]\ncapabilities.multifd = "on"', "migration capability 'multifd'"),
        ("[migration]\nparameters.multifd-channels = 2", "migration parameter 'multifd-channels'"),
        ('[guest]\nmachine = "pc-q35-99.0,usb=off"', "machine type 'pc-q35-99.0'"),
        ('[guest]\naccel = "tcg"\ncpu = "max"', "accelerator 'tcg'"),
    ],
)
def test_what_qemu_lacks(text: str, told: str) -> None:
    """What a binary does not know is named, with the binary and the host, for each side."""
    assert missing(text + "\n", PAIR) == (f"{QEMU} of hosta has no {told}", f"{QEMU} of hostb has no {told}")


def test_a_warm_guest_needs_its_source_to_save_it() -> None:
    """The destination takes the guest as it takes any other."""
    told = f"{QEMU} of hosta has no migration capability 'mapped-ram'"
    assert missing('[guest]\nstart = "warm"\n', PAIR) == (told,)
    able = replace(ABLE, capabilities={**ABLE.capabilities, "mapped-ram": False})
    assert missing('[guest]\nstart = "warm"\n', with_source(binaries={QEMU: able})) == ()


def test_one_side_only() -> None:
    """What the destination alone needs is asked of the destination alone."""
    text = '[migration]\ndestination_capabilities.multifd = "on"\n'
    assert missing(text, PAIR) == (f"{QEMU} of hostb has no migration capability 'multifd'",)


def test_a_warm_guest_is_saved_on_the_source() -> None:
    """Saving asks for a capability of the QEMU that saves, and of that one only."""
    lacks = (f"{QEMU} of hosta has no migration capability 'mapped-ram'",)
    assert missing('[guest]\nstart = "warm"\n', PAIR) == lacks


def test_functions_that_a_host_does_not_have() -> None:
    """A function, its SR-IOV or its driver that is not there is named, with the host; mdev types do not matter then."""
    devices = SURVEY.devices
    known = Known((replace(GOOD, devices=devices, device_types=frozenset()), replace(GOOD, name="hostb")))
    virtual = 'pci = "3b:00.0"\nvf = 0\nvfio_driver = "mlx5_vfio_pci"\n'
    assert missing(f"[device]\n{virtual}", known) == ()
    assert missing('[device]\npci = "0000:09:00.0"\n', known) == ("hosta has no PCI function 0000:09:00.0.",)
    (told,) = missing('[device]\npci = "5e:00.0"\nvf = 0\n', known)
    assert told.startswith("0000:5e:00.0 of hosta has no SR-IOV.")
    (told,) = missing(f"[device]\n{virtual}".replace("mlx5_vfio_pci", "x_vfio_pci"), known)
    assert told.startswith("hosta has no driver x_vfio_pci.")
    assert missing('[device]\npci = "0000:09:00.0"\n', PAIR) == ()


def test_a_case_that_is_to_be_refused_runs() -> None:
    """Where the lack is the question, it is no reason not to ask; a missing host or binary still is."""
    text = '[device]\nallow_pre_copy = "on"\n[expect]\noracle = "x-allow-pre-copy-on-a-release"\nbecause = "x"\n'
    assert missing(text, PAIR) == ()
    assert missing(text, with_source(binaries={QEMU: None})) == (f"hosta has no {QEMU}",)


def test_what_a_host_lacks() -> None:
    """A binary, a device type, KVM, a link that faults may disturb, the host itself."""
    assert missing("", with_source(binaries={QEMU: None})) == (f"hosta has no {QEMU}",)
    assert missing("", with_source(device_types=frozenset())) == (
        "hosta can make no mediated device of the type 'refdev-4vec'",
    )
    assert missing("", with_source(device_types=None)) == ()
    assert missing("", with_source(kvm="it hangs")) == ("KVM of hosta does not work: it hangs",)
    fault = '[[faults]]\naction = "cut link"\nphase = "active"\n'
    assert missing(fault, with_source(link=False)) == ("hosta has no network interface that faults may disturb",)
    assert missing("", with_source(link=False)) == ()
    named = Known(PAIR.pair, {"rack1": replace(GOOD, name="rack1", binaries={QEMU: None})})
    assert missing('[source]\nhost = "rack1"\n', named) == (f"rack1 has no {QEMU}",)
    assert missing('[destination]\nhost = "rack2"\n', named) == ("destination: there is no host 'rack2'",)


def test_a_link_from_a_host_to_itself() -> None:
    """There is none that could be cut or slowed, whatever other links the host has."""
    fault = '[[faults]]\naction = "slow link"\nphase = "active"\nrate_bit = 8000000\n'
    known = Known(PAIR.pair, {facts.name: facts for facts in PAIR.pair})
    for host, told in (
        ("hosta", ("hosta is source and destination: there is no link between them that faults may disturb",)),
        ("hostb", ()),
    ):
        hosts = f'[source]\nhost = "hosta"\n[destination]\nhost = "{host}"\n'
        assert missing(hosts + fault, known) == told
    assert missing('[source]\nhost = "hostb"\n[destination]\nhost = "hostb"\n', known) == ()


def test_the_verdict_of_a_case_that_is_not_run() -> None:
    """It is not-supported, with all that is missing."""
    decision = decide(PLAIN, ("x", "y"), PAIR)
    assert not decision.runs
    assert decision.verdict is not None
    assert decision.verdict.name is VerdictName.NOT_SUPPORTED
    assert decision.verdict.reason == "source: there is no host 'x'; destination: there is no host 'y'"


def test_needs() -> None:
    """What QEMU must know: what it is given by name, capabilities only if they are on."""
    needs = list_needs(PLAIN, "source")
    assert (Ability.MACHINE, "q35") in needs
    assert (Ability.PROPERTY, "enable-migration") in needs
    assert (Ability.CAPABILITY, "return-path") in needs
    assert (Ability.CAPABILITY, "switchover-ack") not in needs
    assert (Ability.PARAMETER, "downtime-limit") in needs


def test_facts_of_a_survey() -> None:
    """A survey tells binaries that answer and that do not, mdev types, and whether KVM works."""
    survey = replace(SURVEY, problems={"qemu /none": "there is none"}, kvm=KvmProbe(False, "it hangs"))
    facts = make_facts(survey, link=False)
    assert (facts.name, facts.kvm, facts.link) == ("rack1", "it hangs", False)
    assert facts.binaries["/none"] is None
    assert set(facts.binaries) == {*SURVEY.qemus, "/none"}
    assert survey.devices is not None
    assert facts.device_types == frozenset(entry.type for entry in survey.devices.mdev_types)
    assert make_facts(replace(survey, devices=None, kvm=KvmProbe(None, "?")), link=True).device_types is None
    assert make_facts(replace(survey, kvm=KvmProbe(None, "?")), link=True).kvm == ""


def test_what_libvirt_has_no_way_to_do() -> None:
    """Told where nobody was asked, too; a case without libvirt has none of it."""
    text = """
    driver = "DRIVER"
    machine = "q35,hpet=off"
    start = "warm"
    [migration]
    max_bandwidth = 1000
    return_path = "off"
    capabilities = { x-colo = "on", multifd = "on" }
    parameters = { x-checkpoint-delay = 1, multifd-channels = 2 }
    """.replace("    driver", "    [guest]\n    driver")
    (planned,) = plan(text.replace("DRIVER", "libvirt"))
    assert list(decide(planned.case, planned.hosts, None).missing) == [
        "libvirt has no way to give QEMU -machine q35,hpet=off",
        "a warm guest is restored by QEMU alone: libvirt has no part in it",
        "libvirt has no way to set the migration capability 'x-colo'",
        "libvirt has no way to set the migration parameter 'x-checkpoint-delay'",
        "libvirt takes max_bandwidth in whole MiB per second only",
    ]
    (planned,) = plan(text.replace("DRIVER", "qmp"))
    assert decide(planned.case, planned.hosts, None).runs
    (peers,) = missing('[migration]\npeer_to_peer = "on"\n', PAIR)
    assert peers == 'peer_to_peer needs driver = "libvirt"'
    assert missing('[guest]\ndriver = "libvirt"\n[migration]\npeer_to_peer = "on"\n', PAIR) == ()
    managed = '[device]\npci = "0000:01:00.0"\nmanaged = "on"\n'
    assert missing(managed, PAIR) == ('managed functions need driver = "libvirt"',)
    assert missing(f'{managed}[guest]\ndriver = "libvirt"\n', PAIR) == ()


@pytest.mark.parametrize(
    ("action", "phase", "why"),
    [
        ("cancel", "before", "no job to abort"),
        ("kill destination", "before", "none to kill"),
        ("kill source", "pre-switchover", "nothing can be done in that phase"),
        ("kill source", "before", ""),
        ("cancel", "setup", ""),
        ("pause guest", "before", ""),
        ("cancel", "device stop-copy", ""),
    ],
)
def test_faults_that_libvirt_leaves_no_time_for(action: str, phase: str, why: str) -> None:
    """A phase without a job, without a destination, or that libvirt ends itself; QMP has time for all of them."""
    fault = f'[migration]\npause_before_switchover = "on"\n[[faults]]\naction = "{action}"\nphase = "{phase}"\n'
    found = missing(f'[guest]\ndriver = "libvirt"\n{fault}', ABLE_TO_PAUSE)
    assert [why in line for line in found] == ([True] if why else [])
    assert missing(fault, ABLE_TO_PAUSE) == ()


def test_hosts_without_libvirt_and_one_host() -> None:
    """A host that libvirt cannot be used with is named; and libvirt does not migrate within a host."""
    lacking = Known((GOOD, replace(GOOD, name="hostb", drivers={"libvirt": "hostb has no libvirtd"})))
    assert missing('[guest]\ndriver = "libvirt"\n', lacking) == ("hostb has no libvirtd",)
    assert missing("", lacking) == ()
    assert missing('[guest]\ndriver = "libvirt"\n', PAIR) == ()
    (one,) = missing('[guest]\ndriver = "libvirt"\n', Known((GOOD, GOOD)))
    assert one == "libvirt does not migrate a domain from hosta to itself"


def test_what_a_named_qemu_lacks_is_known_before_a_host_is_asked() -> None:
    """By what is kept of its name; it is told apart from what was asked, and of another's host nothing is known."""
    text = '[migration]\ncapabilities.compress = "on"\n'
    (planned,) = plan(text)
    decision = decide(planned.case, planned.hosts, None)
    assert decision.missing == (f"{QEMU} has no migration capability 'compress'",)
    assert (decision.asked, decision.by_name) == (False, True)
    (elsewhere,) = plan(f'{text}[source]\nhost = "rack1"\n[destination]\nhost = "rack2"\n')
    assert decide(elsewhere.case, elsewhere.hosts, None).runs
    (unknown,) = plan(f'{text}[guest]\nqemu = "/my/qemu"\n')
    assert decide(unknown.case, unknown.hosts, None).runs
    (asked,) = plan(text)
    able = {QEMU: replace(ABLE, capabilities={**ABLE.capabilities, "compress": False})}
    known = Known((replace(GOOD, binaries=able), replace(GOOD, name="hostb", binaries=able)))
    assert decide(asked.case, asked.hosts, known).runs


def test_what_is_expected_once_qemus_were_asked() -> None:
    """A rule of the oracle is chosen again by what the binaries say; one of the scenario stays, whatever they are."""
    text = '[guest]\nqemu = "/my/qemu"\nmachine = "pc-q35-10.0"\n'
    (planned,) = plan(text)
    assert planned.rule.name == ""
    old = replace(ABLE, version="10.0.13")
    new = replace(ABLE, version="11.1.3")
    known = Known((replace(GOOD, binaries={"/my/qemu": old}), replace(GOOD, name="hostb", binaries={"/my/qemu": new})))
    case, rule = foresee(planned.case, planned.rule.name, planned.hosts, known)
    assert (rule, case.expectation.verdict) == ("other-virtio-queue-size", VerdictName.FAILED)
    assert find_qemus(planned.case, planned.hosts, known) == (old, new)
    (own,) = plan(f'{text}[expect]\nverdict = "completed"\nbecause = "x"\n')
    assert foresee(own.case, own.rule.name, own.hosts, known) == (own.case, own.rule.name)
    (again,) = plan(
        text.replace('"/my/qemu"', '"qemu-11.1"') + 'source.qemu = "qemu-10.0"\n'.replace("source.", "\n[source]\n")
    )
    assert again.rule.name == "other-virtio-queue-size"
    alike = Known(tuple(replace(GOOD, binaries={"qemu-10.0": old, "qemu-11.1": old}) for _ in range(2)))  # type: ignore[arg-type]
    assert foresee(again.case, again.rule.name, again.hosts, alike)[1] == ""
