# SPDX-License-Identifier: GPL-2.0-or-later
"""Ids of cases, made of the values of their axes. Pure."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

Values = Mapping[str, str]
"""A point of the axes: by the name of each, its value in words."""


def make_word(value: object) -> str:
    """A value in an id: no blanks, and no comma, which stands between axes.

    >>> make_word("64 MiB"), make_word("a,b"), make_word([100, 0])
    ('64-MiB', 'a%2Cb', '100+0')
    """
    if isinstance(value, list):
        return "+".join(make_word(inner) for inner in value)
    return "-".join(str(value).replace("%", "%25").replace(",", "%2C").split())


def render_id(values: Values) -> str:
    """``device.pre_copy=on,machine=pc-q35-10.0``."""
    return ",".join(f"{name}={word}" for name, word in values.items())


def parse_id(text: str) -> dict[str, str]:
    """What :func:`render_id` was given."""
    return {name: word for name, _, word in (part.partition("=") for part in text.split(","))}


def make_ids(name: str, points: Sequence[Values]) -> list[str]:
    """Ids that are the same in pytest, avocado, JUnit, KCIDB and names of files: letters, digits, ``_``, ``.``, ``-``.

    ``name``: of what they are cases of. ``points``: values that distinguish them. Two that would be spelled alike get a
    digest each, of their values alone, so that no third one changes them.

    >>> make_ids("precopy", [{"device.pre_copy": "on", "machine": "pc-q35-10.0"}])
    ['precopy.device.pre_copy-on.machine-pc-q35-10.0']
    >>> make_ids("size", [{"a": "1+2"}, {"a": "1=2"}, {}])
    ['size.a-1_2-85a6', 'size.a-1_2-8a63', 'size']
    """
    plain = [spell_id([name, *(f"{axis}-{word}" for axis, word in values.items())]) for values in points]
    counts = Counter(plain)
    return [
        identity if counts[identity] == 1 else f"{identity}-{_digest(render_id(values))}"
        for identity, values in zip(plain, points, strict=True)
    ]


def spell_id(parts: Sequence[str]) -> str:
    """Parts of an id with a dot between them, no part empty (KCIDB, TAP) and other characters replaced.

    >>> spell_id(["a b", "x-64 MiB", "..", "y-@1."])
    'a_b.x-64_MiB.y-_1'
    """
    text = re.sub(r"[^A-Za-z0-9_.-]+", "_", ".".join(parts))
    return re.sub(r"\.{2,}", ".", text).strip(".")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:4]
