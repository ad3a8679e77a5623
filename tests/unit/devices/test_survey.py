# SPDX-License-Identifier: GPL-2.0-or-later
"""A survey has all parts of a host that can be had, and says why the others are missing."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.unit.devices.test_abilities import ANSWERS, render
from tests.unit.devices.test_functions import SYSFS
from tests.unit.hosts.test_kvm import BOOTED
from tests.unit.hosts.test_machine import TEXT
from tests.unit.scripted_host import ScriptedHost

from switchover.devices.survey import survey_host
from switchover.record.errors import HostLost

PARTS = {"boot_id": TEXT, "mdev_bus": SYSFS, "-accel kvm": BOOTED, "perl": "0000:3b:00.2 flags 7 1\n"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def make_host(*, fails: str = "nothing") -> ScriptedHost:
    """A host that answers every part but the one whose command has ``fails`` in it."""

    def answer(argv: Sequence[str]) -> str:
        line = " ".join(argv)
        if fails in line:
            raise HostLost("gone")
        if "-qmp" in argv:
            return render(ANSWERS)
        found = [text for part, text in PARTS.items() if part in line]
        return found[0] if found else "/usr/bin/qemu\nd1  -\n"

    return ScriptedHost(answer, "rack1")


def test_everything() -> None:
    """A host that answers has no problems."""
    survey = survey_host(make_host(), "inventory")
    assert survey.problems == {}
    assert survey.kvm is not None
    assert survey.kvm.works
    assert survey.qemus["qemu-system-x86_64"].version == "10.0.13"
    assert survey.migratability["0000:3b:00.2"].flags == 7


@pytest.mark.parametrize(
    ("fails", "part", "lost"),
    [
        ("boot_id", "machine", {"machine", "kvm"}),
        ("-qmp", "qemu /q1", {"qemus"}),
        ("-accel kvm", "kvm", {"kvm"}),
        ("mdev_bus", "devices", {"devices", "migratability"}),
    ],
)
def test_a_part_that_is_missing_spoils_no_other(fails: str, part: str, lost: set[str]) -> None:
    """The part that failed says why; missing is only what needs it."""
    survey = asdict(survey_host(make_host(fails=fails), "inventory", ["/q1"]))
    whole = asdict(survey_host(make_host(), "inventory", ["/q1"]))
    assert survey["problems"] == {part: "gone"}
    for name, value in whole.items():
        if name in lost:
            assert not survey[name]
        elif name == "machine":
            assert survey["machine"]["kernel"] == value["kernel"]
        elif name != "problems":
            assert survey[name] == value
