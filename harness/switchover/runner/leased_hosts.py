# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the cases of a run take place: hosts that are leased, until they are given back or lost."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from switchover.devices.abilities import QemuAbilities, read_abilities
from switchover.devices.functions import read_devices
from switchover.guests.places import PLACES, GuestPlace
from switchover.guests.spec import GuestSpec
from switchover.hosts.host import Host
from switchover.lab.lab import Lab
from switchover.lab.labfile import is_running
from switchover.lab.toolchains import find_toolchains, provide_toolchain
from switchover.migration.drivers import find_lacks
from switchover.record.errors import HostLost, NotReady, SwitchoverError
from switchover.record.log import LOG
from switchover.runner.absent import find_absent
from switchover.runner.fingerprint import collect_fingerprint
from switchover.runner.host_pair import HostPair, pair_of_lab
from switchover.scenarios.case import Case
from switchover.scenarios.preflight import SHARED_PLACE, HostFacts, Known, list_places

HostNames = tuple[str, str]
"""Of source and destination; empty: whichever the leased hosts has."""


class LeasedHosts(Protocol):
    """Hosts for some time."""

    def ask(self, cases: Iterable[tuple[Case, HostNames]]) -> Known:
        """What the preflight has to know for these cases. Their QEMUs and kernels are brought there if possible.

        :raises HostLost: a host does not answer; :raises NotReady: a toolchain cannot be had
        """

    def pair(self, hosts: HostNames) -> HostPair: ...

    def fingerprint(self, case: Case, hosts: HostNames) -> Mapping[str, Any]: ...

    def find_loss(self) -> str:
        """Why no further case can run here; empty if it can."""

    @property
    def address(self) -> Mapping[str, object]:
        """How a child of this process, which has the hosts meanwhile, finds them: ``lab``, a directory, with ``pair``,
        two names; or ``hosts``, two names, with ``inventory``, a file, if it is not the usual one; and ``place``.
        """

    @property
    def guest_place(self) -> GuestPlace | None:
        """Where guests are on the hosts' network: pairs that are used at the same time have different places. None:
        where each case says.
        """


class LeasedLab:
    """The lab hosts of a lab, which cases may also name. ``pair``: those of cases that name none."""

    def __init__(self, lab: Lab, pair: HostNames = ("", ""), place: int = 1) -> None:
        self._lab = lab
        self._pair = pair
        self.guest_place = PLACES[place - 1] if place > 1 else None
        self._fingerprints: dict[tuple[str, ...], Mapping[str, Any]] = {}

    def ask(self, cases: Iterable[tuple[Case, HostNames]]) -> Known:
        default = pair_of_lab(self._lab, *self._pair)
        hosts: dict[str, Host] = {name: self._lab.host(name) for name in self._lab.file.hosts}
        guests: dict[str, list[GuestSpec]] = {name: [] for name in hosts}
        programs: dict[str, set[str]] = {name: set() for name in hosts}
        for case, names in cases:
            ends = [
                name or end.host.name for name, end in zip(names, (default.source, default.destination), strict=True)
            ]
            for name, side in zip(itertools.cycle(ends), case.sides, strict=False):
                if name in guests:
                    guests[name].append(side.guest)
                    programs[name] |= {*side.programs}
        for name, wanted in programs.items():
            for toolchain in find_toolchains(sorted(wanted)):
                provide_toolchain(self._lab, name, toolchain)
        facts = {name: _ask_host(host, guests[name], link=len(hosts) > 1) for name, host in hosts.items()}
        return Known((facts[default.source.host.name], facts[default.destination.host.name]), facts)

    @property
    def address(self) -> Mapping[str, object]:
        return {
            "lab": str(self._lab.directory),
            "pair": list(self._pair),
            "place": self.guest_place.number if self.guest_place else 1,
        }

    def pair(self, hosts: HostNames) -> HostPair:
        """:raises UsageError: the lab has no such host"""
        return pair_of_lab(self._lab, hosts[0] or self._pair[0], hosts[1] or self._pair[1])

    def fingerprint(self, case: Case, hosts: HostNames) -> Mapping[str, Any]:
        guests = (case.source.guest, case.destination.guest)
        images = {
            name for side in case.sides for name in (side.guest.named_kernel, side.guest.named_firmware, *side.modules)
        }
        named = sorted(images - {""})
        key = (*hosts, *(guest.qemu for guest in guests), *named)
        if key not in self._fingerprints:
            qemus = (guest.qemu for guest in guests)
            self._fingerprints[key] = collect_fingerprint(self._lab, self.pair(hosts), *qemus, images=named)
        return self._fingerprints[key]

    def find_loss(self) -> str:
        if not is_running(self._lab.directory):
            return "a lab host ended"
        try:
            for host in self._lab.hosts():
                host.run(["true"])
        except SwitchoverError as error:
            return error.what
        return ""


def _ask_host(host: Host, guests: Iterable[GuestSpec], *, link: bool) -> HostFacts:
    """``guests``: those of the cases that it has to do with."""
    specs = list(guests)
    binaries: dict[str, QemuAbilities | None] = {}
    for qemu in sorted({spec.qemu for spec in specs}):
        try:
            binaries[qemu] = read_abilities(host, qemu)
        except HostLost:
            raise
        except NotReady as error:
            LOG.debug("%s", error)
            binaries[qemu] = None
    devices = read_devices(host)
    types = frozenset(entry.type for entry in devices.mdev_types)
    lacks = find_lacks(host, specs)
    firmware = {f"file:{file}" for spec in specs for file in spec.firmware_files}
    places = [place for spec in specs for place in list_places(spec)]
    # other places a lab host has, or QEMU itself says what is not there
    absent = find_absent(host, [place for place in places if place.startswith(SHARED_PLACE) or place in firmware])
    return HostFacts(host.name, binaries, types, link=link, devices=devices, drivers=lacks, absent=absent)
