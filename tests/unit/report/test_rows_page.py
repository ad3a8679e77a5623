# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of the oracle's rows."""

from pathlib import Path

import pytest

from switchover.cli.main import main
from switchover.report.rows import render_rows
from switchover.scenarios.oracle.rows import ROWS
from switchover.scenarios.oracle.seen import Sighting

PAGE = Path(__file__).parents[3] / "docs" / "oracle-rows.md"


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/oracle-rows.md is what `switchover schema --rows` prints."""
    assert main(["schema", "--rows"]) == 0
    assert PAGE.read_text(encoding="utf-8") == capsys.readouterr().out


def test_every_row_is_on_the_page() -> None:
    """Once, with the last day on which it was seen, what of it was not, or that it cannot be reached, and why."""
    seen = {
        "ack-at-source-only": (Sighting("a.b", "QEMU 10.0.13", "2026-11-29"), Sighting("a.c", "QEMU 9", "2026-11-30")),
        "ack-with-pre-copy-at-source-only": (Sighting("a.d", "QEMU 9", "2026-11-28"),),
    }
    text = render_rows(seen, [])
    lines = {line.split(" | ")[0].lstrip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert [name for name in lines if name not in ("row",)] == [row.name for row in ROWS]
    assert lines["A4"].endswith("| 2026-11-28<br>QEMU 9 |")
    missing = "2026-11-30; not yet: `ack-at-source-only-without-pre-copy`<br>QEMU 10.0.13<br>QEMU 9 |"
    assert lines["A6"].endswith(missing)
    assert lines["A5"].endswith("| not yet |")
    assert "| *unreachable* |" in lines["A12"]
    assert "- **A12**: needs VFIO_PRECOPY_INFO_REINIT" in text
    assert "1 seen in all their parts" in text
