# SPDX-License-Identifier: GPL-2.0-or-later
"""What a migration is told: capabilities and parameters in QEMU's own names, and the harness's deadlines."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from switchover.hosts.qmp import QmpSession
from switchover.record.errors import Refused
from switchover.record.units import MIB

HOLD_LIMIT_MS = 1
"""Downtime limit with which nothing but an empty guest switches over."""
BOUNDS = ("timeout_s", "settle_timeout_s", "hang_s")
"""How long a migration may take, in the settings' fields."""


@dataclass(frozen=True)
class MigrationSettings:
    """Settings of both sides.

    QEMU switches over once what is pending would take less than ``downtime_limit_ms`` at the switchover bandwidth. Too
    small a limit, and a device whose state is read in stop-copy never converges; too large a one, and the switchover
    comes before RAM is drained and the device's pre-copy ran. So both are set here rather than left to what QEMU
    measures (``avail-switchover-bandwidth``), and with ``settle`` the switchover is held back, by a limit of 1 ms,
    until RAM and the device's pre-copy are drained: then every repeat stops in the same state.

    A device that dirties its state in pre-copy never drains; with ``settle_vfio_bytes`` it counts as drained once it
    has moved that many.

    ``switchover_bandwidth`` and ``max_bandwidth`` in bytes per second, 0: QEMU's own idea. ``capabilities`` and
    ``parameters``: more of them in QEMU's names; ``destination_capabilities``: what the destination has otherwise.

    ``timeout_s`` bounds the time from ``migrate`` to a terminal status, ``settle_timeout_s`` the part of it before the
    switchover is let go. A migration that got nowhere for ``hang_s`` seconds hangs. All three have to allow for the
    time in which a device is saved, when QEMU answers nothing.
    """

    downtime_limit_ms: int = 4_000
    """QEMU's ``downtime-limit`` in milliseconds: while the predicted downtime is longer, the switchover is delayed"""
    switchover_bandwidth: int = 64 * MIB
    """QEMU's ``avail-switchover-bandwidth`` in bytes per second; 0 leaves it to what QEMU measures"""
    max_bandwidth: int = 0
    """QEMU's ``max-bandwidth`` in bytes per second; 0 means unlimited"""
    switchover_ack: bool = False
    """the capability ``switchover-ack``: the switchover waits until the destination has loaded what devices sent in
    pre-copy"""
    return_path: bool = True
    """the capability ``return-path``"""
    settle: bool = True
    """whether the switchover is held back until RAM and the devices' pre-copy are drained"""
    timeout_s: float = 180
    """the longest time from ``migrate`` to a terminal status, in seconds"""
    settle_timeout_s: float = 120
    """the time after which the switchover is let go, drained or not, in seconds"""
    settle_vfio_bytes: int = 0
    """the number of bytes after which a device that dirties its state counts as drained; 0 means that it has to
    drain"""
    hang_s: float = 30
    """the time without progress after which a migration hangs, in seconds"""
    given_bounds: tuple[str, ...] = field(default=(), compare=False)
    """which of `timeout_s`, `settle_timeout_s` and `hang_s` the scenario sets; on a slow lab only defaults are
    stretched"""
    pause_before_switchover: bool = False
    """the capability ``pause-before-switchover``"""
    peer_to_peer: bool = False
    """whether, with the driver libvirt, the source's libvirtd talks to the destination's directly, over SSH"""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """further migration parameters, by QEMU's names"""
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    """further capabilities, by QEMU's names"""
    destination_capabilities: Mapping[str, bool] = field(default_factory=dict)
    """capabilities for which the destination has another value than the source"""

    def stretched(self, pace: float) -> "MigrationSettings":
        """On hosts that are ``pace`` times as slow as the machine that the defaults were made on: bounds are that much
        longer, but those that were given, by name or as another value, which hold as they are.
        """
        longer = {
            name: getattr(self, name) * pace
            for name in BOUNDS
            if name not in self.given_bounds and getattr(self, name) == getattr(MigrationSettings, name)
        }
        return replace(self, **longer)

    def all_capabilities(self, side: str) -> dict[str, bool]:
        """All capabilities that a side is given, with their values. ``side`` is ``source`` or ``destination``."""
        return {
            "events": True,
            "return-path": self.return_path,
            "switchover-ack": self.switchover_ack,
            "pause-before-switchover": self.pause_before_switchover,
            **self.capabilities,
            **(self.destination_capabilities if side == "destination" else {}),
        }

    def first_parameters(self) -> dict[str, object]:
        """The parameters that both sides are given before the migration."""
        return {
            "downtime-limit": HOLD_LIMIT_MS if self.settle else self.downtime_limit_ms,
            "max-bandwidth": self.max_bandwidth,
            # QEMU 8.2 and newer
            **({"avail-switchover-bandwidth": self.switchover_bandwidth} if self.switchover_bandwidth else {}),
            **self.parameters,
        }


def apply_settings(qmp: QmpSession, settings: MigrationSettings, side: str) -> None:
    """Set capabilities and parameters on one ``side``, read them back and compare. A capability that an earlier
    migration of this QEMU had, and this one does not ask for, is switched off; such a parameter is as it was before.

    :raises Refused: QEMU rejects one, or holds another value than it was given
    """
    # a capability that this QEMU does not know is off in it: it is named to QEMU only if it is wanted
    known = _read_capabilities(qmp)
    left_on = {name: False for name, state in known.items() if state}
    asked = settings.all_capabilities(side)
    wanted = left_on | {name: state for name, state in asked.items() if state or name in known}
    listed = [{"capability": name, "state": state} for name, state in wanted.items()]
    qmp.execute("migrate-set-capabilities", {"capabilities": listed})
    _compare(qmp.name, wanted, _read_capabilities(qmp))
    set_parameters(qmp, {**_list_left(qmp, settings.parameters), **settings.first_parameters()})


_BEFORE: WeakKeyDictionary[QmpSession, dict[str, object]] = WeakKeyDictionary()
"""By a QEMU's session, what it held of parameters that migrations were given besides those that all are given."""


def _list_left(qmp: QmpSession, wanted: Mapping[str, object]) -> dict[str, object]:
    """Parameters that an earlier migration of this QEMU was given, with the values that they had before it."""
    before = _BEFORE.setdefault(qmp, {})
    if unknown := wanted.keys() - before.keys():
        held = qmp.execute("query-migrate-parameters")
        before |= {name: held.get(name) for name in unknown}
    return {name: value for name, value in before.items() if name not in wanted and value is not None}


def _read_capabilities(qmp: QmpSession) -> dict[str, object]:
    answer = qmp.execute("query-migrate-capabilities")
    return {entry["capability"]: entry["state"] for entry in answer}


def set_parameters(qmp: QmpSession, parameters: Mapping[str, object]) -> None:
    """Set parameters and read them back. :raises Refused: as :func:`apply_settings`"""
    qmp.execute("migrate-set-parameters", parameters)
    _compare(qmp.name, parameters, qmp.execute("query-migrate-parameters"))


def _compare(name: str, wanted: Mapping[str, object], held: Mapping[str, object]) -> None:
    for setting, value in wanted.items():
        if held.get(setting) != value:
            raise Refused(
                f"{name} holds {setting} = {held.get(setting)}.", why=f"it was set to {value}, and QEMU did not object"
            )
