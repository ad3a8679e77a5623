# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that belong to a live process: exclusively, and no longer than it lives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from switchover.hosts import ownership
from switchover.hosts.ownership import find_owner, take_file

HOLD = """
import sys, time
from pathlib import Path
from switchover.hosts.ownership import take_file
assert take_file(Path(sys.argv[1]), note="the holder")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labs" / "default.lease"


def test_one_owner_at_a_time(path: Path) -> None:
    """What is owned cannot be taken, is told with its owner's note, and is free and gone after the release."""
    owned = take_file(path, note="first")
    assert owned is not None
    assert path.stat().st_mode & 0o077 == 0
    assert take_file(path, note="second") is None
    assert find_owner(path) == "first"
    owned.release()
    owned.release()
    assert not path.exists()
    assert find_owner(path) is None
    assert take_file(path) is not None


def test_looking_makes_and_takes_nothing(path: Path) -> None:
    """A file that nobody owns has no owner, whatever is written in it, and can still be taken."""
    assert find_owner(path) is None
    assert not path.parent.exists()
    owned = take_file(path, note="dead")
    assert owned is not None
    owned.release(remove=False)
    assert path.read_text() == "dead"
    assert find_owner(path) is None
    assert take_file(path) is not None


def test_a_killed_owner_owns_nothing(path: Path) -> None:
    """After SIGKILL the file is free, though it is there and its owner's note too."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], env=os.environ | {"PYTHONPATH": "harness"}, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert find_owner(path) == "the holder"
    assert take_file(path) is None
    holder.kill()
    holder.communicate(timeout=10)
    assert find_owner(path) is None
    assert take_file(path) is not None


def test_a_file_that_went_meanwhile_is_made_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is removed between opening and locking is not owned by its name: the one that is, is a new one."""
    real = ownership._lock
    removed: list[Path] = []

    def lock(descriptor: int, kind: int) -> bool:
        if not removed:
            removed.append(path)
            path.unlink()
        return real(descriptor, kind)

    monkeypatch.setattr(ownership, "_lock", lock)
    owned = take_file(path)
    assert owned is not None
    assert os.path.samestat(path.stat(), os.fstat(owned.descriptor))


def test_a_forked_child_owns_nothing(path: Path) -> None:
    """A child that was forked does not keep what its parent owned."""
    owned = take_file(path)
    assert owned is not None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent is done
        os._exit(0)
    os.close(reader)
    owned.release(remove=False)
    taken = take_file(path)
    os.close(writer)
    os.waitpid(child, 0)
    assert taken is not None
