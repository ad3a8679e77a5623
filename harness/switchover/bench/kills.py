# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness killed at random moments of a repeat: what is left after the next command."""

import argparse
import os
import random
from pathlib import Path

from switchover.bench.figures import render_spread
from switchover.bench.killing import Kill, kill_repeatedly
from switchover.lab.lab import Lab, start_lab
from switchover.record.errors import ExitCode
from switchover.record.log import say


def run(arguments: argparse.Namespace, scratch: Path) -> int:
    with start_lab(f"kills-{os.getpid()}") as lab:
        return _kill(lab, arguments.count, arguments.seed, scratch)


def _kill(lab: Lab, count: int, seed: int | None, scratch: Path) -> int:
    seed = random.randrange(1 << 32) if seed is None else seed
    say(f"seed {seed}")
    kills: list[Kill] = []
    for kill in kill_repeatedly(lab, count, seed, scratch):
        kills.append(kill)
        say(f"#{kill.number}: {kill}")
    dirty = [kill for kill in kills if kill.leftovers]
    undone = sum(kill.undone for kill in kills)
    print(f"{len(kills)} × kill (seed {seed}): {undone} changes undone, {len(dirty)} kills left something")
    print(f"the undoing        {render_spread([kill.clean_s for kill in kills if kill.undone])}")
    for step in sorted({kill.step for kill in kills}):
        print(f"  {sum(kill.step == step for kill in kills):3} × {step}")
    for kill in dirty:
        print(f"  #{kill.number} {kill}")
    return ExitCode.NOT_AS_EXPECTED if dirty else ExitCode.AS_EXPECTED
