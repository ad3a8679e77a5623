# SPDX-License-Identifier: GPL-2.0-or-later
"""Real avocado with the built wheel, in an environment of its own, which is kept for the next run of the tests."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from switchover.hosts.waiting import wait_until
from switchover.record.paths import cache_directory
from switchover.record.rundir import RunDirectory

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"
MORE = ("avocado-framework-plugin-varianter-yaml-to-mux>=113,<114", "hatchling>=1.27")
"""What tests take besides the extra: variants, and what builds the wheel."""


def require_environment() -> Path:
    """The directory of an environment with avocado and today's wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["avocado"], *MORE]
    digest = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()[:12]
    directory = cache_directory() / f"fronts-avocado-{digest}"
    if not (directory / "complete").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(directory)])
        _pip(directory, "install", *requirements)
        (directory / "complete").touch()
    wheels = directory / "wheels"
    for wheel in wheels.glob("*.whl"):
        wheel.unlink()
    _pip(directory, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT))
    _pip(directory, "install", "--no-deps", "--force-reinstall", *map(str, wheels.glob("*.whl")))
    return directory


def _pip(directory: Path, *words: str) -> None:
    _run([str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", *words])


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/", env=_plain_environment())
    assert done.returncode == 0, f"{argv}\n{done.stdout}{done.stderr}"


def _plain_environment() -> dict[str, str]:
    """Without what makes this process find the sources."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@dataclass(frozen=True)
class JobResult:
    """What a job left."""

    code: int
    said: str
    directory: Path

    @property
    def results(self) -> dict[str, Any]:
        return dict(json.loads((self.directory / "results.json").read_text()))

    @property
    def statuses(self) -> dict[str, str]:
        """By id, without avocado's number and variant."""
        return {name_of(test): test["status"] for test in self.results["tests"]}

    def test(self, identity: str) -> dict[str, Any]:
        (found,) = (test for test in self.results["tests"] if name_of(test) == identity)
        return dict(found)

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.directory / "switchover")


def name_of(test: Mapping[str, Any]) -> str:
    """The id of the case; avocado's own id is ``NUMBER-ID;VARIANT``, and with several suites ``SUITE-`` before it."""
    return str(test["name"]).partition(";")[0]


@dataclass(frozen=True)
class Avocado:
    """``place``: an empty directory, for results and configuration."""

    environment: Path
    place: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def call(self, *words: str, program: str = "avocado", timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.argv(*words, program=program), capture_output=True, text=True, cwd=self.place, timeout=timeout,
            env=self._variables(),
        )  # fmt: skip

    def argv(self, *words: str, program: str = "avocado") -> list[str]:
        return [str(self.environment / "bin" / program), *self._configure(), *words]

    def _configure(self) -> list[str]:
        if not self.settings:
            return []
        sections: dict[str, list[str]] = {}
        for name, value in self.settings.items():
            section, _, key = name.rpartition(".")
            sections.setdefault(section, []).append(f"{key} = {value.replace('%', '%%')}")
        lines = [line for section, keys in sections.items() for line in (f"[{section}]", *keys)]
        file = self.place / "avocado.conf"
        file.write_text("\n".join(lines))
        return ["--config", str(file)]

    def _variables(self) -> dict[str, str]:
        path = f"{self.environment / 'bin'}:{os.environ['PATH']}"
        cache = str(cache_directory().parent)
        return {**_plain_environment(), "PATH": path, "HOME": str(self.place), "XDG_CACHE_HOME": cache}

    def run(self, *words: str, timeout: float = 300) -> JobResult:
        """``avocado run``, to its end."""
        done = self.call(*self._run_words(), *words, timeout=timeout)
        return self.collect(done.returncode, done.stdout + done.stderr)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """``avocado run``, in a process group of its own."""
        return subprocess.Popen(
            self.argv(*self._run_words(), *words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=self.place, env=self._variables(), start_new_session=True,
        )  # fmt: skip

    def _run_words(self) -> list[str]:
        return ["run", "--job-results-dir", str(self.place / "results"), "--disable-sysinfo"]

    def collect(self, code: int, said: str) -> JobResult:
        return JobResult(code, said, (self.place / "results" / "latest").resolve())

    def wait_until_runs(self, case: str) -> None:
        """Until a case of ``leftovers.py`` has started its processes."""
        there = self.place / "results"
        wait_until(f"the start of {case}", lambda: any(there.glob(f"*/switchover/{case}/01/started")), timeout=120)


def list_processes(word: str) -> list[psutil.Process]:
    """Those with a word on their command line, this one and its parents not among them."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid not in own and any(word in part for part in process.info["cmdline"] or []):
            found.append(process)
    return found


def finish(job: "subprocess.Popen[str]", *, timeout: float = 180) -> str:
    """What it said. A job that does not end is killed, with all that it started, and the test fails."""
    try:
        said, _ = job.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        raise
    return said
