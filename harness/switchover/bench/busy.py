# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations there and back with DMA and interrupts going on: data lost or wrong."""

import argparse
from pathlib import Path

from switchover.bench.endurance import migrate_there_and_back
from switchover.bench.figures import tell_turns
from switchover.lab.borrow import borrow_lab
from switchover.run.pair import pair_of_lab
from switchover.run.standard import BUSY


def run(arguments: argparse.Namespace, _scratch: Path) -> int:
    with borrow_lab() as lab:
        return tell_turns("busy migration", migrate_there_and_back(BUSY, pair_of_lab(lab), arguments.count))
