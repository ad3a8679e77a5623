# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover explain``: what follows from what QEMUs say of themselves, before anything is migrated."""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

from switchover.cli.hosts import Sources, open_sources
from switchover.devices.abilities import find_kept_abilities, read_abilities, read_machines
from switchover.devices.known_qemus import NAMED, find_known_qemu
from switchover.devices.machine_types import NEWEST_COMMON, OLDEST_COMMON
from switchover.hosts.inventory import LOCAL
from switchover.lab.toolchains import find_qemu_path, find_toolchains, provide_toolchain
from switchover.record.errors import ExitCode, HostLost, NotReady, UsageError
from switchover.record.toml import suggest
from switchover.report.compat import list_compat, render_compat
from switchover.scenarios.compat import explain_compat
from switchover.scenarios.compat_poses import NamedQemu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    compat = actions.add_parser(
        "compat", help="what a machine type is in two QEMUs, what differs, and what becomes of migrations each way"
    )
    for name, what in (("source", "SRC"), ("destination", "DST")):
        compat.add_argument(
            name,
            metavar=what,
            help=f"a QEMU by the name that scenarios have for it ({', '.join(NAMED)}, or one of your own), a program "
            f"of this machine by its path, or HOST:PROGRAM of the inventory, the lab or {LOCAL}",
        )
    compat.add_argument(
        "machine",
        nargs="?",
        default="",
        metavar="MACHINE",
        help=f"the machine type; also {NEWEST_COMMON} or {OLDEST_COMMON}; default: the newest that both have",
    )
    compat.add_argument(
        "--all", action="store_true", help="not limited to VFIO and migration; asks the binaries, and not what is kept"
    )
    compat.add_argument("--json", action="store_true", help="print it as JSON, for programs")
    compat.add_argument(
        "--inventory", type=Path, metavar="FILE", help="the inventory; default: ~/.config/switchover/inventory.toml"
    )
    compat.add_argument("--lab", metavar="NAME", help="a lab that is up: HOST may name its hosts, too")


def run(arguments: argparse.Namespace) -> int:
    words = (arguments.source, arguments.destination)
    with open_sources(arguments.inventory, arguments.lab) as sources:
        source, destination = (find_qemu(word, sources, everything=arguments.all) for word in words)
    compat = explain_compat((source, destination), arguments.machine, everything=arguments.all)
    if arguments.json:
        print(json.dumps(list_compat(compat), indent=1, ensure_ascii=False))
    else:
        print(render_compat(compat))
    return ExitCode.AS_EXPECTED


def find_qemu(word: str, sources: Sources, *, everything: bool) -> NamedQemu:
    """What a QEMU says of itself: one that is named, by what is kept of it, any other one by asking it.

    :raises UsageError: there is no QEMU or host of that name; :raises NotReady: it is not there, or does not answer
    """
    host, colon, program = word.partition(":")
    if colon and "/" not in host:
        return _ask(word, host, program, sources, everything=everything)
    known = find_known_qemu(word)
    if known is None and word not in NAMED and find_toolchains([word]):
        path = find_qemu_path(word)
        known = find_kept_abilities(path) if path else None
        if known is None:
            raise NotReady(
                f"What {word} can do is not known.", why="it was not asked yet, in a lab", fix=_ask_in_lab(word)
            )
    if known is not None and everything:
        raise NotReady(
            f"--all has to ask {word} itself.",
            why="what is kept of it is limited to VFIO and migration",
            fix=_ask_in_lab(word),
        )
    if known is not None:
        return NamedQemu(word, known)
    if "/" not in word and shutil.which(word) is None:
        raise UsageError(
            f"There is no QEMU {word!r}{suggest(word, NAMED)}",
            why="it is neither a name that scenarios have for a QEMU nor a program of this machine",
            fix="the path of a binary, HOST:PROGRAM, or switchover images build qemu for one of your own",
        )
    return _ask(word, LOCAL, word, sources, everything=everything)


def _ask(word: str, host_name: str, program: str, sources: Sources, *, everything: bool) -> NamedQemu:
    """:raises UsageError: there is no such host; :raises NotReady: as :func:`read_abilities`"""
    with sources.open(host_name) as host:
        if sources.lab is not None and host_name in sources.lab.file.hosts and find_toolchains([program]):
            provide_toolchain(sources.lab, host_name, program)
        try:
            abilities = read_abilities(host, program)
            if everything:
                machines = read_machines(host, abilities.path, abilities.digest)
                abilities = replace(abilities, machines=machines)
        except HostLost:
            raise
        except NotReady as error:
            raise NotReady(
                error.what,
                why=error.why or "there is no such program",
                fix=f"give a qemu-system-x86_64 that starts there: {program} --version shows whether it does",
            ) from error
    return NamedQemu(word, abilities)


def _ask_in_lab(word: str) -> str:
    return f"switchover lab up, then hosta:{word} instead of {word}, with --lab default"
