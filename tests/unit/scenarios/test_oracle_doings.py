# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules about what guest, device and network do meanwhile: cases that complete, and what is left of other rules."""

import pytest
from tests.unit.scenarios.samples import plan

from switchover.record.record import VerdictName
from switchover.scenarios.case import Case
from switchover.scenarios.oracle import DEFAULT, Rule

V = VerdictName
AWAY = '[[faults]]\naction = "unplug device"\nphase = "before"\n'
CANNOT = 'device.migration = "off", device.properties.enable-migration = "auto"'


def case_with(changes: str, tables: str = "") -> tuple[Case, Rule]:
    (planned,) = plan(f'{tables}[axes]\n[[axes.it]]\nname = "x"\nset = {{ {changes} }}\n')
    return planned.case, planned.rule


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ('fault.action = "reset device", fault.phase = "before"', "device-reset-out-of-pre-copy"),
        ('fault.action = "reset device", fault.phase = "active", device.pre_copy = "off"',
         "device-reset-out-of-pre-copy"),
        ('fault.action = "reboot guest", fault.at_s = 2, source.device.pre_copy = "off"',
         "device-reset-out-of-pre-copy"),
        ('fault.action = "suspend guest", fault.phase = "active"', "guest-suspended"),
        ('fault.action = "unplug device", fault.phase = "before"', "device-unplugged-before"),
        ('fault.action = "unplug device", fault.phase = "active"', "device-not-unplugged-meanwhile"),
        ('fault.action = "unplug device", fault.at_s = 3', "device-not-unplugged-meanwhile"),
        ('fault.action = "cut link", fault.phase = "active", fault.seconds = 10', "link-comes-back"),
        ('fault.action = "cut link", fault.at_s = 2, fault.seconds = 9, bounds.hang_s = 9', "link-comes-back"),
    ],
)  # fmt: skip
def test_what_completes(changes: str, name: str) -> None:
    """For a reason that has a name."""
    case, rule = case_with(changes)
    assert (rule.name, case.expectation.verdict) == (name, V.COMPLETED)


def test_a_link_that_is_away_for_too_long() -> None:
    """Nobody waits longer than for a hang."""
    cut = 'fault.action = "cut link", fault.phase = "active"'
    assert case_with(f"{cut}, fault.seconds = 31")[1].name == "link-cut"
    assert case_with(f"{cut}, fault.seconds = 10, bounds.hang_s = 9")[1].name == "link-cut"
    assert case_with(cut)[1].name == "link-cut"


def test_what_is_unplugged_is_nobodys_reason() -> None:
    """A device that cannot migrate blocks nothing once it is unplugged, and fails nothing; but QEMU has to take it
    before that.
    """
    assert case_with(CANNOT)[1].name == "no-migration-in-kernel"
    assert case_with(CANNOT, AWAY)[1].name == "device-unplugged-before"
    assert case_with('source.device.fail_at = "STOP_COPY"', AWAY)[1].name == "device-unplugged-before"
    assert case_with('device.migration = "off"', AWAY)[1].name == "enable-migration-on-without-migration"
    assert case_with('migration.capabilities.postcopy-ram = "on"', AWAY)[1].name == "device-unplugged-before"


def test_one_of_two_is_unplugged() -> None:
    """The other one counts."""
    two = '[[devices]]\nid = "a"\n[[devices]]\nid = "b"\n'
    cannot = 'devices.b.migration = "off", devices.b.properties.enable-migration = "auto"'
    assert case_with(cannot, two)[1].name == "no-migration-in-kernel"
    away = f'{two}{AWAY}device = "b"\n'
    assert case_with(cannot, away)[1].name == "device-unplugged-before"
    assert case_with(f'{cannot}, devices.a.properties.enable-migration = "off"', away)[1].name == "enable-migration-off"


def test_what_is_cancelled_is_cancelled() -> None:
    """With a device that was unplugged before, too."""
    cancel = '[[faults]]\naction = "cancel"\nphase = "active"\n[[faults]]\naction = "plug device"\nphase = "after"\n'
    assert case_with(CANNOT, AWAY + cancel)[1].name == "cancelled"
    assert case_with(CANNOT)[1] is not DEFAULT
