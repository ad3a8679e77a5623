# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases chosen by words and tags, from whatever list of them."""

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeVar

from switchover.catalogue.case import ListedCase
from switchover.record.errors import UsageError

C = TypeVar("C", bound=ListedCase)
_PATTERN = "*?["


def select(cases: Sequence[C], words: Sequence[str] = (), tags: Sequence[str] = ()) -> list[C]:
    """Cases that one of ``words`` means and that have all ``tags``, in the order of ``cases``; without words, all.
    A word is an id or an alias of one, the name of a scenario or a function, or a pattern with ``*``. A tag with ``-``
    before it must not be there.

    :raises UsageError: a word or a tag is unknown (the error lists similar ones), or nothing is selected
    """
    ids = {case.id for word in words for case in _find(cases, word)}
    known = sorted({tag for case in cases for tag in case.tags})
    for tag in tags:
        if tag.removeprefix("-") not in known:
            from switchover.record.toml import suggest  # takes long to import

            wrong = tag.removeprefix("-")
            raise UsageError(f"No case has the tag {wrong!r}{suggest(wrong, known)}.", fix="switchover list")
    found = [case for case in cases if (not words or case.id in ids) and _has(case, tags)]
    if not found:
        raise UsageError("No case is selected.", why=f"none of the cases that are named has the tags {', '.join(tags)}")
    return found


def find(cases: Sequence[C], text: str) -> list[C]:
    """Cases that have ``text`` anywhere in their id, or that it names as a word; for lists that people look at."""
    try:
        return _find(cases, text)
    except UsageError:
        if found := [case for case in cases if text in case.id]:
            return found
        raise


def _find(cases: Sequence[C], word: str) -> list[C]:
    for fits in (
        lambda case: word == case.id,
        lambda case: word in case.aliases,
        lambda case: word == case.group,
        lambda case: any(character in word for character in _PATTERN) and fnmatchcase(case.id, word),
    ):
        if found := [case for case in cases if fits(case)]:
            return found
    names = list(dict.fromkeys([*(case.group for case in cases), *(case.id for case in cases)]))
    near = get_close_matches(word, names, n=4, cutoff=0.5)
    raise UsageError(
        f"The catalogue has no case {word!r}.",
        why=f"near it are {', '.join(near)}" if near else "nothing in it is spelled like that",
        fix="switchover list",
    )


def _has(case: ListedCase, tags: Sequence[str]) -> bool:
    return all(tag[1:] not in case.tags if tag.startswith("-") else tag in case.tags for tag in tags)
