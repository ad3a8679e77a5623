# SPDX-License-Identifier: GPL-2.0-or-later
"""The ladder of lab tests: ``lab`` (booted once per session, shared) → ``pair`` → ``clean`` around each test.

Everything here is real: QEMU, KVM inside the lab hosts, the VFIO device, SSH.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.case_runner import CaseRunner

from switchover.hosts.host import Host
from switchover.lab.borrow import borrow_lab
from switchover.lab.images import build_images
from switchover.lab.lab import Lab
from switchover.lab.release import list_leftovers
from switchover.record.record import Record
from switchover.run.fingerprint import collect_fingerprint
from switchover.run.pair import Pair, pair_of_lab
from switchover.run.standard import PRE_COPY_ON
from switchover.scenarios.case import with_driver


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two lab hosts, for all tests of the session. QEMUs that tests need are built before it starts."""
    marks = [mark for item in request.session.items for mark in item.iter_markers("toolchains")]
    build_images(sorted({name for mark in marks for name in mark.args}))
    with borrow_lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def pair(lab: Lab) -> Pair:
    return pair_of_lab(lab)


@pytest.fixture(scope="session")
def fingerprint(lab: Lab, pair: Pair) -> dict[str, Any]:
    return collect_fingerprint(lab, pair)


def list_oopses(host: Host) -> list[str]:
    script = "dmesg | grep -E 'BUG:|Oops|WARNING:|Call Trace|general protection'; true"
    return host.run(["sh", "-c", script]).text.splitlines()


@pytest.fixture(autouse=True)
def clean(lab: Lab) -> Iterator[None]:
    """Each test leaves both lab hosts as it found them: with nothing of its own."""
    yield
    for host in lab.hosts():
        assert list_leftovers(host) == [], f"left on {host.name}"
        assert list_oopses(host) == []


@pytest.fixture
def run_case(pair: Pair, fingerprint: dict[str, Any], tmp_path: Path) -> CaseRunner:
    return CaseRunner(pair, fingerprint, tmp_path)


@pytest.fixture(scope="session")
def run_by_libvirt(
    pair: Pair, fingerprint: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[CaseRunner, Record]:
    """A migration through libvirt, made once for all tests that look at what came of it."""
    runner = CaseRunner(pair, fingerprint, tmp_path_factory.mktemp("libvirt"))
    return runner, runner(with_driver(PRE_COPY_ON, "libvirt"))
