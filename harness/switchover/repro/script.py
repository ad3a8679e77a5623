# SPDX-License-Identifier: GPL-2.0-or-later
"""``repro.sh``: a repeat as a shell script that needs neither Python nor this project. Pure, from the record alone.

The script is a head made here, which says what the case is, and what is beside this file: ``script-common.sh``, then
the body of the case's driver. These are the same for every case. Guests get no keys: nothing in the script is a secret,
and nobody logs in.
"""

import math
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from switchover.devices.reference import PARENT
from switchover.guests.spec import DriverName, with_lab_words
from switchover.migration.phases import Action
from switchover.migration.session import SETTLED_RAM
from switchover.migration.transports import TRANSPORTS
from switchover.record.checks import CheckId
from switchover.record.record import Record, VerdictName
from switchover.repro import script_libvirt, script_qmp
from switchover.repro.parts import SIDES, DriverScript, name_variable
from switchover.repro.shell import quote, render_comment
from switchover.scenarios.case import Case, FunctionSpec
from switchover.scenarios.faults import Fault
from switchover.scenarios.recorded import parse_case

SCRIPT = "repro.sh"
"""In the directory of a repeat."""
_NAMESPACE = uuid.UUID("5c0f7b5e-7d0b-4c3c-9a53-6a0d2f6a7d11")
SCRIPTS: Mapping[DriverName, DriverScript] = {"qmp": script_qmp, "libvirt": script_libvirt}
"""What a driver has of its own, by its name."""
_LOGIN = "one has to log in to it"
_IMPOSSIBLE = {
    Action.PANIC_GUEST: f"no shell can panic the guest: {_LOGIN}",
    Action.REBOOT_GUEST: f"no shell can make the guest reboot: {_LOGIN}",
    Action.SUSPEND_GUEST: f"no shell can make the guest suspend itself: {_LOGIN}",
    Action.RESET_DEVICE: f"no shell can make the guest reset its device: {_LOGIN}",
    Action.UNPLUG_DEVICE: "this script takes no device from a guest that runs",
    Action.PLUG_DEVICE: "this script plugs no device into a guest that runs",
}
"""What a script does not do of a case, and why."""
_NO_VERDICT = (VerdictName.INFRASTRUCTURE_ERROR, VerdictName.NOT_SUPPORTED)


def render_script(record: Record) -> str:
    """The script. :raises UsageError: the record does not say all that is needed"""
    whole = parse_case(record)
    case = whole.list_hops()[_choose_hop(record, whole) - 1]
    own = SCRIPTS[case.source.guest.driver]
    ident = uuid.uuid5(_NAMESPACE, f"{record.case} {record.repeat} {record.started}").hex[:8]
    parts = (
        *_describe(record, whole, case, own),
        *_variables(record, case, ident, own),
        *_recorded(record, case, ident, own),
        *_faults(case),
        *own.render_side("source", case.source, ident),
        *own.render_side("destination", case.destination, ident),
    )
    ways = [own.WAYS[case.settings.transport]] if own.WAYS else []
    files = ("script-common.sh", *ways, own.BODY)
    body = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in files)
    return "\n".join(parts) + "\n" + body


def _choose_hop(record: Record, whole: Case) -> int:
    """The migration that is repeated, from 1: of a chain the one that ended it, or the first."""
    return record.verdict.hop if 0 < record.verdict.hop <= len(whole.list_hops()) else 1


def _describe(record: Record, whole: Case, case: Case, own: DriverScript) -> Iterator[str]:
    """``case``: the migration that is repeated, which may be one of the ``whole``'s."""
    verdict, expected = record.verdict, whole.expectation
    because = f", because {expected.because}" if expected.because else ""
    reason = f": {expected.reason or ', '.join(expected.checks)}" if expected.reason or expected.checks else ""
    yield "#!/bin/sh"
    yield "# SPDX-License-Identifier: GPL-2.0-or-later"
    yield "#"
    yield from render_comment(f"One live migration that Switchover recorded, to be repeated with {own.MEANS}.")
    yield "#"
    yield from render_comment(f"case: {record.case}, repeat {record.repeat}, {record.started}")
    said = f": {verdict.reason}" if verdict.reason else ""
    yield from render_comment(f"observed: {_by(verdict.name, verdict.side)}{said}")
    yield from render_comment(f"expected: {_by(expected.verdict, expected.side)}{reason}{because}")
    if record.mismatch:
        yield from render_comment(f"not right: {record.mismatch}")
    for check in record.failed_checks:
        yield from render_comment(f"check: {check.name}: expected {check.expected}, observed {check.observed}")
    for fault in case.faults:
        lasts = "" if fault.seconds is None else f", for {fault.seconds:g} s"
        yield from render_comment(f"on purpose: {fault.label}{lasts}")
    yield from _difference(case)
    yield "#"
    yield from _versions(record.fingerprint)
    yield "#"
    yield from _needs(case, own)
    yield "#"
    yield from _not_done(record, case, own)
    if whole.then:
        yield from _hops_not_done(record, whole)
    yield "#"
    yield from render_comment(own.USAGE)


