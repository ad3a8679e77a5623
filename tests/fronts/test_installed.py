# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed wheel, as pipx installs it: a virtual environment, away from any clone."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.fronts.environment import ROOT, Environment

from switchover.lab.recipes import RECIPES, compute_digest
from switchover.record.paths import data_directory
from switchover.record.version import __version__


@pytest.fixture
def installed(with_pytest: Environment) -> Path:
    """The program that the wheel brings."""
    return with_pytest.python.parent / "switchover"


def start(program: Path, environment: Environment, place: Path, *words: str, **more: str) -> tuple[int, str]:
    """Exit code and output of the command, with a cache of its own."""
    variables: Mapping[str, str] = environment.variables | {"XDG_CACHE_HOME": str(place / "cache")} | more
    done = subprocess.run(
        [str(program), *words],
        cwd=place, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.quick
def test_version_and_catalogue(with_pytest: Environment, installed: Path, tmp_path: Path) -> None:
    """It has its version, the catalogue, and the plan of a scenario, with no clone anywhere."""
    assert start(installed, with_pytest, tmp_path, "--version") == (0, f"switchover {__version__}\n")
    code, said = start(installed, with_pytest, tmp_path, "list", "precopy")
    assert code == 0
    assert "precopy.device.pre_copy-on" in said
    assert start(installed, with_pytest, tmp_path, "plan", "precopy")[0] == 0


@pytest.mark.quick
def test_doctor(with_pytest: Environment, installed: Path, tmp_path: Path) -> None:
    """On a machine that lacks programs it names each with its package, ends with 3, and points at no clone."""
    (tmp_path / "os-release").write_text("ID=debian\nNAME=Debian\nVERSION_ID=13\n")
    code, said = start(
        installed, with_pytest, tmp_path, "doctor", "--for", "demo", "--json",
        PATH=str(tmp_path), SWITCHOVER_OS_RELEASE=str(tmp_path / "os-release"),
    )  # fmt: skip
    results = {result["name"]: result for result in json.loads(said)}
    assert code == 3
    assert results["recipes and cases"]["outcome"] == "passed"
    assert results["program mmdebstrap"]["fix"] == "apt-get install mmdebstrap"
    assert not [result for result in results.values() if "the check itself failed" in result["seen"]]


def test_the_tests_stay_in_the_clone(with_pytest: Environment, installed: Path, tmp_path: Path) -> None:
    """The verb that needs them says where they are."""
    done = subprocess.run(
        [str(installed), "test"], cwd=tmp_path, env=with_pytest.variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "clone the repository" in done.stderr


def test_recipes_are_those_of_the_clone(with_pytest: Environment, tmp_path: Path) -> None:
    """Contents and modes came along: images that a clone built serve an installed package, and the other way round."""
    script = (
        "import json\nfrom switchover.lab.recipes import RECIPES, compute_digest\n"
        "from switchover.record.paths import data_directory\n"
        "print(json.dumps({name: compute_digest(name, data_directory('images')) for name in RECIPES}))"
    )
    done = subprocess.run(
        [str(with_pytest.python), "-c", script],
        cwd=tmp_path, env=with_pytest.variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {name: compute_digest(name, data_directory("images")) for name in RECIPES}


def test_from_the_address_of_a_repository(with_pytest: Environment, tmp_path: Path) -> None:
    """pip makes the wheel of HEAD from a git address, and it has the files of images/ and testcases/ that git has."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "pip")], check=True)
    subprocess.run(
        [
            str(tmp_path / "pip" / "bin" / "pip"), "wheel", "--quiet", "--no-input", "--disable-pip-version-check",
            "--no-deps", "--wheel-dir", str(tmp_path), f"git+file://{ROOT}",
        ],
        check=True, env=with_pytest.variables,
    )  # fmt: skip
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = {name.removeprefix("switchover/_data/") for name in wheel.namelist()}
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-tree", "-r", "--name-only", "HEAD", "images", "testcases"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(listed.stdout.split()) <= names
