# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix of faults and phases: what is done to a migration, and what must come of it."""

from dataclasses import replace
from typing import Any

from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.migration.phases import Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.record import VerdictName
from switchover.record.units import MIB
from switchover.run.case import Case, DeviceSpec, SideSpec
from switchover.run.expectation import Expectation
from switchover.run.faults import Action, Fault

KNOBS = Knobs(initial_bytes=16 * MIB, stop_copy_bytes=16 * MIB, save_bytes_per_sec=16 * MIB)
"""A second of pre-copy and a second of stop-copy: long enough to be met."""
GUEST = GuestSpec(memory_mib=192)
SIDE = SideSpec(GUEST, (DeviceSpec(knobs=KNOBS),))
PAUSED = {"pause_before_switchover": True}


def cell(id: str, verdict: VerdictName, side: str = "", reason: str = "", **how: Any) -> Case:
    """``how``: ``faults``; ``source`` and ``destination`` as knobs that differ; ``guest``: the destination's; or settings."""
    faults = how.pop("faults", ())
    knobs = {name: replace(KNOBS, **how.pop(name, {})) for name in ("source", "destination")}
    arrival = SideSpec(
        how.pop("guest", GUEST), (DeviceSpec(knobs=knobs["destination"], type=how.pop("type", "refdev-4vec")),)
    )
    return Case(
        id,
        SideSpec(GUEST, (DeviceSpec(knobs=knobs["source"]),)),
        arrival,
        MigrationSettings(**({"hang_s": 9.0} | how)),
        faults,
        Expectation(verdict, side, reason),
    )


def _cells() -> list[Case]:
    V, A, P = VerdictName, Action, Phase
    cells = []
    for phase in (P.SETUP, P.ACTIVE, P.DEVICE_PRE_COPY, P.PRE_SWITCHOVER, P.DEVICE_STOP_COPY):
        paused = PAUSED if phase is P.PRE_SWITCHOVER else {}
        cells.append(cell(f"cancel in {phase}", V.CANCELLED, faults=(Fault(A.CANCEL, phase),), **paused))
    for phase in (P.SETUP, P.DEVICE_PRE_COPY, P.PRE_SWITCHOVER, P.DEVICE_STOP_COPY):
        paused = PAUSED if phase is P.PRE_SWITCHOVER else {}
        fault = (Fault(A.KILL_DESTINATION, phase),)
        cells.append(cell(f"kill destination in {phase}", V.CRASHED, "destination", faults=fault, **paused))
    cells += [
        cell("cut link before setup", V.HUNG, "destination", "setup", faults=(Fault(A.CUT_LINK, P.BEFORE),)),
        cell(
            "cut link in device pre-copy",
            V.HUNG,
            "destination",
            "nothing is sent",
            faults=(Fault(A.CUT_LINK, P.DEVICE_PRE_COPY),),
        ),
        cell(
            "cut link in device stop-copy",
            V.HUNG,
            "destination",
            "nothing is sent",
            faults=(Fault(A.CUT_LINK, P.DEVICE_STOP_COPY),),
        ),
        cell("slow link in device pre-copy", V.COMPLETED, faults=(Fault(A.SLOW_LINK, P.DEVICE_PRE_COPY, 100_000_000),)),
        cell(
            "destination memory short", V.FAILED, "destination", "Size mismatch|size", guest=GuestSpec(memory_mib=128)
        ),
        cell("wrong device type at the destination", V.FAILED, "destination", "", type="refdev-16vec"),
    ]
    for state in ("PRE_COPY", "PRE_COPY_P2P", "STOP_COPY", "STOP"):
        cells.append(cell(f"source fails at {state}", V.FAILED, "source", source={"fail_at": state}))
    for state in ("RESUMING", "load", "RUNNING_P2P", "RUNNING"):
        cells.append(cell(f"destination fails at {state}", V.FAILED, "destination", destination={"fail_at": state}))
    for name, at in (("pre-copy", 4 * MIB), ("stop-copy", 20 * MIB)):
        for device in ("stays", "error"):
            cells.append(
                cell(
                    f"source fails reading in {name}, device {device}",
                    V.FAILED,
                    "source",
                    source={"fail_at": f"read:{at}", "fail_device": device},
                )
            )
        cells.append(
            cell(
                f"destination fails loading in {name}", V.FAILED, "destination", destination={"fail_at": f"write:{at}"}
            )
        )
    cells += [
        cell("stream corrupt", V.FAILED, "destination", source={"corrupt": "stream"}),
        cell("state corrupt", V.CHECKS_FAILED, "", "checksum", destination={"corrupt": "state"}),
        cell(
            "destination stuck while loading",
            V.HUNG,
            "destination",
            "no progress",
            destination={"load_initial_ms": 600_000},
        ),
        cell(
            "not converging: limit too small for the state",
            V.HUNG,
            "source",
            "not converging",
            settle=False,
            downtime_limit_ms=50,
        ),
        cell(
            "ack-starved: the acknowledgement is wanted and never given",
            V.HUNG,
            "source",
            "ack-starved",
            switchover_ack=True,
            destination_capabilities={"switchover-ack": False},
            settle=False,
        ),
    ]
    cells += [
        cell(f"kill source in {phase}", V.CRASHED, "source", faults=(Fault(A.KILL_SOURCE, phase),))
        for phase in (P.SETUP, P.DEVICE_PRE_COPY, P.DEVICE_STOP_COPY)
    ]
    cells.append(
        cell(
            "panic guest in device pre-copy",
            V.CRASHED,
            "source",
            "panic",
            faults=(Fault(A.PANIC_GUEST, P.DEVICE_PRE_COPY),),
        )
    )
    return cells


CELLS = _cells()
