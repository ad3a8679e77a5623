# SPDX-License-Identifier: GPL-2.0-or-later
"""Recipes of docs/ci.md: their shape, and their commands executed for every shard, with cases that need no hosts."""

import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")

CASES = """
from switchover import Context, Needs, case

@case(tags=["good"], needs=Needs(hosts=0), number=range(4))
def good(context: Context, number: int) -> None: ...

@case(tags=["bad"], needs=Needs(hosts=0))
def bad(context: Context) -> None:
    context.fail("wrong")

@case(tags=["broken"], needs=Needs(hosts=0))
def broken(context: Context) -> None:
    raise OSError("no network")
"""
GOOD = [f"good.number-{number}" for number in range(4)]


def find_block(heading: str, language: str, number: int = 0) -> str:
    """A code block below a heading of the page."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading)]
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return blocks[number]


class Machine:
    """A directory for a job, with ``switchover`` of this tree on PATH, and a ``git`` that clones it."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.programs = tmp_path / "bin"
        self.programs.mkdir()
        self.cases = tmp_path / "some.py"
        self.cases.write_text(CASES)
        self.write(
            "switchover",
            f'[ "$1" != --yes ] || shift\nPYTHONPATH={ROOT / "harness"} exec {sys.executable} -m switchover "$@"\n',
        )
        self.write("git", f'for last; do :; done\nmkdir "$last" && cp {self.programs}/switchover "$last"\n')

    def write(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}")
        path.chmod(0o755)
        return path

    def run(self, name: str, script: str, words: str, **variables: str) -> tuple[int, Path, str]:
        """Exit code, directory of the job, output. ``words``: the selection, besides the file."""
        job = self.tmp_path / name.replace("/", "-")
        job.mkdir(exist_ok=True)
        env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "GITLAB_", "CI"))},
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "SWITCHOVER_CASES": f"{self.cases} {words}",
            "SWITCHOVER_URL": "https://example.org/switchover.git",
            "SWITCHOVER_YES": "1",
            **variables,
        }
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=job,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, job, done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def list_reported(job: Path, pattern: str) -> list[str]:
    """Ids in the JUnit that a recipe names; each has its record in the run directory beside it."""
    (file,) = job.glob(pattern)
    names = [case.attrib["name"].removesuffix(" #1") for case in ElementTree.parse(file).iter("testcase")]
    records = [json.loads(path.read_text())["case"] for path in file.parent.glob("*/01/record.json")]
    assert sorted(records) == sorted(names)
    return names


def test_gitlab(machine: Machine) -> None:
    """Shards report every case once, JUnit is where the artefact is, and only exit code 3 is allowed to fail."""
    (job,) = yaml.safe_load(find_block("GitLab", "yaml")).values()
    assert set(job) == {
        "tags",
        "parallel",
        "timeout",
        "variables",
        "before_script",
        "script",
        "allow_failure",
        "artifacts",
    }
    assert job["allow_failure"] == {"exit_codes": [3]}
    assert all(isinstance(value, str) for value in job["variables"].values())
    assert job["artifacts"]["when"] == "always"
    assert job["artifacts"]["paths"] == ["runs/"]
    pattern = job["artifacts"]["reports"]["junit"]
    # as the runner does: a script that ends with the first command that fails
    script = "set -e\n" + "\n".join([*job["before_script"], *job["script"]])
    found: list[str] = []
    for number in range(1, job["parallel"] + 1):
        place = {"CI_NODE_INDEX": str(number), "CI_NODE_TOTAL": str(job["parallel"])}
        code, directory, told = machine.run(f"gitlab-{number}", script, "--tag good", GITLAB_CI="true", **place)
        assert code == 0, told
        assert "section_start:" in told
        found += list_reported(directory, pattern)
    assert sorted(found) == GOOD
    alone = {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "1"}
    assert machine.run("gitlab-bad", script, "--tag bad", **alone)[0] == 1
    code, directory, _ = machine.run("gitlab-broken", script, "--tag broken", **alone)
    assert code == 3
    assert list_reported(directory, pattern) == ["broken"]
    (record,) = directory.glob("runs/*/broken/01/record.json")
    assert len(json.loads(record.read_text())["earlier"]) == 1


def fill_in(text: str, values: Mapping[str, object]) -> str:
    """GitHub's expressions, by their text."""
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda match: str(values[match[1]]), text)


