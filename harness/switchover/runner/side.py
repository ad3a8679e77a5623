# SPDX-License-Identifier: GPL-2.0-or-later
"""One side of a case: the devices made ready, then a QEMU that has them."""

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from switchover.devices.mediated import MediatedDevice, require_parent, start_mediated_device
from switchover.devices.passthrough import PassedFunction, start_function
from switchover.devices.reference import ReferenceDevice, Truth, parse_truth, start_reference_device
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.guests.snapshots import Snapshot, begin_restore
from switchover.guests.spec import Launch, VfioDevice, with_lab_words
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.questions import Answer, ask_together
from switchover.migration.drivers import DRIVERS
from switchover.record.errors import CommandFailed
from switchover.scenarios.case import DeviceSpec, MediatedSpec, SideSpec


@dataclass(frozen=True)
class Side:
    """``devices``: the reference devices, in the order of the spec, which is that of their slots in the guest.

    ``functions``: the PCI functions, by their ids; ``mediated``: the mediated devices of others. ``saved``: the guest
    that is being restored, to be finished by :func:`finish_restore`.
    """

    spec: SideSpec
    devices: tuple[ReferenceDevice, ...]
    guest: QemuGuest
    saved: Snapshot | None = None
    functions: Mapping[str, PassedFunction] = field(default_factory=dict)
    mediated: Mapping[str, MediatedDevice] = field(default_factory=dict)
    slots: tuple[contextlib.ExitStack, ...] = ()
    """What ends each device of the spec, once QEMU has it no more."""

    @property
    def absent(self) -> frozenset[str]:
        """Ids of the devices that are ready on the host, and that the guest does not have now."""
        return self.guest.launch.absent

    @property
    def present(self) -> list[tuple[DeviceSpec, ReferenceDevice]]:
        """The reference devices that the guest has now, in the order of their slots."""
        pairs = zip(self.spec.references, self.devices, strict=True)
        return [(spec, device) for spec, device in pairs if spec.id not in self.absent]

    @property
    def function_numbers(self) -> list[str]:
        """Vendor and device ids of the PCI functions that the guest has, by which it knows them too, and of mediated
        devices of others whose ids are known.
        """
        functions = [function.function.numbers for name, function in self.functions.items() if name not in self.absent]
        mediated = [device.known for device in self.spec.mediated if device.id not in self.absent]
        return [*functions, *(known.numbers for known in mediated if known and known.numbers)]

    def unplug(self, device_id: str) -> None:
        """Take a device from the guest, which stays ready on its host. Raises as :meth:`QemuGuest.unplug`."""
        self.guest.unplug(device_id)
        self.guest.launch = replace(self.guest.launch, absent=self.absent | {device_id})

    def plug(self, device_id: str) -> None:
        """Give the guest a device that it does not have, in its own slot. Raises as :meth:`QemuGuest.plug`."""
        numbered = enumerate(self.guest.launch.devices, start=1)
        number, device = next(pair for pair in numbered if pair[1].id == device_id)
        self.guest.plug(device, number)
        self.guest.launch = replace(self.guest.launch, absent=self.absent - {device_id})

    def read_truths(self) -> tuple[Truth, ...]:
        """What its reference devices know, in one exchange with the host.

        :raises CommandFailed: one could not be read
        """
        return self._parse_truths(ask_together(self.guest.host, self._ask_truths()))

    def read_truths_and_log(self) -> tuple[tuple[Truth, ...], str]:
        """The same, and QEMU's log."""
        questions = {**self._ask_truths(), "log": f"cat {shlex.quote(self.guest.files.log)}"}
        answers = ask_together(self.guest.host, questions)
        return self._parse_truths(answers), self._require(answers, "log")

    def _ask_truths(self) -> dict[str, str]:
        return {f"device-{number}": device.ask_truth() for number, device in enumerate(self.devices)}

    def _parse_truths(self, answers: Mapping[str, Answer]) -> tuple[Truth, ...]:
        return tuple(parse_truth(self._require(answers, f"device-{number}")) for number in range(len(self.devices)))

    def _require(self, answers: Mapping[str, Answer], name: str) -> str:
        """:raises CommandFailed: it could not be read"""
        answer = answers[name]
        if not answer.ok:
            raise CommandFailed(f"{self.guest.host.name} does not say: {name}", why=answer.text.strip()[-300:])
        return answer.text


