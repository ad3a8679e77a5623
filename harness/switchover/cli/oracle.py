# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover oracle``: what rules of the oracle rest on, taken from runs and from QEMU binaries, never by hand."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from switchover.catalogue.load import load_catalogue
from switchover.devices import known_qemus
from switchover.devices.abilities import QemuAbilities, read_abilities
from switchover.devices.known_qemus import NAMED, render_file
from switchover.lab.acquire import acquire_lab
from switchover.lab.custom_toolchains import LABHOST_QEMU
from switchover.lab.images import build_images
from switchover.lab.toolchains import find_toolchains, provide_toolchain
from switchover.record.errors import ExitCode, NotReady
from switchover.record.rundir import find_run
from switchover.report.rundata import read_run
from switchover.report.sightings import find_sightings
from switchover.scenarios.oracle import seen
from switchover.scenarios.oracle.seen import Sighting, add_seen, keep_cases, parse_seen, render_seen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    told = actions.add_parser("seen", help="note which rules held in runs, with the programs and the day")
    told.add_argument("runs", nargs="+", metavar="RUN", help="the run: its path, its name, a part of its name, or last")
    told.add_argument("--output", type=Path, metavar="FILE", help="write here instead of beside the rules")
    asked = actions.add_parser("qemus", help="ask the QEMUs that the project names what they can do, in a lab")
    asked.add_argument("--output", type=Path, metavar="FILE", help="write here instead of beside the code")


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "seen":
        return _note_seen(arguments.runs, arguments.output)
    return _ask_qemus(arguments.output or known_qemus.FILE)


def _note_seen(runs: list[str], output: Path | None) -> int:
    """What is noted already stays. Only cases of the catalogue count, which everybody can run: no others are noted, and
    those of cases that it has no more go. :raises UsageError: there is no such run
    """
    file = output or seen.FILE
    known = parse_seen(file.read_text(encoding="utf-8")) if file.exists() else {}
    found = list(_find_in(runs))
    ids = {case.id for case in load_catalogue().cases}
    _write(file, render_seen(keep_cases(add_seen(known, found), ids)))
    if others := sorted({one.case for _, one in found if one.case not in ids}):
        print(f"not in the catalogue, and not noted: {', '.join(others)}")
    found = [(rule, one) for rule, one in found if one.case in ids]
    print(f"{file}: {len(found)} cases with {len({rule for rule, _ in found})} rules")
    return ExitCode.AS_EXPECTED


def _find_in(runs: list[str]) -> Iterator[tuple[str, Sighting]]:
    for word in runs:
        yield from find_sightings(read_run(find_run(word)).records)


def _ask_qemus(file: Path) -> int:
    """:raises NotReady: a toolchain is not built, or a binary does not answer"""
    build_images(find_toolchains(NAMED))
    asked: dict[str, QemuAbilities] = {}
    with acquire_lab() as lab:
        host = lab.hosts()[0]
        for name in NAMED:
            if name != LABHOST_QEMU:
                provide_toolchain(lab, host.name, name)
            asked[name] = read_abilities(host, name)
    _write(file, render_file(asked))
    print(f"{file}: {', '.join(f'{name} is {one.version}' for name, one in asked.items())}")
    return ExitCode.AS_EXPECTED


def _write(file: Path, text: str) -> None:
    """:raises NotReady: the file cannot be written, as where switchover is installed for everybody"""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NotReady(f"{file} cannot be written.", why=str(error), fix="--output FILE") from error
