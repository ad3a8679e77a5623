# SPDX-License-Identifier: GPL-2.0-or-later
"""The backend that docs/leases.md shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

from switchover.record.errors import NotReady
from switchover.runner.leases import Choice

PAGE = Path(__file__).parents[4] / "docs" / "leases.md"
PAIRS = [Choice((pair[0], pair[1]), frozenset(pair)) for pair in ("ab", "bc", "cd")]
IMPORTS = (
    "from collections.abc import Callable, Sequence\n"
    "from switchover.runner.leases import Choice, Holder, Lease, wait_for_lease\n"
    "Client = object\n"
)


class Client:
    """A manager that locks names."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}

    def lock(self, resource: str, who: str) -> str:
        return self.owners.setdefault(resource, who)

    def unlock(self, resource: str, who: str) -> None:
        assert self.owners.pop(resource) == who

    def owner(self, resource: str) -> str:
        return self.owners.get(resource, "")


def test_the_example_is_a_backend() -> None:
    """All or nothing, the first free pair, who has what, loss and release; in far less than a hundred lines."""
    (text,) = re.findall(r"```python\n(class JenkinsBackend.*?)```", PAGE.read_text(), re.DOTALL)
    assert text.count("\n") < 100
    names: dict[str, Any] = {}
    exec(compile(IMPORTS + text, str(PAGE), "exec"), names)  # noqa: S102 (what the page shows)
    client = Client()
    client.owners["b"] = "somebody"
    backend = names["JenkinsBackend"](client, "run-1")
    with backend.acquire(PAIRS, 0) as lease:
        assert lease.pair == ("c", "d")
        assert client.owners == {"b": "somebody", "c": "run-1", "d": "run-1"}
        assert lease.find_loss() == ""
        client.owners["d"] = "a person"
        assert lease.find_loss() == "d was given to somebody else"
        client.owners["d"] = "run-1"
    with pytest.raises(NotReady) as caught:
        backend.acquire(PAIRS[:2], 0)
    assert caught.value.why == "a-b or b-c: b is leased by somebody"
    assert client.owners == {"b": "somebody"}
