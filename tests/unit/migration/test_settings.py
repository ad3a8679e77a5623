# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings: what QEMU is told, in which order, and that it holds what it was told."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.fakes import ScriptedQmp

from switchover.migration.settings import BOUNDS, HOLD_LIMIT_MS, MigrationSettings, apply_settings, set_parameters
from switchover.record.errors import Refused


class Holder:
    """A QEMU that holds what it is told, but for ``lies``."""

    def __init__(self, lies: Mapping[str, object] | None = None) -> None:
        self.capabilities: dict[str, object] = {"xbzrle": False, "events": False, "return-path": False}
        self.parameters: dict[str, object] = {"downtime-limit": 300, "multifd-channels": 2}
        self.lies = lies or {}
        self.qmp = ScriptedQmp(
            {
                "migrate-set-capabilities": self.set_capabilities,
                "query-migrate-capabilities": self.list_capabilities,
                "migrate-set-parameters": self.set_parameters,
                "query-migrate-parameters": lambda _: {**self.parameters, **self.lies},
            },
            "the source QEMU",
        )

    def set_capabilities(self, arguments: dict[str, Any]) -> dict[str, object]:
        self.capabilities |= {entry["capability"]: entry["state"] for entry in arguments["capabilities"]}
        return {}

    def list_capabilities(self, _: dict[str, Any]) -> list[dict[str, object]]:
        return [{"capability": name, "state": state} for name, state in {**self.capabilities, **self.lies}.items()]

    def set_parameters(self, arguments: dict[str, Any]) -> dict[str, object]:
        self.parameters |= arguments
        return {}


def test_all_settings_reach_qemu() -> None:
    """After applying, QEMU holds each capability and each parameter, extra ones included."""
    holder = Holder()
    settings = MigrationSettings(switchover_ack=True, max_bandwidth=123, parameters={"multifd-channels": 7})
    apply_settings(holder.qmp.session(), settings, "source")
    assert holder.capabilities | {"events": True, "return-path": True, "switchover-ack": True} == holder.capabilities
    assert holder.parameters["max-bandwidth"] == 123
    assert holder.parameters["multifd-channels"] == 7
    assert holder.parameters["avail-switchover-bandwidth"] == settings.switchover_bandwidth


def test_what_one_migration_was_told_is_forgotten_in_the_next() -> None:
    """A QEMU that was the destination before has its own values again for what it is not told now, however often."""
    holder = Holder()
    told: dict[str, object] = {}
    for settings, channels in (({"multifd-channels": 7}, 7), ({"multifd-channels": 8}, 8), ({}, 2), ({}, 2)):
        told = apply_settings(holder.qmp.session(), MigrationSettings(parameters=settings), "source", told)
        assert holder.parameters["multifd-channels"] == channels


def test_capabilities_before_parameters() -> None:
    """Some parameters need their capability first, and both are read back after they are set."""
    holder = Holder()
    apply_settings(holder.qmp.session(), MigrationSettings(), "source")
    names = [name for name, _ in holder.qmp.commands]
    capabilities, parameters = names.index("migrate-set-capabilities"), names.index("migrate-set-parameters")
    assert "query-migrate-capabilities" in names[capabilities + 1 : parameters]
    assert names[parameters + 1 :] == ["query-migrate-parameters"]


def test_what_an_old_qemu_does_not_know_is_not_named_to_it() -> None:
    """QEMU 7.2 has neither switchover-ack nor the switchover bandwidth: switched off, they are not mentioned."""
    holder = Holder()
    apply_settings(holder.qmp.session(), MigrationSettings(switchover_bandwidth=0, switchover_ack=False), "source")
    assert "switchover-ack" not in holder.capabilities
    assert "avail-switchover-bandwidth" not in holder.parameters


def test_what_is_wanted_is_named_even_if_it_is_unknown() -> None:
    """A capability that is wanted is not dropped quietly: QEMU has to reject it."""
    holder = Holder()
    apply_settings(holder.qmp.session(), MigrationSettings(switchover_ack=True), "source")
    assert holder.capabilities["switchover-ack"] is True


def test_a_capability_that_is_on_can_be_switched_off() -> None:
    """A capability that QEMU knows is set even if it is off: an earlier migration may have left it on."""
    holder = Holder()
    holder.capabilities["switchover-ack"] = True
    apply_settings(holder.qmp.session(), MigrationSettings(switchover_ack=False), "source")
    assert holder.capabilities["switchover-ack"] is False


def test_what_an_earlier_migration_had_is_switched_off() -> None:
    """The destination of a migration with postcopy or multifd is the next one's source, without them."""
    holder = Holder()
    holder.capabilities |= {"multifd": True, "events": True}
    apply_settings(holder.qmp.session(), MigrationSettings(), "source")
    assert {name for name, state in holder.capabilities.items() if state} == {"events", "return-path"}


@pytest.mark.parametrize(("settle", "limit"), [(True, HOLD_LIMIT_MS), (False, 4000)])
def test_settle_holds_the_switchover_back(settle: bool, limit: int) -> None:
    """With ``settle`` the first downtime limit is the one that nothing passes; without it, it is the case's own."""
    assert MigrationSettings(settle=settle).first_parameters()["downtime-limit"] == limit


@pytest.mark.parametrize(
    ("lies", "told"),
    [
        ({"return-path": False}, "return-path = False"),
        ({"downtime-limit": 300}, "downtime-limit = 300"),
        ({"max-bandwidth": 1}, "max-bandwidth = 1"),
        ({"multifd-channels": None}, "multifd-channels = None"),
    ],
)
def test_another_value_than_told_is_refused(lies: dict[str, object], told: str) -> None:
    """A QEMU that took a setting and holds another value is found out, with the setting's name and both values."""
    settings = replace(MigrationSettings(), parameters={"multifd-channels": 7})
    with pytest.raises(Refused, match=told) as caught:
        apply_settings(Holder(lies).qmp.session(), settings, "source")
    assert "was set to" in caught.value.why


def test_qemus_own_refusal_passes() -> None:
    """An error of QEMU's is not caught on the way."""
    holder = Holder()

    def refuse(_: dict[str, Any]) -> object:
        raise Refused("the QEMU rejected migrate-set-parameters.", why="Parameter 'x' is unexpected")

    holder.qmp.answers["migrate-set-parameters"] = refuse
    with pytest.raises(Refused, match="'x' is unexpected"):
        set_parameters(holder.qmp.session(), {"x": 1})


def test_bounds_by_default_are_stretched() -> None:
    """On hosts that are slow; nothing else is, and a second time adds nothing."""
    longer = MigrationSettings().stretched(2)
    assert [getattr(longer, name) for name in BOUNDS] == [360, 240, 60]
    assert replace(longer, timeout_s=180, settle_timeout_s=120, hang_s=30) == MigrationSettings()
    assert longer.stretched(2) == longer
    assert MigrationSettings().stretched(1) == MigrationSettings()


def test_bounds_that_were_given_hold() -> None:
    """Whether they are other values than the defaults, or the same ones by name."""
    settings = MigrationSettings(timeout_s=5, hang_s=30, given_bounds=("hang_s",)).stretched(2)
    assert (settings.timeout_s, settings.settle_timeout_s, settings.hang_s) == (5, 240, 30)
