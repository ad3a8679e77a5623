# SPDX-License-Identifier: GPL-2.0-or-later
"""All drivers, by the names that scenarios give them."""

from collections.abc import Iterable, Mapping

from switchover.guests.spec import DriverName, GuestSpec
from switchover.hosts.host import Host
from switchover.migration.driver import Driver
from switchover.migration.libvirt_driver import LibvirtDriver
from switchover.migration.qmp_driver import QmpDriver

_ALL: tuple[Driver, ...] = (QmpDriver(), LibvirtDriver())
DRIVERS: Mapping[DriverName, Driver] = {driver.name: driver for driver in _ALL}


def find_lacks(host: Host, guests: Iterable[GuestSpec]) -> dict[str, str]:
    """Why drivers of these guests cannot be used with a host, by their names; one that can be is not among them.

    :raises HostLost: the host does not answer
    """
    lacks = {name: DRIVERS[name].find_lack(host) for name in sorted({guest.driver for guest in guests})}
    return {name: lack for name, lack in lacks.items() if lack}
