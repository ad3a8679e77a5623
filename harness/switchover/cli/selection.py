# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases that verbs are about: by ids, names and patterns of the catalogue, by files, by tags."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from switchover.catalogue.case import CatalogueCase
from switchover.catalogue.load import Catalogue, load_catalogue
from switchover.record.errors import UsageError
from switchover.record.planfile import find_plan
from switchover.record.rundir import RunDirectory
from switchover.scenarios.plan import Plan, list_programs, make_plan
from switchover.scenarios.scenario import load_scenario


@dataclass(frozen=True)
class Selection:
    """``plans``: of scenarios, each with the cases that are selected. ``python``: cases in Python."""

    plans: list[Plan]
    python: list[CatalogueCase]

    @property
    def ids(self) -> list[str]:
        return [*(entry.planned.id for plan in self.plans for entry in plan.entries), *(one.id for one in self.python)]

    @property
    def programs(self) -> list[str]:
        """QEMUs and kernels that cases name: some may have to be built before hosts are taken."""
        return [*list_programs(self.plans), *(name for case in self.python for name in case.needs.programs)]

    def keep(self, ids: Sequence[str]) -> "Selection":
        """Those of some ids."""
        kept = set(ids)
        plans = [
            replace(plan, entries=tuple(entry for entry in plan.entries if entry.planned.id in kept))
            for plan in self.plans
        ]
        return Selection([plan for plan in plans if plan.entries], [one for one in self.python if one.id in kept])

    def repeated(self, count: int) -> "Selection":
        """With so many repeats of each case, whatever its scenario says."""
        plans = [replace(plan, scenario=replace(plan.scenario, repeats=count)) for plan in self.plans]
        return Selection(plans, [replace(case, repeats=count) for case in self.python])

    @property
    def names(self) -> list[str]:
        """Of scenarios and functions, in their order."""
        return list(dict.fromkeys([*(plan.scenario.name for plan in self.plans), *(one.group for one in self.python)]))


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Read by :func:`choose_cases`."""
    parser.add_argument(
        "cases",
        nargs="*",
        metavar="CASE",
        help="cases: ids, names of scenarios, patterns with *, files of cases, or directories of such files",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="T",
        help="only cases that have this tag; --tag=-T: only cases without it; given several times, all must hold",
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="PATTERN",
        help="only cases whose id contains PATTERN; with *, ? or [ in it, PATTERN must match the whole id",
    )


def choose_cases(arguments: argparse.Namespace) -> Selection:
    """:raises UsageError: nothing is asked for, a file is wrong, a name means nothing, or nothing is left"""
    if not arguments.cases and not arguments.tag:
        raise UsageError("No case is named.", fix="switchover list shows the cases; --tag T selects those with a tag")
    return choose(arguments.cases, arguments.tag, arguments.only)


def choose(words: Sequence[str], tags: Sequence[str] = (), only: str = "") -> Selection:
    """As :func:`choose_cases`."""
    files = [Path(word) for word in words if Path(word).exists()]
    names = [word for word in words if not Path(word).exists()]
    for name in names:
        if name.endswith((".toml", ".py")) or "/" in name:
            raise UsageError(f"There is no file {name}.")
    found: list[CatalogueCase] = []
    if files:
        found += load_catalogue(files, only=True).cases
    if names or not words:
        found += load_catalogue().select(names)
    found = list(Catalogue(tuple(found), ()).select((), tags)) if tags else found
    chosen = [case for case in found if not only or _fits(case, only)]
    if not chosen:
        raise UsageError(f"No case matches --only {only!r}.", why=f"none of the {len(found)} cases that are named does")
    return _group(chosen)


def _fits(case: CatalogueCase, pattern: str) -> bool:
    fits = fnmatchcase if any(character in pattern for character in "*?[") else str.__contains__
    return any(fits(name, pattern) for name in (case.id, *case.aliases))


def _group(cases: Sequence[CatalogueCase]) -> Selection:
    """Scenario by scenario, in the order in which each comes first."""
    plans = []
    for source in dict.fromkeys(case.source for case in cases if not case.is_python):
        ids = {case.id for case in cases if case.source == source}
        whole = make_plan(load_scenario(source))
        plans.append(replace(whole, entries=tuple(entry for entry in whole.entries if entry.planned.id in ids)))
    return Selection(plans, list({case.id: case for case in cases if case.is_python}.values()))


def choose_planned(directory: RunDirectory) -> Selection:
    """The cases of a run that was planned, from the files that it had them from.

    :raises UsageError: it has no plan, or a file has its cases no more
    """
    plan = find_plan(directory)
    if plan is None:
        raise UsageError(f"{directory.word} cannot be continued: it has no plan.")
    files = list(dict.fromkeys(scenario.file for scenario in plan.scenarios))
    repeats = {line.id: line.repeats for line in plan.cases}
    chosen = choose(files).keep(list(repeats))
    if lost := repeats.keys() - set(chosen.ids):
        raise UsageError(f"{', '.join(files)} have no case {sorted(lost)[0]} any more.", why="they have changed")
    plans = [
        replace(plan, scenario=replace(plan.scenario, repeats=repeats[plan.entries[0].planned.id]))
        for plan in chosen.plans
    ]
    return Selection(plans, [replace(case, repeats=repeats[case.id]) for case in chosen.python])