def _by(name: str, side: str) -> str:
    return f"{name} ({side})" if side else name


def _difference(case: Case) -> Iterator[str]:
    """In what the sides differ, which may be all that the case is about."""
    here, there = (_flatten(asdict(side)) for side in (case.source, case.destination))
    for key in sorted(here.keys() | there.keys()):
        if here.get(key) != there.get(key):
            yield from render_comment(f"sides differ: {key}: source {here.get(key)}, destination {there.get(key)}")


def _flatten(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(str(number), inner) for number, inner in enumerate(value)]
    else:
        return {path: value}
    flat: dict[str, Any] = {}
    for key, inner in items:
        flat |= _flatten(inner, f"{path}.{key}" if path else key)
    return flat


def _versions(fingerprint: Mapping[str, Any]) -> Iterator[str]:
    qemus = fingerprint.get("qemu", {})
    yield from render_comment("made on")
    for side in SIDES:
        facts = fingerprint.get(side, {})
        words = [_tell_qemu(qemus.get(side)), f"Linux {facts.get('kernel', 'unknown')}", str(facts.get("cpu", ""))]
        yield from render_comment(f"  {side}: {', '.join(word for word in words if word)}")
    yield from render_comment(f"  switchover {fingerprint.get('switchover', 'unknown')}")
    for name, digest in fingerprint.get("lab", {}).get("images", {}).items():
        yield from render_comment(f"  image {name}: {digest}")


