# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover hosts``: facts of the controller, the inventory's hosts and a lab's."""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from switchover.devices.survey import HostSurvey, lost_host, survey_host
from switchover.hosts.host import Host
from switchover.hosts.inventory import LOCAL, HostEntry, load_inventory, open_inventory_host
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
    entries = load_inventory(arguments.inventory).host
    lab = require_lab(arguments.lab) if arguments.lab else None
    if twice := [name for name in (lab.file.hosts if lab else ()) if name in entries]:
        raise UsageError(f"Both the inventory and the lab have a host {twice[0]!r}.", fix="rename it in the inventory")
    known = [LOCAL, *entries, *(lab.file.hosts if lab else ())]
    for name in arguments.names:
        if name not in known:
            raise UsageError(f"There is no host {name!r}{suggest(name, known)}.")
    chosen = list(dict.fromkeys(arguments.names)) or known
    with ThreadPoolExecutor(max_workers=8) as pool:
        surveys = list(pool.map(lambda name: _survey(name, entries.get(name), lab), chosen))
    if lab:
        lab.close()
    if arguments.json:
        print(json.dumps([render_survey_json(survey) for survey in surveys], indent=1))
    else:
        print(render_surveys(surveys))
    return ExitCode.AS_EXPECTED


def _survey(name: str, entry: HostEntry | None, lab: Lab | None) -> HostSurvey:
    """A host that is down is a survey that says so."""
    if name == LOCAL:
        return survey_host(LocalHost(), "controller", probe=probe_controller)
    if entry is not None:
        try:
            with open_inventory_host(name, entry) as host:
                return survey_host(host, "inventory", entry.qemu)
        except SwitchoverError as error:
            return lost_host(name, "inventory", error)
    assert lab is not None
    origin = f"lab {lab.name}"
    try:
        return survey_host(lab.host(name), origin)
    except SwitchoverError as error:
        return lost_host(name, origin, error)


def probe_controller(_host: Host, _machine: Machine, _qemu: str) -> KvmProbe:
    """The controller's KVM is tried as the lab tries it, with a lab host's kernel."""
    image = find_image("labhost")
    if image is None:
        return KvmProbe(None, "the image that it is tried with is not built (switchover images build)")
    accelerator = find_accelerator(image)
    return KvmProbe(accelerator.accel.startswith("kvm"), accelerator.reason)
