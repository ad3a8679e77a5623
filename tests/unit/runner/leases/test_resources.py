# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of what a pair of hosts needs for itself."""

import pytest

from switchover.hosts.inventory import Inventory
from switchover.record.errors import UsageError
from switchover.runner.leases.resources import check_resource, list_resources, make_choice

INVENTORY = Inventory.model_validate(
    {
        "version": 1,
        "host": {
            "a": {
                "address": "Rack-A",
                "device": [
                    {"name": "nic", "pci": "3B:00.0", "vf": 2},
                    {"name": "disk", "pci": "0000:81:00.0"},
                    {"name": "soft", "mdev": {"parent": "/sys/p", "type": "t"}},
                ],
            },
            "b": {"address": "127.0.0.1", "port": 2201},
            "c": {"address": "127.0.0.1", "port": 2202},
        },
    }
)


def test_hosts_by_machine() -> None:
    """A host is the machine behind its name; a pair of one host has it once."""
    assert make_choice(INVENTORY, ("a", "b")).resources == {"rack-a", "127.0.0.1:2201"}
    one = make_choice(INVENTORY, ("a", "a"))
    assert (one.name, one.resources) == ("a", frozenset({"rack-a"}))
    assert make_choice(INVENTORY, ("b", "c")).name == "b-c"


def test_pairs_that_overlap() -> None:
    """A-B and B-C have B in common, A-A and B-C nothing."""
    first, second = make_choice(INVENTORY, ("a", "b")), make_choice(INVENTORY, ("b", "c"))
    assert first.overlaps(second)
    assert not make_choice(INVENTORY, ("a", "a")).overlaps(second)
    assert list_resources([first, second]) == ["127.0.0.1:2201", "127.0.0.1:2202", "rack-a"]


def test_devices_and_other_things() -> None:
    """A device by its address in any spelling, or by its name; other things by a word of one's own."""
    choice = make_choice(INVENTORY, ("a", "b"), ["a/nic", "a/81:00.0", "a/disk", "b/01:00.1"], ["switch/port-7"])
    assert choice.resources - {"rack-a", "127.0.0.1:2201"} == {
        "rack-a/0000:3b:00.0/vf2",
        "rack-a/0000:81:00.0",
        "127.0.0.1:2201/0000:01:00.1",
        "switch/port-7",
    }


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("nic", "'nic' does not name a device"),
        ("a/", "'a/' does not name a device"),
        ("d/nic", "no host 'd'"),
        ("a/nik", "a has no device 'nik'; did you mean 'nic'"),
        ("b/nic", "b has no device 'nic'"),
        ("a/soft", "a/soft is a type of mediated device"),
    ],
)
def test_devices_that_are_none(device: str, message: str) -> None:
    """A typo is the user's mistake, not a resource that nobody else has."""
    with pytest.raises(UsageError, match=message):
        make_choice(INVENTORY, ("a", "b"), [device])


@pytest.mark.parametrize("word", ["", " ", "a b", "a\n", "a\x00"])
def test_words_that_are_none(word: str) -> None:
    """What would not be read as one word is no name of a resource."""
    with pytest.raises(UsageError, match="cannot be the name of a resource"):
        check_resource(word)
