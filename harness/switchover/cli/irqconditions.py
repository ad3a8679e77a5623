# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover irq conditions``: guests are brought into conditions that decide where IRQ threads run."""

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from switchover.cli.hosts import open_login
from switchover.hosts.host import Host
from switchover.irq.conditions import CONDITIONS, Condition, choose_conditions
from switchover.irq.expectation import Agreement, ConditionResult
from switchover.irq.guest import LAB_KERNEL, start_irq_guest
from switchover.irq.provoke import read_stage, run_condition
from switchover.lab.images import build_images, find_recipe, list_recipes
from switchover.lab.labhost import own_qemu
from switchover.record.errors import ExitCode, GuestCrashed, UsageError
from switchover.record.log import say, step
from switchover.record.toml import suggest
from switchover.report.conditions import (
    render_catalogue,
    render_comparison,
    render_condition,
    render_conditions_json,
    render_sum,
)

BOOTS = 4
"""Guests for the conditions of one command line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="conditions, or rows of the table in docs/irq.md (default: all)"
    )
    parser.add_argument("--list", action="store_true", help="the conditions, and nothing else")
    parser.add_argument(
        "--kernel",
        action="append",
        default=[],
        metavar="NAME",
        help=f"boot guests with this kernel, such as kernel-6.12-rt (see switchover images list); may be given several "
        f"times (default: {LAB_KERNEL})",
    )
    parser.add_argument("--against", metavar="NAME", help="also run this kernel, and compare it with the first one")
    parser.add_argument(
        "--guest", metavar="USER@ADDRESS", help="use this guest, which is up, instead of booting guests"
    )
    parser.add_argument("--key", metavar="FILE", help="private key for --guest (default: ~/.ssh/id_ed25519)")
    parser.add_argument(
        "--host-key",
        metavar="KEY",
        help="public key of --guest: 'ssh-ed25519 AAAA…' (default: from ~/.ssh/known_hosts)",
    )
    parser.add_argument("--qemu", metavar="PROGRAM", help="run guests in this QEMU (default: that of lab hosts)")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep the recordings in this directory")
    parser.add_argument("--json", action="store_true", help="print everything as JSON, for programs")


def run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        print(render_catalogue())
        return ExitCode.AS_EXPECTED
    conditions = choose_conditions(arguments.names)
    kernels: list[str] = arguments.kernel or [LAB_KERNEL]
    if arguments.guest and (arguments.kernel or arguments.against):
        raise UsageError(
            "--guest cannot be combined with --kernel or --against.",
            why="a guest that is up runs its own kernel",
            fix="leave out --guest, or --kernel and --against",
        )
    if arguments.against:
        kernels = list(dict.fromkeys([*kernels, arguments.against]))
    _require_kernels(kernels)
    by_kernel: list[list[ConditionResult]] = []
    with _keep(arguments.keep) as directory:
        if arguments.guest:
            with open_login(arguments.guest, arguments.key, arguments.host_key) as host:
                by_kernel.append(list(_run_all(host, directory, conditions, quiet=arguments.json)))
        else:
            for kernel in kernels:
                by_kernel.append(_boot_and_run(kernel, directory, conditions, arguments))
    results = [result for found in by_kernel for result in found]
    if arguments.json:
        print(json.dumps(render_conditions_json(results), indent=1))
    else:
        print()
        for found in by_kernel:
            print(render_sum(found))
        if arguments.against:
            print()
            print(render_comparison(by_kernel[0], by_kernel[-1]))
    return judge(results)


def _require_kernels(names: Sequence[str]) -> None:
    known = [LAB_KERNEL, *(recipe.name for recipe in list_recipes() if recipe.is_kernel)]
    for name in names:
        recipe = find_recipe(name)
        if name != LAB_KERNEL and (recipe is None or not recipe.is_kernel):
            raise UsageError(f"There is no kernel {name!r}{suggest(name, known)}.", fix="switchover images list")


@contextlib.contextmanager
def _keep(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{directory} cannot be made.", why=error.strerror or str(error)) from error
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="switchover-irq-") as made:
        yield Path(made)


def _boot_and_run(
    kernel: str, directory: Path, conditions: Sequence[Condition], arguments: argparse.Namespace
) -> list[ConditionResult]:
    """One boot for all conditions that have the same command line, in the order of the table; more if a guest crashes,
    which emulated ones do now and then (:data:`switchover.irq.guest.HELD`).
    """
    images = build_images([kernel, "labhost-qemu"])
    image, qemu = images[kernel], arguments.qemu or own_qemu(images["labhost-qemu"])
    found: dict[str, ConditionResult] = {}
    for boot in dict.fromkeys(condition.boot for condition in conditions):
        for number in range(1, BOOTS + 1):
            left = [one for one in conditions if one.boot == boot and one.name not in found]
            try:
                with step(f"{kernel} with {boot}"), start_irq_guest(image, boot, qemu) as guest:
                    for result in _run_all(guest.host, directory, left, quiet=arguments.json):
                        found[result.name] = result
                break
            except GuestCrashed as error:
                if number == BOOTS:
                    raise
                say(f"{error.what}; another one goes on with what is left ({number + 1} of {BOOTS})")
    return [found[condition.name] for condition in CONDITIONS if condition.name in found]


def _run_all(host: Host, directory: Path, conditions: Sequence[Condition], *, quiet: bool) -> Iterator[ConditionResult]:
    """Each is told as it comes."""
    stage = read_stage(host, directory)
    for condition in conditions:
        result = run_condition(stage, condition)
        if not quiet:
            print(render_condition(result), flush=True)
        yield result


def judge(results: Sequence[ConditionResult]) -> int:
    """1: not as expected; 3: one could not be brought about, or none could be run."""
    kinds = {result.agreement for result in results}
    if Agreement.NOT_AS_EXPECTED in kinds:
        return ExitCode.NOT_AS_EXPECTED
    if Agreement.INVALID in kinds or not kinds - {Agreement.NOT_SUPPORTED}:
        return ExitCode.NOT_READY
    return ExitCode.AS_EXPECTED
