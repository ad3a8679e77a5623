# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine type is in two QEMUs, and what that decides: of QEMUs that the project names."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchover.devices.known_qemus import NAMED, find_known_qemu
from switchover.devices.machine_types import OLDEST_COMMON, common_machines
from switchover.record.errors import UsageError
from switchover.record.record import Verdict, VerdictName
from switchover.scenarios.compat import Compat, Part, PartKind, explain_compat
from switchover.scenarios.compat_poses import DEVICE, POSES, NamedQemu, Outcome, Pair, pose_case, predict
from switchover.scenarios.oracle import find_rule
from switchover.scenarios.preflight import list_needs

COMPLETED = VerdictName.COMPLETED


def known(name: str) -> NamedQemu:
    found = find_known_qemu(name)
    assert found is not None
    return NamedQemu(name, found)


def explain(source: str, destination: str, machine: str = "") -> Compat:
    return explain_compat((known(source), known(destination)), machine)


def outcome(compat: Compat, pose: str, *, back: bool = False) -> Outcome:
    return next(one.outcomes[back] for one in compat.predicted if one.pose.id == pose)


def part(compat: Compat, name: str) -> Part:
    return next(one for one in compat.parts if one.name == name)


def decided(of: Part) -> set[tuple[str, bool, str, VerdictName]]:
    return {(one.pose, one.back, one.now.rule, one.without.verdict.name) for one in of.effects}


def test_the_newest_machine_type_that_both_have() -> None:
    """It is computed, and each direction has the outcome that a case of the catalogue has with these QEMUs."""
    compat = explain("qemu-10.0", "qemu-11.1")
    assert (compat.machine, compat.versioned, compat.computed) == ("pc-q35-10.0", ("pc-q35-10.0",) * 2, True)
    assert compat.common == common_machines(*(qemu.abilities for qemu in compat.qemus))
    there, back = (outcome(compat, DEVICE, back=way) for way in (False, True))
    assert (there.verdict, there.rule) == (Verdict(VerdictName.FAILED, "destination"), "other-virtio-queue-size")
    assert (back.verdict, back.rule) == (Verdict(COMPLETED), "")
    assert outcome(compat, "there-and-back").verdict.hop == 1


def test_the_old_ack_of_an_older_machine_type() -> None:
    """11.1 says that it keeps the one-shot ack there; without that nobody would wait for an ack that is not given."""
    compat = explain("qemu-11.1", "qemu-11.1", "pc-q35-10.0")
    setting = part(compat, "migration.switchover-ack-legacy")
    assert setting.values == ("on", "on")
    assert decided(setting) >= {
        ("ack-source-only", False, "ack-at-source-only-without-pre-copy", COMPLETED),
        ("ack-source-only", True, "ack-at-source-only-without-pre-copy", COMPLETED),
    }
    assert dict(compat.makes)["switchover-ack"] == ("one-shot", "one-shot")
    newest = explain("qemu-11.1", "qemu-11.1")
    assert newest.machine == "pc-q35-11.1"
    assert outcome(newest, "ack-source-only").completes
    assert dict(newest.makes)["switchover-ack"] == ("reusable", "reusable")


def test_what_both_set_alike_may_decide() -> None:
    """With machine types of 9.2 nothing tells when the switchover starts, so that transfer=on has no way."""
    compat = explain("qemu-10.0", "qemu-11.1", "pc-q35-9.2")
    setting = part(compat, "migration.send-switchover-start")
    assert (setting.values, setting.differs) == (("off", "off"), False)
    assert ("multifd-transfer", True, "multifd-transfer-without-multifd", COMPLETED) in decided(setting)
    unknown = part(explain("qemu-10.0", "qemu-11.1", "pc-q35-9.0"), "vfio-pci.skip-vsc-check")
    assert (unknown.values, unknown.effects) == (("false", "false"), ())


def test_a_qemu_that_cannot_tell() -> None:
    """7.2 has no compat-props: its settings are not taken for unset, and those of properties that it lacks are."""
    compat = explain("qemu-7.2", "qemu-10.0")
    assert compat.cannot_tell == ("qemu-7.2",)
    assert part(compat, "migration.send-switchover-start").values == (None, "off")
    assert not part(compat, "migration.send-switchover-start").differs
    assert part(compat, "vfio-pci.x-migration-multifd-transfer").values == ("", "off")
    protocol = part(compat, "VFIO migration protocol")
    assert protocol.values == ("version 1", "version 2")
    assert decided(protocol) >= {
        (DEVICE, False, "old-protocol-at-source", COMPLETED),
        (DEVICE, True, "old-protocol-at-destination", COMPLETED),
    }
    assert outcome(compat, "ack").missing == ("qemu-7.2 has no migration capability 'switchover-ack'",)
    assert outcome(compat, "ack").verdict.name is VerdictName.NOT_SUPPORTED


def test_a_patched_qemu_asks_its_machine_type() -> None:
    """An old one takes its device's pre-copy away, so that the release at the destination waits in vain."""
    compat = explain("qemu-x-allow-pre-copy", "qemu-10.0", "pc-q35-8.0")
    assert outcome(compat, DEVICE).pre_copy == "off"
    ack = outcome(compat, "ack")
    assert (ack.verdict.name, ack.rule) == (VerdictName.HUNG, "ack-with-pre-copy-at-destination-only")
    setting = part(compat, "vfio-pci.x-allow-pre-copy")
    assert setting.values == ("false", "")
    assert ("ack", False, "ack-with-pre-copy-at-destination-only", COMPLETED) in decided(setting)
    assert outcome(explain("qemu-x-allow-pre-copy", "qemu-10.0", "pc-q35-8.1"), "ack").completes


