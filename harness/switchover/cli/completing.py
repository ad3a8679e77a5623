# SPDX-License-Identifier: GPL-2.0-or-later
"""What a shell is told when it completes a command line, by the protocol of argcomplete.

A shell asks while somebody waits. Modules of verbs take seconds to import: which arguments a verb has is kept in the
cache directory, for the code of the package, and a parser without what the arguments do is made of it.
"""

import argparse
import os
from typing import Any

import argcomplete
from argcomplete.lexers import split_line

from switchover.catalogue.index import digest_code
from switchover.cli.completers import find_completer
from switchover.cli.main import VERBS, find_verb, make_parser
from switchover.record.cache import keep, read_cached

_KIND = "arguments"


def complete() -> None:
    """Answer the shell that asks, and end the process. Nothing is printed, whatever is wrong."""
    try:
        start = int(os.environ["_ARGCOMPLETE"])
        words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
        parser = argparse.ArgumentParser(prog="switchover")
        parser.add_argument("--version", action="store_true")
        parser.add_argument("-v", "--verbose", action="store_true")
        chosen = find_verb(words[start:])
        subparsers = parser.add_subparsers()
        for name, summary in VERBS.items():
            verb = subparsers.add_parser(name, help=summary)
            if name == chosen:
                _add_arguments(verb, _find_arguments(name))
        argcomplete.autocomplete(parser, always_complete_options=False)
    finally:
        os._exit(1)  # autocomplete ends the process, if it can


def _find_arguments(verb: str) -> list[dict[str, Any]]:
    kept: Any = read_cached(_KIND, verb)
    if isinstance(kept, dict) and kept.get("digest") == digest_code():
        return list(kept["arguments"])
    found = describe_arguments(_list_parsers(make_parser(verb))[verb])
    keep(_KIND, verb, {"digest": digest_code(), "arguments": found})
    return found


def describe_arguments(parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    """The arguments of a parser as values for JSON; one with actions has them in ``parsers``."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        parsers = _list_parsers_of(action)
        entry: dict[str, Any] = {
            "options": list(action.option_strings),
            "dest": action.dest,
            "nargs": action.nargs,
            "metavar": action.metavar,
            "repeats": isinstance(action, argparse._AppendAction),
            "help": action.help,
        }
        if parsers:
            entry["parsers"] = {name: describe_arguments(one) for name, one in parsers.items()}
        elif action.choices is not None:
            entry["choices"] = list(action.choices)
        found.append(entry)
    return found


def _list_parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return {name: one for action in parser._actions for name, one in _list_parsers_of(action).items()}


def _list_parsers_of(action: argparse.Action) -> dict[str, argparse.ArgumentParser]:
    return dict(action.choices) if isinstance(action, argparse._SubParsersAction) else {}


def _add_arguments(parser: argparse.ArgumentParser, arguments: list[dict[str, Any]]) -> None:
    for entry in arguments:
        if "parsers" in entry:
            actions = parser.add_subparsers(dest=entry["dest"])
            for name, below in entry["parsers"].items():
                _add_arguments(actions.add_parser(name), below)
            continue
        words: dict[str, Any] = {"help": entry["help"]}
        if entry["nargs"] == 0:
            words["action"] = "store_true"
        else:
            metavar = entry["metavar"]
            words |= {"nargs": entry["nargs"], "metavar": tuple(metavar) if isinstance(metavar, list) else metavar}
            words |= {"choices": entry.get("choices"), "action": "append" if entry["repeats"] else "store"}
        named = {"dest": entry["dest"]} if entry["options"] else {}
        action = parser.add_argument(*(entry["options"] or [entry["dest"]]), **named, **words)
        if completer := find_completer(entry["dest"], entry["metavar"], {one["dest"] for one in arguments}):
            action.completer = completer  # type: ignore[attr-defined]
