# SPDX-License-Identifier: GPL-2.0-or-later
"""What a QEMU binary can do, asked of the binary itself, and kept under its digest.

It is asked through QMP on its standard streams, without a machine (``-machine none -S``), in one command: a start of
QEMU costs a second on a lab host. Never derived from version numbers: distributions and patches change them.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

import pydantic

from switchover.hosts.host import Host
from switchover.record.cache import keep, list_cached, read_cached
from switchover.record.errors import CommandFailed, NotReady

T = TypeVar("T")

_FORMAT = 2
"""Part of the key of kept answers: raise it when :class:`QemuAbilities` or the questions change."""

_QUESTIONS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "version": ("query-version", {}),
    "machines": ("query-machines", {}),
    # QEMU 9.1 and newer; older ones reject the argument
    "machines with compat": ("query-machines", {"compat-props": True}),
    "vfio-pci": ("device-list-properties", {"typename": "vfio-pci"}),
    "virtio-net-pci": ("device-list-properties", {"typename": "virtio-net-pci"}),
    "devices": ("qom-list-types", {"implements": "device"}),
    "objects": ("qom-list-types", {"implements": "user-creatable"}),
    "capabilities": ("query-migrate-capabilities", {}),
    "parameters": ("query-migrate-parameters", {}),
    "accelerators": ("qom-list-types", {"implements": "accel"}),
    "traces of vfio": ("trace-event-get-state", {"name": "vfio_*"}),
    "traces of downtime": ("trace-event-get-state", {"name": "vmstate_downtime_*"}),
    "schema": ("query-qmp-schema", {}),
}
_DEVICE_ALIASES = ("ahci", "e1000", "lsi")
"""Names of drivers that are no types, besides those without ``-pci`` (system/qdev-monitor.c of QEMU:
qdev_alias_table).
"""
_COMPAT_TYPES = ("vfio", "migration")
_TIMEOUT_S = 60
_FIND = 'path=$(command -v "$1") && path=$(readlink -f "$path") && echo "$path" && sha256sum <"$path"'


class Ability(StrEnum):
    """Kinds of things a QEMU may or may not know by name."""

    PROPERTY = "property"
    """A property of vfio-pci."""
    NIC_PROPERTY = "virtio-net-pci property"
    DEVICE = "device"
    """For ``-device``: its driver."""
    OBJECT = "object"
    """For ``-object``: its type."""
    CAPABILITY = "migration capability"
    PARAMETER = "migration parameter"
    MACHINE = "machine type"
    """Aliases (``q35``) included."""
    COMMAND = "QMP command"
    EVENT = "QMP event"
    TRACE = "trace event"
    """Of VFIO and of downtime; no others are asked for."""
    ACCELERATOR = "accelerator"


@dataclass(frozen=True)
class MachineType:
    """A machine type. ``compat``: (QOM type, property, value) that it sets, in QEMU's order (the last one wins), of
    VFIO and migration only; None where QEMU does not tell.
    """

    name: str
    alias: str | None
    deprecated: bool
    compat: tuple[tuple[str, str, str], ...] | None


@dataclass(frozen=True)
class QemuAbilities:
    """A QEMU binary of a host. ``vfio_pci``: its vfio-pci's properties with their types; empty without vfio-pci.

    ``capabilities`` and ``parameters`` have their defaults; a parameter that QEMU does not list by default has None.
    """

    path: str
    digest: str
    """SHA-256 of the file at ``path``; of a wrapper script, that is the script's."""
    version: str
    package: str
    vfio_pci: Mapping[str, str]
    capabilities: Mapping[str, bool]
    parameters: Mapping[str, Any]
    machines: tuple[MachineType, ...]
    commands: tuple[str, ...]
    events: tuple[str, ...]
    traces: tuple[str, ...]
    accelerators: tuple[str, ...]
    nic: tuple[str, ...] = ()
    """Properties of its virtio-net-pci."""
    devices: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()

    def can(self, kind: Ability, name: str) -> bool:
        """Whether the binary knows ``name``."""
        match kind:
            case Ability.PROPERTY:
                return name in self.vfio_pci
            case Ability.NIC_PROPERTY:
                return name in self.nic
            case Ability.DEVICE:
                return bool({name, f"{name}-pci"} & {*self.devices, *_DEVICE_ALIASES})
            case Ability.OBJECT:
                return name in self.objects
            case Ability.CAPABILITY:
                return name in self.capabilities
            case Ability.PARAMETER:
                return name in self.parameters
            case Ability.MACHINE:
                return self.find_machine(name) is not None
            case Ability.COMMAND:
                return name in self.commands
            case Ability.EVENT:
                return name in self.events
            case Ability.TRACE:
                return name in self.traces
            case Ability.ACCELERATOR:
                return name in self.accelerators

    def missing(self, needs: Iterable[tuple[Ability, str]]) -> list[str]:
        """Of what is needed, what the binary lacks, in words: ``vfio-pci property 'x-allow-pre-copy'``."""
        return [
            f"{'vfio-pci ' if kind is Ability.PROPERTY else ''}{kind} {name!r}"
            for kind, name in needs
            if not self.can(kind, name)
        ]

    def find_machine(self, name: str) -> MachineType | None:
        """A machine type by its name or alias."""
        return next((machine for machine in self.machines if name in (machine.name, machine.alias)), None)

    def compat_value(self, machine: str, qom_type: str, name: str) -> str | None:
        """What a machine type sets a property to; None if it does not, or if QEMU does not tell."""
        found = self.find_machine(machine)
        values = [value for kind, key, value in (found and found.compat) or () if (kind, key) == (qom_type, name)]
        return values[-1] if values else None