@contextlib.contextmanager
def start_side(
    spec: SideSpec,
    host: Host,
    name: str,
    keys: GuestKeys,
    loop: LoopThread,
    *,
    incoming: bool,
    saved: Snapshot | None = None,
    keep: Callable[[QemuGuest], None] = lambda guest: None,
    words: str = "",
    absent: frozenset[str] = frozenset(),
) -> Iterator[Side]:
    """Devices and QEMU for the time of a ``with`` block; QEMU ends first, since removing an open device would wait.

    ``keep``: see :func:`switchover.guests.qemu.start_guest`.
    ``saved``: the guest that QEMU is to begin with, instead of booting one.
    ``words``: those of the host for the lab's guests, see :class:`switchover.runner.host_pair.Endpoint`.
    ``absent``: ids of devices that are made ready, and plugged in later, if at all.
    """
    with contextlib.ExitStack() as stack:
        devices: list[ReferenceDevice] = []
        functions: dict[str, PassedFunction] = {}
        mediated: dict[str, MediatedDevice] = {}
        passed: list[VfioDevice] = []
        slots: list[contextlib.ExitStack] = []
        for wanted in spec.devices:
            slots.append(stack.enter_context(contextlib.ExitStack()))
            if isinstance(wanted, DeviceSpec):
                devices.append(slots[-1].enter_context(start_reference_device(host, wanted.knobs, wanted.type)))
                sysfs = devices[-1].mediated.sysfs
            elif isinstance(wanted, MediatedSpec):
                start = start_mediated_device(host, require_parent(host, wanted.type), wanted.type)
                mediated[wanted.id] = slots[-1].enter_context(start)
                sysfs = mediated[wanted.id].sysfs
            else:
                functions[wanted.id] = slots[-1].enter_context(start_function(host, wanted.request))
                sysfs = functions[wanted.id].sysfs
            passed.append(wanted.at(sysfs))
        launch = Launch(with_lab_words(spec.guest, words), tuple(passed), absent)
        guest = stack.enter_context(
            DRIVERS[spec.guest.driver].start(
                launch,
                host,
                name,
                keys,
                loop,
                incoming=incoming or saved is not None,
                empty_ports=len(passed) if saved else None,
                keep=keep,
            )
        )
        if saved:
            begin_restore(guest, saved)
        yield Side(spec, tuple(devices), guest, saved, functions, mediated, tuple(slots))


def exchange_devices(side: Side, wanted: SideSpec) -> Side:
    """Take the devices from a guest that runs, all of them reference devices, and plug those of another spec into their
    slots. What the guest's driver knew of the old ones is gone with them.

    :raises Refused: QEMU rejected a device; :raises Deadline: the guest does not let one go
    """
    guest, devices, passed = side.guest, list(side.devices), list(side.guest.launch.devices)
    for old, slot in zip(side.spec.devices, side.slots, strict=True):
        if old.id not in side.absent:
            guest.unplug(old.id)
        slot.close()
    for number, spec in enumerate(wanted.references):
        devices[number] = side.slots[number].enter_context(start_reference_device(guest.host, spec.knobs, spec.type))
        passed[number] = spec.at(devices[number].mediated.sysfs)
        guest.plug(passed[number], number + 1)
    guest.launch = replace(guest.launch, devices=tuple(passed), absent=frozenset())
    return replace(side, spec=replace(side.spec, devices=wanted.devices), devices=tuple(devices))
