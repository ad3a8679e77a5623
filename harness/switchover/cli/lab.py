# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover lab up|status|ssh|down``."""

import argparse
import json
from pathlib import Path

from switchover.hosts import processes
from switchover.lab.lab import require_lab, start_lab
from switchover.lab.labfile import find_labs, find_user, lab_processes, read_lab_file, stop_lab
from switchover.lab.labhost import MOST_HOSTS
from switchover.lab.pace import describe_pace
from switchover.record.errors import ExitCode, NotReady, UsageError
from switchover.record.invocation import command
from switchover.record.paths import labs_directory

DEFAULT = "default"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="boot a lab and leave it running")
    up.add_argument("name", nargs="?", default=DEFAULT)
    up.add_argument(
        "--hosts",
        type=int,
        choices=range(1, MOST_HOSTS + 1),
        default=2,
        help="number of lab hosts; with 4, two pairs can migrate at the same time; default: 2",
    )
    up.add_argument(
        "--disk",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="give lab hosts this image (raw or qcow2) as /dev/vdb, the next one as /dev/vdc; it is not written to",
    )
    up.add_argument(
        "--pci",
        action="store_true",
        help="give lab hosts an IOMMU and NICs that can be passed through, one of them with virtual functions",
    )
    status = actions.add_parser("status", help="show labs, their lab hosts and how to get in")
    status.add_argument("--json", action="store_true", help="print JSON, for programs")
    ssh = actions.add_parser("ssh", help="log in to a lab host, or run a command there")
    ssh.add_argument("--lab", default=DEFAULT, metavar="NAME")
    ssh.add_argument("host")
    ssh.add_argument("command", nargs=argparse.REMAINDER)
    down = actions.add_parser("down", help="stop a lab and prove that nothing is left")
    down.add_argument("name", nargs="?", default=DEFAULT)
    down.add_argument("--all", action="store_true", help="stop every lab that nobody uses")
    down.add_argument("--force", action="store_true", help="stop a lab even if somebody uses it, whose run then fails")


def run(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "up":
            with start_lab(
                arguments.name, hosts=arguments.hosts, stays=True, disks=arguments.disk, pci=arguments.pci
            ) as lab:
                file = lab.file
            # after the block: a reader of these lines that went away must not take the lab down
            print(f"lab {file.name} is up: {', '.join(file.hosts)} (ready in {file.ready_seconds} s)")
            print(f"log in: {command()} lab ssh --lab {file.name} {file.hosts[0]}")
        case "status":
            _status(as_json=arguments.json)
        case "ssh":
            _ssh(arguments.lab, arguments.host, arguments.command)
        case "down":
            _down(arguments.name, everything=arguments.all, force=arguments.force)
    return ExitCode.AS_EXPECTED


def _status(*, as_json: bool) -> None:
    rows, files = [], []
    for directory in find_labs():
        files.append(file := read_lab_file(directory))
        running = len(lab_processes(file))
        state = "running" if running == len(file.hosts) else "dead" if running == 0 else "broken"
        rows.append(
            {
                "name": file.name,
                "state": state,
                "hosts": file.hosts,
                "ports": file.ports,
                "accelerator": file.accelerator["accel"],
                "pace": file.pace,
                "ready_seconds": file.ready_seconds,
                "disks": file.disks,
                "pci": file.pci,
                "ssh_config": str(directory / "ssh_config"),
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row, file in zip(rows, files, strict=True):
        print(f"lab {row['name']}: {row['state']}, {row['accelerator']}, hosts {row['hosts']}")
        if words := describe_pace(file.pace):
            print(f"  {words}")
        print(f"  ssh -F {row['ssh_config']} HOST")
    if not rows:
        print("no lab is running")


def _ssh(name: str, host: str, command: list[str]) -> None:
    lab = require_lab(name)
    if host not in lab.file.hosts:
        raise UsageError(f"The lab has no host {host!r}.", fix=f"one of: {', '.join(lab.file.hosts)}")
    processes.require_program("ssh", needed_to="log in to lab hosts")
    processes.replace_process(["ssh", "-F", str(lab.directory / "ssh_config"), host, *command])


def _down(name: str, *, everything: bool, force: bool) -> None:
    directories = find_labs() if everything else [labs_directory() / name]
    if everything:
        for directory in [path for path in directories if find_user(path) and not force]:
            print(f"lab {directory.name}: left alone, {find_user(directory)} uses it")
            directories.remove(directory)
    elif not directories[0].exists():
        raise UsageError(f"There is no lab named {name!r}.", fix="switchover lab status")
    elif (user := find_user(directories[0])) and not force:
        raise NotReady(
            f"The lab {name!r} is in use.",
            why=f"by {user}",
            fix=f"wait for it, or end it; switchover lab down {name} --force takes the lab away from it",
        )
    for directory in directories:
        print(f"lab {directory.name}: {'; '.join(stop_lab(directory))}")
