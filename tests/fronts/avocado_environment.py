# SPDX-License-Identifier: GPL-2.0-or-later
"""Real avocado with the built wheel, as tests call it."""

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from tests.fronts.environment import make_environment

from switchover.hosts.waiting import wait_until
from switchover.record.paths import cache_directory
from switchover.record.rundir import RunDirectory

CASES = Path(__file__).parent / "cases"
_MORE = ("avocado-framework-plugin-varianter-yaml-to-mux>=113,<114",)
"""What tests take besides the extra: variants."""


def require_environment(directory: Path) -> Path:
    """An environment with avocado and the wheel of this tree, made in ``directory``."""
    return make_environment(directory, "avocado", _MORE).python.parent.parent


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

    @property
    def state(self) -> Path:
        """Where labs and the history of its jobs are (``XDG_STATE_HOME``)."""
        return self.place / "state"

    def call(self, *words: str, program: str = "avocado", timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.argv(*words, program=program),
            capture_output=True,
            text=True,
            cwd=self.place,
            timeout=timeout,
            env=self._variables(),
        )

    def argv(self, *words: str, program: str = "avocado") -> list[str]:
        python = str(self.environment / "bin" / "python")
        return [python, *(("-m", program) if program != "python" else ()), *self._configure(), *words]

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
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        own = {"HOME": str(self.place), "XDG_CACHE_HOME": cache, "XDG_STATE_HOME": str(self.state)}
        return {**plain, "PATH": path, **own}

    def run(self, *words: str, timeout: float = 300) -> JobResult:
        """``avocado run``, to its end."""
        done = self.call(*self._run_words(), *words, timeout=timeout)
        return self.collect(done.returncode, done.stdout + done.stderr)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """``avocado run``, in a process group of its own."""
        return subprocess.Popen(
            self.argv(*self._run_words(), *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.place,
            env=self._variables(),
            start_new_session=True,
        )

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
