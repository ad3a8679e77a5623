# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of the oracle: what is documented is what is expected."""

from pathlib import Path

import pytest

from switchover.cli.main import main
from switchover.report.oracle import render_oracle
from switchover.scenarios.oracle import ORACLE

PAGE = Path(__file__).parents[3] / "docs" / "oracle.md"


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/oracle.md is what `switchover schema --oracle` prints."""
    assert main(["schema", "--oracle"]) == 0
    assert PAGE.read_text(encoding="utf-8") == capsys.readouterr().out


def test_every_rule_is_on_the_page() -> None:
    """Once, in the order in which rules are tried, with all its names, its reason and its programs."""
    text = render_oracle()
    assert [line[4:] for line in text.splitlines() if line.startswith("### ")] == [rule.name for rule in ORACLE]
    for rule in ORACLE:
        block = " ".join(text.partition(f"### {rule.name}\n")[2].partition("\n##")[0].split())
        assert rule.about in block
        assert all(f"`{alias}`" in block for alias in rule.aliases)
        assert all(f"{program} {version}" in block for program, version in rule.seen)
        assert (f"`{rule.expectation.reason}`" in block) is bool(rule.expectation.reason)
        assert ("Only where it is named" in block) is not rule.automatic
