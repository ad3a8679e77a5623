# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover hosts``: facts of the controller, the inventory's hosts and a lab's."""

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from switchover.devices.survey import HostSurvey, lost_host, survey_host
from switchover.hosts.host import Host
from switchover.hosts.inventory import LOCAL, Inventory, load_inventory, open_inventory_host
from switchover.hosts.kvm import KvmProbe
from switchover.hosts.local import LocalHost
from switchover.hosts.machine import Machine
from switchover.lab.accelerator import find_accelerator
from switchover.lab.images import find_image
from switchover.lab.lab import Lab, require_lab
from switchover.record.errors import ExitCode, SwitchoverError, UsageError
from switchover.record.toml import suggest
from switchover.report.hosts import render_survey_json, render_surveys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all; the controller is {LOCAL!r}")
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    parser.add_argument("--inventory", type=Path, metavar="FILE", help="default: ~/.config/switchover/inventory.toml")
    parser.add_argument("--lab", metavar="NAME", help="the hosts of a lab that is up, too")


def run(arguments: argparse.Namespace) -> int:
    with open_sources(arguments.inventory, arguments.lab) as sources:
        surveys = sources.survey(arguments.names)
    if arguments.json:
        print(json.dumps([render_survey_json(survey) for survey in surveys], indent=1))
    else:
        print(render_surveys(surveys))
    return ExitCode.AS_EXPECTED


@dataclass(frozen=True)
class Sources:
    """Where hosts come from: the controller itself, the inventory, a lab that is up."""

    inventory: Inventory
    lab: Lab | None

    def names(self) -> list[str]:
        return [LOCAL, *self.inventory.host, *(self.lab.file.hosts if self.lab else ())]

    def survey(self, names: Sequence[str], qemus: Sequence[str] | None = None) -> list[HostSurvey]:
        """Of the named hosts, or of all; side by side. A host that is down is a survey that says so.

        ``qemus``: binaries to ask there; default: those of the inventory, or the one in the host's PATH.

        :raises UsageError: there is no host of that name
        """
        known = self.names()
        for name in names:
            if name not in known:
                raise UsageError(f"There is no host {name!r}{suggest(name, known)}.")
        with ThreadPoolExecutor(max_workers=8) as pool:
            return list(pool.map(partial(self._survey, qemus=qemus), list(dict.fromkeys(names)) or known))

    def _survey(self, name: str, qemus: Sequence[str] | None = None) -> HostSurvey:
        if name == LOCAL:
            return survey_host(LocalHost(), "controller", qemus or (), probe=probe_controller)
        entry = self.inventory.host.get(name)
        if entry is not None or self.lab is None:
            entry = self.inventory.require(name)
            try:
                with open_inventory_host(name, entry) as host:
                    return survey_host(host, "inventory", qemus or entry.qemu)
            except SwitchoverError as error:
                return lost_host(name, "inventory", error)
        origin = f"lab {self.lab.name}"
        try:
            return survey_host(self.lab.host(name), origin, qemus or ())
        except SwitchoverError as error:
            return lost_host(name, origin, error)


@contextlib.contextmanager
def open_sources(inventory: Path | None, lab_name: str | None) -> Iterator[Sources]:
    """:raises UsageError: the inventory is wrong, there is no such lab, or a host is in both"""
    loaded = load_inventory(inventory)
    lab = require_lab(lab_name) if lab_name else None
    with contextlib.closing(lab) if lab else contextlib.nullcontext():
        sources = Sources(loaded, lab)
        names = sources.names()
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"Both the inventory and the lab have a host {twice!r}.", fix="rename it in the inventory")
        yield sources


def probe_controller(_host: Host, _machine: Machine, _qemu: str) -> KvmProbe:
    """The controller's KVM is tried as the lab tries it, with a lab host's kernel."""
    image = find_image("labhost")
    if image is None:
        return KvmProbe(None, "the image that it is tried with is not built (switchover images build)")
    accelerator = find_accelerator(image)
    return KvmProbe(accelerator.accel.startswith("kvm"), accelerator.reason)
