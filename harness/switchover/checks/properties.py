# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties of devices, of a QEMU that could not be asked before the migration, as libvirt's destination cannot."""

from collections.abc import Iterator, Mapping

from switchover.checks.evidence import Evidence
from switchover.checks.rule import CheckRule
from switchover.record.checks import CheckId
from switchover.record.measurement import Check, make_check


def check_properties(wanted: Mapping[str, str], held: Mapping[str, str], place: str) -> Check:
    """``wanted``: what vfio-pci was given; ``held``: what it holds, of these and others."""
    observed = {name: held.get(name) for name in wanted}
    return make_check(CheckId.DEVICE_PROPERTIES, observed == wanted, _render(wanted), _render(observed), place)


def _render(values: Mapping[str, str | None]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items()) or "any"


def _make(evidence: Evidence) -> Iterator[Check]:
    for place, wanted in evidence.late_properties.items():
        yield check_properties(wanted, evidence.properties[place], place)


CHECKS = (CheckRule((CheckId.DEVICE_PROPERTIES,), _make),)
