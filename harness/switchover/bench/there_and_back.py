# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations there and back in a row, each with all checks."""

import argparse
from pathlib import Path

from switchover.bench.endurance import migrate_there_and_back
from switchover.bench.figures import tell_turns
from switchover.lab.acquire import acquire_lab
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.standard import PRE_COPY_ON
from switchover.scenarios.case import with_driver


def run(arguments: argparse.Namespace, _scratch: Path) -> int:
    with acquire_lab() as lab:
        case = with_driver(PRE_COPY_ON, arguments.driver)
        return tell_turns("migration", migrate_there_and_back(case, pair_of_lab(lab), arguments.count))
