# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs about scenarios as commands: plan, list, schema."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.builders import make_record
from tests.unit.scenarios.samples import HEAD
from tests.unit.surveys import ABILITIES, SURVEY

from switchover.cli.hosts import Sources
from switchover.cli.main import main
from switchover.devices.survey import HostSurvey, lost_host
from switchover.record.errors import HostLost
from switchover.record.rundir import make_run_directory


def write(path: Path, text: str = "") -> str:
    path.write_text(HEAD + text)
    return str(path)


def test_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, directories and names of the catalogue; each file once, and only those with selected cases."""
    write(tmp_path / "a.toml", "[axes]\nvcpus = [1, 2]\n")
    write(tmp_path / "b.toml", "[axes]\nmemory_mib = [64, 128]\n")
    assert main(["plan", str(tmp_path), str(tmp_path / "a.toml"), "precopy"]) == 0
    text = capsys.readouterr().out
    assert text.count("vcpus=1") == 1
    assert "6 cases, about 1 min 2 s" in text
    assert main(["plan", str(tmp_path), "--only", "vcpus=2", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [case["id"] for entry in listed["scenarios"] for case in entry["cases"]] == ["vcpus=2"]
    assert main(["plan", str(tmp_path), "--only", "vcpus=2", "--commands"]) == 0
    assert "-smp 2" in capsys.readouterr().out


def test_plan_that_asks(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts that cases name are asked, and each once; who was not asked is told, and is not taken for unable."""
    asked = []

    def survey(_: Sources, names: Sequence[str], qemus: Sequence[str]) -> list[HostSurvey]:
        asked.append((list(names), list(qemus)))
        return [
            replace(SURVEY, name=names[0], qemus={"/opt/qemu": ABILITIES}),
            lost_host(names[1], "inventory", HostLost("silent")),
        ]

    monkeypatch.setattr(Sources, "survey", survey)
    inventory = tmp_path / "inventory.toml"
    inventory.write_text(
        'version = 1\n[host.one]\naddress = "a"\n[host.two]\naddress = "b"\n[host.three]\naddress = "c"\n'
    )
    path = write(
        tmp_path / "a.toml",
        '[guest]\nqemu = "/opt/qemu"\n[destination]\nhost = "one"\nmachine = "pc-x"\n'
        '[axes]\nsource.host = ["one", "two"]\n',
    )
    assert main(["plan", path, "--probe", "--inventory", str(inventory), "--json"]) == 0
    (gate, unknown) = (case["gate"] for case in json.loads(capsys.readouterr().out)["scenarios"][0]["cases"])
    assert asked == [(["one", "two"], ["/opt/qemu"])]
    assert (gate["runs"], gate["asked"]) == (False, True)
    assert any("pc-x" in words for words in gate["missing"])
    assert unknown["asked"] is False
    assert not any("two" in words for words in unknown["missing"])
    assert main(["plan", write(tmp_path / "b.toml"), "--probe"]) == 0
    told = capsys.readouterr()
    assert "no host was asked what it can do" in told.out
    assert "no lab is up: lab hosts were not asked" in told.err
    assert len(asked) == 1


def test_plan_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pattern that selects nothing is a mistake of the user, not an empty success."""
    path = write(tmp_path / "a.toml")
    assert main(["plan", path, "--only", "nothing"]) == 2
    assert "No case matches --only 'nothing'." in capsys.readouterr().err
    assert main(["plan", str(tmp_path / "none.toml")]) == 2
    assert "There is no file" in capsys.readouterr().err


def test_plan_of_wrong_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong with every file is told, in one go."""
    write(tmp_path / "a.toml", "[load]\n")
    write(tmp_path / "b.toml", "[axes]\nvcpus = [on]\n")
    write(tmp_path / "c.toml")
    assert main(["plan", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path}/a.toml:4: load: unknown key" in told
    assert f"{tmp_path}/b.toml:5: this is no TOML." in told
    assert 'fix: quote the value: "on"' in told


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs with what came of them, and those that cannot be read."""
    runs = tmp_path / "runs"
    run = make_run_directory("demo", runs)
    run.repeat("device.pre_copy=on", 1).write_record(make_record())
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    newer = make_run_directory("newer", runs)
    newer.repeat("x", 1).write_text("record.json", '{"schema_version": 99}')
    assert main(["list", "--runs", str(runs)]) == 0
    text = capsys.readouterr().out
    assert "1 cases, 1 repeats right, 0 wrong" in text
    assert "run.json cannot be read" in text
    assert "1 record not readable" in text
    assert main(["list", "--runs", str(runs), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 3


def test_the_catalogue_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """By scenario and function; with a pattern or a tag by case, with tags and needs; for programs as one array."""
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"precopy +2  The same device with its pre-copy off and on", text)
    assert re.search(r"there-and-back +2 ", text)
    assert main(["list", "precopy.device.pre_copy-on"]) == 0
    assert capsys.readouterr().out == "precopy.device.pre_copy-on  qmp,scenario\n"
    assert main(["list", "--tag", "libvirt", "drivers", "--json"]) == 0
    cases = json.loads(capsys.readouterr().out)
    assert {case["needs"]["driver"] for case in cases} == {"libvirt"}
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", case["id"]) for case in cases)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["there-and-bock"], "near it are there-and-back"),
        (["--tag", "pre-cpy"], "did you mean 'pre-copy'?"),
        (["precopy", "--tag", "reboot"], "No case has the tag 'reboot'"),
    ],
)
def test_a_name_that_means_nothing(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Typos of names and tags suggest; nothing that is selected is a mistake of the user."""
    assert main(["run", *words]) == 2
    assert told in capsys.readouterr().err


def test_list_without_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A machine where nothing was run yet is no error."""
    assert main(["list", "--runs", str(tmp_path / "none")]) == 0
    assert f"no runs in {tmp_path / 'none'}" in capsys.readouterr().out


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """For editors as a JSON schema, for people as Markdown."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "ScenarioFile"
    assert main(["schema", "--reference"]) == 0
    assert capsys.readouterr().out.startswith("# Keys of scenario files\n")


def test_bench_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """The figure is about as many cases as it says."""
    assert main(["bench", "plan", "--count", "1"]) == 0
    assert capsys.readouterr().out.startswith("plan of 25000 cases  median")
