# SPDX-License-Identifier: GPL-2.0-or-later
"""What was found out at some cost and stays true: a JSON file per answer, in the cache directory."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from switchover.record.paths import cache_directory


def read_cached(kind: str, key: str) -> Any | None:
    """The answer kept under a key; None if there is none, or a damaged one."""
    try:
        kept = json.loads(_path(kind, key).read_text())
        return kept["answer"] if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def list_cached(kind: str) -> Iterator[tuple[str, Any]]:
    """All answers of a kind with their keys; damaged ones are left out."""
    for path in sorted((cache_directory() / kind).glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(path.read_text())
            yield str(kept["key"]), kept["answer"]


def keep(kind: str, key: str, answer: Any) -> None:
    """Write an answer by one rename. What cannot be kept is found out again next time: no error."""
    path = _path(kind, key)
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"key": key, "answer": answer}))
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _path(kind: str, key: str) -> Path:
    return cache_directory() / kind / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