def test_github(machine: Machine) -> None:
    """Shards report every case once, artefacts of shards have names of their own, and words tell exit codes apart."""
    whole = yaml.load(find_block("GitHub", "yaml"), yaml.BaseLoader)  # "on" is no boolean there
    assert set(whole) == {"name", "on", "jobs"}
    (job,) = whole["jobs"].values()
    assert set(job) == {"runs-on", "timeout-minutes", "strategy", "env", "steps"}
    assert job["strategy"]["fail-fast"] == "false"
    shards = job["strategy"]["matrix"]["shard"]
    checkout, cases, upload = job["steps"]
    assert upload["if"] == "always()"
    assert upload["with"]["path"] == "runs/"
    values = {"matrix.shard": 0, "strategy.job-total": len(shards), "vars.SWITCHOVER_REPOSITORY": "someone/switchover"}
    names = {fill_in(upload["with"]["name"], {**values, "matrix.shard": shard}) for shard in shards}
    assert len(names) == len(shards)

    def run(name: str, words: str, shard: str) -> tuple[int, Path, str]:
        clone = f"set -e\ngit clone {fill_in(checkout['with']['repository'], values)} {checkout['with']['path']}\n"
        return machine.run(name, clone + cases["run"], words, SHARD=shard, GITHUB_ACTIONS="true")

    found: list[str] = []
    for shard in shards:
        given = fill_in(job["env"]["SHARD"], {**values, "matrix.shard": shard})
        code, directory, told = run(f"github-{shard}", "--tag good", given)
        assert code == 0, told
        assert "::group::" in told
        assert "::error" not in told
        found += list_reported(directory, "runs/*/junit.xml")
    assert sorted(found) == GOOD
    for words, code, title in (("bad", 1, "Cases"), ("broken", 3, "Environment"), ("nothing", 2, "Switchover")):
        ended, _, told = run(f"github-{words}", f"--tag {words}", "1/1")
        assert (ended, told.count(f"::error title={title}::")) == (code, 1)


def test_jenkins(machine: Machine) -> None:
    """The commands of its ``sh`` steps: shards report every case once; 3 is unstable, all else but 0 an error."""
    text = find_block("Jenkins", "groovy")
    assert text.count("{") == text.count("}")
    assert text.count("(") == text.count(")")
    for directive in ("agent none", "stages {", "matrix {", "axes {", "post {", "always {", "deleteDir()"):
        assert directive in text
    values = re.search(r"values (.*)", text)
    assert values is not None
    shards = re.findall(r"'(.*?)'", values[1])
    found_steps = re.findall(r"\bsh (?:returnStatus: true, script: )?(?:'''(.*?)'''|'(.*?)')\n", text, re.DOTALL)
    steps = [(long or short).strip().replace(r"\\", "\\") for long, short in found_steps]  # as Groovy reads it
    assert len(steps) == 2
    assert re.search(r"status == 3\) \{\s+unstable .*\s+\} else if \(status != 0\) \{\s+error ", text)
    junit, archive = re.search(r"junit '(.*?)'", text), re.search(r"archiveArtifacts '(.*?)'", text)
    assert junit is not None
    assert archive is not None
    found: list[str] = []
    for shard in shards:
        code, directory, told = machine.run(f"jenkins-{shard}", " && ".join(steps), "--tag good", SHARD=shard)
        assert code == 0, told
        found += list_reported(directory, junit[1])
        assert list(directory.glob(f"{archive[1]}/record.json"))
    assert sorted(found) == GOOD
    assert machine.run("jenkins-broken", " && ".join(steps), "--tag broken", SHARD="1/1")[0] == 3


def test_the_night(machine: Machine, tmp_path: Path) -> None:
    """It is silent if all is well, its folder has everything, its exit code is the run's; old nights go."""
    machine.write("switchover-nightly", find_block("A nightly", "sh"))
    inventory = tmp_path / "inventory.toml"
    names = [f"rack{number}" for number in range(1, 5)]
    inventory.write_text("version = 1\n" + "".join(f'[host.{name}]\naddress = "{name}.invalid"\n' for name in names))
    place = f"--inventory {inventory} --pair rack1,rack2 --pair rack3,rack4"
    assert place.partition(".toml")[2] in find_block("A nightly", "sh"), "the recipe has the same pairs"
    nights = tmp_path / "nights"
    old, kept = nights / "2020-01-01", nights / "notes"
    for path in (old, kept):
        path.mkdir(parents=True)
        os.utime(path, (0, 0))
    given = {"SWITCHOVER_NIGHTS": str(nights), "SWITCHOVER_PLACE": place}
    assert machine.run("good", "switchover-nightly", "--tag good", **given)[::2] == (0, "")
    assert not old.exists()
    (night,) = nights.glob("20*")
    assert sorted(list_reported(night, "*/junit.xml")) == GOOD
    assert "4 cases: 4 as expected" in (night / "report.txt").read_text()
    assert " on rack" in (night / "run.log").read_text()
    assert kept.exists()
    for words, code, told in (("bad", 1, "was not as expected"), ("broken", 3, "the environment failed")):
        ended, _, said = machine.run(words, "switchover-nightly", f"--tag {words}", **given)
        assert (ended, told in said) == (code, True)


def test_units_and_table() -> None:
    """The timer is of the service, which runs the script as the table of cron does, and has time to release."""
    units: list[Any] = []
    for number in (0, 1):
        parser = configparser.ConfigParser()
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(find_block("A nightly", "ini", number))
        units.append(parser)
    service, timer = units
    assert service["Service"]["Type"] == "oneshot"
    assert service["Service"]["ExecStart"].endswith("/switchover-nightly")
    assert {"TimeoutStartSec", "TimeoutStopSec", "User"} <= set(service["Service"])
    assert set(timer["Timer"]) == {"OnCalendar", "Persistent"}
    assert timer["Install"]["WantedBy"] == "timers.target"
    lines = re.findall(r"^MAILTO=.*?(?=^```)", PAGE, re.DOTALL | re.MULTILINE)[0].splitlines()
    assert re.fullmatch(r"(\S+ ){5}switchover switchover-nightly", lines[-1])
    assert lines[1].partition("=")[2] == service["Service"]["Environment"].partition("=")[2]