def test_the_default_of_each() -> None:
    """An alias is another version in each: nothing migrates between two such."""
    compat = explain("qemu-10.0", "qemu-11.1")
    assert compat.defaults == ("pc-q35-10.0", "pc-q35-11.1")
    assert [one.rule for one in compat.default] == ["other-machine", "other-machine"]
    asked = explain("qemu-10.0", "qemu-11.1", "q35")
    assert asked.versioned == compat.defaults
    assert outcome(asked, "no-device").rule == "other-machine"
    assert [one.rule for one in explain("qemu-10.0", "qemu-10.0").default] == ["", ""]


def test_machine_types_with_which_all_ends_alike() -> None:
    """They are told together, in their order, and each once."""
    compat = explain("qemu-11.1", "qemu-11.1")
    assert [name for group in compat.groups for name in group.names] == list(compat.common)
    assert [group.names[0] for group in compat.groups] == ["pc-q35-11.1", "pc-q35-11.0", "pc-q35-9.2"]
    assert [group.complete for group in compat.groups] == sorted((g.complete for g in compat.groups), reverse=True)


def test_another_family_and_words() -> None:
    """i440fx has its own common ones; a word that scenarios may have is a machine type here too."""
    assert explain("qemu-10.0", "qemu-11.1", "pc-i440fx-9.2").common[0] == "pc-i440fx-10.0"
    oldest = explain("qemu-10.0", "qemu-11.1", OLDEST_COMMON)
    assert oldest.machine == next(name for name in reversed(oldest.common) if not is_deprecated(oldest, name))


def is_deprecated(compat: Compat, name: str) -> bool:
    found = [qemu.abilities.find_machine(name) for qemu in compat.qemus]
    return any(machine is not None and machine.deprecated for machine in found)


@pytest.mark.parametrize(
    ("machine", "what"),
    [
        ("pc-q35-11.1", "qemu-10.0 has no machine type 'pc-q35-11.1'"),
        ("pc-q35-0.1", "qemu-10.0 and qemu-11.1 have no machine type 'pc-q35-0.1'"),
    ],
)
def test_a_machine_type_that_is_not_there(machine: str, what: str) -> None:
    """Who lacks it is told, with those that both have."""
    with pytest.raises(UsageError, match=what) as raised:
        explain("qemu-10.0", "qemu-11.1", machine)
    assert "pc-q35-10.0" in raised.value.what
    assert raised.value.why
    assert raised.value.fix


def test_nothing_in_common() -> None:
    """Two binaries without a common machine type cannot migrate at all."""
    one, other = known("qemu-10.0"), known("qemu-11.1")
    alone = replace(other, abilities=replace(other.abilities, machines=()))
    with pytest.raises(UsageError, match="no machine type pc-q35-… in common"):
        explain_compat((one, alone))


def test_what_the_harness_gives_is_left_out_where_it_is_unknown() -> None:
    """Properties and parameters that 7.2 lacks and no question is about: else none could be posed with it."""
    pair = (known("qemu-7.2"), known("qemu-7.2"))
    for pose in POSES[:2]:
        case = pose_case(pose, "pc-q35-7.2", pair)
        assert pair[0].abilities.missing(list_needs(case, "source")) == []


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Pair, str]:
    names = draw(st.tuples(st.sampled_from(NAMED), st.sampled_from(NAMED)))
    pair = (known(names[0]), known(names[1]))
    common = common_machines(*(qemu.abilities for qemu in pair))
    return pair, draw(st.sampled_from(common))


@given(pairs())
@settings(deadline=None, max_examples=15)
def test_both_ways_are_one_another(drawn: tuple[Pair, str]) -> None:
    """With source and destination exchanged all values and outcomes are; a QEMU does not differ from itself; each rule
    that is named is one of the oracle; an effect has outcomes that differ.
    """
    pair, machine = drawn
    one, other = explain_compat(pair, machine), explain_compat((pair[1], pair[0]), machine)
    assert [part.values for part in one.parts] == [part.values[::-1] for part in other.parts]
    for mine, theirs in zip(one.predicted, other.predicted, strict=True):
        assert mine.outcomes == theirs.outcomes[::-1]
        assert all(outcome.rule == "" or find_rule(outcome.rule) for outcome in mine.outcomes)
    for found in one.parts:
        assert found.differs <= (pair[0] != pair[1])
        assert all(effect.now.decision != effect.without.decision for effect in found.effects)
        assert found.kind is PartKind.COMPAT or found.values[0] != found.values[1]
    for effect in (effect for found in one.parts for effect in found.effects):
        assert effect.now == outcome(one, effect.pose, back=effect.back)


def test_poses_are_what_their_names_say() -> None:
    """Without a difference between the QEMUs, and with the newest machine type, what comes of each is known."""
    pair = (known("qemu-11.1"), known("qemu-11.1"))
    told = {pose.id: predict(pose, "pc-q35-11.1", pair) for pose in POSES}
    assert {name for name, found in told.items() if not found.completes} == set()
    assert pose_case(POSES[0], "pc-q35-11.1", pair).source.devices == ()
