# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties of the devices as QEMU holds them: read back before a migration, and compared with what was asked for."""

import contextlib
from collections.abc import Container

from switchover.devices.abilities import read_abilities
from switchover.record.errors import Refused
from switchover.runner.side import Side
from switchover.scenarios.case import BY_MACHINE, PRE_COPY_PROPERTY, AnyDevice, name_devices

_WORDS = {"true": "on", "yes": "on", "false": "off", "no": "off"}


Held = dict[str, dict[str, str]]
"""By device (``source`` for the first, ``source ID`` for each further one), what its vfio-pci holds of the properties
that it was given, and of ``x-allow-pre-copy`` where this QEMU has that."""


def read_back(side: Side, name: str) -> Held:
    """What a QEMU holds before a migration. One that libvirt starts in the migration cannot be asked yet, nor what is
    plugged in only when the guest has come.

    :raises Refused: a property is not what was asked for, or with ``by-machine`` not what the machine type sets
    """
    found: Held = {}
    if not side.guest.has_begun:
        return found
    for place, device in _list_present(side, name):
        if device.is_primary and name == "destination":
            continue
        held = _ask(side, device)
        for word, wanted, why in _list_wanted(side, device) if device.id not in side.guest.launch.bare else ():
            if (value := held.get(word)) != wanted:
                raise Refused(f"{side.guest.label} holds {word} = {value} for the device {device.id}.", why=why)
        found[place] = held
    return found


def read_back_late(side: Side, name: str, known: Container[str]) -> tuple[Held, Held]:
    """The same of devices that could be asked for only after the migration, since they are not among those that are
    ``known``, and what QEMU had to hold: a check then.
    """
    found, wanted = Held(), Held()
    for place, device in _list_present(side, name):
        if place in known:
            continue
        found[place] = _ask(side, device)
        wanted[place] = {word: value for word, value, _ in _list_wanted(side, device)}
    return found, wanted


def _list_present(side: Side, name: str) -> list[tuple[str, AnyDevice]]:
    """The devices that QEMU has, by their places."""
    pairs = zip(name_devices(name, side.spec), side.spec.devices, strict=True)
    return [(place, device) for place, device in pairs if device.id not in side.absent]


def _ask(side: Side, device: AnyDevice) -> dict[str, str]:
    held = {name: _get(side, device, name) for name in device.named_properties()}
    if PRE_COPY_PROPERTY not in held:
        with contextlib.suppress(Refused):  # a QEMU without it
            held[PRE_COPY_PROPERTY] = _get(side, device, PRE_COPY_PROPERTY)
    return held


def _get(side: Side, device: AnyDevice, name: str) -> str:
    where = {"path": f"/machine/peripheral/{side.guest.name_device(device.id)}", "property": name}
    return normalise(side.guest.qmp.execute("qom-get", where))


def normalise(value: object) -> str:
    """A value of QMP, or a word of the command line, as a word: the two spell what is on or off in several ways.

    >>> normalise(True), normalise("false"), normalise("auto"), normalise(4096)
    ('on', 'off', 'auto', '4096')
    """
    word = str(value)
    return _WORDS.get(word.lower(), word)


def _list_wanted(side: Side, device: AnyDevice) -> list[tuple[str, str, str]]:
    """Properties with what they must be, and why. Numbers and sizes are spelled in too many ways to be compared."""
    given = {name: normalise(value) for name, value in device.given_properties().items()}
    wanted = [
        (name, value, f"it was set to {value}, and QEMU did not object")
        for name, value in given.items()
        if value in ("on", "off", "auto")
    ]
    if device.allow_pre_copy == BY_MACHINE:
        machine = side.spec.guest.machine.partition(",")[0]
        abilities = read_abilities(side.guest.host, side.spec.guest.qemu)
        value = abilities.compat_value(machine, "vfio-pci", PRE_COPY_PROPERTY)
        if value is not None:
            wanted.append((PRE_COPY_PROPERTY, normalise(value), f"the machine type {machine} sets it to {value}"))
    return wanted
