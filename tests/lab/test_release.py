# SPDX-License-Identifier: GPL-2.0-or-later
"""Release: whatever ends a repeat, both hosts are as they were, and the record says what happened."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from switchover.lab.lab import Lab, start_lab
from switchover.lab.labfile import lab_processes
from switchover.record.record import VerdictName
from switchover.record.rundir import make_run_directory
from switchover.run.case import pair_of_lab
from switchover.run.repeat import run_repeat
from switchover.run.standard import PRE_COPY_ON

_REPEAT = """
import sys
from pathlib import Path
from switchover.lab.lab import Lab
from switchover.record.log import set_up_logging
from switchover.record.rundir import RunDirectory
from switchover.run.case import pair_of_lab
from switchover.run.repeat import run_repeat
from switchover.run.standard import PRE_COPY_ON

set_up_logging(verbose=True)
run_repeat(PRE_COPY_ON, 1, pair_of_lab(Lab(Path(sys.argv[1]))), RunDirectory(Path(sys.argv[2])).repeat("case", 1), {})
"""


@pytest.mark.parametrize("step", ["start destination", "guest boot", "migrate", "ask after"])
def test_interrupt_in_each_step(lab: Lab, tmp_path: Path, step: str) -> None:
    """Ctrl-C in a step of a repeat: everything is released (the fixture looks), and the record names the step."""
    process = subprocess.Popen(
        [sys.executable, "-c", _REPEAT, str(lab.directory), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "harness")},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.strip() == f"step: {step}":
            process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert process.returncode not in (0, None), "".join(lines[-20:])
    record = json.loads((tmp_path / "case" / "01" / "record.json").read_text())
    assert record["verdict"]["reason"] == f"{step}: interrupted"


def test_lab_host_that_dies_in_the_middle(tmp_path: Path) -> None:
    """A lab host killed while the guest boots is an infrastructure error, told within seconds; the rest is released."""
    with start_lab("mortal", hosts=1) as mortal:
        pair = pair_of_lab(mortal)
        victim = lab_processes(mortal.file)[0]
        directory = make_run_directory("test", tmp_path).repeat("case", 1)
        watch = subprocess.Popen(["sh", "-c", f"sleep 6; kill -KILL {victim.pid}"])
        record = run_repeat(PRE_COPY_ON, 1, pair, directory, {})
        watch.wait()
    assert record.verdict.name is VerdictName.INFRASTRUCTURE_ERROR, record.verdict
    assert sum(record.seconds.values()) < 40
