# SPDX-License-Identifier: GPL-2.0-or-later
"""One side of a case: the devices made ready, then a QEMU that has them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from switchover.devices.passthrough import PassedFunction, start_function
from switchover.devices.reference import ReferenceDevice, Truth, start_reference_device
from switchover.guests.libvirt import start_domain
from switchover.guests.qemu import GuestKeys, QemuGuest, start_guest
from switchover.guests.spec import VfioDevice, with_lab_words
from switchover.guests.warm import SavedGuest, begin_restore
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.scenarios.case import SideSpec


@dataclass(frozen=True)
class Side:
    """``devices``: the reference devices, in the order of the spec, which is that of their slots in the guest.

    ``functions``: the PCI functions, by their ids. ``saved``: the guest that is being restored, to be finished by
    :func:`finish_restore`.
    """

    spec: SideSpec
    devices: tuple[ReferenceDevice, ...]
    guest: QemuGuest
    saved: SavedGuest | None = None
    functions: Mapping[str, PassedFunction] = field(default_factory=dict)

    @property
    def function_numbers(self) -> list[str]:
        """Vendor and device ids of the PCI functions, by which the guest knows them too."""
        return [function.function.numbers for function in self.functions.values()]

    def read_truths(self) -> tuple[Truth, ...]:
        return tuple(device.read_truth() for device in self.devices)


def name_devices(side: str, spec: SideSpec) -> list[str]:
    """How records and checks call the devices of a side: ``source`` the first, ``source ID`` each further one."""
    return [f"{side} {device.id}" if number else side for number, device in enumerate(spec.devices)]


def name_references(side: str, spec: SideSpec) -> list[str]:
    """The same, of its reference devices only."""
    named = zip(name_devices(side, spec), spec.devices, strict=True)
    return [name for name, device in named if device.function is None]


@contextlib.contextmanager
def start_side(
    spec: SideSpec,
    host: Host,
    name: str,
    keys: GuestKeys,
    loop: LoopThread,
    *,
    incoming: bool,
    saved: SavedGuest | None = None,
    keep: Callable[[QemuGuest], None] = lambda guest: None,
    words: str = "",
) -> Iterator[Side]:
    """Devices and QEMU for the time of a ``with`` block; QEMU ends first, since removing an open device would wait.

    ``keep``: see :func:`start_guest`. ``saved``: the guest that QEMU is to begin with, instead of booting one.
    ``words``: those of the host for the lab's guests, see :class:`switchover.run.pair.End`.
    """
    with contextlib.ExitStack() as stack:
        devices: list[ReferenceDevice] = []
        functions: dict[str, PassedFunction] = {}
        passed: list[VfioDevice] = []
        for wanted in spec.devices:
            if wanted.function is None:
                devices.append(stack.enter_context(start_reference_device(host, wanted.knobs, wanted.type)))
                sysfs = devices[-1].mediated.sysfs
            else:
                functions[wanted.id] = stack.enter_context(start_function(host, wanted.function))
                sysfs = functions[wanted.id].sysfs
            passed.append(VfioDevice(wanted.id, sysfs, wanted.given_properties(), wanted.managed))
        whole = replace(with_lab_words(spec.guest, words), devices=tuple(passed))
        guest: QemuGuest
        if whole.driver == "libvirt":
            guest = stack.enter_context(start_domain(whole, host, name, keys, loop, incoming=incoming, keep=keep))
        else:
            guest = stack.enter_context(
                start_guest(
                    whole, host, name, keys, loop,
                    incoming=incoming or saved is not None, empty_ports=len(passed) if saved else None, keep=keep,
                )
            )  # fmt: skip
        if saved:
            begin_restore(guest, saved)
        yield Side(spec, tuple(devices), guest, saved, functions)
