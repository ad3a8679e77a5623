# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of the oracle: what is documented is what is expected."""

from pathlib import Path

import pytest

from switchover.cli.main import main
from switchover.report.oracle import render_oracle
from switchover.scenarios.oracle import ORACLE
from switchover.scenarios.oracle.seen import Sighting

PAGE = Path(__file__).parents[3] / "docs" / "oracle.md"


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/oracle.md is what `switchover schema --oracle` prints."""
    assert main(["schema", "--oracle"]) == 0
    assert PAGE.read_text(encoding="utf-8") == capsys.readouterr().out


def test_every_rule_is_on_the_page() -> None:
    """Once, in the order in which rules are tried, with all its names and its reason."""
    text = render_oracle()
    assert [line[4:] for line in text.splitlines() if line.startswith("### ")] == [rule.name for rule in ORACLE]
    for rule in ORACLE:
        block = " ".join(text.partition(f"### {rule.name}\n")[2].partition("\n##")[0].split())
        assert rule.about in block
        assert all(f"`{alias}`" in block for alias in rule.aliases)
        assert (f"`{rule.expectation.reason}`" in block) is bool(rule.expectation.reason)
        assert ("Only where it is named" in block) is not rule.automatic


def test_what_was_seen_is_on_the_page() -> None:
    """In the overview the programs and the last day; at the rule also the cases, by programs."""
    sightings = {
        "cancelled": (
            Sighting("faults.cancel", "QEMU 10.0.13", "2026-11-29"),
            Sighting("faults.cancel", "QEMU 11.1.3", "2026-11-30"),
            *(Sighting(f"more.{number}", "QEMU 11.1.3", "2026-11-28") for number in range(4)),
        )
    }
    text = render_oracle(sightings)
    (line,) = (line for line in text.splitlines() if line.startswith("| [cancelled]"))
    assert "| QEMU 10.0.13<br>QEMU 11.1.3 | 2026-11-30 |" in line
    assert f"{len(ORACLE)} rules, {len(ORACLE) - 1} of them not seen." in text
    block = " ".join(text.partition("### cancelled\n")[2].partition("\n##")[0].split())
    assert "- seen with QEMU 10.0.13, last on 2026-11-29: `faults.cancel`" in block
    assert "- seen with QEMU 11.1.3, last on 2026-11-30: `faults.cancel`, `more.0`, `more.1` and 2 more" in block
