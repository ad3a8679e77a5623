# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of the unit tier."""

from pathlib import Path

import pytest
from hypothesis import settings

from switchover.hosts import journal, waiting
from switchover.hosts.journal import Journal
from switchover.record import invocation

# no deadline: a busy machine is no failure; no database: nothing is written into the checkout
settings.register_profile("unit", deadline=None, max_examples=40, database=None)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals, labs, their pace and the word the program was called with are a test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(journal, "_OWN", [Journal()])
    monkeypatch.setattr(waiting, "_PACES", [])  # a lab of other tests may be up in this process
    monkeypatch.delenv(invocation.VARIABLE, raising=False)
