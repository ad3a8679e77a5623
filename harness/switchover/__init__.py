# SPDX-License-Identifier: GPL-2.0-or-later
"""Switchover: a test harness for live migration of QEMU/KVM guests with VFIO devices.

These are the public names: what tests of other projects import, and the project's own tests that run cases. They are
told in docs/api.md, they stay as they are, and rooms behind them change. Nothing is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from switchover.catalogue.case import CatalogueCase as CatalogueCase
    from switchover.catalogue.case import Needs as Needs
    from switchover.catalogue.context import Context as Context
    from switchover.catalogue.load import Catalogue as Catalogue
    from switchover.catalogue.load import load_catalogue as load_catalogue
    from switchover.catalogue.pythoncases import case as case
    from switchover.devices.reference import Knobs as Knobs
    from switchover.fronts.testbeds import open_hosts as open_hosts
    from switchover.fronts.testbeds import open_lab as open_lab
    from switchover.guests.spec import GuestSpec as GuestSpec
    from switchover.guests.spec import HostKey as HostKey
    from switchover.guests.spec import Kernel as Kernel
    from switchover.guests.spec import KeyFile as KeyFile
    from switchover.hosts.host import Completed as Completed
    from switchover.hosts.host import Host as Host
    from switchover.irq.analysis import Analysis as Analysis
    from switchover.irq.analysis import Placement as Placement
    from switchover.migration.phases import Action as Action
    from switchover.migration.phases import Phase as Phase
    from switchover.migration.settings import MigrationSettings as MigrationSettings
    from switchover.record.errors import CommandFailed as CommandFailed
    from switchover.record.errors import Deadline as Deadline
    from switchover.record.errors import GuestCrashed as GuestCrashed
    from switchover.record.errors import HostLost as HostLost
    from switchover.record.errors import NotReady as NotReady
    from switchover.record.errors import NotSupported as NotSupported
    from switchover.record.errors import Refused as Refused
    from switchover.record.errors import SwitchoverError as SwitchoverError
    from switchover.record.errors import UsageError as UsageError
    from switchover.record.measurement import Check as Check
    from switchover.record.measurement import Measurement as Measurement
    from switchover.record.record import Record as Record
    from switchover.record.record import Verdict as Verdict
    from switchover.record.record import VerdictName as VerdictName
    from switchover.record.rundir import read_records as read_records
    from switchover.record.units import MIB as MIB
    from switchover.record.units import Direction as Direction
    from switchover.record.units import Unit as Unit
    from switchover.record.version import __version__ as __version__
    from switchover.runner.testbed import Guest as Guest
    from switchover.runner.testbed import Testbed as Testbed
    from switchover.runner.testbed import read_irq_recording as read_irq_recording
    from switchover.runner.testbed import record_irq_threads as record_irq_threads
    from switchover.scenarios.building import build_case as build_case
    from switchover.scenarios.building import load_cases as load_cases
    from switchover.scenarios.case import Case as Case
    from switchover.scenarios.case import DeviceSpec as DeviceSpec
    from switchover.scenarios.case import FunctionSpec as FunctionSpec
    from switchover.scenarios.case import Hop as Hop
    from switchover.scenarios.case import SideSpec as SideSpec
    from switchover.scenarios.expand import PlannedCase as PlannedCase
    from switchover.scenarios.expectation import Expectation as Expectation
    from switchover.scenarios.faults import Fault as Fault

_PLACES = {
    "catalogue.case": ("CatalogueCase", "Needs"),
    "catalogue.context": ("Context",),
    "catalogue.load": ("Catalogue", "load_catalogue"),
    "catalogue.pythoncases": ("case",),
    "devices.reference": ("Knobs",),
    "fronts.testbeds": ("open_hosts", "open_lab"),
    "guests.spec": ("GuestSpec", "HostKey", "Kernel", "KeyFile"),
    "hosts.host": ("Completed", "Host"),
    "irq.analysis": ("Analysis", "Placement"),
    "migration.phases": ("Action", "Phase"),
    "migration.settings": ("MigrationSettings",),
    "record.errors": (
        "CommandFailed",
        "Deadline",
        "GuestCrashed",
        "HostLost",
        "NotReady",
        "NotSupported",
        "Refused",
        "SwitchoverError",
        "UsageError",
    ),
    "record.measurement": ("Check", "Measurement"),
    "record.record": ("Record", "Verdict", "VerdictName"),
    "record.rundir": ("read_records",),
    "record.units": ("MIB", "Direction", "Unit"),
    "record.version": ("__version__",),
    "runner.testbed": ("Guest", "Testbed", "read_irq_recording", "record_irq_threads"),
    "scenarios.building": ("build_case", "load_cases"),
    "scenarios.case": ("Case", "DeviceSpec", "FunctionSpec", "Hop", "SideSpec"),
    "scenarios.expand": ("PlannedCase",),
    "scenarios.expectation": ("Expectation",),
    "scenarios.faults": ("Fault",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "MIB",
    "Action",
    "Analysis",
    "Case",
    "Catalogue",
    "CatalogueCase",
    "Check",
    "CommandFailed",
    "Completed",
    "Context",
    "Deadline",
    "DeviceSpec",
    "Direction",
    "Expectation",
    "Fault",
    "FunctionSpec",
    "Guest",
    "GuestCrashed",
    "GuestSpec",
    "Hop",
    "Host",
    "HostKey",
    "HostLost",
    "Kernel",
    "KeyFile",
    "Knobs",
    "Measurement",
    "MigrationSettings",
    "Needs",
    "NotReady",
    "NotSupported",
    "Phase",
    "Placement",
    "PlannedCase",
    "Record",
    "Refused",
    "SideSpec",
    "SwitchoverError",
    "Testbed",
    "Unit",
    "UsageError",
    "Verdict",
    "VerdictName",
    "build_case",
    "case",
    "load_cases",
    "load_catalogue",
    "open_hosts",
    "open_lab",
    "read_irq_recording",
    "read_records",
    "record_irq_threads",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
