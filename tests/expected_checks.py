# SPDX-License-Identifier: GPL-2.0-or-later
"""The checks of a migration that completed, of a guest with one reference device that offers pre-copy, by label.

One more is made where the outside hears the guest: ``downtime.outside``.
"""

EXPECTED_CHECKS = frozenset(
    {
        "bytes.residual",
        "bytes.vfio.adds-up, source",
        "bytes.vfio.loaded",
        "bytes.vfio.precopy, device 1",
        "bytes.vfio.stop-copy, device 1",
        "bytes.vfio.transferred",
        "device.checksum, device 1",
        "device.checksum-by-guest, device 1",
        "device.generation, device 1",
        "device.interrupt, device 1",
        "device.pending.estimate, source",
        "device.pending.exact, source",
        "device.precopy.enomsg, source",
        "device.precopy.initial-bytes, source",
        "device.precopy.initial-first, source",
        "device.precopy.used, source",
        "device.scratch, device 1",
        "device.seed, device 1",
        "device.states, destination",
        "device.states, source",
        "device.states-traced, destination",
        "device.states-traced, source",
        "device.stop-copy-in-downtime, source",
        "guest.boot-id",
        "guest.canary",
        "guest.connection-survives",
        "guest.console, destination",
        "guest.console, source",
        "guest.mac",
        "guest.not-on-source",
        "guest.run-state",
    }
)
