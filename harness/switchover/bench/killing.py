# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness killed in the middle of a repeat, again and again: what is left after the next command."""

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from switchover.hosts.processes import LocalProcess
from switchover.hosts.waiting import wait_until
from switchover.lab.acquire import acquire_lab
from switchover.lab.lab import Lab
from switchover.lab.release import list_leftovers, undo_dead_journals
from switchover.record.errors import NotReady
from switchover.record.log import set_up_logging
from switchover.record.rundir import make_run_directory
from switchover.runner.case_runner import run_repeat
from switchover.runner.host_pair import pair_of_lab
from switchover.runner.standard import PRE_COPY_ON

_TIMEOUT_S = 300


@dataclass(frozen=True)
class Kill:
    """One harness that was killed, ``after_s`` seconds after its start, in ``step``, and what became of its changes."""

    number: int
    after_s: float
    step: str
    undone: int
    """Changes that the next command undid."""
    clean_s: float
    leftovers: tuple[str, ...]
    """What is left on the hosts, or could not be undone: must be empty."""

    def __str__(self) -> str:
        left = f"LEFT: {'; '.join(self.leftovers)}" if self.leftovers else "nothing left"
        return f"killed after {self.after_s:.2f} s ({self.step}): {self.undone} undone in {self.clean_s:.1f} s, {left}"


def kill_repeatedly(lab: Lab, count: int, seed: int, scratch: Path) -> Iterator[Kill]:
    """Kill ``count`` harnesses, each at a moment that is uniform over the time that one took that was not killed.

    :raises NotReady: the one that was not killed did not end well
    """
    start = time.monotonic()
    harness = _start_harness(lab, scratch)
    wait_until("a repeat to measure", lambda: harness.poll() is not None, timeout=_TIMEOUT_S)
    if harness.poll() != 0:
        raise NotReady("A repeat that was not killed failed.", why=harness.stderr()[-600:])
    whole = time.monotonic() - start
    moments = random.Random(seed)
    for number in range(1, count + 1):
        after = moments.uniform(0, whole)
        harness = _start_harness(lab, scratch)
        harness.wait(after)
        ended = harness.poll() is not None
        harness.kill()
        step = "it had ended" if ended else _find_step(harness.stderr())
        start = time.monotonic()
        dead = undo_dead_journals()
        seconds = time.monotonic() - start
        left = [str(outcome) for one in dead for outcome in one.outcomes if outcome.remains]
        left += [f"{host.name}: {line}" for host in lab.hosts() for line in list_leftovers(host)]
        undone = sum(not outcome.remains for one in dead for outcome in one.outcomes)
        yield Kill(number, after, step, undone, seconds, tuple(left))


def _start_harness(lab: Lab, scratch: Path) -> LocalProcess:
    return LocalProcess([sys.executable, "-m", __name__, lab.name, str(scratch)])


def _find_step(stderr: str) -> str:
    """The step of the repeat that was going on, from what the harness logged."""
    steps = [line.partition("step: ")[2] for line in stderr.splitlines() if line.strip().startswith("step: ")]
    return steps[-1] if steps else "before the first step"


def _run_one(name: str, scratch: Path) -> None:
    """The harness that is killed: one repeat in a lab that is up."""
    set_up_logging(verbose=True)
    with acquire_lab(name) as lab:
        run_repeat(PRE_COPY_ON, 1, pair_of_lab(lab), make_run_directory("kills", scratch).repeat("case", 1), {})


if __name__ == "__main__":
    _run_one(sys.argv[1], Path(sys.argv[2]))
