# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything known of a host, for people and for checks; a part that cannot be had says why and spoils no other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from switchover.devices.abilities import QemuAbilities, read_abilities
from switchover.devices.functions import HostDevices, read_devices
from switchover.devices.migratability import Migratability, read_migratability
from switchover.hosts.host import Host
from switchover.hosts.kvm import KvmProbe, probe_kvm
from switchover.hosts.machine import Machine, read_machine
from switchover.record.errors import SwitchoverError

QEMU = "qemu-system-x86_64"
T = TypeVar("T")


@dataclass(frozen=True)
class HostSurvey:
    """A host at one time. ``problems``: why a part is missing, by its name; ``host``: why nothing is known.

    ``qemus``: binaries by the path or name they were asked for with; those that do not answer are among the problems.
    """

    name: str
    origin: str
    """Where it comes from: ``controller``, ``inventory``, ``lab NAME``."""
    machine: Machine | None = None
    kvm: KvmProbe | None = None
    devices: HostDevices | None = None
    migratability: Mapping[str, Migratability] = field(default_factory=dict)
    qemus: Mapping[str, QemuAbilities] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    fix: str = ""
    """What to do about a host that nothing is known of."""


def survey_host(
    host: Host,
    origin: str,
    qemus: Sequence[str] = (),
    *,
    probe: Callable[[Host, Machine, str], KvmProbe] = probe_kvm,
) -> HostSurvey:
    """Ask a host for everything. ``qemus``: its binaries; without any, the one in its PATH. ``probe``: of its KVM."""
    problems: dict[str, str] = {}

    def attempt(part: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (SwitchoverError, OSError) as error:
            problems[part] = _describe(error)
            return None

    machine = attempt("machine", lambda: read_machine(host))
    asked = qemus or (QEMU,)
    answers = {qemu: attempt(f"qemu {qemu}", partial(read_abilities, host, qemu)) for qemu in asked}
    abilities = {qemu: answer for qemu, answer in answers.items() if answer is not None}
    kvm = None
    if machine is not None:
        # the binary that answered; without one the probe says itself that there is none
        kvm = attempt("kvm", lambda: probe(host, machine, next(iter(abilities), asked[0])))
    devices = attempt("devices", lambda: read_devices(host))
    migratability = None
    if devices is not None:
        migratability = attempt("migratability", lambda: read_migratability(host, devices))
    return HostSurvey(host.name, origin, machine, kvm, devices, migratability or {}, abilities, problems)


def lost_host(name: str, origin: str, error: Exception) -> HostSurvey:
    """A host that could not be asked."""
    fix = error.fix if isinstance(error, SwitchoverError) else ""
    return HostSurvey(name, origin, problems={"host": _describe(error)}, fix=fix)


def _describe(error: Exception) -> str:
    if isinstance(error, SwitchoverError):
        return f"{error.what} {error.why}".strip()
    return str(error) or type(error).__name__
