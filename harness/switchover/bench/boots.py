# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest boots in a row."""

import argparse
from pathlib import Path

from switchover.bench.endurance import boot_repeatedly
from switchover.bench.figures import tell_turns
from switchover.lab.acquire import acquire_lab
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.standard import PRE_COPY_ON


def run(arguments: argparse.Namespace, _scratch: Path) -> int:
    with acquire_lab() as lab:
        return tell_turns("guest boot", boot_repeatedly(PRE_COPY_ON, pair_of_lab(lab), arguments.count))
