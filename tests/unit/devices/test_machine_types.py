# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine types that QEMUs have in common."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.surveys import ABILITIES

from switchover.devices.abilities import MachineType, QemuAbilities
from switchover.devices.known_qemus import find_known_qemu
from switchover.devices.machine_types import NEWEST_COMMON, OLDEST_COMMON, choose_machine, common_machines

VERSIONS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=20, unique=True)


def known(name: str) -> QemuAbilities:
    found = find_known_qemu(name)
    assert found is not None
    return found


def with_machines(*names: str, deprecated: tuple[str, ...] = ()) -> QemuAbilities:
    return replace(ABILITIES, machines=tuple(MachineType(name, None, name in deprecated, None) for name in names))


def test_what_released_qemus_have_in_common() -> None:
    """The newest is that of the older one, and 10.0 is newer than 9.2; aliases and other families are none."""
    common = common_machines(known("qemu-10.0"), known("qemu-11.1"))
    assert common[:3] == ("pc-q35-10.0", "pc-q35-9.2", "pc-q35-9.1")
    assert common == common_machines(known("qemu-11.1"), known("qemu-10.0"))
    assert common_machines(known("qemu-7.2"), known("qemu-11.1"))[0] == "pc-q35-7.2"
    assert all(name.startswith("pc-q35-") for name in common)
    assert common_machines(known("qemu-7.2"), known("qemu-10.0"), family="pc-i440fx")[0] == "pc-i440fx-7.2"


@given(VERSIONS, VERSIONS)
def test_common_ones_are_those_that_both_have_by_version(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    """Exactly those, in the order of the numbers, whatever the order in which binaries list them."""
    first, second = ([f"pc-q35-{major}.{minor}" for major, minor in versions] for versions in (one, other))
    expected = [f"pc-q35-{major}.{minor}" for major, minor in sorted({*one} & {*other}, reverse=True)]
    assert list(common_machines(with_machines(*first, "q35"), with_machines("none", *second))) == expected


def test_machine_types_of_distributions() -> None:
    """They count if both have them; a version of two words is newer than the one without, a name without one is last"""
    names = ("pc-q35-noble", "pc-q35-9.2", "pc-q35-9.2+pve1", "pc-q35-rhel9.6.0", "pc-q35-10.0")
    one = with_machines(*names)
    assert common_machines(one, with_machines(*names, "pc-q35-11.0")) == (
        "pc-q35-10.0",
        "pc-q35-rhel9.6.0",
        "pc-q35-9.2+pve1",
        "pc-q35-9.2",
        "pc-q35-noble",
    )
    assert common_machines(with_machines("pc-q35-9.2"), with_machines("pc-q35-10.0")) == ()


def test_a_machine_that_is_chosen_once_the_qemus_are_known() -> None:
    """By a word, with the options that follow it; any other machine stays, and of an unknown QEMU nothing is said."""
    qemus = (known("qemu-10.0"), known("qemu-11.1"))
    assert choose_machine(NEWEST_COMMON, qemus) == "pc-q35-10.0"
    assert choose_machine(f"{NEWEST_COMMON},hpet=off", qemus) == "pc-q35-10.0,hpet=off"
    assert choose_machine("q35,hpet=off", qemus) == "q35,hpet=off"
    assert choose_machine("q35", (None, None)) == "q35"
    assert choose_machine(NEWEST_COMMON, (qemus[0], None)) is None
    assert choose_machine(NEWEST_COMMON, (with_machines("pc-q35-9.2"), with_machines("pc-q35-9.1"))) is None


def test_the_oldest_is_not_deprecated_if_there_is_another() -> None:
    """QEMU is about to drop those, and warns of them; where all are, the oldest of them is what there is."""
    old = with_machines("pc-q35-8.0", "pc-q35-9.0", "pc-q35-9.1", deprecated=("pc-q35-8.0",))
    assert choose_machine(OLDEST_COMMON, (old, with_machines("pc-q35-8.0", "pc-q35-9.0", "pc-q35-9.1"))) == "pc-q35-9.0"
    assert choose_machine(OLDEST_COMMON, (old, with_machines("pc-q35-8.0"))) == "pc-q35-8.0"
