# SPDX-License-Identifier: GPL-2.0-or-later
"""The command: finds the verb, runs it, and turns what went wrong into one message and an exit code."""

import argparse
import difflib
import importlib
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Sequence

from switchover.cli.examples import render_examples
from switchover.record.errors import ExitCode, SwitchoverError, came_from_interrupt
from switchover.record.invocation import as_called
from switchover.record.log import set_up_logging
from switchover.record.version import __version__

GROUPS = {
    "first": {
        "demo": "build images, boot the lab, migrate a guest with device pre-copy off and on, explain the difference",
        "doctor": "check what the demo, labs, the tests or a host need, and say how to mend each failure",
    },
    "run cases": {
        "list": "list the cases of the catalogue, or the runs",
        "plan": "show the cases of scenarios, what is expected of them, and how long they take; touches nothing",
        "explain": "explain what two QEMUs make of a machine type, and what becomes of migrations between them",
        "run": "run cases, and show what became of each",
        "repro": "repeat a case of a run, from its record alone",
        "attach": "get to the monitor, the shell or the console of a guest that a run keeps",
    },
    "look at results": {
        "show": "show a run again, from its directory alone",
        "compare": "compare the arms of a run, or two runs, in numbers and in words",
        "history": "list the numbers of many runs, show one of them run by run, or add runs",
        "trend": "tell since when numbers are as they are, and what changed there",
        "export": "write a run in the format of another system: JUnit, KCIDB, TAP, tmt, Bencher and more",
    },
    "interrupts": {
        "irq": "record where the threads of a machine's interrupts run, and explain it",
    },
    "lab and hosts": {
        "lab": "start, look at, enter or stop a lab",
        "images": "list, build or clean the images of lab hosts and guests",
        "hosts": "show what this machine, the hosts of the inventory and of a lab can do",
        "clean": "undo what a killed harness left on this machine and on hosts, and prove that nothing is left",
    },
    "this project": {
        "schema": "print the keys of scenario files, for editors or for people, and the fields of results",
        "oracle": "note which rules of the oracle held in runs, and what the QEMUs that it knows can do",
        "completion": "print what bash, zsh or fish need to complete verbs, options, cases and runs",
        "test": "run the project's own tests (unit, qemu, lab, fronts)",
        "bench": "measure the harness itself and print the figures",
    },
}
"""Verbs as ``--help`` shows them, by what one wants to do."""
VERBS = {name: summary for group in GROUPS.values() for name, summary in group.items()}
"""Each verb is a module of this package with ``add_arguments(parser)`` and ``run(arguments) -> int``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns its exit code."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks
        from switchover.cli.completing import complete

        complete()
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parse(words)
    set_up_logging(verbose=arguments.verbose)
    # a TERM releases everything, as Ctrl-C does
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return int(arguments.run(arguments))
    except SwitchoverError as error:
        if came_from_interrupt(error):
            _complain(f"interrupted, and while everything was released: {error}")
            return ExitCode.INTERRUPTED
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print("switchover: interrupted; everything was released", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # whoever read our output went away; nothing more can be told, at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.NOT_READY
    except Exception:
        traceback.print_exc()
        print("switchover: this is a bug of switchover; please report it with the lines above", file=sys.stderr)
        return ExitCode.BUG


def _complain(message: str) -> None:
    print(f"switchover: {as_called(message, VERBS)}", file=sys.stderr)


def _parse(words: list[str]) -> argparse.Namespace:
    chosen = find_verb(words)
    parser = make_parser(chosen)
    if chosen and chosen not in VERBS:
        near = difflib.get_close_matches(chosen, VERBS, n=1)
        parser.error(f"unknown verb {chosen!r}" + (f": did you mean {near[0]!r}?" if near else ""))
    return parser.parse_args(words)


def find_verb(words: Sequence[str]) -> str | None:
    """The word that is the verb, whether there is such a verb or not."""
    return next((word for word in words if not word.startswith("-")), None)


def make_parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser of the command. Only the module of the verb in use is imported: ``--help`` stays quick."""
    parser = argparse.ArgumentParser(
        prog="switchover",
        usage="%(prog)s [-h] [--version] [-v] VERB ...",
        description="Live migration of QEMU/KVM guests with VFIO devices, tested and measured.",
        epilog=_render_groups(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"switchover {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each command that is run")
    verbs = parser.add_subparsers(prog="switchover", metavar="VERB", required=True, help=argparse.SUPPRESS)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name)
        if name == chosen:
            verb.description = textwrap.fill(f"{summary[0].upper()}{summary[1:]}.")
            verb.epilog = render_examples(name)
            verb.formatter_class = argparse.RawDescriptionHelpFormatter
            module = importlib.import_module(f"switchover.cli.{name}")
            module.add_arguments(verb)
            verb.set_defaults(run=module.run)
    return parser


def _render_groups() -> str:
    width = max(map(len, VERBS)) + 2
    lines: list[str] = []
    for title, group in GROUPS.items():
        lines += [f"{title}:", *(f"  {name:<{width}}{summary}" for name, summary in group.items()), ""]
    return "\n".join([*lines, "switchover VERB --help tells the options of a verb, with examples."])


def _interrupt(_signal: int, _frame: object) -> None:
    """The first interruption starts the release; further ones must not cut it short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ask_for_patience)
    raise KeyboardInterrupt


def _ask_for_patience(_signal: int, _frame: object) -> None:
    print("switchover: releasing what was started; this takes some seconds", file=sys.stderr)
