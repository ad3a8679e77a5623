# SPDX-License-Identifier: GPL-2.0-or-later
"""Where each rule was seen to hold: in which case, with which programs, and when it was last. Pure.

``seen.json`` beside this file is written by ``switchover oracle seen RUN…`` from records of runs, never by hand.
"""

import functools
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Sighting:
    """A rule that held."""

    case: str
    """The id of the case in its run."""
    programs: str
    """With their versions: ``QEMU 10.0.13``, ``QEMU 10.0.13 to 11.1.3, libvirt 11.3.0``."""
    day: str
    """When it was last, ``2026-11-30`` (UTC)."""


Sightings = Mapping[str, tuple[Sighting, ...]]
"""By the name of a rule, or of a row (:mod:`rows`) for cases without one, one for each case and its programs."""


def parse_seen(text: str) -> Sightings:
    return {rule: tuple(Sighting(**one) for one in seen) for rule, seen in json.loads(text).items()}


def render_seen(sightings: Sightings) -> str:
    """A line for each sighting, in order."""
    blocks = []
    for rule, seen in sorted(sightings.items()):
        lines = ",\n".join(f"  {json.dumps(asdict(one))}" for one in seen)
        blocks.append(f" {json.dumps(rule)}: [\n{lines}\n ]")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def add_seen(known: Sightings, found: Iterable[tuple[str, Sighting]]) -> Sightings:
    """With what was ``found``, by the names of rules; of the same case with the same programs the last one stays."""
    merged = {rule: {(one.programs, one.case): one for one in seen} for rule, seen in known.items()}
    for rule, one in found:
        seen = merged.setdefault(rule, {})
        before = seen.get((one.programs, one.case))
        seen[one.programs, one.case] = one if before is None else replace(one, day=max(one.day, before.day))
    return {rule: tuple(seen[key] for key in sorted(seen)) for rule, seen in merged.items()}


def keep_cases(sightings: Sightings, ids: Container[str]) -> Sightings:
    """Without those of other cases than ``ids``."""
    kept = {rule: tuple(one for one in seen if one.case in ids) for rule, seen in sightings.items()}
    return {rule: seen for rule, seen in kept.items() if seen}


@functools.cache
def read_seen() -> Sightings:
    """What ships with the rules."""
    return parse_seen(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
