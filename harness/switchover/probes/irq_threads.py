# SPDX-License-Identifier: GPL-2.0-or-later
"""The probe of IRQ threads of a case: the interrupts of its devices, watched across the migration."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from switchover.devices.guest_driver import GuestDriver
from switchover.guests.capabilities import DEVICE
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.irq.across import PLACES, Across, measure_places, start_across
from switchover.irq.state import parse_cpus
from switchover.probes.probe import Found, Given, Probe, RunningProbe, Seen
from switchover.record.checks import CheckId
from switchover.record.errors import NotSupported, SwitchoverError
from switchover.record.measurement import Findings, Measurement, make_check
from switchover.scenarios.case import Case


@dataclass
class IrqWatch(RunningProbe):
    """Made by :class:`IrqThreads`. Its evidence are the recordings, which are files already."""

    across: Across
    keys: GuestKeys
    _arrived: contextlib.ExitStack

    def finish(self, arrival: QemuGuest) -> Seen:
        """What keeps the guest from being looked at is a check that failed."""
        try:
            return Found(self.across.finish(self._arrived.enter_context(arrival.open_ssh(self.keys))))
        except SwitchoverError as error:
            return Found(Findings((make_check(CheckId.IRQ_WATCHED, False, "yes", str(error)),)))


class IrqThreads(Probe):
    """Measured on the source before the migration, through it, and then where the guest arrived."""

    name = "irq_seconds"
    needs = DEVICE

    def is_wanted(self, case: Case) -> bool:
        return bool(case.irq_seconds)

    @contextlib.contextmanager
    def start(self, given: Given) -> Iterator[IrqWatch]:
        """:raises NotSupported: the guest lacks what is needed for it, or the device is not to interrupt by itself"""
        given.step("IRQ threads before")
        case = given.case
        with contextlib.ExitStack() as stack:
            arrived = stack.enter_context(contextlib.ExitStack())
            if given.capabilities.lacks(self.needs):
                raise NotSupported(
                    "The probe of IRQ threads needs the driver of the reference device, which the guest does not have."
                )
            if not any(rate for device in given.devices for rate in device.knobs.irq_rates):
                raise NotSupported("The probe of IRQ threads has no interrupt to watch: device.irq_rates is not set.")
            guest = given.login or stack.enter_context(given.guest.open_ssh(given.keys))
            place = given.directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchover-irq-")))
            numbers = [
                number
                for position, device in enumerate(given.devices)
                for number, rate in zip(GuestDriver(guest, position).read_irqs(), device.knobs.irq_rates, strict=False)
                if rate
            ]
            # entered after the connection to where the guest arrives, since what is undone then is undone there
            across = stack.enter_context(
                start_across(
                    guest,
                    numbers,
                    place,
                    seconds=case.irq_seconds,
                    load=case.irq_load,
                    spread=case.irq_placement == "spread",
                    forbidden=parse_cpus(case.irq_forbid_cpus),
                )
            )
            yield IrqWatch(across, given.keys, arrived)

    def list_measurements(self) -> Sequence[Measurement]:
        return tuple(measure_places(dict.fromkeys(PLACES)))


IRQ_THREADS = IrqThreads()
