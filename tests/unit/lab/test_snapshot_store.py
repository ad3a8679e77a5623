# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved guests in the store: there whole, or not at all."""

import contextlib
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from switchover.lab.images import clean_store, store_directory
from switchover.lab.recipes import compute_digest
from switchover.lab.snapshot_store import (
    StoredGuest,
    find_stored,
    keep_disk,
    list_stored,
    lock_stored,
    remove_stored,
    start_disk,
)
from switchover.record.errors import NotReady
from switchover.record.paths import data_directory
from switchover.record.units import MIB

KEY = "0123456789abcdef" * 4
MEMORY = 8


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store_directory().mkdir(parents=True)


def save(key: str = KEY, *, made_of: dict[str, str] | None = None) -> StoredGuest:
    with start_disk(key, MEMORY) as disk:
        with disk.open("r+b") as file:
            file.write(b"QEMU" * 1000)
        return keep_disk(key, disk, made_of or {}, 20.51, "2026-11-22T02:00:00+00:00")


def names() -> list[str]:
    return sorted(path.name for path in store_directory().iterdir())


def test_a_guest_that_was_saved_is_found() -> None:
    """As it was kept, with what it takes and what it was made of; its disk has room for the guest's memory and more."""
    made = save(made_of={"guest": "a digest"})
    assert find_stored(KEY) == made
    assert list_stored() == [made]
    assert (made.key, made.made_of, made.seconds) == (KEY, {"guest": "a digest"}, 20.5)
    assert made.path.stat().st_size == made.size > MEMORY * MIB
    assert made.bytes < MIB, "holes take nothing"
    assert made.path.read_bytes()[:4] == b"QEMU"
    assert (made.serial, len(made.serial)) == (KEY[:16], 16)
    assert made.is_whole()
    assert names() == [f"saved-guest-{KEY[:16]}"]


def test_none_is_there_before() -> None:
    """Nor in a store that has none of its directories yet, nor under another key."""
    save()
    assert find_stored("f" * 64) is None
    shutil.rmtree(store_directory())
    assert (find_stored(KEY), list_stored()) == (None, [])


def test_it_is_kept_by_one_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed just before leaves nothing that is found; until then all that is written is elsewhere."""
    seen: list[object] = []

    def rename(self: Path, target: Path) -> None:
        seen.append((find_stored(KEY), list_stored(), target.exists()))
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        save()
    assert seen == [(None, [], False)]
    assert names() == []


def test_a_save_that_was_killed_leaves_no_half() -> None:
    """What a process that was killed left is not found, is replaced by the next one, and is cleaned up."""
    half = store_directory() / f"saved-guest-{KEY[:16]}.part"
    half.mkdir()
    (half / "guest.raw").write_bytes(b"half")
    (half / "manifest.json").write_text("{}")
    assert (find_stored(KEY), list_stored()) == (None, [])
    made = save()
    assert names() == [made.path.parent.name]
    assert made.path.read_bytes()[:4] == b"QEMU"
    (store_directory() / f"saved-guest-{'f' * 16}.part").mkdir()
    clean_store(everything=False, others=[made.path.parent])
    assert names() == [made.path.parent.name]


def test_a_save_that_fails_leaves_nothing() -> None:
    """The error passes."""
    with contextlib.suppress(ValueError), start_disk(KEY, MEMORY) as disk:
        assert disk.exists()
        raise ValueError("no")
    assert names() == []


@pytest.mark.parametrize("size", [0, 4, 9 * MIB, 100 * MIB])
def test_another_size_counts_as_not_there(size: int) -> None:
    """A disk that was cut, or grew."""
    made = save()
    os.truncate(made.path, size)
    assert (find_stored(KEY), list_stored()) == (None, [])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"path": 5}', '"x"'])
def test_a_manifest_that_is_damaged(text: str) -> None:
    """Is none; so is one without its disk, and one with a field more or less."""
    made = save()
    manifest = made.path.parent / "manifest.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(text)
    assert find_stored(KEY) is None
    for fields in (whole | {"more": 1}, {name: whole[name] for name in whole if name != "sha256"}):
        manifest.write_text(json.dumps(fields))
        assert find_stored(KEY) is None
    manifest.write_text(json.dumps(whole))
    assert find_stored(KEY) == made
    made.path.unlink()
    assert find_stored(KEY) is None


def test_contents_that_changed_are_told() -> None:
    """Of the same size: found, and not whole."""
    made = save()
    with made.path.open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"x")
    assert find_stored(KEY) == made
    assert not made.is_whole()


def test_of_today_is_what_todays_recipes_make() -> None:
    """By the digests of all images that it was made of; of one that no recipe makes any more it is not."""
    images = data_directory("images")
    today = {name: compute_digest(name, images) for name in ("guest", "labhost-root")}
    assert save(made_of=today).is_of_today()
    assert not save(made_of={**today, "guest": "0" * 16}).is_of_today()
    assert not save(made_of={**today, "qemu-of-yesterday": "0" * 16}).is_of_today()


def test_no_room_is_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it takes and what is free, before anything is written; cold guests need none."""
    usage = SimpleNamespace(free=100 * MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(NotReady) as caught, start_disk(KEY, MEMORY):
        raise AssertionError("there is no room")
    assert "takes up to 536.0 MiB" in caught.value.what
    assert "100.0 MiB are free" in caught.value.what
    assert str(store_directory()) in caught.value.what
    assert "cold" in caught.value.fix
    assert names() == []
    usage.free = 536 * MIB
    save()


def test_a_guest_that_is_removed() -> None:
    """Is not found any more; others are, and one that is not there is no error."""
    save()
    other = save("f" * 64)
    remove_stored(KEY)
    remove_stored(KEY)
    assert list_stored() == [other]


def test_one_that_is_made_again_takes_its_place() -> None:
    """A damaged one is replaced."""
    os.truncate(save().path, 4)
    assert find_stored(KEY) is None
    made = save()
    assert find_stored(KEY) == made


def test_two_do_not_save_the_same_guest() -> None:
    """The lock is one for a key, also in a store that is not there yet."""
    shutil.rmtree(store_directory())
    with lock_stored(KEY), lock_stored("f" * 64):
        assert f"saved-guest-{KEY[:16]}.lock" in names()
