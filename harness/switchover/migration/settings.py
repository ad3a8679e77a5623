# SPDX-License-Identifier: GPL-2.0-or-later
"""What a migration is told: capabilities and parameters in QEMU's own names, and the harness's deadlines."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from switchover.hosts.qmp import QmpSession
from switchover.record.errors import Refused


@dataclass(frozen=True)
class MigrationSettings:
    """``downtime_limit_ms`` has no default of QEMU's here: with too small a limit a device without pre-copy never
    converges, with too large a one the switchover comes before its pre-copy ran (unless switchover-ack holds it back).
    ``max_bandwidth`` in bytes per second; 0 is QEMU's "no limit". ``timeout_s`` bounds the time to a terminal status.
    """

    downtime_limit_ms: int = 10_000
    max_bandwidth: int = 0
    switchover_ack: bool = True
    return_path: bool = True
    parameters: Mapping[str, object] = field(default_factory=dict)
    timeout_s: float = 180

    def capabilities(self) -> dict[str, bool]:
        return {"events": True, "return-path": self.return_path, "switchover-ack": self.switchover_ack}

    def all_parameters(self) -> dict[str, object]:
        own = {"downtime-limit": self.downtime_limit_ms, "max-bandwidth": self.max_bandwidth}
        return {**own, **self.parameters}


def apply_settings(qmp: QmpSession, settings: MigrationSettings) -> None:
    """Set capabilities and parameters on one side, read them back and compare.

    :raises Refused: QEMU rejects one, or holds another value than it was given
    """
    wanted = settings.capabilities()
    listed = [{"capability": name, "state": state} for name, state in wanted.items()]
    qmp.execute("migrate-set-capabilities", {"capabilities": listed})
    answer = qmp.execute("query-migrate-capabilities")
    held: dict[str, object] = {entry["capability"]: entry["state"] for entry in answer}
    _compare(qmp.name, wanted, held)
    parameters = settings.all_parameters()
    qmp.execute("migrate-set-parameters", parameters)
    _compare(qmp.name, parameters, qmp.execute("query-migrate-parameters"))


def _compare(name: str, wanted: Mapping[str, object], held: Mapping[str, object]) -> None:
    for setting, value in wanted.items():
        if held.get(setting) != value:
            raise Refused(
                f"{name} holds {setting} = {held.get(setting)}.", why=f"it was set to {value}, and QEMU did not object"
            )
