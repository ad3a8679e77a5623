# SPDX-License-Identifier: GPL-2.0-or-later
"""``plan.json`` of cases that a test runner has chosen from the catalogue."""

from collections.abc import Sequence
from dataclasses import replace

from switchover.catalogue.case import CatalogueCase
from switchover.catalogue.conduct import make_plan_line
from switchover.record.planfile import PlanFile, PlannedScenario
from switchover.scenarios.scenario import load_scenario


def make_plan_file(cases: Sequence[CatalogueCase]) -> PlanFile:
    """Each case with its scenario, or its function, as a runner runs them: one after the other with all its repeats.

    :raises UsageError: a file has changed since it was read, and is wrong now
    """
    groups: dict[str, PlannedScenario] = {}
    for case in cases:
        if case.group in groups:
            continue
        planned = PlannedScenario(case.group, str(case.source), case.title, "", case.repeats, False)
        if case.planned is not None:
            scenario = load_scenario(case.source)
            planned = replace(planned, question=scenario.question, compare=scenario.compare)
        groups[case.group] = planned
    return PlanFile(tuple(groups.values()), tuple(make_plan_line(case) for case in cases))
