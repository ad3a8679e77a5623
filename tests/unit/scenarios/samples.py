# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios as texts."""

from switchover.scenarios.expand import PlannedCase, expand
from switchover.scenarios.scenario import parse_scenario

HEAD = 'version = 1\n[scenario]\ntitle = "a question"\n'
"""Three lines that every file begins with."""


def plan(text: str) -> list[PlannedCase]:
    """Cases of a file that begins with :data:`HEAD`."""
    return expand(parse_scenario(HEAD + text))