_KEPT = pydantic.TypeAdapter(QemuAbilities)
_KEPT_MACHINES = pydantic.TypeAdapter(tuple[MachineType, ...])


def read_abilities(host: Host, qemu: str = "qemu-system-x86_64") -> QemuAbilities:
    """What the binary ``qemu`` (a path, or a name in PATH) of a host can do.

    :raises NotReady: there is no such binary, or it does not answer
    """
    try:
        path, digest = host.run(["sh", "-ec", _FIND, "sh", qemu], timeout=_TIMEOUT_S).text.split()[:2]
    except CommandFailed as error:
        raise NotReady(f"{host.name} has no {qemu}.", why=error.why) from error
    key = f"{_FORMAT} {path} {digest}"
    with contextlib.suppress(pydantic.ValidationError):
        return _KEPT.validate_python(read_cached("qemu-abilities", key))
    abilities = _ask(host, path, _QUESTIONS, partial(parse_abilities, path, digest))
    keep("qemu-abilities", key, asdict(abilities))
    return abilities


def read_machines(host: Host, path: str, digest: str) -> tuple[MachineType, ...]:
    """Machine types of a binary with all that they set, of whatever device: some hundred kilobytes, which nobody needs
    but who asks for them. ``path`` and ``digest`` as :func:`read_abilities` found them.

    :raises NotReady: the binary does not answer
    """
    key = f"{_FORMAT} {path} {digest}"
    with contextlib.suppress(pydantic.ValidationError):
        return _KEPT_MACHINES.validate_python(read_cached("qemu-machines", key))
    names = ("machines", "machines with compat")
    machines = _ask(host, path, names, lambda answers: _parse_machines(_parse_replies(answers), everything=True))
    keep("qemu-machines", key, [asdict(machine) for machine in machines])
    return machines


def find_kept_abilities(path: str) -> QemuAbilities | None:
    """What a binary at ``path`` of some host said when it was asked the last time; for paths that hold a digest of the
    binary, as those of toolchains do.
    """
    for key, answer in list_cached("qemu-abilities"):
        if key.startswith(f"{_FORMAT} {path} "):
            with contextlib.suppress(pydantic.ValidationError):
                return _KEPT.validate_python(answer)
    return None


def _ask(host: Host, path: str, names: Collection[str], parse: Callable[[str], T]) -> T:
    """The answers to the questions of these names. :raises NotReady: the binary does not answer, or not so"""
    argv = [path, *("-machine", "none", "-S", "-nodefaults", "-no-user-config", "-display", "none", "-qmp", "stdio")]
    try:
        completed = host.run(["sh", "-c", _TO_FILE, "sh", *argv], stdin=render_questions(names), timeout=_TIMEOUT_S)
    except CommandFailed as error:
        raise NotReady(f"{path} of {host.name} does not start.", why=error.why or error.what) from error
    try:
        return parse(completed.text)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotReady(f"{path} of {host.name} does not answer QMP as QEMU does.", why=repr(error)) from error


