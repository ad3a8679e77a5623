# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved guests in the store of images: each a raw disk that is one file of QEMU's ``mapped-ram``, made once.

They are made by who can boot a guest (``guests/snapshot_images.py``); here is what they are kept under, and whether
they are of today. A lab host gets one plugged in as it gets a toolchain, and restores it from the disk as it is.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from switchover.lab.images import locked_in_store, store_directory
from switchover.lab.recipes import compute_digest
from switchover.record.errors import NotReady
from switchover.record.paths import data_directory
from switchover.record.units import MIB, format_bytes

PREFIX = "saved-guest-"
DISK = "guest.raw"
_MANIFEST = "manifest.json"
_HEADER = 16 * MIB
"""For what is in the file besides RAM: the state of all devices, bitmaps, and their alignment."""
_SPARE = 512 * MIB


@dataclass(frozen=True)
class StoredGuest:
    """A saved guest. ``made_of``: digests of images by name; ``bytes``: what it takes on the disk; ``seconds``: how
    long it took to boot and save; ``made``: when, ISO 8601.
    """

    key: str
    path: Path
    size: int
    sha256: str
    bytes: int
    seconds: float
    made: str
    made_of: Mapping[str, str]

    @property
    def serial(self) -> str:
        """Of the disk, in a lab host."""
        return self.key[:16]

    def is_of_today(self) -> bool:
        """Whether it is made of images as today's recipes make them."""
        images = data_directory("images")
        try:
            return all(compute_digest(name, images) == digest for name, digest in self.made_of.items())
        except KeyError:
            return False

    def is_whole(self) -> bool:
        """Whether its contents are what was saved; reads all of it."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


def find_stored(key: str) -> StoredGuest | None:
    """None as well if it is of another size than was noted."""
    return _read(_directory(key))


def list_stored() -> list[StoredGuest]:
    """Those that are kept, and no half of one whose making ended before its rename."""
    found = (_read(path.parent) for path in sorted(store_directory().glob(f"{PREFIX}*/{_MANIFEST}")))
    return [stored for stored in found if stored is not None and stored.path.parent == _directory(stored.key)]


def remove_stored(key: str) -> None:
    shutil.rmtree(_directory(key), ignore_errors=True)


@contextlib.contextmanager
def lock_stored(key: str) -> Iterator[None]:
    """So that two do not save the same guest; the second one waits."""
    store_directory().mkdir(parents=True, exist_ok=True)
    with locked_in_store(_directory(key)):
        yield


@contextlib.contextmanager
def start_disk(key: str, memory_mib: int) -> Iterator[Path]:
    """An empty disk for a guest with so much memory, in the store; gone after the block unless it was kept.

    :raises NotReady: the disk of the store is too full
    """
    directory = Path(f"{_directory(key)}.part")
    size = memory_mib * MIB + _HEADER
    free = shutil.disk_usage(store_directory()).free
    if free < size + _SPARE:
        raise NotReady(
            f"A saved guest takes up to {format_bytes(size + _SPARE)} on the disk of {store_directory()}; "
            f"{format_bytes(free)} are free.",
            fix='free some space, or use start = "cold"',
        )
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o755)
    try:
        with (directory / DISK).open("wb") as file:
            file.truncate(size)
        yield directory / DISK
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def keep_disk(key: str, disk: Path, made_of: Mapping[str, str], seconds: float, made: str) -> StoredGuest:
    """Let what was saved to a disk of :func:`start_disk` be the guest of this key; by one rename."""
    with disk.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    status = disk.stat()
    target = _directory(key)
    stored = StoredGuest(
        key, target / DISK, status.st_size, sha256, status.st_blocks * 512, round(seconds, 1), made, dict(made_of)
    )
    fields = asdict(stored) | {"path": DISK}
    (disk.parent / _MANIFEST).write_text(json.dumps(fields, indent=1))
    shutil.rmtree(target, ignore_errors=True)
    disk.parent.rename(target)
    return stored


def _directory(key: str) -> Path:
    return store_directory() / f"{PREFIX}{key[:16]}"


def _read(directory: Path) -> StoredGuest | None:
    try:
        fields = json.loads((directory / _MANIFEST).read_text())
        stored = StoredGuest(**(fields | {"path": directory / fields["path"]}))
        return stored if stored.path.stat().st_size == stored.size else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
