# SPDX-License-Identifier: GPL-2.0-or-later
"""Words that an argument may have, by what it is called: runs, cases, tags, labs and their hosts."""

import argparse
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from argcomplete.completers import FilesCompleter

from switchover.catalogue.index import list_cases
from switchover.record.errors import SwitchoverError
from switchover.record.paths import labs_directory

Completer = Callable[..., list[str]]
"""Called with ``prefix`` and ``parsed_args``, and more that nobody here needs."""


def find_completer(dest: str, metavar: Any, others: Collection[str]) -> Completer | None:
    """``others``: names of all arguments of the same verb. None: whatever the shell completes, such as files."""
    if metavar == "CASE" and "run_name" in others:
        return _list_cases_of_run
    return _BY_METAVAR.get(str(metavar)) or _BY_DEST.get(dest)


def _list_runs(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    from switchover.record.rundir import list_runs  # takes long to import

    return ["last", *(run.path.name for run in reversed(list_runs(_find_parent(parsed_args))))]


def _list_cases_of_run(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    from switchover.record.rundir import find_run  # takes long to import

    try:
        path = find_run(parsed_args.run_name, _find_parent(parsed_args)).path
    except SwitchoverError:
        return []
    try:
        return [case["id"] for case in json.loads((path / "plan.json").read_text())["cases"]]
    except (OSError, ValueError, KeyError, TypeError):  # a run without a plan
        return [folder.name for folder in path.iterdir() if folder.is_dir()]


def _find_parent(parsed_args: argparse.Namespace) -> Path | None:
    """The directory of runs that the line names; an argument of that name may be a list of runs."""
    named = getattr(parsed_args, "runs", None)
    return Path(named) if isinstance(named, str) else None


def _list_case_words(prefix: str, **_: Any) -> list[str]:
    """Names of scenarios and functions, and ids once a letter is there: they are many. Files where none begins so."""
    cases = list_cases()
    words = list(dict.fromkeys([*(case.group for case in cases), *(case.id for case in cases if prefix)]))
    if any(word.startswith(prefix) for word in words):
        return words
    return list(FilesCompleter(("toml", "py"))(prefix))  # bash would do so itself, zsh and fish would not


def _list_tags(**_: Any) -> list[str]:
    return sorted({tag for case in list_cases() for tag in case.tags})


def _list_labs(**_: Any) -> list[str]:
    return sorted(path.parent.name for path in labs_directory().glob("*/lab.json"))


def _list_lab_hosts(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    named = getattr(parsed_args, "lab", None) or "default"
    try:
        return list(json.loads((labs_directory() / named / "lab.json").read_text())["hosts"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _list_qemus(**_: Any) -> list[str]:
    from switchover.devices.known_qemus import NAMED  # takes long to import

    return list(NAMED)


_BY_METAVAR: dict[str, Completer] = {
    "RUN": _list_runs,
    "RUN2": _list_runs,
    "CASE": _list_case_words,
    "PATTERN": _list_case_words,
    "SRC": _list_qemus,
    "DST": _list_qemus,
}
_BY_DEST: dict[str, Completer] = {"tag": _list_tags, "lab": _list_labs, "host": _list_lab_hosts}
