# SPDX-License-Identifier: GPL-2.0-or-later
"""Surveys of hosts for a person, and for programs. Pure."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from switchover.devices.abilities import QemuAbilities
from switchover.devices.survey import HostSurvey
from switchover.record.units import format_bytes

_VFIO_PROPERTIES = (
    "enable-migration",
    "x-enable-migration",
    "migration-events",
    "x-allow-pre-copy",
    "x-pre-copy-dirty-page-tracking",
    "x-device-dirty-page-tracking",
    "x-migration-multifd-transfer",
)
_CAPABILITIES = ("return-path", "switchover-ack", "multifd", "postcopy-ram", "mapped-ram", "pause-before-switchover")


def render_survey_json(survey: HostSurvey) -> dict[str, Any]:
    """Everything, for programs; ``reachable`` says whether the host could be asked at all."""
    return {"reachable": "host" not in survey.problems, **asdict(survey)}


def render_survey(survey: HostSurvey) -> str:
    """A host as a block of lines."""
    head = f"{survey.name}  ({survey.origin})"
    if "host" in survey.problems:
        return f"{head}\n  unreachable  {survey.problems['host']}"
    lines = [head, *_render_machine(survey)]
    for asked, qemu in survey.qemus.items():
        lines += _render_qemu(asked, qemu)
    lines += _render_devices(survey)
    lines += [f"  not known    {part}: {why}" for part, why in survey.problems.items()]
    return "\n".join(lines)


def _render_machine(survey: HostSurvey) -> list[str]:
    machine = survey.machine
    if machine is None:
        return []
    memory = "?" if machine.memory is None else format_bytes(machine.memory)
    free = "?" if machine.memory_available is None else format_bytes(machine.memory_available)
    limit = "no limit" if machine.memlock is None else format_bytes(machine.memlock)
    pages = ", ".join(
        f"{page.total} of {format_bytes(page.size_kib << 10)} ({page.free} free)"
        for page in machine.hugepages
        if page.total
    )
    iommu = ", ".join((*machine.iommus, *machine.iommu_options)) or "none"
    groups = 0 if survey.devices is None else len(survey.devices.groups)
    lines = [
        f"  kernel       {machine.kernel.split()[0] if machine.kernel else '?'}",
        f"  CPU          {machine.cpus} × {machine.cpu or '?'}",
        f"  memory       {memory}, {free} available; huge pages: {pages or 'none'}; memlock: {limit}",
        f"  IOMMU        {iommu}; {groups} groups",
    ]
    if survey.kvm is not None:
        works = {True: "kvm", False: "tcg only", None: "kvm not tried"}[survey.kvm.works]
        lines.append(f"  accelerator  {works}: {survey.kvm.reason}")
    return lines


def _render_qemu(asked: str, qemu: QemuAbilities) -> list[str]:
    newest = max(
        (machine.name for machine in qemu.machines if machine.name.startswith("pc-q35-")), key=_order, default="?"
    )
    known = [name for name in _VFIO_PROPERTIES if name in qemu.vfio_pci]
    lacking = [name for name in _VFIO_PROPERTIES if name not in qemu.vfio_pci and f"x-{name}" not in qemu.vfio_pci]
    if "enable-migration" in qemu.vfio_pci:
        lacking = [name for name in lacking if name != "x-enable-migration"]
    capabilities = [name for name in _CAPABILITIES if name in qemu.capabilities]
    where = qemu.path if asked in (qemu.path, qemu.path.rpartition("/")[2]) else f"{asked} ({qemu.path})"
    lines = _wrap(f"QEMU {qemu.version}", f"{where}, up to {newest}; migration: {', '.join(capabilities)}")
    if not qemu.vfio_pci:
        return [*lines, *_wrap("", "no vfio-pci in this binary")]
    lines += _wrap("", f"vfio-pci has: {', '.join(known) or 'no properties of migration'}")
    return [*lines, *_wrap("", f"it lacks: {', '.join(lacking)}")] if lacking else lines


def _wrap(label: str, text: str) -> list[str]:
    first = f"  {label:<12} "
    return textwrap.wrap(text, 118, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name.removeprefix("pc-q35-")))


def _render_devices(survey: HostSurvey) -> list[str]:
    devices = survey.devices
    if devices is None:
        return []
    lines = []
    for function in devices.functions:
        if function.is_for_vfio:
            migration = survey.migratability.get(function.address)
            shown = "unknown" if migration is None else migration.describe()
            lines.append(
                f"  device       {function.address} {function.numbers} {function.driver}, group {function.group}; "
                f"migration: {shown}"
            )
        elif function.virtual_functions is not None:
            made, possible = function.virtual_functions
            lines.append(
                f"  device       {function.address} {function.numbers} {function.driver or 'no driver'}, "
                f"{made} of {possible} virtual functions"
            )
    for instance in devices.mediated:
        migration = survey.migratability.get(instance.uuid)
        shown = "unknown" if migration is None else migration.describe()
        lines.append(f"  mediated     {instance.uuid} {instance.type}, group {instance.group}; migration: {shown}")
    lines += [
        f"  mdev type    {entry.parent} {entry.type}: {entry.name}, "
        f"{'?' if entry.available is None else entry.available} left"
        for entry in devices.mdev_types
    ]
    return lines or ["  device       none that a VFIO driver has, no mdev types"]


def render_surveys(surveys: Sequence[HostSurvey]) -> str:
    return "\n\n".join(render_survey(survey) for survey in surveys)
