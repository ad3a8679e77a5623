# SPDX-License-Identifier: GPL-2.0-or-later
"""``open_lab`` without a lab: where the numbers of what ran there go."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.unit.builders import make_record

from switchover import NotReady, open_hosts, open_lab
from switchover.fronts import testbeds
from switchover.record.paths import history_file
from switchover.record.rundir import RunDirectory
from switchover.report.history.store import History


@pytest.fixture(autouse=True)
def nothing_is_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = contextlib.nullcontext(object())
    monkeypatch.setattr(testbeds, "acquire_lab", lambda name, stays: nothing)
    monkeypatch.setattr(testbeds, "build_images", lambda names: None)
    monkeypatch.setattr(testbeds, "LeasedLab", lambda lab: object())
    monkeypatch.setattr(testbeds, "lease_inventory_hosts", lambda *_, **__: nothing)
    monkeypatch.setattr(testbeds, "load_inventory", lambda file: object())


@pytest.mark.parametrize("by", ["lab", "hosts"])
@pytest.mark.parametrize("history", [True, False, "mine"])
def test_numbers_of_a_testbed(tmp_path: Path, by: str, history: bool | str) -> None:
    """Go beside the runs, into a file, or nowhere, when the block ends, also by an error."""
    file = tmp_path / "mine.sqlite"
    given = file if history == "mine" else history is True
    opened = open_lab(history=given) if by == "lab" else open_hosts("rack1", history=given)
    with contextlib.suppress(NotReady), opened as testbed:
        RunDirectory(testbed.directory).repeat("a", 1).write_record(make_record("a"))
        raise NotReady("the hosts are gone")
    for name, place in ((True, history_file()), ("mine", file)):
        assert place.exists() == (history == name)
        if history == name:
            with History.open(place) as kept:
                assert kept.count_runs() == 1
