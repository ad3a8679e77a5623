# SPDX-License-Identifier: GPL-2.0-or-later
"""Room for lab hosts, before they are started."""

import psutil
import pytest

from switchover.lab.labhost import MEMORY_MIB
from switchover.lab.memory import LEAST_MIB, require_room
from switchover.record.errors import NotReady
from switchover.record.units import MIB


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_room(hosts: int, capsys: pytest.CaptureFixture[str]) -> None:
    """With all that lab hosts may take nothing is said; with less it is said how much; with too little none is
    started.
    """
    require_room(hosts, hosts * MEMORY_MIB * MIB)
    assert capsys.readouterr().err == ""
    require_room(hosts, hosts * MEMORY_MIB * MIB - 1)
    assert "it may become narrow" in capsys.readouterr().err
    require_room(hosts, hosts * LEAST_MIB * MIB)
    capsys.readouterr()
    with pytest.raises(NotReady, match=f"no room for {hosts} lab host") as caught:
        require_room(hosts, hosts * LEAST_MIB * MIB - 1)
    assert "are available" in caught.value.why
    assert "fewer hosts" in caught.value.fix


def test_the_machine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is what is available, not what is free."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1, "free": 1 << 40}))
    with pytest.raises(NotReady, match="no room"):
        require_room(1)
