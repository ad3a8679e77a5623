# SPDX-License-Identifier: GPL-2.0-or-later
"""What lists tell of the cases of scenario files, kept in the cache directory: reading the files takes seconds.

What is kept of a file holds for its text and for all code of the package, which the expectations, estimates and ids
come from: digests of both are kept with it, so that it is never older than they are. Cases in Python are kept only of
files that ship with the project: a user's may import what is not looked at here.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

from switchover.catalogue.case import ListedCase, Needs
from switchover.catalogue.places import list_places, read_places
from switchover.record.cache import keep, read_cached

_KIND = "catalogue"
_PACKAGE = Path(__file__).resolve().parent.parent


def list_cases(more: Sequence[Path] = ()) -> list[ListedCase]:
    """The cases of :func:`load_catalogue`, as far as lists need them. :raises UsageError: as it does"""
    own = set(list_places())
    return read_places(list_places(more), partial(_list_file, own=own))


def _list_file(place: Path, own: set[Path]) -> list[ListedCase]:
    if place.suffix == ".py" and place not in own:
        return _load(place)
    try:
        digest = f"{hashlib.sha256(place.read_bytes()).hexdigest()} {digest_code()}"
    except OSError:
        return _load(place)  # which says what is wrong
    kept: Any = read_cached(_KIND, str(place))
    try:
        if kept["digest"] == digest:
            return [_parse_case(entry) for entry in kept["cases"]]
    except (KeyError, TypeError, AttributeError):
        pass  # nothing is kept of it, or what is kept is damaged
    cases = _load(place)
    keep(_KIND, str(place), {"digest": digest, "cases": [_render_case(case) for case in cases]})
    return cases


def _load(place: Path) -> list[ListedCase]:
    from switchover.catalogue.load import load_file  # takes long to import

    return list(load_file(place))


@cache
def digest_code() -> str:
    """Of all files of the package."""
    digest = hashlib.sha256()
    for directory, below, names in os.walk(_PACKAGE):
        below[:] = sorted(name for name in below if name != "__pycache__")
        for name in sorted(names):
            digest.update(f"{directory}/{name}\0".encode())
            digest.update(Path(directory, name).read_bytes())
    return digest.hexdigest()


def _render_case(case: ListedCase) -> dict[str, Any]:
    told = {entry.name: getattr(case, entry.name) for entry in fields(ListedCase)}
    words = {name: str(value) for name, value in case.parameters.items()}
    return told | {"tags": sorted(case.tags), "needs": asdict(case.needs), "parameters": words}


def _parse_case(kept: dict[str, Any]) -> ListedCase:
    needs: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in kept["needs"].items()
    }
    lists = {"tags": frozenset(kept["tags"]), "needs": Needs(**needs), "aliases": tuple(kept["aliases"])}
    return ListedCase(**(kept | lists))
