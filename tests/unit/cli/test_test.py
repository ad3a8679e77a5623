# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover test``: which tests, what has to be there before, and when it is no pass."""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import order_files

from switchover.cli import test as verb
from switchover.cli.main import main
from switchover.cli.test import (
    TIERS,
    _TierCounter,
    build_jobs_words,
    build_words,
    judge,
    list_images,
    render_left_out,
    require_machine,
)
from switchover.hosts import processes
from switchover.lab import images
from switchover.lab.recipes import RECIPES, is_compiled, order_recipes
from switchover.record.errors import ExitCode, NotReady, UsageError

ROOT = Path(__file__).parents[3]


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("words", [["no-such"], ["unit", "--list", "-k", "x"]])
def test_what_makes_no_sense(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A tier that does not exist, and a list of names for one's own, are the user's mistakes."""
    assert main(["test", *words]) == 2
    assert "fix: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "marker", "keyword"),
    [
        ([], "unit or quick", None),
        (["lab"], "unit or quick", None),
        (["lab", "--all"], None, None),
        (["-k", "cancel"], None, "cancel"),
        (["--all", "-k", "cancel"], None, "cancel"),
    ],
)
def test_which_tests(words: list[str], marker: str | None, keyword: str | None) -> None:
    """The quick set if nothing else is asked for; who names tests has all to choose from."""
    given = build_words(parse(*words), cpus=1)
    assert [given[at + 1] for at, word in enumerate(given) if word == "-m"] == ([marker] if marker else [])
    assert [given[at + 1] for at, word in enumerate(given) if word == "-k"] == ([keyword] if keyword else [])


@pytest.mark.parametrize(
    ("jobs", "selected", "cpus", "count"),
    [(None, False, 8, 2), (None, False, 1, 1), (None, True, 8, 1), (3, True, 1, 3), (1, False, 8, 1)],
)
def test_files_at_a_time(jobs: int | None, selected: bool, cpus: int, count: int) -> None:
    """Two where there are CPUs for them, one for a selection, or as many as are asked for; one needs no xdist."""
    words = build_jobs_words(jobs, selected=selected, cpus=cpus)
    assert words[:4] == (["--numprocesses", str(count), "--dist", "loadfile"] if count > 1 else [])


def test_the_quick_set_takes_nothing_that_is_compiled() -> None:
    """What it takes is made of packages; everything takes what the quick set does, and no kernel from source."""
    quick, everything = (list_images(TIERS, everything=everything) for everything in (False, True))
    assert list_images(["unit"], everything=True) == []
    assert not any(is_compiled(name) for name in quick)
    assert set(quick) < set(everything)
    assert [name for name in everything if is_compiled(name)] == ["qemu-x-allow-pre-copy"]
    assert not any(RECIPES[name].is_toolchain for name in quick)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One that has all programs, and no images yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SWITCHOVER_TEST_QEMU", raising=False)
    monkeypatch.setattr(processes, "require_program", lambda name, **_: name)
    monkeypatch.setattr(images, "NEEDED_BYTES", 0)
    return monkeypatch


def give_room(machine: pytest.MonkeyPatch, mib: int) -> None:
    machine.setattr(shutil, "disk_usage", lambda path: argparse.Namespace(free=mib << 20))


def test_no_room(machine: pytest.MonkeyPatch) -> None:
    """A disk on which the quick set fits and everything does not; what is built takes no room again."""
    quick = order_recipes(list_images(TIERS, everything=False))
    give_room(machine, images.compute_needed_bytes(quick) >> 20)
    require_machine(TIERS, everything=False)
    with pytest.raises(NotReady, match="free on the disk of") as caught:
        require_machine(TIERS, everything=True)
    assert "qemu-x-allow-pre-copy" in caught.value.why
    require_machine(["unit"], everything=True)
    machine.setattr(images, "find_image", lambda name: name)
    give_room(machine, 0)
    require_machine(TIERS, everything=True)


@pytest.mark.parametrize(("tier", "program"), [("unit", "socat"), ("qemu", "socat"), ("qemu", "qemu-system-x86_64")])
def test_a_program_that_is_missing(machine: pytest.MonkeyPatch, tier: str, program: str) -> None:
    """It is named before anything starts; a QEMU that is given need not be at home here."""

    def require(name: str, **_: object) -> None:
        if name == program:
            raise NotReady(f"{name} was not found")

    machine.setattr(processes, "require_program", require)
    machine.setattr(images, "find_image", lambda name: name)
    with pytest.raises(NotReady, match=f"{program} was not found"):
        require_machine([tier], everything=False)
    require_machine(["lab"], everything=False)
    if program.startswith("qemu"):
        machine.setenv("SWITCHOVER_TEST_QEMU", "/mine")
        require_machine([tier], everything=False)


@pytest.mark.parametrize("program", ["chromium", "chromedriver"])
def test_a_browser_is_for_all_tests(machine: pytest.MonkeyPatch, program: str) -> None:
    """The quick set takes none; all tests of the tier that looks at pages do."""

    def require(name: str, **_: object) -> None:
        if name == program:
            raise NotReady(f"{name} was not found")

    machine.setattr(processes, "require_program", require)
    machine.setattr(images, "find_image", lambda name: name)
    require_machine(TIERS, everything=False)
    require_machine(["unit", "qemu", "lab"], everything=True)
    with pytest.raises(NotReady, match=f"{program} was not found"):
        require_machine(["fronts"], everything=True)


def test_nothing_starts_where_it_cannot_run(machine: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without room for what is to be built: exit 3, and pytest was not started."""
    give_room(machine, 1)
    machine.setattr(pytest, "main", lambda *_, **__: pytest.fail("it was started"))
    assert main(["test", "lab", "--all"]) == 3
    assert "free some space" in capsys.readouterr().err


def make_report(tier: str, when: str = "call", outcome: str = "passed") -> pytest.TestReport:
    return pytest.TestReport(f"tests/{tier}/x.py::y", ("x.py", 1, "y"), {}, outcome, None, when)  # type: ignore[arg-type]


def count(*reports: pytest.TestReport) -> _TierCounter:
    counter = _TierCounter()
    for report in reports:
        counter.pytest_runtest_logreport(report)
    return counter


def test_the_count_of_tiers() -> None:
    """Tests that ran are counted by tier once; those that were skipped are counted as such."""
    counter = count(
        *(make_report("unit", when) for when in ("setup", "call", "teardown")),
        make_report("qemu", "call", "failed"),
        make_report("lab", "setup", "skipped"),
    )
    assert counter.ran == {"unit": 1, "qemu": 1}
    assert counter.skipped == 1


def test_a_known_bug_is_no_skipped_test() -> None:
    """A test that is expected to fail and does, did run."""
    report = make_report("unit", "call", "skipped")
    report.wasxfail = "known"
    counter = count(report)
    assert counter.skipped == 0
    assert counter.ran == {"unit": 1}


OK, FAILED, INTERRUPTED, NONE = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.INTERRUPTED,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


@pytest.mark.parametrize(
    ("code", "keyword", "exit_code"),
    [(OK, None, 0), (FAILED, None, 1), (INTERRUPTED, None, 130), (OK, "x", 0), (FAILED, "x", 1)],
)
def test_how_it_ends(code: int, keyword: str | None, exit_code: int) -> None:
    """As pytest, in this program's codes."""
    assert judge(code, count(make_report("unit")), ["unit"], keyword) == exit_code


def test_what_is_no_pass() -> None:
    """A tier that ran no test, a test that was skipped, a name that no test has; named tests may skip."""
    unit, skipped = make_report("unit"), make_report("unit", "setup", "skipped")
    for code in (OK, NONE):
        with pytest.raises(NotReady, match="tier lab ran no test"):
            judge(code, count(unit), ["unit", "lab"], None)
    with pytest.raises(NotReady, match="1 tests were skipped"):
        judge(OK, count(unit, skipped), ["unit"], None)
    with pytest.raises(UsageError, match="No test of unit matches 'x'"):
        judge(NONE, count(), ["unit"], "x")
    assert judge(OK, count(skipped), ["unit", "lab"], "x") == ExitCode.AS_EXPECTED


def test_the_list() -> None:
    """File by file what is left out, with how many there are, and the sums of the tiers."""
    kept = ["tests/unit/a.py::x", "tests/lab/b.py::y"]
    left_out = ["tests/lab/b.py::z[1]", "tests/lab/b.py::z[2]", "tests/lab/c.py::w"]
    assert render_left_out(kept, left_out) == (
        "tests/lab/b.py: 2 of 3\n  tests/lab/b.py::z[1]\n  tests/lab/b.py::z[2]\n"
        "tests/lab/c.py: 1 of 1\n  tests/lab/c.py::w\n"
        "left out of the quick set: unit 0 of 1, lab 3 of 4"
    )


def test_the_list_of_a_tier(tmp_path: Path) -> None:
    """It tells of the project's own tests, and neither runs nor builds anything."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "harness"), "HOME": str(tmp_path)}
    command = [sys.executable, "-B", "-m", "switchover", "test", "qemu", "--list"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")
    *listed, total = ran.stdout.splitlines()
    found = re.fullmatch(r"left out of the quick set: qemu (\d+) of (\d+)", total)
    assert found is not None
    assert 0 < int(found[1]) < int(found[2])
    assert sum(line.startswith("  tests/qemu/") for line in listed) == int(found[1])
    assert list(tmp_path.iterdir()) == []


SUITE = {
    "unit/test_a.py": "def test_a(): pass",
    "lab/test_b.py": """
import pytest
@pytest.fixture(scope="session", autouse=True)
def built(request):
    print("built", [name for item in request.session.items for mark in item.iter_markers("toolchains")
                    for name in mark.args])
@pytest.mark.quick
def test_c(): pass
@pytest.mark.toolchains("qemu-11.1")
def test_e(): pytest.skip("not in the quick set")
""",
}


def run_suite(tmp_path: Path, *words: str, **files: str) -> "subprocess.CompletedProcess[str]":
    """Tests of our own beside a copy of the file that makes tiers of folders."""
    (tmp_path / "tests").mkdir()
    for name in ("pyproject.toml", "tests/conftest.py"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for name, text in {**SUITE, **files}.items():
        path = tmp_path / "tests" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "-s", *words]
    return subprocess.run(
        [*command, *(f"tests/{tier}" for tier in ("unit", "lab"))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "harness"), "HOME": str(tmp_path)},
    )


def test_the_choice_is_made_before_anything_is_built(tmp_path: Path) -> None:
    """Fixtures see the tests of the quick set only, and a test that is left out does not count as skipped."""
    ran = run_suite(tmp_path, "-m", verb.QUICK)
    assert "built []" in ran.stdout
    assert "2 passed, 1 deselected" in ran.stdout
    assert ran.returncode == 0, ran.stdout


def test_long_files_start_first() -> None:
    """By the number of their tests, one of the lab counting as many of the others; equal ones stay in their order."""
    tests = [("unit/a", "unit")] * 200 + [("qemu/b", "qemu")] + [("lab/c", "lab")] + [("lab/d", "lab")] * 2
    assert order_files([("unit/z", "unit"), ("unit/y", "unit"), *tests]) == [
        "lab/d",
        "lab/c",
        "unit/a",
        "qemu/b",
        "unit/z",
        "unit/y",
    ]


@pytest.mark.parametrize(
    ("name", "why"), [("qemu-x-allow-pre-copy", "which is compiled"), ("no-such", "knows nothing")]
)
def test_what_a_test_may_take(tmp_path: Path, name: str, why: str) -> None:
    """The quick set compiles nothing, and what tests take is among what is looked for before they start."""
    text = f"import pytest\n@pytest.mark.quick\n@pytest.mark.toolchains({name!r})\ndef test_f(): pass\n"
    ran = run_suite(tmp_path, **{"lab/test_f.py": text})
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR
    assert why in ran.stdout + ran.stderr
