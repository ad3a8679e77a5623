# SPDX-License-Identifier: GPL-2.0-or-later
"""What all exports look at: names that any format takes, numbers that can be written, files of evidence. Pure, but for
the names of files.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from switchover.record.record import Record
from switchover.record.units import format_count
from switchover.report.metrics import MetricRow, list_metrics
from switchover.report.rundata import RunData


@dataclass(frozen=True)
class Exported:
    """``left_out``: what the format has no place for, in words."""

    text: str
    left_out: tuple[str, ...] = ()


class Export(Protocol):
    """Makes the text of a format, from the run directory alone."""

    def __call__(self, run: RunData) -> Exported: ...


def encode_name(text: str) -> str:
    """As words of letters, digits, ``-`` and ``_`` with a dot between them; no two texts give the same name.

    ``_`` is doubled, any other character is its code point in hexadecimal digits between ``_`` and ``_``, and so is a
    dot that has no word before it or after it. A word that begins with ``_`` and one of g to z is never made of a text.

    >>> encode_name("precopy.device.pre_copy-on"), encode_name("device.pre_copy=on"), encode_name("a..b.")
    ('precopy.device.pre__copy-on', 'device.pre__copy_3d_on', 'a_2e_.b_2e_')
    """
    parts: list[str] = []
    for index, character in enumerate(text):
        if character == "." and parts and parts[-1] != "." and index + 1 < len(text) and text[index + 1] != ".":
            parts.append(".")
        elif character == "_":
            parts.append("__")
        elif re.fullmatch("[A-Za-z0-9-]", character):
            parts.append(character)
        else:
            parts.append(f"_{ord(character):x}_")
    return "".join(parts)


def name_repeat(record: Record) -> str:
    """A name of :func:`encode_name`'s kind for a repeat: ``precopy._repeat1``."""
    return f"{encode_name(record.case)}._repeat{record.repeat}"


def name_number(row: MetricRow) -> str:
    """Likewise for a number, the same for all repeats: ``precopy._hop2._number.downtime.explained``."""
    hop = f"._hop{row.hop}" if row.hop else ""
    return f"{encode_name(row.case)}{hop}._number.{encode_name(row.metric)}"


def name_migration(case: str, hop: int) -> str:
    """For people: a case, or a hop of it."""
    return f"{case}, hop {hop}" if hop else case


def list_numbers(run: RunData) -> dict[tuple[str, int], list[MetricRow]]:
    """By case and repeat, all numbers, those that are missing too."""
    found: dict[tuple[str, int], list[MetricRow]] = {}
    for row in list_metrics(run):
        found.setdefault((row.case, row.repeat), []).append(row)
    return found


def has_value(row: MetricRow) -> bool:
    return row.value is not None


def label_number(row: MetricRow) -> str:
    """``downtime.explained``; of a chain ``hop 2 downtime.explained``."""
    return f"hop {row.hop} {row.metric}" if row.hop else row.metric


def render_number(row: MetricRow) -> str:
    """``0.25 s ± 0.0004``; of one that is missing, why."""
    if not has_value(row):
        return f"missing{f': {row.note}' if row.note else ''}"
    bound = "" if row.bound is None else f" ± {row.bound:g}"
    note = f" ({row.note})" if row.note else ""
    return f"{row.value} {row.unit}{bound}{note}"


def describe_left_out(rows: Iterable[MetricRow], why: str) -> Iterator[str]:
    """``3 numbers that are missing: bytes.wire (3)``; nothing of none."""
    counts = Counter(row.metric for row in rows)
    if counts:
        listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
        yield f"{format_count(counts.total(), 'number')} {why}: {listed}"


def list_files(run: RunData, record: Record) -> list[str]:
    """Files of evidence of a repeat, those of its hops too, by their paths below the run directory."""
    path = run.repeat_path(record)
    found = [file for file in path.glob("**/*") if file.is_file()] if path.is_dir() else []
    return sorted(file.relative_to(run.directory.path).as_posix() for file in found)


_UNPRINTABLE = re.compile(r"[^\t\n\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Without what YAML, XML or a terminal cannot show."""
    return _UNPRINTABLE.sub("�", text)


def clean_line(text: str) -> str:
    """The same in one line."""
    return " ".join(clean(text).split())


def explain(record: Record) -> str:
    """Why a repeat is not right, or was not run; empty: it is right."""
    return record.mismatch or record.verdict.reason
