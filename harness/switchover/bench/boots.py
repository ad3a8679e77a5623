# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest boots in a row."""

import argparse
from pathlib import Path

from switchover.bench.endurance import boot_repeatedly
from switchover.bench.figures import tell_turns
from switchover.lab.borrow import borrow_lab
from switchover.run.pair import pair_of_lab
from switchover.run.standard import PRE_COPY_ON


def run(arguments: argparse.Namespace, _scratch: Path) -> int:
    with borrow_lab() as lab:
        return tell_turns("guest boot", boot_repeatedly(PRE_COPY_ON, pair_of_lab(lab), arguments.count))
