# SPDX-License-Identifier: GPL-2.0-or-later
"""The course of a device's migration: each claim holds for a real one, and fails for one that went otherwise."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.builders import golden_events, make_truth
from tests.unit.checks.evidences import make_evidence, make_some

from switchover.checks import dma, moved_bytes, pre_copy, states
from switchover.checks.evidence import DeviceEvidence, SideEvidence
from switchover.checks.states import check_traced_states
from switchover.devices.reference import Knobs
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.migration.traces import TraceEvent
from switchover.record.checks import CheckId
from switchover.record.measurement import Check
from switchover.record.record import VerdictName
from switchover.record.units import MIB
from switchover.scenarios.case import Case, DeviceSpec
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.faults import Fault

DEVICE = "1fa7cadf-3694-49dc-af72-d202b30c70c9"
PATH = ("pre-copy", "pre-copy-p2p", "stop-copy", "stop")
OTHER_PATH = ("running-p2p", "stop", "stop-copy", "stop")
STOPPED_NS = 1795301509_077010_000
COUNTERS = {"precopy_bytes_read": 64 * MIB, "stop_copy_bytes_read": MIB, "enomsg": 255}
CASE = Case("x")
PAUSED = Case("x", faults=(Fault(Action.PAUSE_GUEST, Phase.BEFORE),))


def make_course(**changes: Any) -> DeviceEvidence:
    """Of the golden migration. ``counters``, ``knobs`` and ``stopped_ns`` change parts of its device."""
    counters = COUNTERS | changes.pop("counters", {})
    knobs = replace(Knobs(initial_bytes=64 * MIB, stop_copy_bytes=MIB), **changes.pop("knobs", {}))
    at_ns = changes.pop("stopped_ns", STOPPED_NS)
    course = DeviceEvidence(
        place="source",
        spec=DeviceSpec(knobs=knobs),
        name=DEVICE,
        states=PATH,
        log=golden_events("source"),
        properties={"migration-events": "on"},
        before=make_truth("RUNNING"),
        after=make_truth("RUNNING", "PRE_COPY", "PRE_COPY_P2P", "STOP_COPY", "STOP", at_ns=at_ns, **counters),
    )
    return replace(course, **changes)


def check_source(course: DeviceEvidence, case: Case) -> list[Check]:
    """What is claimed of a device of the source, besides its states by events and by traces."""
    evidence = replace(make_evidence(case=case), source=SideEvidence("source", devices=(course,)))
    rules = (*states.CHECKS, *moved_bytes.CHECKS, *pre_copy.CHECKS, *dma.CHECKS)
    others = (CheckId.DEVICE_STATES, CheckId.DEVICE_STATES_TRACED)
    return [check for check in make_some(evidence, rules=rules) if check.id not in others]


def check_trace(course: DeviceEvidence, case: Case) -> Check:
    (check,) = check_traced_states(course, case)
    return check


def failed(course: DeviceEvidence, case: Case = CASE) -> list[str]:
    return [str(check.id) for check in check_source(course, case) if not check.passed]


def ids(course: DeviceEvidence, case: Case = CASE) -> list[str]:
    """Each once, and all of this device."""
    checks = list(check_source(course, case))
    assert {check.subject for check in checks} == {"source"}
    assert all(check.name.startswith("source: ") for check in checks)
    found = [str(check.id) for check in checks]
    assert len(set(found)) == len(found)
    return found


def without(name: str) -> list[TraceEvent]:
    return [event for event in golden_events("source") if event.name != name]


def test_a_real_migration_is_in_order() -> None:
    """All claims are made of it, and all hold; the whole log's last states are those of the events."""
    course = make_course()
    assert failed(course) == []
    assert len(ids(course)) == 8
    assert check_trace(course, CASE).passed


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"states": OTHER_PATH}, "device.precopy.used"),
        ({"knobs": {"pre_copy": False}}, "device.precopy.used"),
        ({"properties": {"x-allow-pre-copy": "off"}}, "device.precopy.used"),
        ({"counters": {"dirty_bytes_read": 4096}}, "bytes.vfio.adds-up"),
        ({"knobs": {"initial_bytes": 63 * MIB, "stop_copy_bytes": 2 * MIB}}, "device.precopy.initial-bytes"),
        ({"counters": {"enomsg": 0}}, "device.precopy.enomsg"),
        ({"log": without("vfio_save_block_precopy_empty_hit")}, "device.precopy.enomsg"),
        ({"stopped_ns": STOPPED_NS - 10**9}, "device.stop-copy-in-downtime"),
        ({"counters": {"precopy_bytes_read": 63 * MIB, "stop_copy_bytes_read": 2 * MIB}}, "device.pending.exact"),
        ({"knobs": {"dirty_bytes_per_sec": 4096}}, "device.precopy.dirty-bytes"),
        ({"knobs": {"dma_pages_per_sec": 100}}, "device.dma-goes-on"),
    ],
)
def test_claims_that_do_not_hold(changes: dict[str, Any], claim: str) -> None:
    """One thing otherwise fails the one claim that is about it, which says what was seen instead."""
    course = make_course(**changes)
    assert failed(course) == [claim]
    (check,) = [check for check in check_source(course, CASE) if not check.passed]
    assert check.expected != check.observed


