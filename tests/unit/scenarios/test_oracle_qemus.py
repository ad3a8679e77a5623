# SPDX-License-Identifier: GPL-2.0-or-later
"""What a QEMU decides by itself: rules about what it is, and of what it was asked."""

from dataclasses import replace

import pytest
from tests.unit.scenarios.oracle_examples import BY_QEMU, case_with

from switchover.devices.known_qemus import find_known_qemu
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.expectation import find_mismatch
from switchover.scenarios.oracle import DEFAULT, choose_rule, make_traits


@pytest.mark.parametrize(
    ("name", "source", "destination", "changes", "verdict", "side", "reason"),
    BY_QEMU,
    ids=[f"{name or 'completes'} {number}" for number, (name, *_) in enumerate(BY_QEMU)],
)
def test_what_a_qemu_decides(
    name: str, source: str, destination: str, changes: str, verdict: VerdictName, side: str, reason: str
) -> None:
    """A QEMU that the project names is known before it is asked: rules that depend on it hold by themselves."""
    case, rule = case_with(f'source.qemu = "{source}", destination.qemu = "{destination}", {changes}')
    assert rule.name == name
    assert find_mismatch(case.expectation, Verdict(verdict, side, reason), ()) == ""


def test_a_qemu_that_nobody_knows() -> None:
    """Of a path nothing is known before it is asked, and on a host of one's own neither of the name in PATH."""
    unknown_qemu = 'source.qemu = "/my/qemu", destination.qemu = "qemu-11.1", machine = "pc-q35-10.0"'
    assert case_with(unknown_qemu)[1] is DEFAULT
    elsewhere = 'source.host = "rack1", destination.qemu = "qemu-11.1", machine = "pc-q35-10.0"'
    assert case_with(elsewhere)[1] is DEFAULT
    assert case_with(elsewhere.replace("rack1", "hosta"))[1].name == "other-virtio-queue-size"


def test_a_qemu_that_was_asked() -> None:
    """What a binary said counts before what is kept of its name."""
    case, _ = case_with('destination.qemu = "/my/qemu", machine = "pc-q35-10.0"')
    asked = (find_known_qemu("qemu-10.0"), find_known_qemu("qemu-11.1"))
    assert choose_rule(make_traits(case, asked)).name == "other-virtio-queue-size"
    assert choose_rule(make_traits(case, (None, None))) is DEFAULT


@pytest.mark.parametrize(
    ("source", "destination", "rule"),
    [("host", "host", ""), ("qemu64", "host", ""), ("host", "qemu64", "lesser-cpu-at-older-destination")],
)
def test_an_older_qemu_loses_the_guest_of_a_lesser_cpu(source: str, destination: str, rule: str) -> None:
    """7.2 does not look at what KVM says of a guest's registers, and resumes it without them."""
    qemus = 'source.qemu = "qemu-7.2", destination.qemu = "qemu-7.2", machine = "pc-q35-7.2"'
    case, _ = case_with(f'{qemus}, source.cpu = "{source}", destination.cpu = "{destination}"')
    case = replace(case, source=replace(case.source, devices=()), destination=replace(case.destination, devices=()))
    chosen = choose_rule(make_traits(case))
    assert chosen.name == rule
    if rule:
        crashed = Verdict(
            VerdictName.CRASHED, "destination", "ask after: the destination QEMU ended with exit status 0."
        )
        assert find_mismatch(chosen.expectation, crashed, ()) == ""
