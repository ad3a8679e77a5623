# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a case can be run at all, from what is known of hosts and QEMU binaries. Pure.

What is missing is named. It is never derived from version numbers, and what nobody asked is not taken for missing. Of
QEMUs that the project names what they lack is known before a host is asked (devices/known_qemus.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from switchover.devices.abilities import Ability, QemuAbilities
from switchover.devices.binding import find_lack
from switchover.devices.functions import HostDevices
from switchover.devices.known_qemus import find_known_qemu
from switchover.devices.survey import HostSurvey
from switchover.guests.hardware import list_nic, parse_option
from switchover.guests.snapshot_images import SAVE_CAPABILITY
from switchover.guests.spec import GuestSpec
from switchover.lab.lab import LAB_HOSTS
from switchover.lab.labhost import FIRMWARE, KERNELS
from switchover.migration.drivers import DRIVERS
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.case import Case, SideSpec
from switchover.scenarios.hardware import SHARED
from switchover.scenarios.oracle import Qemus, choose_chain_rule, choose_rule, find_rule, make_traits
from switchover.scenarios.schema import SIDES


@dataclass(frozen=True)
class HostFacts:
    """A host. ``binaries``: by the name that scenarios give them; one that was looked for and does not answer has None.

    ``device_types``: mdev types that it can make; None: not known. ``kvm``: why KVM does not work, empty if it does or
    nobody tried. ``link``: whether it has a network interface to the other host that faults may disturb. ``asked``: if
    not, nothing is known of it but that there is, or will be, such a host. ``devices``: for its PCI functions; None:
    not known. ``drivers``: by name, why one cannot be used with it; one that can be, or that nobody asked for, is not
    there. ``absent``: of :func:`list_places`, what is not there.
    """

    name: str
    binaries: Mapping[str, QemuAbilities | None] = field(default_factory=dict)
    device_types: frozenset[str] | None = None
    kvm: str = ""
    link: bool = True
    asked: bool = True
    devices: HostDevices | None = None
    drivers: Mapping[str, str] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


def make_facts(survey: HostSurvey, *, link: bool) -> HostFacts:
    """What the preflight needs of a survey; ``link`` as in :class:`HostFacts`."""
    silent = [part.removeprefix("qemu ") for part in survey.problems if part.startswith("qemu ")]
    types = None if survey.devices is None else frozenset(entry.type for entry in survey.devices.mdev_types)
    kvm = survey.kvm.reason if survey.kvm is not None and survey.kvm.works is False else ""
    asked = "host" not in survey.problems
    binaries = {**survey.qemus, **dict.fromkeys(silent)}
    return HostFacts(survey.name, binaries, types, kvm, link, asked, devices=survey.devices)


@dataclass(frozen=True)
class Known:
    """``pair``: source and destination of cases that name no host. ``named``: others, by name."""

    pair: tuple[HostFacts, HostFacts]
    named: Mapping[str, HostFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """``missing``: why a case is not run, empty if it is. ``asked``: whether hosts were asked. ``by_name``: all that is
    missing is so by what is kept of a QEMU of that name; whoever runs the case asks the binary itself.
    """

    missing: tuple[str, ...] = ()
    asked: bool = False
    by_name: bool = False

    @property
    def runs(self) -> bool:
        return not self.missing

    @property
    def verdict(self) -> Verdict | None:
        """Of a case that is not run."""
        return None if self.runs else Verdict(VerdictName.NOT_SUPPORTED, reason="; ".join(self.missing))


NOT_ASKED = Decision()
SHARED_PLACE = "shared:"
"""How a place begins that matters only where source and destination are two hosts."""
WARM_DISK = "a warm guest with a disk: the saved memory does not know what was written to the disk since then"


def decide(case: Case, hosts: tuple[str, str], known: Known | None) -> Decision:
    """``hosts``: names for source and destination, empty: those of the pair. ``known``: None if no host was asked.

    A case that expects to be refused is run although QEMU lacks a property or the like: that is its question.
    Of a chain every hop must be possible, between hosts that alternate.
    """
    if case.then:
        hops = enumerate(case.list_hops())
        decisions = [decide(hop, *_swap_back(hosts, known, back=bool(number % 2))) for number, hop in hops]
        lacking = dict.fromkeys(text for decision in decisions for text in decision.missing)
        return Decision(tuple(lacking), all(decision.asked for decision in decisions))
    missing = [WARM_DISK] if case.source.guest.start == "warm" and case.source.guest.disk else []
    missing += _missing_in_driver(case, hosts, known)
    lacks = _list_lacks(case, hosts, known)
    if known is None:
        missing = missing or lacks
        return Decision(tuple(dict.fromkeys(missing)), by_name=missing is lacks) if missing else NOT_ASKED
    asked = True
    ends = _list_ends(hosts, known)
    alone = ends[0] is not None and ends[1] is not None and ends[0].name == ends[1].name
    if case.disturbs_link and ends[0] is not None and alone:
        missing.append(
            f"{ends[0].name} is source and destination: there is no link between them that faults may disturb"
        )
    for number, side in enumerate(SIDES):
        facts = ends[number]
        if facts is None:
            missing.append(f"{side}: there is no host {hosts[number]!r}")
            continue
        asked = asked and facts.asked
        missing += _missing_on_host(case, side, facts, alone=alone)
    return Decision(tuple(dict.fromkeys([*missing, *lacks])), asked)


def _list_lacks(case: Case, hosts: tuple[str, str], known: Known | None) -> list[str]:
    """What QEMUs lack of what a case needs of them, in words."""
    if case.expectation.verdict is VerdictName.REFUSED:
        return []
    lacks = []
    ends = _list_ends(hosts, known) if known else (None, None)
    for side, facts, binary in zip(SIDES, ends, find_qemus(case, hosts, known), strict=True):
        qemu = (case.source if side == "source" else case.destination).guest.qemu
        where = f" of {facts.name}" if facts is not None else ""
        lacks += [f"{qemu}{where} has no {lack}" for lack in (binary.missing(list_needs(case, side)) if binary else ())]
    return lacks


def find_qemus(case: Case, hosts: tuple[str, str], known: Known | None) -> Qemus:
    """What is known of a case's QEMUs: what it said if it was asked, else, on lab hosts, what is kept of its name."""
    ends = _list_ends(hosts, known) if known else (None, None)
    source, destination = (
        _find_qemu(side.guest.qemu, host, facts)
        for side, host, facts in zip((case.source, case.destination), hosts, ends, strict=True)
    )
    return source, destination


def _find_qemu(qemu: str, host: str, facts: HostFacts | None) -> QemuAbilities | None:
    if facts is not None and (facts.asked or qemu in facts.binaries):
        return facts.binaries.get(qemu)
    return find_known_qemu(qemu) if host in ("", *LAB_HOSTS) else None


def foresee(case: Case, rule: str, hosts: tuple[str, str], known: Known) -> tuple[Case, str]:
    """A case with the expectation that it has now that its QEMUs were asked, and the name of that one's rule.

    ``rule``: of the oracle, by its name or empty; a rule of the case's scenario holds whatever the QEMUs are.
    """
    if rule and find_rule(rule) is None:
        return case, rule
    hops = case.list_hops()
    qemus = [find_qemus(hop, *_swap_back(hosts, known, back=bool(number % 2))) for number, hop in enumerate(hops)]
    chosen = choose_chain_rule(case, qemus) if case.then else choose_rule(make_traits(case, qemus[0]))
    return replace(case, expectation=chosen.expectation.with_bounds_of(case.expectation)), chosen.name


def _swap_back(hosts: tuple[str, str], known: Known | None, *, back: bool) -> tuple[tuple[str, str], Known | None]:
    """The hosts of a hop: of every second one of a chain the other way round."""
    if not back:
        return hosts, known
    return (hosts[1], hosts[0]), known and replace(known, pair=(known.pair[1], known.pair[0]))


def _list_ends(hosts: tuple[str, str], known: Known) -> list[HostFacts | None]:
    """Facts of source and destination."""
    return [known.named.get(name) if name else known.pair[number] for number, name in enumerate(hosts)]


def _missing_in_driver(case: Case, hosts: tuple[str, str], known: Known | None) -> list[str]:
    """What of a case its driver has no way to do, which needs no host to be asked, and why hosts cannot be used."""
    driver, sides = DRIVERS[case.source.guest.driver], (case.source, case.destination)
    missing = driver.list_obstacles(
        [side.guest for side in sides],
        case.settings,
        [(fault.action, fault.phase) for fault in case.faults],
        managed=any(function.managed for side in sides for function in side.functions),
    )
    if known is not None:
        found = [facts for facts in _list_ends(hosts, known) if facts is not None]
        missing += [facts.drivers[driver.name] for facts in found if driver.name in facts.drivers]
        names = {facts.name for facts in found}
        if len(names) == 1 and (obstacle := driver.find_obstacle_within(*names)):
            missing.append(obstacle)
    return missing


def list_needs(case: Case, side: str) -> list[tuple[Ability, str]]:
    """What QEMU must know on a side."""
    spec: SideSpec = case.source if side == "source" else case.destination
    properties = sorted({name for device in spec.devices for name in device.named_properties()})
    saved = [SAVE_CAPABILITY] if side == "source" and spec.guest.start == "warm" else []
    capabilities = [name for name, state in case.settings.all_capabilities(side).items() if state]
    return [
        (Ability.MACHINE, spec.guest.machine.partition(",")[0]),
        (Ability.ACCELERATOR, spec.guest.accel.partition(",")[0]),
        *((Ability.PROPERTY, name) for name in properties),
        *_list_hardware(spec.guest),
        *((Ability.CAPABILITY, name) for name in dict.fromkeys([*capabilities, *saved])),
        *((Ability.PARAMETER, name) for name in case.settings.first_parameters()),
    ]


def _list_hardware(guest: GuestSpec) -> list[tuple[Ability, str]]:
    """Properties of the NIC, and drivers of devices and objects, by QEMU's names."""
    devices = [parse_option(text).driver for text in (*guest.qemu_devices, *([guest.iommu] if guest.iommu else ()))]
    return [
        *((Ability.NIC_PROPERTY, name) for name in (list_nic(guest) if guest.bridge else ())),
        *((Ability.DEVICE, driver) for driver in devices),
        *((Ability.OBJECT, parse_option(text).driver) for text in guest.qemu_objects),
    ]


def list_places(guest: GuestSpec) -> dict[str, str]:
    """What a guest needs on its host that a lab host has: by a word for whoever looks, what is said where it lacks."""
    role = " (the role of ansible/ puts it there: switchover_host_guest)"
    package = " (Debian's package ovmf)" if guest.named_firmware else ""
    firmware = dict.fromkeys(guest.firmware_files, package)
    files = {guest.kernel_file: role, guest.initramfs_file: role, guest.disk: "", **firmware}
    places = {
        f"file:{file}": f"no file {file}{hint if file.startswith((KERNELS, FIRMWARE)) else ''}"
        for file, hint in files.items()
        if file
    }
    if guest.disk and not guest.disk_readonly:
        places[f"{SHARED_PLACE}{guest.disk}"] = f"{guest.disk} on storage of its own: {SHARED}"
    if guest.bridge:
        words = f"no bridge {guest.bridge!r} by which {guest.address} is reached"
        places[f"bridge:{guest.bridge}:{guest.address}"] = f"{words} (the role of ansible/ makes one)"
    return places


def _missing_on_host(case: Case, side: str, facts: HostFacts, *, alone: bool) -> Iterator[str]:
    """``alone``: whether it is source and destination."""
    spec = case.source if side == "source" else case.destination
    if facts.binaries.get(spec.guest.qemu, "not asked") is None:
        yield f"{facts.name} has no {spec.guest.qemu}"
    for place, words in list_places(spec.guest).items():
        if place in facts.absent and not (alone and place.startswith(SHARED_PLACE)):
            yield f"{facts.name} has {words}"
    if facts.kvm and spec.guest.accel.startswith("kvm"):
        yield f"KVM of {facts.name} does not work: {facts.kvm}"
    if facts.device_types is not None:
        for device_type in spec.mdev_types:
            if device_type not in facts.device_types:
                yield f"{facts.name} can make no mediated device of the type {device_type!r}"
    if facts.devices is not None:
        for function in spec.functions:
            if lack := find_lack(facts.devices, facts.name, function):
                yield f"{lack.what} {lack.why}".strip()
    if not facts.link and case.disturbs_link:
        yield f"{facts.name} has no network interface that faults may disturb"