def test_traced_sizes_that_are_out_of_order() -> None:
    """Dirty bytes before initial ones, and an estimate above what there is, are found in the traces."""
    text = f"({DEVICE}) precopy 4 postcopy 0 stopcopy size 4 precopy initial size 9 precopy dirty size 1"
    late = TraceEvent(STOPPED_NS, "vfio_state_pending_exact", text)
    found = failed(
        make_course(log=[*golden_events("source"), late], knobs={"dirty_bytes_per_sec": 1}),
        replace(CASE, settings=MigrationSettings(settle=False)),
    )
    assert found == ["device.pending.estimate", "device.precopy.initial-first"]


def test_why_pre_copy_is_not_used() -> None:
    """The claim names all that stands in its way."""
    course = make_course(states=OTHER_PATH, knobs={"pre_copy": False}, properties={"x-allow-pre-copy": "off"})
    check = check_source(course, PAUSED)[0]
    assert check.passed
    assert check.expected == (
        "no PRE_COPY (the device does not offer it, x-allow-pre-copy is off, the guest was paused)"
    )


def test_a_paused_guests_device_is_not_put_into_pre_copy() -> None:
    """One that is all the same fails; one that is not is in order."""
    assert failed(make_course(), PAUSED) == ["device.precopy.used"]
    assert "device.precopy.used" not in failed(make_course(states=OTHER_PATH), PAUSED)


def test_a_guest_that_is_paused_on_the_way_stops_its_device_early() -> None:
    """Then STOP_COPY may come before the downtime."""
    on_the_way = Case("x", faults=(Fault(Action.PAUSE_GUEST, Phase.ACTIVE),))
    assert failed(make_course(stopped_ns=STOPPED_NS - 10**9), on_the_way) == []
    assert failed(make_course(stopped_ns=STOPPED_NS - 10**9), PAUSED) != []


@pytest.mark.parametrize(
    ("wanted", "states", "right"),
    [("on", PATH, True), ("on", OTHER_PATH, False), ("off", OTHER_PATH, True), ("off", PATH, False)],
)
def test_what_the_case_expects_of_pre_copy(wanted: Any, states: tuple[str, ...], right: bool) -> None:
    """An expectation is a claim of its own, with its reason, whatever the device offers and QEMU allows."""
    case = Case("x", expectation=Expectation(VerdictName.COMPLETED, because="the patch says so", pre_copy=wanted))
    (check,) = [c for c in check_source(make_course(states=states), case) if c.id == CheckId.DEVICE_PRECOPY_EXPECTED]
    assert check.passed is right
    assert check.expected == f"{wanted}: the patch says so"
    if wanted == "on":
        bare = make_course(states=OTHER_PATH, knobs={"pre_copy": False})
        assert CheckId.DEVICE_PRECOPY_EXPECTED not in ids(bare, case), "of a device that offers none"


