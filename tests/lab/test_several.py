# SPDX-License-Identifier: GPL-2.0-or-later
"""Several guests on the same hosts at a time: by the parts of a repeat, since a testbed runs one case at a time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.record.record import VerdictName
from switchover.record.rundir import make_run_directory
from switchover.record.units import MIB
from switchover.runner.case_runner import run_repeat
from switchover.runner.host_pair import HostPair
from switchover.scenarios.case import DeviceSpec, SideSpec, make_case

KNOBS = Knobs(initial_bytes=8 * MIB, stop_copy_bytes=2 * MIB)
FIRST = GuestSpec(name="first")
SECOND = GuestSpec(name="second", mac="52:54:00:53:67:02", address="10.77.0.102")


def test_two_guests_migrate_past_one_another(pair: HostPair, fingerprint: dict[str, Any], tmp_path: Path) -> None:
    """Two guests with a device each, at the same time and in opposite directions: each arrives whole, none is mixed up
    with the other.
    """
    directory = make_run_directory("test", tmp_path)
    cases = [
        make_case(guest.name, SideSpec(guest, (DeviceSpec(knobs=KNOBS),)), heartbeat_us=0) for guest in (FIRST, SECOND)
    ]
    pairs = (pair, pair.reversed())
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(run_repeat, case, 1, its_pair, directory.repeat(case.id, 1), fingerprint)
            for case, its_pair in zip(cases, pairs, strict=True)
        ]
        records = [run.result() for run in runs]
    assert [(record.verdict.name, record.mismatch) for record in records] == [(VerdictName.COMPLETED, "")] * 2
