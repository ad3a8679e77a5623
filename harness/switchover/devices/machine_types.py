# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine types that several QEMUs have in common, as the binaries list them. Pure.

A guest migrates only between machine types of one versioned name, and an alias such as ``q35`` stands for another
version in each QEMU: what two of them can run a guest as has to be computed from both.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from switchover.devices.abilities import QemuAbilities

FAMILY = "pc-q35"
"""Of the machine type that guests have by default."""
NEWEST_COMMON, OLDEST_COMMON = "newest-common", "oldest-common"
_NUMBER = re.compile(r"\d+")


def common_machines(*qemus: QemuAbilities, family: str = FAMILY) -> tuple[str, ...]:
    """Versioned machine types of a family that all of the QEMUs have, newest first; those of distributions are among
    them (``pc-q35-rhel9.6.0``), at the end if there is no number in what they call their version.
    """
    names = [{machine.name for machine in qemu.machines} for qemu in qemus]
    common = set.intersection(*names) if names else set()
    return tuple(sorted((name for name in common if name.startswith(f"{family}-")), key=_order, reverse=True))


def _order(name: str) -> tuple[tuple[int, ...], str]:
    """By the numbers of the version: 10.0 comes after 9.2. The family has the same ones in all."""
    return tuple(map(int, _NUMBER.findall(name))), name


def choose_machine(machine: str, qemus: Sequence[QemuAbilities | None]) -> str | None:
    """What ``machine`` of a case, with its options, is once its QEMUs are known: :data:`NEWEST_COMMON` and
    :data:`OLDEST_COMMON` (of those that no QEMU calls deprecated, if there is one) become a versioned name, all else
    stays as it is. None: a QEMU is not known, or they have none in common.
    """
    word, comma, options = machine.partition(",")
    choose = _CHOICES.get(word)
    if choose is None:
        return machine
    known = [qemu for qemu in qemus if qemu is not None]
    common = common_machines(*known) if len(known) == len(qemus) else ()
    return f"{choose(common, known)}{comma}{options}" if common else None


def _is_deprecated(name: str, qemus: Sequence[QemuAbilities]) -> bool:
    found = (qemu.find_machine(name) for qemu in qemus)
    return any(machine is not None and machine.deprecated for machine in found)


def _choose_oldest(common: Sequence[str], qemus: Sequence[QemuAbilities]) -> str:
    return next((name for name in reversed(common) if not _is_deprecated(name, qemus)), common[-1])


_CHOICES: Mapping[str, Callable[[Sequence[str], Sequence[QemuAbilities]], str]] = {
    NEWEST_COMMON: lambda common, _qemus: common[0],
    OLDEST_COMMON: _choose_oldest,
}
