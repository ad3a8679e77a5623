# SPDX-License-Identifier: GPL-2.0-or-later
"""What cannot be of the faults of a case: each by itself, one after another, and with what the case has. Pure."""

from collections.abc import Iterator, Sequence

from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.migration.transports import TRANSPORTS
from switchover.scenarios.case import AnyDevice, FunctionSpec, SideSpec, find_device
from switchover.scenarios.faults import DEVICE, LINK, Fault, list_phases
from switchover.scenarios.limits import Problem


def find_fault_contradictions(
    settings: MigrationSettings, faults: Sequence[Fault], source: SideSpec, *, many: bool = False
) -> Iterator[Problem]:
    """Faults that cannot be, or not together, or not with these settings and this source, whatever QEMU makes of
    them. ``many``: they are of one migration of a chain.
    """
    for number, fault in enumerate(faults):
        if not many and fault.hop != 1:
            yield ("faults", number, "hop"), f"there is no hop {fault.hop}: the scenario has no [[hops]]"
        if fault.action is Action.KILL_PROXY and not TRANSPORTS[settings.transport].has_proxies:
            yield ("faults", number, "action"), 'there are proxies only with migration.transport = "unix"'
        for word, text in (
            *_check_moment(fault, settings, source, _list_unplugged(faults[:number])),
            *_check_own_keys(fault),
            *_check_device(fault, source, _list_unplugged(faults[:number])),
        ):
            yield ("faults", number, word), text


def _list_unplugged(faults: Sequence[Fault]) -> list[Fault]:
    return [fault for fault in faults if fault.action is Action.UNPLUG_DEVICE and not fault.is_on_the_way]


def _check_moment(
    fault: Fault, settings: MigrationSettings, source: SideSpec, unplugged: Sequence[Fault]
) -> Iterator[tuple[str, str]]:
    """``unplugged``: faults before it that take a device away."""
    allowed = list_phases(fault.action)
    if fault.phase is None:
        if fault.at_s is None:
            yield "phase", f"is missing, and at_s too: one of them says when; phase is one of {_join(allowed)}"
        elif fault.at_s > settings.timeout_s:
            yield "at_s", f"{fault.at_s:g} s is above timeout_s ({settings.timeout_s:g} s): it would never be made"
        return
    if fault.at_s is not None:
        yield "at_s", f'has no place beside phase = "{fault.phase}": either of them says when'
    if fault.phase not in allowed:
        yield "phase", f'"{fault.action}" makes no sense in the phase "{fault.phase}"; allowed: {_join(allowed)}'
    if fault.phase is Phase.PRE_SWITCHOVER and not settings.all_capabilities("source")["pause-before-switchover"]:
        yield "phase", 'the phase "pre-switchover" exists only with migration.pause_before_switchover = "on"'
    away = {find_device(one, source) for one in unplugged}
    if fault.phase is Phase.DEVICE_PRE_COPY and not any(
        _may_pre_copy(device) for device in source.devices if device.id not in away
    ):
        yield "phase", 'the phase "device pre-copy" exists only with a source device that has pre_copy = "on"'
    if fault.phase is Phase.DEVICE_STOP_COPY and away and away >= {device.id for device in source.devices}:
        yield "phase", 'the phase "device stop-copy" exists only with a device that is not unplugged before'


def _check_own_keys(fault: Fault) -> Iterator[tuple[str, str]]:
    if fault.seconds is not None and fault.action not in LINK:
        yield "seconds", f'has no effect with the action "{fault.action}": only {_join(LINK)} come to an end'
    if fault.device and fault.action not in DEVICE:
        yield "device", f'has no effect with the action "{fault.action}": only {_join(DEVICE)} are about a device'


def _check_device(fault: Fault, source: SideSpec, unplugged: Sequence[Fault]) -> Iterator[tuple[str, str]]:
    """``unplugged``: faults before it that take a device away."""
    if fault.action not in DEVICE:
        return
    ids = [device.id for device in source.devices]
    which = find_device(fault, source)
    if which not in ids:
        yield (
            ("device" if fault.device else "action"),
            f"there is no device {which!r}; there are: {_join(ids) or 'none'}",
        )
        return
    away = which in {find_device(one, source) for one in unplugged}
    if fault.action is Action.PLUG_DEVICE and not away:
        yield "action", f'"{fault.action}" needs a fault before it that unplugs {which}, in the phase "{Phase.BEFORE}"'
    if fault.action is not Action.PLUG_DEVICE and away:
        yield "action", f'"{fault.action}": {which} is unplugged already by a fault before this one'
    if fault.action is Action.RESET_DEVICE and which not in {device.id for device in source.references}:
        yield "action", f'"{fault.action}": {which} is no reference device, and only those are reset so'


def _may_pre_copy(device: AnyDevice) -> bool:
    """Whether a device offers pre-copy, or nobody knows."""
    return isinstance(device, FunctionSpec) or device.model is None or device.model.pre_copy


def _join(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)
