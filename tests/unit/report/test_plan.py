# SPDX-License-Identifier: GPL-2.0-or-later
"""Plans as people read them."""

from pathlib import Path

import pytest
from tests.unit.scenarios.samples import HEAD

from switchover.report.plan import list_plans, render_plans
from switchover.scenarios.plan import decide_again, make_plan
from switchover.scenarios.preflight import HostFacts, Known
from switchover.scenarios.scenario import parse_scenario

TEXT = (
    HEAD
    + """repeats = 2
[axes]
device.properties.enable-migration = ["on", "off"]
[[rules]]
when = { device.properties.enable-migration = "off" }
expect = { verdict = "failed", side = "source", because = "of that" }
"""
)


def test_for_people() -> None:
    """A line for each case with its time, what is expected and why; the whole at the end."""
    assert render_plans([make_plan(parse_scenario(TEXT))]) == (
        "scenario.toml: a question\n"
        "  2 cases × 2 repeats, interleaved, about 1 min 0 s\n"
        "  device.properties.enable-migration=on     10 s  completed\n"
        "  device.properties.enable-migration=off    20 s  failed (source): of that\n"
        "\n"
        "2 cases, about 1 min 0 s; no host was asked what it can do"
    )


def test_the_rule_of_the_oracle_is_named() -> None:
    """By its name of today, for people and for programs; an expectation of the scenario's own is in the scenario."""
    plans = [make_plan(parse_scenario(f"{HEAD}[destination]\nmemory_mib = 128\n"))]
    assert "failed (destination) [other-memory]: the stream has the size of each block" in render_plans(plans)
    (listed,) = list_plans(plans)["scenarios"][0]["cases"]
    assert listed["expected"]["rule"] == "other-memory"


def test_what_cannot_be_run() -> None:
    """A case that the preflight leaves out says what is missing, and is counted."""
    known = Known((HostFacts("a", {"qemu-system-x86_64": None}), HostFacts("b")))
    text = render_plans([decide_again(make_plan(parse_scenario(HEAD)), known)])
    assert "  scenario  not-supported: a has no qemu-system-x86_64\n" in text
    assert text.endswith("1 cases, about 0 s; 1 of them cannot be run")


def test_what_is_built_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A toolchain that is not built is named, once; a program that hosts have or have not is none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    text = HEAD + '[axes]\nsource.qemu = ["qemu-11.1", "qemu-system-x86_64"]\ndestination.qemu = ["qemu-11.1", "/q"]\n'
    plans = [make_plan(parse_scenario(text))]
    assert "; to be built first: qemu-11.1; no host" in render_plans(plans)
    assert list_plans(plans)["to_build"] == ["qemu-11.1"]
    assert list_plans([make_plan(parse_scenario(TEXT))])["to_build"] == []
    kernel = parse_scenario(TEXT + '[guest]\nkernel = "kernel-6.12-rt"\n')
    assert list_plans([make_plan(kernel)])["to_build"] == ["kernel-6.12-rt"]


def test_a_selection() -> None:
    """How many cases there would be is told."""
    text = render_plans([make_plan(parse_scenario(TEXT), only="=off")])
    assert "  1 of 2 cases × 2 repeats" in text


def test_commands() -> None:
    """On request the command lines follow their case."""
    lines = render_plans([make_plan(parse_scenario(HEAD))], commands=True).splitlines()
    assert lines[3].startswith("    source: qemu-system-x86_64 -name guest")
    assert lines[4].startswith("    destination: qemu-system-x86_64 ")


def test_for_programs() -> None:
    """The same as values, with where each expectation comes from."""
    listed = list_plans([make_plan(parse_scenario(TEXT))])
    assert (listed["schema_version"], listed["seconds"]) == (1, 60)
    (scenario,) = listed["scenarios"]
    first, second = scenario["cases"]
    assert first["expected"]["rule"] == ""
    assert "commands" not in first
    assert second["values"] == {"device.properties.enable-migration": "off"}
    assert second["expected"] == {
        "verdict": "failed",
        "side": "source",
        "reason": "",
        "pre_copy": "",
        "checks": [],
        "hop": 0,
        "downtime_ms": "",
        "outside_downtime_ms": "",
        "because": "of that",
        "rule": "rules[0]",
        "place": "scenario.toml:7",
    }
    assert second["gate"] == {"runs": True, "asked": False, "missing": []}
    assert (
        "source" in list_plans([make_plan(parse_scenario(HEAD))], commands=True)["scenarios"][0]["cases"][0]["commands"]
    )
