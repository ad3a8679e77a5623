# SPDX-License-Identifier: GPL-2.0-or-later
"""A case as the catalogue lists it, whatever it is written in. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `switchover list` lists cases without what makes them
    from switchover.scenarios.expand import PlannedCase

TIMEOUT_S = 900.0
"""Of a case that says nothing about it, seconds: far above what any case of the catalogue takes in a slow lab."""


@dataclass(frozen=True)
class Needs:
    """What a case needs to be run at all. The hosts are asked for it before the case runs."""

    hosts: int = 2
    """between which guests migrate; 0: none at all, not even a lab"""
    driver: str = ""
    """what starts and migrates the guest, such as `libvirt`; empty: the harness itself does, by QEMU's monitor"""
    qemu: tuple[str, ...] = ()
    """QEMU programs, as scenarios name them; empty: that of the hosts"""
    kernel: tuple[str, ...] = ()
    """kernels of guests that are images of their own; empty: the lab's"""
    firmware: tuple[str, ...] = ()
    """firmware of guests that is an image of its own; empty: QEMU's"""
    devices: tuple[str, ...] = ()
    """kinds of VFIO devices: an mdev type, or `pci`"""
    modules: tuple[str, ...] = ()
    """images with the hosts' kernel modules for devices that are not the reference device"""

    @property
    def programs(self) -> tuple[str, ...]:
        """The QEMUs, kernels, firmware and modules that may have to be built before hosts are taken."""
        return (*self.qemu, *self.kernel, *self.firmware, *self.modules)

    def describe(self) -> dict[str, object]:
        """The needs as values for JSON, without those that have their defaults."""
        told: dict[str, object] = {"hosts": self.hosts}
        return told | {
            name: value
            for name, value in (
                ("driver", self.driver),
                ("qemu", list(self.qemu)),
                ("kernel", list(self.kernel)),
                ("firmware", list(self.firmware)),
                ("devices", list(self.devices)),
                ("modules", list(self.modules)),
            )
            if value
        }


@dataclass(frozen=True)
class ListedCase:
    """What a list tells of a case."""

    id: str
    """letters, digits, `_`, `.` and `-`; the same in every front"""
    group: str
    """the scenario, or the function: what the id begins with"""
    title: str
    """one line"""
    place: str
    """where it is written: the file of a scenario, or `FILE:LINE`"""
    tags: frozenset[str] = frozenset()
    needs: Needs = field(default_factory=Needs)
    timeout_s: float = TIMEOUT_S
    """after so many seconds it is ended, on a machine that the lab's pace calls quick"""
    seconds: float = 0.0
    """an estimate of how long it takes; 0: none"""
    aliases: tuple[str, ...] = ()
    """ids that it had before"""
    repeats: int = 1
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """values of its axes, in words, or parameters of the function"""
    cover: str = ""
    """of a scenario that has a choice of the combinations of its axes, what all are in a case: `pairs`, `threes`"""

    @property
    def is_python(self) -> bool:
        return not self.place.endswith(".toml")

    def describe(self) -> dict[str, object]:
        """What ``switchover list --json`` prints of the case, for programs."""
        return {
            "id": self.id,
            "group": self.group,
            "title": self.title,
            "tags": sorted(self.tags),
            "needs": self.needs.describe(),
            "timeout_s": self.timeout_s,
            "seconds": self.seconds,
            "repeats": self.repeats,
            "parameters": {name: str(value) for name, value in self.parameters.items()},
            "aliases": list(self.aliases),
            "place": self.place,
        }


@dataclass(frozen=True)
class CatalogueCase(ListedCase):
    """A case of the catalogue. One of a scenario has ``planned``, one in Python has ``function``, and none has both."""

    planned: "PlannedCase | None" = None
    function: Callable[..., None] | None = None
    source: Path = Path()
    """the file that it is loaded from"""
