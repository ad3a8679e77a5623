# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases as a table of two axes, of one run or of several: what each came to against what was expected of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from switchover.record.errors import UsageError
from switchover.record.toml import suggest
from switchover.record.units import format_count
from switchover.report.failures import list_repeats
from switchover.report.html.cases import BAD, GOOD, NEITHER, list_axes, make_row
from switchover.report.rundata import CaseResult, RunData

_MARKS = {GOOD: "✓", BAD: "✗", NEITHER: "–"}
_MOST_AXES = 3


@dataclass(frozen=True)
class Cell:
    """A case. ``mark``: ok, bad, or none (not supported, or not run). ``downtime`` and ``device``, the bytes of devices
    in pre-copy and in stop-copy, are texts, empty where there was none. ``record``: the directory of its first repeat.
    ``repeat``: commands and scripts that repeat it.
    """

    id: str
    scenario: str
    axes: Mapping[str, str]
    mark: str
    verdict: str
    expected: str
    rule: str
    downtime: str
    device: str
    started: str
    run: str
    record: str
    repeat: tuple[str, ...]


def make_cells(cases: Sequence[tuple[RunData, CaseResult]]) -> list[Cell]:
    """Of cases that are points of axes; others have no place in a table."""
    return [_make_cell(number, run, case) for number, (run, case) in enumerate(cases) if list_axes(case)]


def _make_cell(number: int, run: RunData, case: CaseResult) -> Cell:
    row = make_row(number, case)
    first = case.records[0] if case.records else None
    return Cell(
        id=case.id,
        scenario=case.line.scenario,
        axes=list_axes(case),
        mark=row.mark,
        verdict=row.verdict,
        expected=row.expected,
        rule=case.line.rule,
        downtime=row.downtime,
        device=row.device,
        started=first.started if first else "",
        run=run.directory.word,
        record=str(run.repeat_path(first)) if first else "",
        repeat=tuple(list_repeats(run, first)) if first else (),
    )


def choose_axes(cells: Sequence[Cell], names: Sequence[str] = ()) -> list[str]:
    """Rows, columns, and if there is a third one tables. ``names``: those asked for; none: the first that vary.

    :raises UsageError: there is no such axis, or there are too few or too many
    """
    values = _list_values(cells)
    if len(names) > _MOST_AXES or len({*names}) < len(names):
        raise UsageError(f"--matrix takes up to {_MOST_AXES} different axes.", why=f"given: {', '.join(names)}")
    for name in names:
        if name not in values:
            raise UsageError(f"There is no axis {name!r}{suggest(name, list(values))}.")
    varied = [name for name, found in values.items() if len(found) > 1 and name not in names]
    axes = [*names, *varied[: (2 if names else _MOST_AXES) - len(names)]]
    if len(axes) < 2:
        raise UsageError("There are no two axes for a matrix.", why=f"that vary: {', '.join(varied) or 'none'}")
    return axes


def _list_values(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """By axis its values, in the order in which cases have them first."""
    found: dict[str, dict[str, None]] = {}
    for cell in cells:
        for name, value in cell.axes.items():
            found.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in found.items()}


def render_matrix(cells: Sequence[Cell], axes: Sequence[str]) -> str:
    """A table for each value of the third axis, with how many of its cases came to what; then a line for each case, and
    for those that are not as expected what repeats them.
    """
    values = _list_values(cells)
    lines: list[str] = []
    for table in values[axes[2]] if len(axes) > 2 else [""]:
        mine = [cell for cell in cells if not table or cell.axes.get(axes[2]) == table]
        lines += [f"{axes[2]} {table}", ""] if table else []
        lines += [*_render_table(mine, axes[0], axes[1], values), ""]
    lines.append("✓ as expected, ✗ not as expected, – not supported or not run")
    marks = [cell.mark for cell in cells]
    counts = ((BAD, "not as expected"), (GOOD, "as expected"), (NEITHER, "not supported or not run"))
    told = ", ".join(f"{marks.count(mark)} {word}" for mark, word in counts if mark in marks)
    runs = {cell.run for cell in cells}
    lines += [f"{format_count(len(cells), 'case')} of {format_count(len(runs), 'run')}: {told}", ""]
    for cell in sorted(cells, key=lambda cell: cell.mark != BAD):
        lines += _render_cell(cell, with_run=len(runs) > 1)
    return "\n".join(lines).rstrip()


def _render_table(cells: Sequence[Cell], rows: str, columns: str, values: Mapping[str, Sequence[str]]) -> Iterator[str]:
    across = values[columns]
    grid = [[f"{rows} \\ {columns}", *across]]
    for value in values[rows]:
        mine = [cell for cell in cells if cell.axes.get(rows) == value]
        grid.append([value, *(_count([cell for cell in mine if cell.axes.get(columns) == other]) for other in across)])
    widths = [max(len(line[number]) for line in grid) for number in range(len(across) + 1)]
    for line in grid:
        yield "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()


def _count(cells: Sequence[Cell]) -> str:
    """``✗ 1 ✓ 12``; of a single case its verdict, downtime and bytes."""
    if not cells:
        return "·"
    if len(cells) == 1:
        (cell,) = cells
        return " ".join(filter(None, (_MARKS[cell.mark], cell.verdict, cell.downtime, cell.device)))
    marks = [cell.mark for cell in cells]
    return " ".join(f"{_MARKS[mark]} {marks.count(mark)}" for mark in (BAD, GOOD, NEITHER) if mark in marks)


def _render_cell(cell: Cell, *, with_run: bool) -> Iterator[str]:
    told = f"{cell.verdict} (expected {cell.expected})" if cell.mark == BAD else cell.verdict
    numbers = ", ".join(filter(None, (cell.downtime, cell.device)))
    rule = f" [{cell.rule}]" if cell.rule else ""
    of_run = f" in {cell.run}" if with_run else ""
    yield f"{_MARKS[cell.mark]} {cell.id}: {told}{rule}{numbers and f', {numbers}'}{of_run}"
    if cell.mark == BAD:
        yield f"    record {cell.record}"
        yield from (f"    repeat {word}" for word in cell.repeat)
