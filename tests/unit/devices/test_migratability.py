# SPDX-License-Identifier: GPL-2.0-or-later
"""Migration flags of devices: who is asked, and what is said of those that cannot be."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.devices.test_functions import SYSFS, UUID
from tests.unit.scripted_host import ScriptedHost

from switchover.devices.functions import parse_devices
from switchover.devices.migratability import Migratability, parse_migratability, read_migratability
from switchover.hosts.local import LocalHost

DEVICES = parse_devices(SYSFS)


def test_only_vfio_devices_are_asked() -> None:
    """A device that another driver has is not touched; the others are asked in one command."""
    host = ScriptedHost(lambda argv: f"0000:3b:00.2 flags 7 1\n{UUID} in-use\n")
    found = read_migratability(host, DEVICES)
    assert len(host.commands) == 1
    assert list(host.commands[0][3:]) == ["0000:3b:00.2", "101", "0000:5e:00.0", "9", UUID, "102"]
    assert found == {
        "0000:3b:00.2": Migratability(7, True),
        "0000:5e:00.0": Migratability(None, why="no answer"),
        UUID: Migratability(None, why="in use", in_use=True),
    }


def test_nobody_to_ask() -> None:
    """Without VFIO devices no command runs."""
    host = ScriptedHost(lambda argv: "")
    assert read_migratability(host, parse_devices("")) == {}
    assert host.commands == []


def test_a_host_without_perl() -> None:
    """Without perl the flags are unknown, and that is said."""
    found = read_migratability(ScriptedHost(lambda argv: 127), DEVICES)
    assert {entry.describe() for entry in found.values()} == {"unknown: the host has no perl to ask with"}


def test_in_words() -> None:
    """Flags that are not known yet are shown by their bit."""
    texts = [Migratability(flags).describe() for flags in (0, 1, 7, 9)]
    assert texts == ["none", "stop-copy", "stop-copy, p2p, pre-copy", "stop-copy, 0x8"]


def test_perl_without_a_device() -> None:
    """The script runs in a real perl and says what stops it."""

    class NoVfio(LocalHost):
        def run(self, argv: Sequence[str], **options: object) -> object:  # type: ignore[override]
            # a group that no machine has
            words = [word.replace("102", "none-such") for word in argv[:3]] + [UUID, "none-such"]
            return super().run(words)

    found = read_migratability(NoVfio(), DEVICES)  # type: ignore[arg-type]
    assert found[UUID].flags is None
    assert "No such file" in found[UUID].why


@given(st.text("ab 017\nflags-unknown", max_size=60))
def test_any_answer_is_read(text: str) -> None:
    """Whatever comes back, every device has an answer."""
    assert list(parse_migratability(text, ["a", "b"])) == ["a", "b"]
