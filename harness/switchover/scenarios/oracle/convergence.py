# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations without an end by the sizes, rates and times of their devices, as scenarios/forecast.py finds. Pure."""

from collections.abc import Callable

from switchover.migration.progress import HangKind
from switchover.record.record import VerdictName
from switchover.scenarios.forecast import Ending
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import Traits

V = VerdictName


def _ends(ending: Ending) -> Callable[[Traits], bool]:
    return lambda traits: traits.ending is ending


CONVERGENCE = (
    make_rule(
        "device-takes-too-long-for-one-call",
        "A change of state, a read or a write of a device takes clearly longer than hang_s.",
        V.HUNG,
        "destination",
        reason=f"^{HangKind.NO_PROGRESS}",
        because="QEMU waits for the device's driver, at the destination too, and nothing is sent meanwhile",
        source="QEMU 10.0, hw/vfio/migration.c: vfio_migration_set_state, vfio_save_block, vfio_load_buffer; "
        "images/modules/refdev/stream.c",
        when=_ends(Ending.STUCK),
    ),
    make_rule(
        "never-converges",
        "What the devices always have pending is above the threshold, with every downtime limit that there is.",
        V.HUNG,
        "source",
        reason=f"^{HangKind.NOT_CONVERGING}",
        because="QEMU switches over only once what is pending would take no longer than the downtime limit: without "
        "PRE_COPY all state of a device is pending until it is stopped, and with it what gets dirty faster than it is "
        "read",
        source="QEMU 10.0, migration/migration.c: migration_iteration_run; hw/vfio/migration.c: "
        "vfio_state_pending_exact",
        when=_ends(Ending.NOT_CONVERGING),
    ),
    make_rule(
        "longer-than-timeout",
        "What is to be done takes clearly longer than timeout_s, by the rates and times of devices and link.",
        V.HUNG,
        reason=f"^{HangKind.NO_END}|^{HangKind.NOT_CONVERGING}",
        because="devices save and load no faster than their rates, and a migration is given up after timeout_s",
        source="images/modules/refdev/stream.c: refdev_stream_pace; harness/switchover/migration/session.py",
        when=_ends(Ending.OUT_OF_TIME),
    ),
)
