# SPDX-License-Identifier: GPL-2.0-or-later
"""avocado's way to the catalogue: references ``switchover:WORD``, and the settings of the section ``switchover``.

avocado loads this whenever it starts: nothing of ours is imported before a reference is ours.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from switchover.fronts.avocado_api import (
    EVERY_RUNNER_USES,
    Init,
    PluginPriority,
    ReferenceResolution,
    ReferenceResolutionResult,
    Resolver,
    Runnable,
    settings,
)
from switchover.fronts.avocado_version import find_misfit

if TYPE_CHECKING:
    from switchover.catalogue.case import CatalogueCase

KIND = "switchover"
"""Of runnables, and of the program ``avocado-runner-switchover``."""
PREFIX = "switchover:"
HOSTS, INVENTORY, CASES, COPY_BYTES, HISTORY = (
    "switchover.hosts",
    "switchover.inventory",
    "switchover.cases",
    "switchover.copy_bytes",
    "switchover.history",
)
CONFIGURATION_USED = (HOSTS, INVENTORY, COPY_BYTES, HISTORY)
"""Settings that reach the process of a test."""
MOST_COPIED = 64 << 20
_FILES = (".py", ".toml")
_LOG_UI = logging.getLogger("avocado.app")


class SwitchoverInit(Init):  # type: ignore[misc]
    """Settings, which are keys of the section ``[switchover]`` of a configuration file, or of the Job API."""

    name = "switchover"
    description = "Settings of Switchover"

    def initialize(self) -> None:
        for key, kind, default, words in (
            ("hosts", str, "", "SOURCE,DESTINATION: hosts of the inventory. Default: a lab for the time of the job"),
            ("inventory", str, "", "File of the inventory. Default: ~/.config/switchover/inventory.toml"),
            ("cases", list, [], "Files of cases, or directories of them, besides those of the catalogue"),
            ("copy_bytes", int, MOST_COPIED, "Files of a record up to this size are among the results of the test"),
            ("history", str, "", "File to which the numbers of the job are added; off: none. Default: beside the runs"),
        ):
            settings.register_option(section="switchover", key=key, key_type=kind, default=default, help_msg=words)


class SwitchoverResolver(Resolver):  # type: ignore[misc]
    """``switchover:`` and an id, an alias, a scenario, a function, a pattern, or a file of cases."""

    name = "switchover"
    description = "Cases of the catalogue of Switchover (switchover:ID, switchover:SCENARIO, switchover:*)"
    priority = PluginPriority.VERY_HIGH
    """Before the resolvers of Python files, which take ``*`` for a regular expression and complain."""

    def resolve(self, reference: str) -> ReferenceResolution:
        if not reference.startswith(PREFIX):
            return ReferenceResolution(reference, ReferenceResolutionResult.NOTFOUND)
        if misfit := find_misfit():
            _LOG_UI.error(misfit)
            return ReferenceResolution(reference, ReferenceResolutionResult.ERROR, info=misfit)
        from switchover.record.errors import UsageError

        try:
            cases = find_cases(reference.removeprefix(PREFIX), self.config.get(CASES) or [])
        except UsageError as error:
            _LOG_UI.error("%s", error)
            return ReferenceResolution(reference, ReferenceResolutionResult.NOTFOUND, info=str(error))
        found = [make_runnable(case, self.config) for case in cases]
        return ReferenceResolution(reference, ReferenceResolutionResult.SUCCESS, found)


class CaseRunnable(Runnable):  # type: ignore[misc]
    """avocado asks a test five times which settings its runner wants, and looks for the runner among all packages each
    time, which takes 8 ms: most of what it would take to list the catalogue.
    """

    @classmethod
    def get_configuration_used_by_kind(cls, kind: str) -> list[str]:
        if kind != KIND:  # a dry run
            found: list[str] = super().get_configuration_used_by_kind(kind)
            return found
        return [*CONFIGURATION_USED, *EVERY_RUNNER_USES]

    def _config_setter_warning(self, config: dict[str, Any], default_config: bool = False) -> None:
        """It would ask as well."""


def find_cases(word: str, more: list[str]) -> "list[CatalogueCase]":
    """Cases that a word means. ``more``: files besides those of the catalogue.

    :raises UsageError: it means none, with what is like it; or a file is wrong
    """
    from switchover.catalogue.load import load_catalogue

    if word.endswith(_FILES):
        return list(load_catalogue([Path(word)], only=True).cases)
    return load_catalogue([Path(place) for place in more]).select([word])


def make_runnable(case: "CatalogueCase", config: dict[str, Any]) -> Runnable:
    """A test of avocado's, with the id of the case as its own."""
    return CaseRunnable(
        KIND,
        case.id,
        config=CaseRunnable.filter_runnable_config(KIND, config),
        identifier=case.id,
        tags=dict.fromkeys(sorted(case.tags)),
        source=str(case.source),
        hosts=case.needs.hosts,
        timeout_s=case.timeout_s,
        repeats=case.repeats,
    )
