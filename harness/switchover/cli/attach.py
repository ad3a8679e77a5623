# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover attach``: to the monitor, the shell or the console of a guest that was kept."""

import argparse
from pathlib import Path

from qemu.qmp import QMPError
from qemu.qmp.error import ProtocolError
from qemu.qmp.qmp_shell import QMPShell

from switchover.hosts import processes
from switchover.lab.host_kinds import reach_host
from switchover.record.errors import ExitCode, NotReady, UsageError
from switchover.record.log import say
from switchover.record.rundir import RunDirectory, find_run
from switchover.runner.attach import build_console_command, build_ssh_command, require_kept
from switchover.runner.hold_on_failure import KEPT, HeldSide
from switchover.scenarios.recorded import select_case


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_name", metavar="RUN", help="the run: its path, its name, a part of its name, or last")
    parser.add_argument("case", metavar="CASE", help="the case: its id, or a part of its id")
    parser.add_argument("side", choices=("source", "destination"))
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--qmp", action="store_true", help="a shell on QEMU's monitor; Ctrl-D leaves it")
    way.add_argument("--ssh", action="store_true", help="a shell in the guest")
    way.add_argument("--console", action="store_true", help="follow the guest's console; Ctrl-C leaves it")
    parser.add_argument("--runs", type=Path, metavar="DIRECTORY", help="the directory that holds the run directories")


def run(arguments: argparse.Namespace) -> int:
    side = require_kept(_find_repeat(find_run(arguments.run_name, arguments.runs), arguments.case), arguments.side)
    if arguments.qmp:
        _open_monitor(side)
    else:
        processes.require_program("ssh", needed_to="log in to hosts and guests")
        processes.replace_process(build_ssh_command(side) if arguments.ssh else build_console_command(side))
    return ExitCode.AS_EXPECTED


def _find_repeat(directory: RunDirectory, word: str) -> Path:
    """The repeat whose guests are kept; while they are, it has no record yet, and its folder tells the case."""
    kept = {path.parent.parent.name: path.parent for path in sorted(directory.path.glob(f"*/*/{KEPT}"))}
    if kept:
        return kept[select_case(word, kept)]
    raise UsageError(
        f"The run {directory.path.name} keeps no guests.",
        why="switchover run --keep-on-fail keeps guests of the first case that is not as expected, while it waits",
        fix="switchover run SCENARIO --only CASE --keep-on-fail",
    )


def _open_monitor(side: HeldSide) -> None:
    reached = reach_host(side.address)
    if reached is None:
        raise NotReady(f"{side.host} is gone.")
    say(f"the monitor of {side.host}:{side.monitor}; if nothing comes now, somebody else is connected to it")
    try:
        # its class asks for an address and passes it on to one that takes a socket too
        with reached as host, host.open_unix(side.monitor) as stream, QMPShell(stream) as shell:  # type: ignore[arg-type]
            shell.connect()
            for _ in shell.repl():
                pass
    except (QMPError, ProtocolError, EOFError, OSError) as error:
        raise NotReady(
            f"The monitor at {side.monitor} does not answer.", why=str(error) or type(error).__name__
        ) from error
