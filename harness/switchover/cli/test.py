# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover test``: the project's own tests, tier by tier; a tier that cannot run is a failure, never a pass.

The quick set is a matter of markers: all of the tier unit, and of the others what is marked ``quick`` where it stands.
"""

import argparse
import contextlib
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from switchover.cli.arguments import parse_positive
from switchover.hosts import processes
from switchover.lab.images import build_images, require_buildable
from switchover.lab.recipes import LAB_IMAGES, RECIPES, is_compiled
from switchover.record.errors import ExitCode, NotReady, UsageError

if TYPE_CHECKING:
    import pytest

TIERS = ("unit", "qemu", "lab", "fronts")
QUICK = "unit or quick"
"""The quick set, as pytest's -m."""
JOBS = 2
"""A lab in use takes less than one CPU on average: it waits for guests, links and deadlines as much as it computes."""
_PROGRAMS = (
    ("socat", ("unit", "qemu"), "run scripts of cases on this machine"),
    ("qemu-system-x86_64", ("qemu",), "ask a QEMU that is at home here what it can"),
)
"""Program, tiers, what for: those that ``./switchover test`` installs."""
_PROGRAMS_OF_ALL = (
    *((program, ("fronts",), "look at pages in a browser") for program in ("chromium", "chromedriver")),
    *((program, ("fronts",), "complete command lines in it") for program in ("zsh", "fish")),
)
"""Those that ``./switchover test --all`` installs besides."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tiers", nargs="*", metavar="TIER", help=f"tiers to test: {', '.join(TIERS)}; default: all")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--all",
        dest="everything",
        action="store_true",
        help="run every test of the tiers; default: the quick set, which is all of unit and what is marked quick",
    )
    which.add_argument("--list", action="store_true", help="list the tests that the quick set leaves out, and run none")
    parser.add_argument(
        "-k", dest="keyword", metavar="EXPRESSION", help="run all tests of the tiers that match, as pytest's -k does"
    )
    parser.add_argument("-x", dest="first", action="store_true", help="stop at the first failure")
    parser.add_argument(
        "-j",
        "--jobs",
        type=parse_positive,
        metavar="N",
        help="run N files of tests at a time, each with a lab of its own; "
        f"default: {JOBS} for whole tiers on as many CPUs, else 1",
    )


def run(arguments: argparse.Namespace) -> int:
    unknown = [tier for tier in arguments.tiers if tier not in TIERS]
    if unknown:
        raise UsageError(f"There is no tier {unknown[0]!r}.", fix=f"one of: {', '.join(TIERS)}")
    if arguments.list and arguments.keyword:
        raise UsageError("--list shows whole tiers, and cannot be combined with -k.", fix="leave -k out")
    root = Path(__file__).resolve().parents[3]
    if not (root / "tests").is_dir():
        raise UsageError("The tests come with the source, not with the installed package.", fix="clone the repository")
    try:
        import pytest
    except ImportError as error:
        raise NotReady("pytest is not installed.", fix="run ./switchover test from a clone") from error
    tiers = [tier for tier in TIERS if tier in (arguments.tiers or TIERS)]
    words = ["--rootdir", str(root), "-c", str(root / "pyproject.toml")]
    words += [str(root / "tests" / tier) for tier in tiers]
    if arguments.list:
        return _list_left_out(words)
    if not arguments.keyword:
        require_machine(tiers, everything=arguments.everything)
        build_images(list_images(tiers, everything=arguments.everything))
    words += build_words(arguments, cpus=len(os.sched_getaffinity(0)))
    counter = _TierCounter()
    code = int(pytest.main(words, plugins=[counter]))
    return judge(code, counter, tiers, arguments.keyword)


def list_images(tiers: Sequence[str], *, everything: bool) -> list[str]:
    """What tests of some tiers take. The quick set takes what is made of packages only, and what a lab is started from;
    ``everything``: also QEMUs, kernels and disks besides, and no kernel that would have to be compiled.
    """
    names: list[str] = []
    if "qemu" in tiers:
        names += ["guest", "labhost-qemu"]
    if "lab" in tiers or "fronts" in tiers:
        names += LAB_IMAGES
    if everything and "qemu" in tiers:
        names += [name for name, recipe in RECIPES.items() if recipe.is_kernel and not is_compiled(name)]
    if everything and "lab" in tiers:
        names += [name for name, recipe in RECIPES.items() if recipe.is_toolchain and not recipe.is_kernel]
        names += ["userdisk"]
    return list(dict.fromkeys(names))


def require_machine(tiers: Sequence[str], *, everything: bool) -> None:
    """That the tiers can run on this machine, before anything is started; nothing is built.

    :raises NotReady: a program is missing, or there is no room for the images that are not built yet
    """
    for program, wanting, purpose in (*_PROGRAMS, *(_PROGRAMS_OF_ALL if everything else ())):
        given = program.startswith("qemu-") and os.environ.get("SWITCHOVER_TEST_QEMU")
        if not given and set(wanting) & set(tiers):
            processes.require_program(program, needed_to=purpose)
    require_buildable(list_images(tiers, everything=everything))


def build_words(arguments: argparse.Namespace, *, cpus: int) -> list[str]:
    """pytest's arguments, but for where the tests are. Who names tests means all of them."""
    words = ["--durations=30"]
    if arguments.keyword:
        words += ["-k", arguments.keyword]
    elif not arguments.everything:
        words += ["-m", QUICK]
    words += ["-x"] if arguments.first else []
    return words + build_jobs_words(arguments.jobs, selected=bool(arguments.keyword), cpus=cpus)


