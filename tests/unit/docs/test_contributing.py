# SPDX-License-Identifier: GPL-2.0-or-later
"""What contributors read, and what the forge and pre-commit read, says what is so."""

import argparse
import importlib
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from switchover.record.version import __version__

ROOT = Path(__file__).parents[3]
FORGE = ROOT / ".github"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
TEMPLATES = sorted(path for path in (FORGE / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
TEXTS = [ROOT / "CONTRIBUTING.md", FORGE / "pull_request_template.md", *TEMPLATES]


def read_yaml(path: Path) -> Any:
    """All values as text, so that the key ``on`` is no boolean."""
    return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)


def find_commands(text: str) -> list[str]:
    """Commands of ``./switchover`` in code spans and code blocks, without comments and redirections."""
    found = re.findall(r"`(\./switchover [^`]+)`", text) + re.findall(r"^ {4,}(\./switchover .*)$", text, re.MULTILINE)
    return [re.sub(r" *[#>].*", "", command).strip() for command in found]


COMMANDS = sorted({command for path in TEXTS for command in find_commands(path.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("command", [one for one in COMMANDS if not re.search(r" --v|VERB", one)])
def test_commands_are_understood(command: str) -> None:
    """Verbs, options and arguments of each command that is named are there."""
    verb, *words = command.split()[1:]
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"switchover.cli.{verb}").add_arguments(parser)
    parser.parse_args(words)


def test_commands_are_found() -> None:
    """The parametrised test above is about something."""
    assert {"./switchover doctor", "./switchover test --all", "./switchover show last CASE"} <= set(COMMANDS)


def test_other_programs_are_there() -> None:
    """Scripts of ``.ci`` can be executed, and tox has the environments that are named."""
    for name in sorted(set(re.findall(r"\.ci/[\w-]+", CONTRIBUTING))):
        assert os.access(ROOT / name, os.X_OK), name
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    environments = re.findall(r"tox\" -e ([\w,]+)", CONTRIBUTING)
    assert environments
    for environment in environments:
        assert f"[testenv:{environment}]" in tox


def test_version_of_the_changelog() -> None:
    """Its top version is the package's, and pyproject.toml's; sections have the names of Keep a Changelog."""
    versions = [one for one in re.findall(r"^## \[(.+?)\]", CHANGELOG, re.MULTILINE) if one != "Unreleased"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert versions[0] == __version__ == project["version"]
    assert len(set(versions)) == len(versions)
    sections = set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Not verified"}


def test_workflow_runs_what_ci_runs() -> None:
    """One job checks the tree out, keeps the cache of Switchover, calls ``.ci/run``, and keeps results of a failure."""
    (job,) = read_yaml(FORGE / "workflows" / "ci.yml")["jobs"].values()
    assert job["container"]["image"] == "debian:12"
    steps = job["steps"]
    used = [step.get("uses", "").partition("@")[0] for step in steps]
    checkout, cache, upload = (used.index(f"actions/{name}") for name in ("checkout", "cache", "upload-artifact"))
    (run,) = [number for number, step in enumerate(steps) if re.match(r"\.ci/run\b", step.get("run", ""))]
    assert checkout < cache < run < upload
    assert steps[run]["shell"] == "bash"  # with pipefail: the exit code is that of .ci/run, and not of tee
    assert steps[cache]["with"]["path"] == "~/.cache/switchover"
    for folder in re.findall(r"'(.*?)'", steps[cache]["with"]["key"]):
        assert (ROOT / folder.removesuffix("/**")).exists(), folder
    assert [step.get("if") for step in steps[run + 1 :]] == ["failure()"] * (len(steps) - run - 1)
    seconds = int(re.findall(r"(\d+)m \./switchover", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))[0]) * 60
    assert int(job["timeout-minutes"]) * 60 > seconds


def test_pre_commit_runs_lint() -> None:
    """One hook, of this repository, on the whole tree; its program is there."""
    (repository,) = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    (hook,) = repository["hooks"]
    assert repository["repo"] == "local"
    assert re.search(r"\.ci/lint\b", hook["entry"])
    assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == ("system", "false", "true")
    assert os.access(ROOT / ".ci" / "lint", os.X_OK)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_issue_forms(path: Path) -> None:
    """A form has a name, a description, and fields with ids and labels, as the forge wants them; one is required."""
    form = read_yaml(path)
    assert set(form) == {"name", "description", "labels", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    assert {field["type"] for field in form["body"]} <= {"input", "textarea", "dropdown", "checkboxes", "markdown"}
    assert all(field["attributes"]["label"] for field in form["body"])
    assert any(field.get("validations", {}).get("required") == "true" for field in form["body"])


def test_forms_ask_for_what_repeats_a_case() -> None:
    """There are three forms, and the one about a case asks for its run directory and its script."""
    assert [path.stem for path in TEMPLATES] == ["bug", "case", "question"]
    fields = {field["id"]: field for field in read_yaml(FORGE / "ISSUE_TEMPLATE" / "case.yml")["body"]}
    for name in ("run", "repro"):
        assert fields[name]["validations"]["required"] == "true"
