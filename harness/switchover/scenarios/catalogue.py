# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of scenarios of the catalogue, for what runs several of them in a row."""

from collections.abc import Sequence
from dataclasses import replace

from switchover.scenarios.case import Case
from switchover.scenarios.expand import expand
from switchover.scenarios.scenario import catalogue_directory, load_scenario

MATRIX = ("faults", "device-faults", "hangs")
"""Scenarios that are about what goes wrong."""


def load_cases(names: Sequence[str]) -> list[Case]:
    """Cases of scenarios, each with its scenario's name before its own; without heartbeats, which none is about."""
    return [
        replace(entry.case, id=f"{name}: {entry.case.id}", heartbeat_us=0)
        for name in names
        for entry in expand(load_scenario(catalogue_directory() / f"{name}.toml"))
    ]


def load_matrix() -> list[Case]:
    """Those of :data:`MATRIX`."""
    return load_cases(MATRIX)
