# SPDX-License-Identifier: GPL-2.0-or-later
"""The probe of IRQ threads of a case: the interrupts of its devices, watched across the migration."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from switchover.devices.reference import GuestDriver
from switchover.guests.capabilities import GuestCapabilities
from switchover.guests.qemu import GuestKeys
from switchover.hosts.host import Host
from switchover.irq.across import Across, Findings, start_across
from switchover.record.checks import CheckId
from switchover.record.errors import NotSupported, SwitchoverError
from switchover.record.measurement import make_check
from switchover.runner.side import Side
from switchover.scenarios.case import Case


@dataclass
class IrqWatch:
    """Made by :func:`start_irq_watch`; without a probe it finds nothing."""

    across: Across | None
    keys: GuestKeys
    _arrived: contextlib.ExitStack

    def finish(self, arrival: Side) -> Findings:
        """After a migration that completed. What keeps it from being looked at is a check that failed."""
        if self.across is None:
            return Findings()
        try:
            return self.across.finish(self._arrived.enter_context(arrival.guest.open_ssh(self.keys)))
        except SwitchoverError as error:
            return Findings((make_check(CheckId.IRQ_WATCHED, False, "yes", str(error)),))


@contextlib.contextmanager
def start_irq_watch(
    case: Case, side: Side, means: GuestCapabilities, login: Host | None, keys: GuestKeys, directory: Path | None
) -> Iterator[IrqWatch]:
    """Measured on the source now, and then on until the ``with`` block ends. ``directory``: keeps the recordings.

    :raises NotSupported: the guest lacks what is needed for it, or the device is not to interrupt by itself
    """
    with contextlib.ExitStack() as stack:
        arrived = stack.enter_context(contextlib.ExitStack())
        if not case.irq_seconds:
            yield IrqWatch(None, keys, arrived)
            return
        if not means.has_device:
            raise NotSupported(
                "The probe of IRQ threads needs the driver of the reference device, which the guest does not have."
            )
        if not any(rate for device in side.spec.references for rate in device.knobs.irq_rates):
            raise NotSupported("The probe of IRQ threads has no interrupt to watch: device.irq_rates is not set.")
        guest = login or stack.enter_context(side.guest.open_ssh(keys))
        place = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchover-irq-")))
        numbers = [
            number
            for position, device in enumerate(side.spec.references)
            for number, rate in zip(GuestDriver(guest, position).read_irqs(), device.knobs.irq_rates, strict=False)
            if rate
        ]
        # entered after the connection to where the guest arrives, since what is undone then is undone there
        across = stack.enter_context(start_across(guest, numbers, place, seconds=case.irq_seconds, load=case.irq_load))
        yield IrqWatch(across, keys, arrived)
