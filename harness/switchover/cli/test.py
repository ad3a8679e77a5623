# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover test``: the project's own tests, tier by tier; a tier that cannot run is a failure, never a pass."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from switchover.record.errors import ExitCode, NotReady, UsageError

if TYPE_CHECKING:
    import pytest

TIERS = ("unit", "qemu", "lab")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tiers", nargs="*", metavar="TIER", help=f"of {', '.join(TIERS)}; default: all")
    parser.add_argument("-k", dest="keyword", metavar="EXPRESSION", help="only tests that match, as pytest's -k")
    parser.add_argument("-x", dest="first", action="store_true", help="stop at the first failure")


def run(arguments: argparse.Namespace) -> int:
    unknown = [tier for tier in arguments.tiers if tier not in TIERS]
    if unknown:
        raise UsageError(f"There is no tier {unknown[0]!r}.", fix=f"one of: {', '.join(TIERS)}")
    root = Path(__file__).resolve().parents[3]
    if not (root / "tests").is_dir():
        raise UsageError("The tests come with the source, not with the installed package.", fix="clone the repository")
    try:
        import pytest
    except ImportError as error:
        raise NotReady("pytest is not installed.", fix="run ./switchover test from a clone") from error
    tiers = arguments.tiers or list(TIERS)
    words = ["--rootdir", str(root), "-c", str(root / "pyproject.toml"), "--durations=30"]
    words += [str(root / "tests" / tier) for tier in tiers]
    words += ["-k", arguments.keyword] if arguments.keyword else []
    words += ["-x"] if arguments.first else []
    counter = _TierCounter()
    code = int(pytest.main(words, plugins=[counter]))
    if code == pytest.ExitCode.INTERRUPTED:
        return ExitCode.INTERRUPTED
    idle = [tier for tier in tiers if not counter.ran.get(tier)]
    skipped = counter.skipped
    if code == pytest.ExitCode.OK and not arguments.keyword and (idle or skipped):
        raise NotReady(
            f"{f'tier {idle[0]} ran no test' if idle else f'{skipped} tests were skipped'}: that is not a pass."
        )
    return ExitCode.AS_EXPECTED if code == pytest.ExitCode.OK else ExitCode.NOT_AS_EXPECTED


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
            tier = report.nodeid.split("/")[1]
            self.ran[tier] = self.ran.get(tier, 0) + 1
