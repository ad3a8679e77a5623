# SPDX-License-Identifier: GPL-2.0-or-later
"""The ladder of lab tests: ``testbed`` (a lab, booted once per session, and a guest that cases share) → ``clean``
around each test → ``run_case``. It is made of public names only, and so are the tests in ``cases/``, which run cases;
what tests of the rooms themselves take besides is in ``inside.py``.

Everything here is real: QEMU, KVM inside the lab hosts, the VFIO device, SSH.
"""

from collections.abc import Iterator

import pytest
from tests.lab.case_runner import CaseRunner
from tests.lab.inside import fingerprint as fingerprint
from tests.lab.inside import lab as lab
from tests.lab.inside import pair as pair
from tests.lab.oopses import list_oopses
from tests.lab.standard import BY_LIBVIRT

from switchover import Record, Testbed, open_lab


@pytest.fixture(scope="session")
def testbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """Two lab hosts, for all tests of the session. QEMUs that tests need are built before the lab starts."""
    marks = [mark for item in request.session.items for mark in item.iter_markers("toolchains")]
    programs = sorted({name for mark in marks for name in mark.args})
    output = tmp_path_factory.mktemp("runs")
    with open_lab(programs=programs, output=output, title="test", history=False) as testbed:
        yield testbed
        testbed.release_guests()
        assert testbed.list_leftovers() == []


@pytest.fixture(autouse=True)
def clean(testbed: Testbed, request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test leaves both lab hosts as it found them: with nothing of its own. A test that runs no cases has no guest
    beside it, which would have the same address.
    """
    if "run_case" not in request.fixturenames:
        testbed.release_guests()
    yield
    assert testbed.list_leftovers() == []
    assert [line for host in testbed.hosts for line in list_oopses(host)] == []


@pytest.fixture
def run_case(testbed: Testbed) -> CaseRunner:
    return CaseRunner(testbed)


@pytest.fixture(scope="session")
def run_by_libvirt(testbed: Testbed) -> Record:
    """A migration through libvirt, made once for all tests that look at what came of it."""
    return testbed.run(BY_LIBVIRT)
