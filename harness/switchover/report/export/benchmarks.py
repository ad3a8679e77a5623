# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers for services that draw and watch them: Bencher's metric format, and github-action-benchmark's JSON.

Both take one number for a case and metric: the median of its repeats that were as expected, with the smallest and the
largest; of a single repeat with its bound.
"""

import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from switchover.record.units import Direction
from switchover.report.export.views import Exported, describe_left_out, has_value, name_migration
from switchover.report.metrics import MetricRow, group_rows, list_metrics
from switchover.report.rundata import RunData

_LONGEST_BENCHMARK = 1024
_LONGEST_MEASURE = 64
_NO_BENCHMARK = re.compile(r"-bencher-ignore$|^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$")
"""What Bencher takes for something else than a name: a name with this end raises no alert, and a UUID names what there
is."""


@dataclass(frozen=True)
class _Summary:
    rows: Sequence[MetricRow]

    @property
    def values(self) -> list[float]:
        return [row.value for row in self.rows if row.value is not None]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def edges(self) -> tuple[float, float] | None:
        """None: it is a single number whose bound is not known."""
        if len(self.rows) > 1:
            return min(self.values), max(self.values)
        bound = self.rows[0].bound
        return None if bound is None else (self.median - bound, self.median + bound)


def _summarize(run: RunData) -> tuple[dict[tuple[str, int, str], _Summary], list[str]]:
    """By case, hop and metric; and what is left out."""
    rows = list(list_metrics(run))
    usable = [row for row in rows if row.right and has_value(row)]
    left_out = [
        *describe_left_out((row for row in rows if not has_value(row)), "that are missing"),
        *describe_left_out(
            (row for row in rows if has_value(row) and not row.right), "of repeats that were not as expected"
        ),
    ]
    without = [case.id for case in run.cases if not any(row.case == case.id for row in usable)]
    left_out += [f"{case}: it has no number" for case in without]
    return {key: _Summary(of_key) for key, of_key in group_rows(usable).items()}, left_out


def render_bencher(run: RunData) -> Exported:
    """A benchmark for each case or hop, a measure for each metric."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    summaries, left_out = _summarize(run)
    for (case, hop, metric), summary in summaries.items():
        name = name_migration(case, hop)
        if len(name) > _LONGEST_BENCHMARK or len(metric) > _LONGEST_MEASURE or _NO_BENCHMARK.search(name):
            left_out.append(f"{metric} of {name}: Bencher takes no such name")
            continue
        edges = summary.edges
        spread = {} if edges is None else {"lower_value": edges[0], "upper_value": edges[1]}
        found.setdefault(name, {})[metric] = {"value": summary.median, **spread}
    units = sorted({row.unit for summary in summaries.values() for row in summary.rows})
    if units:
        left_out.append(f"units ({', '.join(units)}), directions and fingerprints: Bencher has units by measure")
    return Exported(_render(found), tuple(left_out))


def render_smaller(run: RunData) -> Exported:
    """For the tool ``customSmallerIsBetter``."""
    return _render_action(run, Direction.LOWER)


def render_bigger(run: RunData) -> Exported:
    """For the tool ``customBiggerIsBetter``."""
    return _render_action(run, Direction.HIGHER)


def _render_action(run: RunData, direction: Direction) -> Exported:
    summaries, left_out = _summarize(run)
    taken = {key: one for key, one in summaries.items() if one.rows[0].direction == direction}
    others = [row for key, one in summaries.items() if key not in taken for row in one.rows]
    left_out += _describe_directions(others)
    return Exported(_render([_list_action(*key, one) for key, one in taken.items()]), tuple(left_out))


def _describe_directions(rows: Sequence[MetricRow]) -> Iterator[str]:
    whys = {
        Direction.LOWER: "of which less is better (github-action-benchmark)",
        Direction.HIGHER: "of which more is better (github-action-benchmark-bigger)",
        Direction.NEITHER: "of which neither direction is better",
    }
    for direction, why in whys.items():
        yield from describe_left_out((row for row in rows if row.direction == direction), why)


def _list_action(case: str, hop: int, metric: str, summary: _Summary) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": f"{name_migration(case, hop)}: {metric}",
        "unit": summary.rows[0].unit,
        "value": summary.median,
    }
    if summary.edges is not None:
        found["range"] = f"{summary.edges[0]:g} … {summary.edges[1]:g}"
    words = {"repeats": str(len(summary.rows)), **_common(summary.rows)}
    found["extra"] = "\n".join(f"{key}: {word}" for key, word in words.items())
    return found


def _common(rows: Sequence[MetricRow]) -> Mapping[str, str]:
    """Of the fingerprints, what all repeats have alike."""
    first, *others = (row.fingerprint for row in rows)
    return {key: word for key, word in first.items() if all(other.get(key) == word for other in others)}


def _render(found: object) -> str:
    return json.dumps(found, indent=1)
