# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers that are kept in the cache directory."""

from pathlib import Path

import pytest

from switchover.record.cache import keep, read_cached


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_kept_under_its_key(cache: Path) -> None:
    """An answer comes back under its kind and key, and under no other; no half of a file stays."""
    keep("kind", "key", {"a": [1, None]})
    assert read_cached("kind", "key") == {"a": [1, None]}
    assert read_cached("kind", "other") is None
    assert read_cached("other", "key") is None
    assert [path.suffix for path in cache.rglob("*.*")] == [".json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": "other", "answer": 1}'])
def test_damage_is_no_answer(cache: Path, text: str) -> None:
    """A file that is damaged, or of another key, counts as none."""
    keep("kind", "key", 1)
    (path,) = cache.rglob("*.json")
    path.write_text(text)
    assert read_cached("kind", "key") is None


def test_a_cache_that_cannot_be_written(cache: Path) -> None:
    """What cannot be kept is no error."""
    (cache / "switchover").write_text("a file where the directory should be")
    keep("kind", "key", 1)
    assert read_cached("kind", "key") is None