_TO_FILE = 'file=$(mktemp) || exit; "$@" >"$file"; code=$?; cat "$file"; rm -f "$file"; exit $code'
"""QEMU ends at ``quit`` without waiting for a reader of a pipe that is full: what it had yet to say would be lost."""


def render_questions(names: Collection[str] = _QUESTIONS) -> bytes:
    """Questions, all of them if none are named, as QMP, a line each, ended by ``quit``."""
    lines: list[dict[str, object]] = [{"execute": "qmp_capabilities"}]
    for name in names:
        command, arguments = _QUESTIONS[name]
        lines.append({"execute": command, "id": name, **({"arguments": arguments} if arguments else {})})
    lines.append({"execute": "quit"})
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def parse_abilities(path: str, digest: str, answers: str) -> QemuAbilities:
    """From QEMU's answers to :func:`render_questions`; members that are not known are left, none is required but names.

    :raises KeyError: QEMU did not answer what every QEMU answers
    """
    replies = _parse_replies(answers)
    version = replies["version"]["qemu"]
    schema = replies["schema"]
    parameters = dict.fromkeys(_arguments_of(schema, "migrate-set-parameters")) | replies["parameters"]
    return QemuAbilities(
        path=path,
        digest=digest,
        version=f"{version['major']}.{version['minor']}.{version['micro']}",
        package=str(replies["version"].get("package", "")),
        vfio_pci={entry["name"]: str(entry.get("type", "")) for entry in replies.get("vfio-pci", [])},
        capabilities={entry["capability"]: bool(entry["state"]) for entry in replies["capabilities"]},
        parameters=parameters,
        machines=_parse_machines(replies),
        commands=_names(schema, "command"),
        events=_names(schema, "event"),
        traces=tuple(
            sorted(entry["name"] for part in ("vfio", "downtime") for entry in replies.get(f"traces of {part}", []))
        ),
        nic=tuple(sorted(entry["name"] for entry in replies.get("virtio-net-pci", []))),
        devices=tuple(sorted(entry["name"] for entry in replies.get("devices", []))),
        objects=tuple(sorted(entry["name"] for entry in replies.get("objects", []))),
        accelerators=tuple(
            sorted(
                entry["name"].removesuffix("-accel") for entry in replies["accelerators"] if entry["name"] != "accel"
            )
        ),
    )


def _parse_replies(answers: str) -> dict[str, Any]:
    """What was answered, by the name of the question."""
    replies: dict[str, Any] = {}
    for line in answers.splitlines():
        message = json.loads(line) if line.strip() else {}
        if "id" in message and "return" in message:
            replies[message["id"]] = message["return"]
    return replies


def _parse_machines(replies: Mapping[str, Any], *, everything: bool = False) -> tuple[MachineType, ...]:
    """In the order of names. ``everything``: what they set is not limited to VFIO and migration."""
    entries = replies.get("machines with compat", replies["machines"])
    machines = (_parse_machine(entry, ("",) if everything else _COMPAT_TYPES) for entry in entries)
    return tuple(sorted(machines, key=lambda machine: machine.name))


def _parse_machine(entry: Mapping[str, Any], types: tuple[str, ...]) -> MachineType:
    compat = None
    if "compat-props" in entry:
        compat = tuple(
            (str(item["qom-type"]), str(item["property"]), str(item["value"]))
            for item in entry["compat-props"]
            if str(item["qom-type"]).startswith(types)
        )
    return MachineType(str(entry["name"]), entry.get("alias"), bool(entry.get("deprecated")), compat)


def _names(schema: Iterable[Mapping[str, Any]], kind: str) -> tuple[str, ...]:
    return tuple(sorted(entry["name"] for entry in schema if entry["meta-type"] == kind))


def _arguments_of(schema: Iterable[Mapping[str, Any]], command: str) -> list[str]:
    """Names of a command's arguments."""
    by_name = {entry["name"]: entry for entry in schema}
    arguments = by_name.get(by_name.get(command, {}).get("arg-type"), {})
    return [member["name"] for member in arguments.get("members", [])]
