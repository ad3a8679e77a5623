# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of checks: ids are stable, and all of them are made; older records have theirs from their sentences."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.record.checks import CheckId, Subjects, name_device, parse_check_id
from switchover.record.measurement import check_equal, make_check
from switchover.record.sentences import find_by_sentence

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "unit" / "data" / "check-ids.txt"
ALL = list(CheckId)


def test_ids_stay() -> None:
    """Users' tests and records have them: none is ever renamed or taken away. A new one is added to the file."""
    assert GOLDEN.read_text(encoding="utf-8").split() == ALL


def test_ids_are_plain() -> None:
    """Dotted, in lower case: they can be part of a file's name, and of an expression of any test runner."""
    assert [one for one in ALL if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", one)] == []
    assert not [one for one in ALL if re.search(r"source|destination", one) and not one.startswith("guest.")]


def test_each_claims_something_of_its_own() -> None:
    """In one line."""
    claims = [one.claim for one in ALL]
    assert len(set(claims)) == len(claims)
    assert not [claim for claim in claims if not claim or "\n" in claim]


def test_every_check_of_the_table_is_made() -> None:
    """The code that makes checks names each of them; that it names no other is mypy's matter."""
    rooms = ("runner", "checks", "probes", "migration", "irq", "catalogue")
    files = [path for path in (ROOT / "harness").rglob("*.py") if path.parent.name in rooms]
    made = set(re.findall(r"\bCheckId\.(\w+)", "\n".join(path.read_text(encoding="utf-8") for path in files)))
    assert made == {one.name for one in ALL} - {"UNKNOWN"}


def test_the_sentence_says_which_instance_it_is_about() -> None:
    """Sides before the claim, further devices after it; the label is what a record is asked for."""
    console = check_equal(CheckId.GUEST_CONSOLE, "none", "none", "source")
    assert (console.name, console.label) == ("source: guest console is free of oopses", "guest.console, source")
    for number, after in ((0, ""), (1, ", device 2")):
        seed = make_check(CheckId.DEVICE_SEED, True, "1", "1", name_device(number))
        assert (seed.name, seed.label) == (f"device seed is kept{after}", f"device.seed, device {number + 1}")
    boot = make_check(CheckId.GUEST_BOOT_ID, False, "a", "b", claim="it is the same")
    assert (boot.name, boot.label) == ("it is the same", "guest.boot-id")


@given(st.sampled_from(CheckId) | st.text())
def test_an_id_of_a_later_check_is_kept(text: str) -> None:
    """Those that are known are the enumeration's."""
    assert parse_check_id(text) == text
    assert isinstance(parse_check_id(text), CheckId) is (text in ALL)


OLD = {
    "guest answers over SSH on the destination": "guest.new-login",
    "guest arrives running: libvirt resumes one that was suspended while it migrated": "guest.run-state",
    "device generation is as before": "device.generation, device 1",
    "device generation is one more, device 3": "device.generation, device 3",
    "device generation counts its loads": "device.generation, device 1",
    "interrupt of vector 3 fires (primary handler, thread), device 2": "device.interrupt, device 2",
    "source my disk: pre-copy is on, as expected of the case": "device.precopy.expected, source my disk",
    "destination: guest console is free of oopses": "guest.console, destination",
    "guest console is free of oopses": "guest.console",
    "source: dirty bitmaps are asked for while the guest runs": "device.dirty-bitmaps, source",
    "destination's device took every byte": "bytes.vfio.loaded",
    "query-migrate's vfio.transferred equals them": "bytes.vfio.transferred",
    "query-migrate's vfio.transferred is these and what headers take": "bytes.vfio.transferred",
    "source: libvirt turned the case's capabilities on": "migration.capabilities, source",
    "IRQ thread of interrupt 30 runs as expected, through the migration": "irq.thread, through interrupt 30",
    "IRQ thread of interrupt 31 runs as expected, on the source": "irq.thread, source interrupt 31",
    "interrupt 30 arrives on its effective CPU on the destination": "irq.arrives, destination interrupt 30",
    "interrupt 30 follows 2 changes of its mask on the destination": "irq.mask-changes, destination interrupt 30",
    "something that nobody ever claimed": "unknown",
    "guest is the same boot, device 2": "unknown",
    "": "unknown",
}
"""Sentences of records of versions 1 to 5."""


@pytest.mark.parametrize("sentence", OLD)
def test_checks_of_older_records(sentence: str) -> None:
    """Sides, devices and interrupts in a sentence are the subject."""
    found, subject = find_by_sentence(sentence)
    assert ", ".join(filter(None, (found, subject))) == OLD[sentence]


def test_every_check_of_older_records_is_known() -> None:
    """Each id that there was before version 6 is found by a sentence that was the table's when ids came."""
    renamed = {
        CheckId.DOWNTIME_OUTSIDE: "the outside hears nothing while no vCPU runs",
        CheckId.BYTES_VFIO_TRANSFERRED: "query-migrate's vfio.transferred equals them",
        CheckId.DEVICE_PRECOPY_EXPECTED: "source: pre-copy is off, as expected of the case",
        CheckId.DEVICE_DIRTY_BITMAPS: "source: dirty bitmaps are asked for only after the guest was stopped",
        CheckId.DOWNTIME_OUTSIDE: "the outside hears nothing while no vCPU runs",
        CheckId.IRQ_THREAD: "IRQ thread of interrupt 4 runs as expected, on the destination",
        CheckId.IRQ_ARRIVES: "interrupt 4 arrives on its effective CPU on the destination",
        CheckId.IRQ_MASK_CHANGES: "interrupt 4 follows 2 changes of its mask on the destination",
    }
    since = {CheckId.CASE_CLAIM, CheckId.GUEST_NOT_ON_SOURCE, CheckId.GUEST_ONE_PLACE}
    since |= {CheckId.DEVICE_FAULT, CheckId.DEVICE_NO_FAULT, CheckId.DEVICE_OTHER_VERSION, CheckId.GUEST_MAC}
    since |= {CheckId.DEVICE_REINIT}
    since |= {CheckId.IRQ_FORBIDDEN_CPUS, CheckId.DOWNTIME_BOUND, CheckId.DOWNTIME_OUTSIDE_BOUND}
    for one in set(ALL) - since:
        subject = "source" if one.subjects in (Subjects.SIDE, Subjects.PLACE) else ""
        assert find_by_sentence(renamed.get(one, one.say(subject)))[0] is one
