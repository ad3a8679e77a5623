# SPDX-License-Identifier: GPL-2.0-or-later
"""The catalogue read from its files, and cases chosen from it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from switchover.catalogue.case import TIMEOUT_S, CatalogueCase, Needs
from switchover.catalogue.places import list_named, list_places, read_places
from switchover.catalogue.pythoncases import load_python_cases, read_parameter
from switchover.catalogue.selecting import find, select
from switchover.guests.spec import GuestSpec
from switchover.record.errors import UsageError
from switchover.record.toml import read_toml
from switchover.scenarios.case import FunctionSpec
from switchover.scenarios.expand import PlannedCase, expand
from switchover.scenarios.narrow import narrow
from switchover.scenarios.plan import estimate_seconds
from switchover.scenarios.scenario import Scenario, make_scenario

SCENARIO_TAG = "scenario"


@dataclass(frozen=True)
class Catalogue:
    """All cases, each id once. ``places`` are the files that they were read from."""

    cases: tuple[CatalogueCase, ...]
    places: tuple[Path, ...]

    def select(self, words: Sequence[str] = (), tags: Sequence[str] = ()) -> list[CatalogueCase]:
        """As :func:`switchover.catalogue.selecting.select`."""
        return select(self.cases, words, tags)

    def find(self, text: str) -> list[CatalogueCase]:
        """As :func:`switchover.catalogue.selecting.find`."""
        return find(self.cases, text)

    def require(self, identity: str) -> CatalogueCase:
        """One case by its id or an alias. :raises UsageError: there is none, or several"""
        found = self.select([identity])
        if len(found) > 1:
            raise UsageError(
                f"{identity!r} names {len(found)} cases, not one.", why=", ".join(case.id for case in found[:4])
            )
        return found[0]


def load_catalogue(more: Sequence[Path] = (), *, only: bool = False) -> Catalogue:
    """Read the cases that ship with the project, and those of the files and directories in ``more``.

    With ``only``, those of ``more`` alone, also where they are files of the project.

    :raises UsageError: files are wrong, all of which are named, or two cases have the same id
    """
    places = list_named(more) if only else list_places(more)
    return Catalogue(tuple(read_places(places, load_file)), tuple(places))


def load_file(place: Path) -> list[CatalogueCase]:
    """Cases of one file, a scenario or Python. :raises UsageError: it is wrong"""
    if place.suffix == ".py":
        return load_python_cases(place)
    return list(list_scenario_cases(make_scenario(read_toml(place)), place))


def list_scenario_cases(scenario: Scenario, place: Path) -> Iterator[CatalogueCase]:
    """:raises UsageError: as :func:`expand`"""
    for planned in expand(scenario):
        case = planned.case
        needs = find_needs(planned)
        extra = {needs.driver or GuestSpec.driver, *(("pci",) if "pci" in needs.devices else ())}
        extra |= {"irq"} if case.irq_seconds else set()
        aliases = tuple(
            dict.fromkeys(
                word
                for word in (f"{case.id}@{scenario.name}", case.id if case.id != scenario.name else "")
                if word and word != planned.id
            )
        )
        yield CatalogueCase(
            planned.id,
            scenario.name,
            scenario.title,
            str(place),
            scenario.tags | extra | {SCENARIO_TAG},
            needs,
            max(TIMEOUT_S, _longest(planned)),
            estimate_seconds(case, planned.outlook),
            aliases,
            scenario.repeats,
            parameters=planned.values,
            cover=scenario.cover.name if scenario.cover else "",
            planned=planned,
            source=place,
        )


def find_needs(planned: PlannedCase) -> Needs:
    """What a scenario's case needs, from its two sides."""
    guests = [side.guest for side in planned.case.sides]
    devices = [device for side in planned.case.sides for device in side.devices]
    kinds = ["pci" if isinstance(device, FunctionSpec) else device.type for device in devices]
    return Needs(
        hosts=2,
        driver=next((guest.driver for guest in guests if guest.driver != GuestSpec.driver), ""),
        qemu=tuple(dict.fromkeys(guest.qemu for guest in guests if guest.qemu != GuestSpec.qemu)),
        kernel=tuple(dict.fromkeys(guest.named_kernel for guest in guests if guest.named_kernel)),
        firmware=tuple(dict.fromkeys(guest.named_firmware for guest in guests if guest.named_firmware)),
        modules=tuple(dict.fromkeys(name for side in planned.case.sides for name in side.modules)),
        devices=tuple(dict.fromkeys(kinds)),
    )


def _longest(planned: PlannedCase) -> float:
    """All of its own bounds, one after the other, twice: a second migration may come of the first."""
    settings, guest = planned.case.settings, planned.case.source.guest
    bounds = guest.boot_timeout_s + settings.timeout_s + settings.settle_timeout_s + settings.hang_s
    return bounds * (2 + len(planned.case.then))


def with_parameters(case: CatalogueCase, words: Mapping[str, str]) -> CatalogueCase:
    """The same case with some parameters as somebody else says: of a function its own, of a scenario's case any key
    that an axis may have.

    :raises UsageError: there is no such parameter, or it cannot have the value
    """
    if not words:
        return case
    if case.function is not None:
        given = {name: read_parameter(case, name, word) for name, word in words.items()}
        return replace(case, parameters={**case.parameters, **given})
    scenario = make_scenario(read_toml(case.source))
    found = list(list_scenario_cases(narrow(scenario, case.parameters, words), case.source))
    if len(found) != 1 or found[0].planned is None:
        raise UsageError(f"{', '.join(words)} of {case.id} leave {len(found)} cases, not one.")
    return replace(found[0], id=case.id, planned=replace(found[0].planned, id=case.id))
