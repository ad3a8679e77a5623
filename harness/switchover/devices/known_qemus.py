# SPDX-License-Identifier: GPL-2.0-or-later
"""What the QEMUs that the project names can do: answers of those binaries, kept so that a plan needs no host.

``known_qemus.json`` beside this file is written by ``switchover oracle qemus``, which asks the binaries in a lab. A
binary that was asked in a run counts before what is kept here of its name.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from switchover.devices.abilities import MachineType, QemuAbilities
from switchover.devices.survey import QEMU
from switchover.lab.custom_toolchains import LABHOST_QEMU

FILE = Path(__file__).with_suffix(".json")
NAMED = (LABHOST_QEMU, "qemu-7.2", "qemu-11.1", "qemu-x-allow-pre-copy")
"""Names by which scenarios ask for them, on lab hosts; QEMU of PATH is there that of the lab host."""


@functools.cache
def find_known_qemu(name: str) -> QemuAbilities | None:
    """What is kept of a QEMU, by the name that scenarios give it; None: nobody knows what it is before it is asked."""
    kept = _read().get(LABHOST_QEMU if name == QEMU else name)
    return None if kept is None else parse_known(kept)


@functools.cache
def _read() -> Mapping[str, Any]:
    kept: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return kept


def parse_known(kept: Mapping[str, Any]) -> QemuAbilities:
    """From :func:`render_known`; what was left out there is empty."""
    machines = (
        MachineType(
            machine["name"],
            machine.get("alias"),
            machine.get("deprecated", False),
            None
            if machine.get("compat") is None
            else tuple((kind, key, value) for kind, key, value in machine["compat"]),
        )
        for machine in kept["machines"]
    )
    return QemuAbilities(
        path="",
        digest=kept["digest"],
        version=kept["version"],
        package=kept["package"],
        vfio_pci=kept["vfio_pci"],
        capabilities=dict.fromkeys(kept["capabilities"], False),
        parameters=dict.fromkeys(kept["parameters"]),
        machines=tuple(machines),
        commands=(),
        events=(),
        traces=tuple(kept["traces"]),
        accelerators=tuple(kept["accelerators"]),
        nic=tuple(kept["virtio_net_pci"]),
        devices=tuple(kept["devices"]),
        objects=tuple(kept["objects"]),
    )


def render_known(abilities: QemuAbilities) -> dict[str, Any]:
    """What is kept of a binary: all that a case may need of it and that rules look at, names in order."""
    return {
        "version": abilities.version,
        "digest": abilities.digest,
        "package": abilities.package,
        "vfio_pci": dict(sorted(abilities.vfio_pci.items())),
        "capabilities": sorted(abilities.capabilities),
        "parameters": sorted(abilities.parameters),
        "accelerators": sorted(abilities.accelerators),
        "virtio_net_pci": sorted(abilities.nic),
        "devices": sorted(abilities.devices),
        "objects": sorted(abilities.objects),
        "traces": [name for name in abilities.traces if name.startswith("vfio_")],
        "machines": [_render_machine(machine) for machine in abilities.machines],
    }


def _render_machine(machine: MachineType) -> dict[str, Any]:
    kept: dict[str, Any] = {"name": machine.name}
    if machine.alias:
        kept["alias"] = machine.alias
    if machine.deprecated:
        kept["deprecated"] = True
    if machine.compat is not None:
        last = {(kind, key): value for kind, key, value in machine.compat if kind in ("vfio-pci", "migration")}
        kept["compat"] = [[kind, key, value] for (kind, key), value in sorted(last.items())]
    return kept


def render_file(qemus: Mapping[str, QemuAbilities]) -> str:
    """The file: a line for each list, and for each machine type."""
    blocks = []
    for name, abilities in sorted(qemus.items()):
        kept = render_known(abilities)
        machines = ",\n".join(f"   {json.dumps(machine)}" for machine in kept.pop("machines"))
        lines = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in kept.items())
        blocks.append(f' {json.dumps(name)}: {{\n{lines},\n  "machines": [\n{machines}\n  ]\n }}')
    return "{\n" + ",\n".join(blocks) + "\n}\n"