def test_without_pre_copy_nothing_is_said_of_it() -> None:
    """A device that only has stop-copy: its path, its bytes, its pending size and when it stopped."""
    course = make_course(states=OTHER_PATH, knobs={"pre_copy": False})
    assert len(ids(course)) == 5
    assert not any(one.startswith("device.precopy.") for one in ids(course)[1:])


def test_without_traces_only_the_device_is_asked() -> None:
    """A QEMU that traces nothing is not taken for one that did nothing."""
    assert ids(make_course(name="")) == [
        "device.precopy.used",
        "bytes.vfio.adds-up",
    ]


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"knobs": {"dirty_bytes_per_sec": 4096}, "counters": {"enomsg": 0}}, MigrationSettings(settle=False)),
        (
            {"counters": {"enomsg": 0, "precopy_bytes_read": 32 * MIB, "stop_copy_bytes_read": 33 * MIB}},
            MigrationSettings(settle=False),
        ),
    ],
)
def test_a_device_that_was_not_drained_was_not_empty(changes: dict[str, Any], settings: MigrationSettings) -> None:
    """A switchover that came before pre-copy had read all need have met no ENOMSG, in the traces neither."""
    course = make_course(**changes, log=without("vfio_save_block_precopy_empty_hit"))
    assert "device.precopy.enomsg" not in failed(course, replace(CASE, settings=settings))


def test_a_qemu_that_does_not_trace_enomsg() -> None:
    """Before 10.0 the device's own counter has to do."""
    trace = [event for event in without("vfio_save_block_precopy_empty_hit") if event.name != "vfio_save_iterate_start"]
    assert failed(make_course(log=trace)) == []
    assert failed(make_course(log=trace, counters={"enomsg": 0})) != []


@pytest.mark.parametrize(
    ("word", "running", "stopped", "right"),
    [("off", 0, 3, True), ("off", 1, 3, False), ("off", 0, 0, False), ("on", 2, 3, True), ("on", 0, 3, False)],
)
def test_dirty_bitmaps(word: str, running: int, stopped: int, right: bool) -> None:
    """With the property off none is asked for before the guest is stopped, and some are then; with it on they are."""
    bitmaps = [TraceEvent(at, "vfio_get_dirty_bitmap", "") for at in [0] * running + [STOPPED_NS + 10**9] * stopped]
    properties = {"x-pre-copy-dirty-page-tracking": word}
    course = make_course(log=[*golden_events("source"), *bitmaps], properties=properties)
    found = failed(course)
    assert (found == []) is right
    assert not right or CheckId.DEVICE_DIRTY_BITMAPS in ids(course)
    assert CheckId.DEVICE_DIRTY_BITMAPS not in ids(course, PAUSED), "a guest that never ran"


def test_states_by_traces() -> None:
    """One state more or less, or another one, is found; what the device went through before does not matter."""
    for path in (PATH[:-1], PATH[1:], OTHER_PATH, ("running", *PATH), ()):
        assert not check_trace(make_course(states=path), CASE).passed
    assert check_trace(make_course(), CASE).passed
    ready = (*PATH[:1], "pre-copy-p2p-prepare", *PATH[1:])
    assert check_trace(make_course(states=ready), CASE).passed, "QEMU 11.1 only gets ready"
    assert not check_trace(make_course(log=[]), CASE).passed


def test_states_by_traces_of_a_guest_that_was_paused_first() -> None:
    """What the pause itself did is before the migration's status, and counts."""
    before = ("running-p2p", "running")  # of the golden log, before the migration
    assert check_trace(make_course(states=(*before, *PATH)), PAUSED).passed
    for path in (("running", *before, *PATH), (*before, *PATH[1:]), OTHER_PATH):
        assert not check_trace(make_course(states=path), PAUSED).passed
