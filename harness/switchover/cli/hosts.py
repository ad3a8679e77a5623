# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover hosts``: facts of the controller, the inventory's hosts and a lab's."""

import argparse
import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from switchover.devices.survey import HostSurvey, lost_host, survey_host
from switchover.hosts.host import Host
from switchover.hosts.inventory import LOCAL, HostEntry, Inventory, load_inventory, open_inventory_host
from switchover.hosts.kvm import KvmProbe
from switchover.hosts.local import LocalHost
from switchover.hosts.machine import Machine
from switchover.lab.accelerator import find_accelerator
from switchover.lab.images import find_image
from switchover.lab.lab import Lab, require_lab
from switchover.lab.labhost import own_qemu
from switchover.record.errors import ExitCode, SwitchoverError, UsageError
from switchover.record.toml import suggest
from switchover.report.hosts import render_survey_json, render_surveys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"hosts to look at, {LOCAL!r} for the controller; default: all"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON, for programs")
    parser.add_argument(
        "--inventory", type=Path, metavar="FILE", help="the inventory; default: ~/.config/switchover/inventory.toml"
    )
    parser.add_argument("--lab", metavar="NAME", help="look at the hosts of this lab, too; it must be up")


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

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Host]:
        """A connection to the named host, for a ``with`` block.

        :raises UsageError: there is no host of that name
        """
        known = self.names()
        if name not in known:
            fix = "switchover hosts lists those that are known; any other machine: USER@ADDRESS"
            raise UsageError(f"There is no host {name!r}{suggest(name, known)}.", fix=fix)
        if name == LOCAL:
            yield LocalHost()
        elif self.lab is not None and name in self.lab.file.hosts:
            yield self.lab.host(name)
        else:
            with open_inventory_host(name, self.inventory.require(name)) as host:
                yield host

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


def add_login_arguments(parser: argparse.ArgumentParser) -> None:
    """For verbs that take any one machine, a guest among them: read by :func:`open_named_host`."""
    parser.add_argument(
        "host", metavar="HOST", help=f"a name of the inventory or of the lab, {LOCAL}, or USER@ADDRESS[:PORT]"
    )
    parser.add_argument("--key", metavar="FILE", help="private key for USER@ADDRESS (default: ~/.ssh/id_ed25519)")
    parser.add_argument(
        "--host-key",
        metavar="KEY",
        help="public key of USER@ADDRESS: 'ssh-ed25519 AAAA…' (default: from ~/.ssh/known_hosts)",
    )
    parser.add_argument(
        "--inventory", type=Path, metavar="FILE", help="the inventory; default: ~/.config/switchover/inventory.toml"
    )
    parser.add_argument("--lab", metavar="NAME", help="a lab that is up: HOST may name its hosts, too")


@contextlib.contextmanager
def open_named_host(arguments: argparse.Namespace) -> Iterator[Host]:
    """The machine that arguments of :func:`add_login_arguments` mean, for a ``with`` block.

    :raises UsageError: there is none of that name; :raises NotReady: it cannot be reached, or its keys are not known
    """
    word: str = arguments.host
    if "@" in word:
        with open_login(word, arguments.key, arguments.host_key) as host:
            yield host
        return
    if arguments.key or arguments.host_key:
        raise UsageError(
            "--key and --host-key go with USER@ADDRESS only.", fix="set key and host_key of the host in the inventory"
        )
    with open_sources(arguments.inventory, arguments.lab) as sources, sources.open(word) as host:
        yield host


@contextlib.contextmanager
def open_login(word: str, key: str | None, host_key: str | None) -> Iterator[Host]:
    """``USER@ADDRESS[:PORT]``, for a ``with`` block. Errors as of :func:`open_named_host`."""
    with open_inventory_host(word, parse_login(word, key, host_key)) as host:
        yield host


_LOGIN = re.compile(
    r"(?P<user>[^@\s]+)@(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<address>[^@\s:\[\]]+))(?::(?P<port>\d+))?"
)


def parse_login(word: str, key: str | None, host_key: str | None) -> HostEntry:
    """``USER@ADDRESS[:PORT]``, an IPv6 address in brackets.

    :raises UsageError: it is none, or the host key is none
    """
    match = _LOGIN.fullmatch(word)
    if match is None:
        raise UsageError(
            f"{word!r} is not a login.", fix="USER@ADDRESS or USER@ADDRESS:PORT, such as root@10.0.0.11:2222"
        )
    values = {
        "user": match["user"],
        "address": match["six"] or match["address"],
        "port": int(match["port"] or 22),
        **({"key": key} if key else {}),
        **({"host_key": _read_host_key(host_key)} if host_key else {}),
    }
    try:
        return HostEntry.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc'][0]} of {word} is wrong.", why=first["msg"]) from error


def _read_host_key(word: str) -> str:
    """A key, or the first line of a file with one."""
    try:
        return word if " " in word.strip() else Path(word).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"The host key {word} cannot be read.", why=error.strerror or str(error)) from error


def probe_controller(_host: Host, _machine: Machine, _qemu: str) -> KvmProbe:
    """The controller's KVM is tried as the lab tries it, with a lab host's kernel."""
    labhost, qemu = find_image("labhost"), find_image("labhost-qemu")
    if labhost is None or qemu is None:
        return KvmProbe(None, "the images that it is tried with are not built (switchover images build)")
    accelerator = find_accelerator(labhost, own_qemu(qemu))
    return KvmProbe(accelerator.accel.startswith("kvm"), accelerator.reason)