def _tell_qemu(version: object) -> str:
    """``version``: the answer to ``query-version``, if there was one."""
    match version:
        case {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": package}:
            return f"QEMU {major}.{minor}.{micro} {package}".strip()
    return "QEMU unknown"


def _needs(case: Case, own: DriverScript) -> Iterator[str]:
    devices = [*case.source.references, *case.destination.references]
    types = ", ".join(sorted({device.type for device in devices}))
    functions = [*case.source.functions, *case.destination.functions]
    guest = case.source.guest
    needed = "" if guest.boots_from_disk else ", a kernel and an initrd for the guest (KERNEL, INITRD)"
    yield from render_comment(f"needed on each host: {own.PROGRAMS}{needed}")
    if guest.disk:
        shared = "" if guest.disk_readonly else ", which is the same storage on both hosts"
        yield from render_comment(f"  the guest's disk at {guest.disk}{shared}")
    if not guest.is_of_lab:
        yield from render_comment(
            "  the guest is no guest of Switchover: BOOTED must be what it says once it has booted"
        )
    if devices:
        yield from render_comment(
            f"  root, and mediated devices of type {types}: Switchover's kernel module refdev, loaded"
        )
    others = {device.type: device.known for side in (case.source, case.destination) for device in side.mediated}
    for mdev_type, known in sorted(others.items()):
        module = f": the kernel module {known.image}, loaded" if known else ""
        yield from render_comment(f"  root, and mediated devices of type {mdev_type}{module}")
    if bound := [function.describe() for function in functions if not function.managed]:
        names = ", ".join(dict.fromkeys(bound))
        yield from render_comment(f"  root, and with a driver of VFIO already, since this script binds none: {names}")
    yield from render_comment(f"  for the guest {guest.memory_mib} MiB and {guest.vcpus} CPUs{own.MORE_ROOM}")


def _not_done(record: Record, case: Case, own: DriverScript) -> Iterator[str]:
    """What the harness does and this script does not, since nobody logs in to its guest."""
    devices = [*case.source.references, *case.destination.references]
    yield from render_comment("not as in the record, since this script has no keys and nobody logs in to the guest:")
    yield from render_comment(f"  no checks after the migration ({len(record.checks)} in the record)")
    if record.verdict.name is VerdictName.CHECKS_FAILED:
        yield from render_comment("  so the checks that failed are not seen: this script sees the migration complete")
    if any(check.id == CheckId.MIGRATION_AGAIN for check in record.checks):
        yield from render_comment("  no second migration of the guest that stayed")
    if any(device.knobs.dma_pages_per_sec for device in devices):
        yield from render_comment("  the guest does not let its device do DMA, which it did in the record")
    if undoable := [why for action, why in _IMPOSSIBLE.items() if case.does(action)]:
        yield from render_comment(f"  {'; '.join(undoable)}: this case cannot be repeated by a script")
    if not own.WAYS and TRANSPORTS[case.settings.transport].has_proxies:
        yield from render_comment("  the stream goes over TCP, where the record has proxies between unix sockets")
    if case.settings.path:
        yield from render_comment(f"  the stream goes by a path in WORK, not by {case.settings.path}")
    if case.heartbeat_us:
        yield from render_comment("  the guest sends no heartbeats")
    if case.irq_seconds:
        yield from render_comment("  nobody looks where the guest's IRQ threads run, and it has no load")
    words = str(record.fingerprint.get("lab", {}).get("accelerator", {}).get("guest_words", ""))
    if with_lab_words(case.source.guest, words) != case.source.guest:
        yield from render_comment(f"in the record the guest's kernel had more words, for the lab's sake: {words}")
    guest = record.fingerprint.get("guest", {"start": case.source.guest.start})
    if guest.get("start") == "warm":
        yield from render_comment("in the record the guest was restored, its devices plugged in; here it boots")
    if (number := guest.get("migration", 1)) > 1:
        yield from render_comment(
            f"in the record this was the guest's migration {number}, after other cases; here it boots"
        )
    if record.verdict.name in _NO_VERDICT:
        yield from render_comment(
            f"the record has no verdict on QEMU: this script looks for {case.expectation.verdict}"
        )


def _hops_not_done(record: Record, whole: Case) -> Iterator[str]:
    number, count = _choose_hop(record, whole), len(whole.list_hops())
    yield from render_comment(
        f"in the record there was a chain of {count} migrations; this script repeats hop {number} of it:"
    )
    if number > 1:
        yield from render_comment(f"  the guest boots in the source's QEMU, where it had come by {number - 1} before")
    if number < count:
        yield from render_comment(f"  the {count - number} after it are left out")


def _variables(record: Record, case: Case, ident: str, own: DriverScript) -> Iterator[str]:
    booted = "switchover-guest: ready" if case.source.guest.is_of_lab else ""
    yield "\nset -eu\n"
    yield "# --- To be set here or in the environment"
    rows = [
        ("QEMU", "", "program; empty: as in the record, as those to ACCEL and CPU below"),
        ("KERNEL", "", "of the guest"),
        ("INITRD", "", "of the guest"),
        ("ACCEL", "", "-accel"),
        ("CPU", "", "-cpu"),
        ("BRIDGE", "", "bridge for the guest's NIC; empty: it is connected to nothing"),
        ("DESTINATION", own.DESTINATION, "address at which the destination listens"),
        ("PORT", "4444", "port of it"),
        ("LINK", "", "network interface between the hosts, where the case disturbs it"),
        (
            "BOOTED",
            booted,
            "pattern on the guest's console; empty: do not wait",
        ),
        *own.VARIABLES,
        (
            "BOOT_SECONDS",
            f"{math.ceil(case.source.guest.boot_deadline(_read_pace(record)))}",
            "until the guest has booted",
        ),
        ("LOGS", "", "directory for consoles, traces and QMP; empty: they are not kept"),
        ("WORK", f"/tmp/switchover-repro-{ident}", "directory that the script makes and removes"),
    ]
    for side, spec in zip(SIDES, (case.source, case.destination), strict=True):
        for number, device in enumerate(spec.devices, start=1):
            drawn = str(uuid.uuid5(_NAMESPACE, f"{ident} {side} {number}"))
            if isinstance(device, FunctionSpec):
                drawn = device.pci if device.vf is None else own.locate_virtual(record, side, device)
            rows.append((name_variable(side, number, device), drawn, f"the {side}'s device {device.id}"))
    for name, value, meaning in (row for row in rows if row[0] not in own.LEFT_OUT):
        quoted = quote(value) if value else ""
        yield f"{name}=${{{name}-{quoted}}}  # {next(render_comment(meaning)).removeprefix('# ')}"


def _read_pace(record: Record) -> float:
    """Of the lab that it was recorded in: the script takes as long there."""
    return float(record.fingerprint.get("lab", {}).get("pace", 1))


def _recorded(record: Record, case: Case, ident: str, own: DriverScript) -> Iterator[str]:
    settings = case.bound_settings.stretched(_read_pace(record))
    verdict = record.verdict.name
    if verdict is VerdictName.CHECKS_FAILED:
        verdict = VerdictName.COMPLETED
    elif verdict in _NO_VERDICT:
        verdict = case.expectation.verdict
    crashed_there = verdict is VerdictName.CRASHED and record.verdict.side == "destination"
    deadline = settings.timeout_s
    if verdict is VerdictName.HUNG:
        step = f"hop {record.verdict.hop}: migrate" if record.verdict.hop > 1 else "migrate"
        deadline = min(deadline, 2 * record.seconds.get(step, deadline) + 10)
    actions = {fault.action for fault in case.faults}
    impossible = "; ".join(why for action, why in _IMPOSSIBLE.items() if action in actions)
    impossible = impossible or ("certificates are secrets, and not in this script" if settings.tls else "")
    values = [
        ("RECORDED", verdict, "verdict of the record"),
        (
            "RECORDED_SEEN_FROM_SOURCE",
            "failed" if crashed_there else verdict,
            "the same with the destination elsewhere",
        ),
        ("DEADLINE", str(math.ceil(deadline)), "seconds from migrate after which the migration hangs"),
        *own.list_settings(settings),
        (
            "SETTLE",
            "yes" if settings.settle else "",
            "hold the switchover back until RAM and device pre-copy are drained",
        ),
        ("SETTLE_SECONDS", str(math.ceil(settings.settle_timeout_s)), "at most so long"),
        ("SETTLED_RAM", str(SETTLED_RAM), "bytes; no more of RAM may remain"),
        ("SETTLED_VFIO", str(settings.settle_vfio_bytes), "bytes that are enough of a device; 0: all"),
        ("DOWNTIME_LIMIT", str(settings.downtime_limit_ms), "ms, once the switchover is let go"),
        (
            "DOWNTIME_STEPS",
            " ".join(map(str, settings.downtime_steps_ms)),
            "ms, the limits after that one, while the migration goes on",
        ),
        ("STEP_SECONDS", str(max(1, round(settings.downtime_step_s))), "from one limit to the next"),
        ("PARENT", PARENT, "where mediated devices are made"),
        ("IMPOSSIBLE", impossible, "why this case cannot be repeated by a script"),
        ("NEEDS_LINK", "yes" if case.disturbs_link else "", ""),
        *own.list_recorded(settings, actions, ident),
    ]
    yield "\n# --- The case"
    for name, value, meaning in (row for row in values if row[0] not in own.LEFT_OUT):
        yield f"{name}={quote(value)}{f'  # {meaning}' if meaning else ''}"


def _faults(case: Case) -> Iterator[str]:
    yield "\nfaults() { # PHASE: what is done on purpose in it"
    yield "    case $1 in"
    for phase in dict.fromkeys(fault.phase for fault in case.faults if fault.phase is not None):
        yield f"    {quote(phase)})"
        yield from (f"        {line}" for fault in case.faults if fault.phase is phase for line in _commands(fault))
        yield "        ;;"
    yield "    esac"
    yield "}"
    yield "\ntimed_faults() { # what is done on purpose in this second of the migration"
    yield "    case $seconds in"
    for second in dict.fromkeys(_second_of(fault) for fault in case.faults if fault.at_s is not None):
        yield f"    {second})"
        timed = [fault for fault in case.faults if fault.at_s is not None and _second_of(fault) == second]
        yield from (f"        {line}" for fault in timed for line in _commands(fault))
        yield "        ;;"
    yield "    esac"
    yield "}"


def _second_of(fault: Fault) -> int:
    """The script's clock has whole seconds."""
    return math.ceil(fault.at_s or 0)


def _commands(fault: Fault) -> Iterator[str]:
    match fault.action:
        case Action.CANCEL:
            yield "cancel"
        case Action.KILL_SOURCE:
            yield "kill_side source"
        case Action.KILL_DESTINATION:
            yield "kill_side destination"
        case Action.CUT_LINK:
            yield "disturb_link loss 100%"
        case Action.SLOW_LINK:
            yield f"disturb_link rate {fault.rate_bit}bit"
        case Action.PAUSE_GUEST:
            yield "pause_guest"
        case Action.KILL_PROXY:
            yield "kill_proxy"
        case _:
            yield 'give_up "$IMPOSSIBLE"'
    if fault.seconds is not None:
        yield f"restore_in {math.ceil(fault.seconds)}"
