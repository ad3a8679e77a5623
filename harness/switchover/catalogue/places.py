# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that hold cases: those that ship with the project, and those that a user names."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from switchover.catalogue.case import ListedCase
from switchover.record.errors import UsageError
from switchover.record.paths import data_directory

C = TypeVar("C", bound=ListedCase)


def list_places(more: Sequence[Path] = ()) -> list[Path]:
    """Files of the catalogue that ships with the project, and those of ``more``: files, or directories of them.

    :raises UsageError: there is no such file, or it is none of a case
    """
    own = data_directory("testcases")
    shipped = (*sorted((own / "scenarios").glob("*.toml")), *sorted((own / "cases").glob("[!_]*.py")))
    return list(dict.fromkeys([*(place.absolute() for place in shipped), *list_named(more)]))


def list_named(places: Sequence[Path]) -> list[Path]:
    """:raises UsageError: as :func:`list_places`"""
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            found = [*sorted(place.glob("*.toml")), *sorted(place.glob("[!_]*.py"))]
            if not found:
                raise UsageError(f"{place} holds no case.", fix="name a directory with *.toml or *.py files")
            files += found
        elif place.suffix in (".toml", ".py") and place.exists():
            files.append(place)
        else:
            raise UsageError(f"There is no file of cases {place}.")
    return list(dict.fromkeys(file.absolute() for file in files))


def read_places(places: Sequence[Path], read: Callable[[Path], Sequence[C]]) -> list[C]:
    """The cases of files. :raises UsageError: files are wrong, all of which are named, or two cases have the same id"""
    cases: list[C] = []
    problems: list[str] = []
    for place in places:
        try:
            cases += read(place)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    seen: dict[str, C] = {}
    for case in cases:
        other = seen.setdefault(case.id, case)
        if other is not case:
            raise UsageError(f"Two cases have the id {case.id}.", why=f"{other.place} and {case.place}")
    return cases
