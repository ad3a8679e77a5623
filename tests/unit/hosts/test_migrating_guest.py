# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that migrates is reached by the connection that it has now."""

from tests.unit.fakes import FaultyHost

from switchover.hosts.migrating_guest import MigratingGuest


def test_what_is_asked_goes_where_it_is_now() -> None:
    """First through one host, and once it has moved through the other."""
    first, second = (FaultyHost(lambda method, argument: method, "", name=name) for name in ("a", "b"))
    guest = MigratingGuest(first)
    guest.run(["true"])
    guest.open_stream(["cat"]).close()
    assert (guest.name, first.log, second.log) == ("a", ["run", "open_stream"], [])
    guest.now = second
    guest.run(["true"])
    assert (guest.name, first.log, second.log) == ("b", ["run", "open_stream"], ["run"])
