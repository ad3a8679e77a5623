# SPDX-License-Identifier: GPL-2.0-or-later
"""An environment of its own with the wheel of this tree, as a user has it who installs the package.

What it requires is installed once, in the cache directory, under the digest of its list; the wheel is built and
installed anew for each session of tests, beside it.
"""

import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from switchover.record.paths import cache_directory

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"
CONFORMANCE = CASES / "conformance.py"
_RELEASE_S = 120
_INSTALL = ("install", "--quiet", "--no-input", "--disable-pip-version-check")


@dataclass(frozen=True)
class Environment:
    """``python``: its interpreter. ``state``: where runs and labs of its programs are (``XDG_STATE_HOME``)."""

    python: Path
    state: Path

    @property
    def variables(self) -> dict[str, str]:
        """Of its programs: nothing of this tree leads to them."""
        ours = ("PYTHON", "PYTEST_", "SWITCHOVER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {"XDG_STATE_HOME": str(self.state), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "120"}

    def run(
        self,
        *words: str,
        directory: Path,
        typed: str = "",
        variables: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> "subprocess.CompletedProcess[str]":
        """``python -m WORDS``. ``typed``: on standard input; ``timeout``: seconds."""
        with subprocess.Popen(
            [str(self.python), "-m", *words],
            cwd=directory,
            env=self.variables | dict(variables or {}),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                said = process.communicate(typed, timeout=timeout)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)  # so that it gives back what it has
                said = process.communicate(timeout=_RELEASE_S)
                raise AssertionError(f"{' '.join(words)} took longer than {timeout} s\n{said[0]}{said[1]}") from None
            return subprocess.CompletedProcess(process.args, process.returncode, *said)


def make_environment(directory: Path, extra: str, more: Sequence[str] = ()) -> Environment:
    """With the package's requirements, those of an extra, and ``more``; the wheel in ``directory``."""
    base = _provide_base([*_list_requirements(extra), *more])
    wheels = directory / "wheel"
    pip = str(base / "bin" / "pip")
    _run([pip, "wheel", *_INSTALL[1:], "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT)])
    own = directory / "environment"
    _run([sys.executable, "-m", "venv", "--without-pip", str(own)])
    packages = _find_packages(own)
    (packages / "base.pth").write_text(f"{_find_packages(base)}\n")
    _link_libvirt(packages)
    python = str(own / "bin" / "python")
    wheel = next(wheels.glob("switchover-*.whl"))
    _run([pip, "--python", python, *_INSTALL, "--no-deps", "--force-reinstall", str(wheel)])
    return Environment(Path(python), directory / "state")


def _list_requirements(extra: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"][extra], "hatchling"]


def _provide_base(requirements: Sequence[str]) -> Path:
    digest = hashlib.sha256("\n".join([sys.version, *sorted(requirements)]).encode()).hexdigest()[:16]
    base = cache_directory() / f"fronts-{digest}"
    base.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{base}.lock"):
        if not (base / "complete").exists():
            _run([sys.executable, "-m", "venv", "--clear", str(base)])
            _run([str(base / "bin" / "pip"), *_INSTALL, *requirements])
            (base / "complete").touch()
    return base


def _find_packages(environment: Path) -> Path:
    return next((environment / "lib").glob("python3*")) / "site-packages"


def _link_libvirt(packages: Path) -> None:
    """The system's binding, where the environment of the tests has it: pip would have to compile it."""
    found = importlib.util.find_spec("libvirt")
    if found is None or found.origin is None:
        return
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for name in ("libvirt.py", f"libvirtmod{suffix}"):
        file = Path(found.origin).parent / name
        if file.exists():
            (packages / name).symlink_to(file.resolve())


def _run(words: Sequence[str]) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
