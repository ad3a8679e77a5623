# SPDX-License-Identifier: GPL-2.0-or-later
"""Ids of cases, made of the values of their axes. Pure."""

from collections.abc import Mapping

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
