# SPDX-License-Identifier: GPL-2.0-or-later
"""Where things live."""

from pathlib import Path

import pytest

from switchover.record.paths import cache_directory, data_directory, labs_directory, runs_directory


def test_the_users_own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cache and state follow the XDG variables."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    assert cache_directory() == tmp_path / "c" / "switchover"
    assert labs_directory() == tmp_path / "s" / "switchover" / "labs"
    assert runs_directory() == tmp_path / "s" / "switchover" / "runs"


def test_data_of_the_checkout() -> None:
    """The recipes are found where they are in the checkout."""
    assert (data_directory("images") / "guest" / "build").is_file()
