# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations there and back with DMA and interrupts going on: data lost or wrong."""

import argparse
from pathlib import Path

from switchover.bench.endurance import migrate_there_and_back
from switchover.bench.figures import tell_turns
from switchover.devices.reference import Knobs
from switchover.lab.acquire import acquire_lab
from switchover.migration.settings import MigrationSettings
from switchover.record.units import MIB
from switchover.runner.host_pair import pair_of_lab
from switchover.scenarios.case import make_case, with_one_device

BUSY = make_case(
    "busy",
    with_one_device(
        Knobs(initial_bytes=4 * MIB, dirty_bytes_per_sec=1 * MIB, dma_pages_per_sec=500, irq_rates=(50, 20, 10))
    ),
    settings=MigrationSettings(settle_vfio_bytes=4 * MIB),
    heartbeat_us=0,
)
"""A device that writes to the guest's memory and raises interrupts all the time, and dirties its state."""


def run(arguments: argparse.Namespace, _scratch: Path) -> int:
    with acquire_lab() as lab:
        return tell_turns("busy migration", migrate_there_and_back(BUSY, pair_of_lab(lab), arguments.count))