def build_jobs_words(jobs: int | None, *, selected: bool, cpus: int) -> list[str]:
    """pytest-xdist's arguments: a file's tests stay together, since they share guests and follow one another. Files
    start in the order of ``tests/conftest.py``, the longest first.
    """
    count = jobs or (1 if selected else min(JOBS, cpus))
    return ["--numprocesses", str(count), "--dist", "loadfile", "--no-loadscope-reorder"] if count > 1 else []


def judge(code: int, counter: "_TierCounter", tiers: Sequence[str], keyword: str | None) -> int:
    """The exit code, from that of pytest and from what ran.

    :raises NotReady: a tier ran no test, or a test was skipped; :raises UsageError: no test has such a name
    """
    import pytest

    if code == pytest.ExitCode.INTERRUPTED:
        return ExitCode.INTERRUPTED
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return ExitCode.NOT_AS_EXPECTED
    if keyword:
        if code == pytest.ExitCode.NO_TESTS_COLLECTED:
            raise UsageError(f"No test of {', '.join(tiers)} matches {keyword!r}.", fix="pytest --collect-only tests")
        return ExitCode.AS_EXPECTED
    idle = [tier for tier in tiers if not counter.ran.get(tier)]
    if idle or counter.skipped:
        raise NotReady(
            f"{f'tier {idle[0]} ran no test' if idle else f'{counter.skipped} tests were skipped'}: that is not a pass."
        )
    return ExitCode.AS_EXPECTED


class _TierCounter:
    """A pytest plugin: how many tests of each tier were executed, and how many were skipped.

    A failure is shown when it happens: the run of the lab is long, and may be ended before its own report.
    """

    def __init__(self) -> None:
        self.ran: dict[str, int] = {}
        self.skipped = 0

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        if report.failed:
            print(f"\n{report.nodeid}\n{report.longreprtext}", flush=True)
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped += 1
        elif report.when == "call":
            tier = find_tier(report.nodeid)
            self.ran[tier] = self.ran.get(tier, 0) + 1


def find_tier(nodeid: str) -> str:
    return nodeid.split("/")[1]


def _list_left_out(words: Sequence[str]) -> int:
    """Collects, and runs and builds nothing."""
    import pytest

    listing = _Listing()
    with contextlib.redirect_stdout(io.StringIO()):
        options = ["-m", QUICK, "--collect-only", "-q", "-p", "no:cacheprovider"]
        code = int(pytest.main([*words, *options], plugins=[listing]))
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise NotReady("The tests could not be collected.", why="\n".join(listing.errors))
    print(render_left_out(listing.kept, listing.left_out))
    return ExitCode.AS_EXPECTED


class _Listing:
    """A pytest plugin: the tests of the quick set, and those that it leaves out."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.left_out: list[str] = []
        self.errors: list[str] = []

    def pytest_collectreport(self, report: "pytest.CollectReport") -> None:
        if report.failed:
            self.errors.append(report.longreprtext)

    def pytest_deselected(self, items: "Sequence[pytest.Item]") -> None:
        self.left_out += [item.nodeid for item in items]

    def pytest_collection_finish(self, session: "pytest.Session") -> None:
        self.kept += [item.nodeid for item in session.items]


def render_left_out(kept: Sequence[str], left_out: Sequence[str]) -> str:
    """Tests that the quick set leaves out, file by file, with how many there are in all."""
    here, there = (Counter(nodeid.partition("::")[0] for nodeid in ids) for ids in (kept, left_out))
    lines = []
    for file, count in there.items():
        lines.append(f"{file}: {count} of {count + here[file]}")
        lines += [f"  {nodeid}" for nodeid in left_out if nodeid.partition("::")[0] == file]
    sums = []
    for tier in TIERS:
        out, of = (sum(find_tier(nodeid) == tier for nodeid in ids) for ids in (left_out, [*kept, *left_out]))
        sums += [f"{tier} {out} of {of}"] if of else []
    return "\n".join([*lines, f"left out of the quick set: {', '.join(sums)}"])
