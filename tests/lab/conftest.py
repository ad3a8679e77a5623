# SPDX-License-Identifier: GPL-2.0-or-later
"""The ladder of lab tests: ``lab`` (booted once per session) → ``shared`` (a guest) → ``clean`` around each test.

Everything here is real: QEMU, KVM inside the lab hosts, the VFIO device, SSH.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.case_runner import CaseRunner

from switchover.guests.warm import SavedGuests
from switchover.hosts.host import Host
from switchover.lab.borrow import borrow_lab
from switchover.lab.images import build_images
from switchover.lab.lab import Lab
from switchover.lab.release import list_leftovers
from switchover.record.record import Record
from switchover.run.fingerprint import collect_fingerprint
from switchover.run.pair import Pair, pair_of_lab
from switchover.run.repeat import Observer
from switchover.run.shared import SharedGuest
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


@pytest.fixture(scope="session")
def saved_guests(lab: Lab) -> Iterator[SavedGuests]:
    """Of the store of images; those that are not there are made once."""
    with SavedGuests() as guests:
        yield guests


@pytest.fixture(scope="session")
def shared(lab: Lab, saved_guests: SavedGuests) -> Iterator[SharedGuest]:
    """The guest that tests share: each finds it where the one before left it."""
    with SharedGuest() as guest:
        yield guest
    for host in lab.hosts():
        assert list_leftovers(host) == [], f"left on {host.name}"


@pytest.fixture(scope="session")
def observer(saved_guests: SavedGuests, shared: SharedGuest) -> Observer:
    """What cases of lab tests have in common."""
    return Observer(saved_guests=saved_guests, shared=shared)


def list_foreign(lab: Lab, shared: SharedGuest) -> list[str]:
    """What is on lab hosts and is not of the guest that tests share."""
    own: list[str] = []
    if shared.traveller is not None:
        side = shared.traveller.side
        own = [side.guest.files.directory, side.guest.files.tap, *(device.mediated.uuid for device in side.devices)]
    return [
        f"{host.name}: {line}"
        for host in lab.hosts()
        for line in list_leftovers(host)
        if not any(word in line for word in own)
    ]


@pytest.fixture(autouse=True)
def clean(lab: Lab, shared: SharedGuest, request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test leaves both lab hosts as it found them: with nothing of its own. A test that runs no cases has no guest
    beside it, which would have the same address.
    """
    if "run_case" not in request.fixturenames:
        shared.end()
    yield
    assert list_foreign(lab, shared) == []
    assert [line for host in lab.hosts() for line in list_oopses(host)] == []


@pytest.fixture
def run_case(pair: Pair, fingerprint: dict[str, Any], tmp_path: Path, observer: Observer) -> CaseRunner:
    return CaseRunner(pair, fingerprint, tmp_path, observer)


@pytest.fixture(scope="session")
def run_by_libvirt(
    pair: Pair, fingerprint: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, observer: Observer
) -> tuple[CaseRunner, Record]:
    """A migration through libvirt, made once for all tests that look at what came of it."""
    runner = CaseRunner(pair, fingerprint, tmp_path_factory.mktemp("libvirt"), observer)
    return runner, runner(with_driver(PRE_COPY_ON, "libvirt"))
