# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``repro.sh`` of a case has that the harness ran by QMP: QEMU's command lines, and its monitor by socat. Pure.

The body is ``script.sh`` beside this file.
"""

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace

from switchover.guests.arguments import build_arguments
from switchover.guests.spec import GuestFiles, Kernel, Launch
from switchover.migration.phases import Action
from switchover.migration.settings import MigrationSettings, TransportName
from switchover.migration.transports import TRANSPORTS
from switchover.record.record import Record
from switchover.repro.parts import Row, has_initramfs, name_variable, render_devices, render_variables
from switchover.repro.shell import quote, render_variable, render_words
from switchover.scenarios.case import AnyDevice, FunctionSpec, SideSpec

BODY = "script.sh"
WAYS: Mapping[TransportName, str] = {"tcp": "way-tcp.sh", "unix": "way-unix.sh", "file": "way-file.sh"}
MEANS = "QEMU, a shell and socat"
PROGRAMS = "QEMU, socat"
MORE_ROOM = "; for the verb all, twice that"
DESTINATION = "127.0.0.1"
VARIABLES: tuple[Row, ...] = ()
LEFT_OUT: tuple[str, ...] = ()
USAGE = (
    "On one host:    sh repro.sh all\n"
    "On two hosts:   export DESTINATION=ADDRESS, where the destination's host is reached, on both; then\n"
    "                sh repro.sh destination   on the destination's host,\n"
    "                sh repro.sh source        on the source's host, and, once both are ready,\n"
    "                sh repro.sh migrate       on the source's host, from another shell.\n"
    "Anything left:  sh repro.sh clean, on each host.\n"
    "all and migrate exit with 0 if the verdict is the recorded one, with 1 if it is another one, with 2 if\n"
    "nothing could be tried."
)


def locate_virtual(record: Record, side: str, device: FunctionSpec) -> str:
    """By the physical function, of which the script finds it."""
    return f"{device.pci}/virtfn{device.vf}"


def list_settings(settings: MigrationSettings) -> list[Row]:
    return [
        ("SOURCE_CAPABILITIES", _capabilities(settings, "source"), ""),
        ("DESTINATION_CAPABILITIES", _capabilities(settings, "destination"), ""),
        ("PARAMETERS", json.dumps(settings.first_parameters()), ""),
    ]


def _capabilities(settings: MigrationSettings, side: str) -> str:
    """Those that are on: QEMU has all of them off by itself."""
    wanted = settings.all_capabilities(side)
    return json.dumps([{"capability": name, "state": True} for name, state in wanted.items() if state])


def list_recorded(settings: MigrationSettings, actions: Set[Action], ident: str) -> list[Row]:
    reasons = [
        "this case kills the QEMU of the destination" if Action.KILL_DESTINATION in actions else "",
        "the destination is restored from a file of the source" if TRANSPORTS[settings.transport].has_file else "",
    ]
    return [
        (
            "NEEDS_DESTINATION",
            next(filter(None, reasons), ""),
            "why both sides must be on one host; empty: they need not",
        )
    ]


def render_side(side: str, spec: SideSpec, ident: str) -> Iterator[str]:
    guest = spec.guest
    yield f"\nstart_{side}() {{"
    for name, value in (
        ("qemu", guest.qemu),
        *((("kernel", guest.kernel_file),) if guest.kernel_file else ()),
        *((("initrd", guest.initramfs_file),) if has_initramfs(guest) else ()),
        ("accel", guest.accel),
        ("cpu", guest.cpu),
    ):
        variable = name.upper()
        yield f"    {name}=${{{variable}:-{quote(value)}}}"
    yield f"    begin_side {side}"
    yield from render_devices(side, spec, locate=True)
    yield from render_variables(guest)
    if guest.bridge:
        queues = f" {guest.nic_queues}" if guest.nic_queues > 1 else ""
        yield f"    connect_guest sw{ident}{side[0]}{queues}"
    yield "    start_qemu \\"
    lines = list(render_words(_arguments(side, spec)))
    yield from (f"        {line} \\" for line in lines[:-1])
    yield f"        {lines[-1]}"
    yield "}"


def _sysfs_of(side: str, number: int, device: AnyDevice) -> str:
    """Its path, in variables of the script."""
    if isinstance(device, FunctionSpec):
        return render_variable(f"passed_{number}")
    return f"{render_variable('MDEV')}/{render_variable(name_variable(side, number, device))}"


def _arguments(side: str, spec: SideSpec) -> list[str]:
    """QEMU's words as the harness makes them, with variables for what this script has elsewhere, and no keys."""
    devices = tuple(device.at(_sysfs_of(side, number, device)) for number, device in enumerate(spec.devices, start=1))
    guest = replace(
        spec.guest,
        qemu=render_variable("qemu"),
        kernel=Kernel(render_variable("kernel") if spec.guest.kernel_file else ""),
        initramfs=render_variable("initrd") if has_initramfs(spec.guest) else "",
        accel=render_variable("accel"),
        cpu=render_variable("cpu"),
    )
    launch = Launch(guest, devices)
    words = build_arguments(launch, GuestFiles(render_variable("here"), "tap"), incoming=side == "destination")
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "-fw_cfg":
            next(rest)
        elif word == "-netdev":
            next(rest)
            kept += [word, render_variable("netdev"), word, "hubport,id=nowhere,hubid=0"]
        else:
            kept.append(word)
    return kept
