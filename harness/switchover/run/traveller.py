# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that lives on one end of a pair and migrates to the other, as often as it is asked to."""

import contextlib
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from switchover.devices.passthrough import start_virtual_functions
from switchover.devices.reference import GuestDriver, Knobs
from switchover.guests.qemu import QemuGuest
from switchover.guests.spec import with_lab_words
from switchover.guests.warm import SavedGuests, finish_restore
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.migration.session import Sample
from switchover.record.errors import CommandFailed, Deadline, GuestCrashed, Refused, SwitchoverError, UsageError
from switchover.record.measurement import Check
from switchover.record.record import VerdictName
from switchover.run.interventions import make_intervention, start_link
from switchover.run.irqwatch import start_irq_watch
from switchover.run.needs import (
    WARM,
    GuestMeans,
    Need,
    find_means,
    lacking_for_outside,
    list_not_checked,
    require_means,
)
from switchover.run.outside import OutsideProbe, start_outside
from switchover.run.pair import Pair
from switchover.run.passage import (
    Passage,
    check_not_running,
    examine,
    examine_stayed,
    make_failed,
    migrate_sides,
)
from switchover.run.probes import (
    GuestAnswers,
    ask_guest,
    mend_device,
    place_canary,
    seed_device,
    set_clock,
    wait_for_devices,
    wait_for_functions,
)
from switchover.run.side import Side, start_side
from switchover.run.verdict import judge_passage
from switchover.scenarios.case import Case, SideSpec, in_order
from switchover.scenarios.faults import Action


@dataclass
class Watchers:
    """Who is told what happens: each step as it begins, each sample, the probe from outside when it ended, and each
    QEMU just before it is released (also one that did not come up).

    ``attempted``: what an attempt came to, while both sides are still there; the destination is None if it did not come
    up. ``recordings``: where those of IRQ threads are kept; None: nowhere.
    """

    step: Callable[[str], None] = lambda step: None
    sample: Callable[[Sample], None] = lambda sample: None
    outside: Callable[[OutsideProbe], None] = lambda probe: None
    release: Callable[[QemuGuest, str], None] = lambda guest, name: None
    sides_started: Callable[[Side, Side], None] = lambda source, destination: None
    attempted: Callable[[Case, Side, Side | None, Passage | SwitchoverError], None] = lambda *came_to: None
    recordings: Path | None = None


@dataclass
class Traveller:
    """``pair.source`` is where the guest lives now. Made by :func:`start_traveller`."""

    pair: Pair
    loop: LoopThread
    side: Side
    watchers: Watchers
    _stay: contextlib.ExitStack
    _trips: contextlib.ExitStack
    before: GuestAnswers | None = field(default=None)

    def attempt(self, case: Case, name: str = "destination") -> Passage:
        """Migrate to the other end, as the case says, and look at the guest where it then is.

        On completion the guest lives there, and the side it left is released; otherwise the side that waited is.
        A destination that is refused, or a host that is lost, raises.
        """
        with contextlib.ExitStack() as failed:
            there = failed.enter_context(contextlib.ExitStack())
            logins = failed.enter_context(contextlib.ExitStack())
            arrival: Side | None = None
            try:
                self.watchers.step(f"start {name}")
                start = partial(self._start_arrival, there, case.destination, name)
                settled = None
                if self.before is None and self.side.saved:
                    # a guest that boots does so by itself; one that is restored is given its devices meanwhile
                    with ThreadPoolExecutor(1, name) as aside:
                        starting = aside.submit(start)
                        settled = self._settle_in(logins)
                    arrival = starting.result()
                else:
                    arrival = start()
                self.watchers.sides_started(self.side, arrival)
                before, login = settled or self._settle_in(logins)
                passage = replace(
                    self._pass(case, arrival, before, login), not_checked=list_not_checked(case, before.means)
                )
            except SwitchoverError as error:
                self.watchers.attempted(case, self.side, arrival, error)
                raise
            self.watchers.attempted(case, self.side, arrival, passage)
            if passage.result and passage.result.status == "completed" and not passage.error:
                self._trips.enter_context(there)  # before anything can fail, since the guest lives there now
                logins.close()
                failed.pop_all()
                self._move(there, arrival, before)
            return passage

    def _start_arrival(self, there: contextlib.ExitStack, spec: SideSpec, name: str) -> Side:
        # until the traveller's end: the guest may come back, or be on the same host
        self._trips.enter_context(start_virtual_functions(self.pair.destination.host, spec.functions))
        return there.enter_context(
            start_side(
                spec, self.pair.destination.host, name, self.pair.keys, self.loop,
                incoming=True, keep=lambda guest: self.watchers.release(guest, name),
                words=self.pair.destination.guest_words,
            )
        )  # fmt: skip

    def _settle_in(self, logins: contextlib.ExitStack) -> tuple[GuestAnswers, Host | None]:
        """What the guest says before a migration; before the first one it boots, or is restored, and gets its state.

        Then with a login, which others can use too, since one costs almost a second in the lab.
        """
        guest = None
        if self.before is None:
            if self.side.saved:
                self.watchers.step("guest restore")
                finish_restore(self.side.guest)
            else:
                self.watchers.step("guest boot")
                self.side.guest.wait_until_reachable()
            self.watchers.step("ask before")
            guest = logins.enter_context(self.side.guest.open_ssh(self.pair.keys))
            means = self._place_canary(guest, self._find_means(guest))
            self.before = self._prepare_devices(guest, means)
        return self.before, guest

    def _find_means(self, guest: Host) -> GuestMeans:
        """What the guest has for probes, its devices taken by its driver. :raises Deadline: not those of the lab's"""
        spec, count = self.side.spec.guest, len(self.side.spec.references)
        means = find_means(guest, spec)
        if self.side.saved and not means.lacks(WARM):
            set_clock(guest)
        if means.has_device and (self.side.saved or not spec.is_of_lab):
            try:
                wait_for_devices(guest, count, [self.side.guest.require_alive])
            except Deadline:
                if spec.is_of_lab:
                    raise
                return means.without(Need.DRIVER)
        if self.side.saved and self.side.functions and Need.PCI in means.has:
            wait_for_functions(guest, self.side.function_numbers, [self.side.guest.require_alive])
        return means

    def _place_canary(self, guest: Host, means: GuestMeans) -> GuestMeans:
        if means.has_canary:
            try:
                place_canary(guest, means)
            except CommandFailed:
                if self.side.spec.guest.is_of_lab:
                    raise
                return means.without(Need.MEMORY)
        return means

    def _prepare_devices(self, guest: Host, means: GuestMeans) -> GuestAnswers:
        for number, device in enumerate(self.side.spec.references if means.has_device else ()):
            seed_device(guest, random.Random(), number)
            if device.knobs.dma_pages_per_sec:
                GuestDriver(guest, number).enable_dma()
        return ask_guest(guest, len(self.side.spec.references), means, self.side.function_numbers)

    def _pass(self, case: Case, arrival: Side, before: GuestAnswers, login: Host | None) -> Passage:
        require_means(case, before.means)
        truths = self.side.read_truths()
        error: Refused | GuestCrashed
        with contextlib.ExitStack() as probes, contextlib.ExitStack() as faults:
            links = tuple(
                faults.enter_context(start_link(end.host, end.link))
                for end in (self.pair.source, self.pair.destination)
                if any(fault.action in (Action.CUT_LINK, Action.SLOW_LINK) for fault in case.faults)
            )
            interventions = [
                make_intervention(fault, self.side.guest, arrival.guest, links, self.pair.keys) for fault in case.faults
            ]
            if case.irq_seconds:
                self.watchers.step("IRQ threads before")
            watch = probes.enter_context(
                start_irq_watch(case, self.side, before.means, login, self.pair.keys, self.watchers.recordings)
            )
            if case.heartbeat_us:
                self.watchers.step("control interval")
            probe = probes.enter_context(
                start_outside(self.pair, self.side.guest, case.heartbeat_us, login, lacking_for_outside(before.means))
            )
            probes.callback(self.watchers.outside, probe)
            self.watchers.step("migrate")
            try:
                migrated = migrate_sides(
                    self.side, arrival, self.pair.destination.address, case.settings, self.loop, interventions,
                    self.watchers.sample, faults.close, self.pair.destination.login,
                )  # fmt: skip
            except (Refused, GuestCrashed) as caught:
                error = caught
            else:
                self.watchers.step("ask after")
                faults.close()  # the guest is reached over the link too
                if migrated.migration.status == "completed":
                    outside = probe.finish()
                    found = watch.finish(arrival)
                    passage = examine(self.side, arrival, migrated, outside, before, case, self.pair.keys)
                    return replace(
                        passage,
                        checks=(*passage.checks, *found.checks),
                        measurements=(*passage.measurements, *found.measurements),
                    )
                self._resume(case)
                checks = examine_stayed(self.side, arrival, truths, before, self.pair.keys)
                return make_failed(
                    migrated.migration, migrated.states, checks=tuple(checks), properties=migrated.properties
                )
        self.watchers.step("ask after")
        ended = _ended(self.side, arrival)
        if ended == "source":
            checks = [check_not_running(arrival)]
        else:
            self._resume(case)
            checks = examine_stayed(self.side, arrival, truths, before, self.pair.keys)
        return make_failed(None, {}, checks=tuple(checks), error=error, ended=ended)

    def _resume(self, case: Case) -> None:
        """Let a guest run that was paused and stayed; what it says is asked next."""
        if any(fault.action is Action.PAUSE_GUEST for fault in case.faults):
            with contextlib.suppress(GuestCrashed, Refused):  # it ended, which the checks find
                self.side.guest.resume()

    def _move(self, there: contextlib.ExitStack, arrival: Side, before: GuestAnswers) -> None:
        left, self._stay = self._stay, there
        self.side, self.pair = _with_sizes_of(self.side, arrival), self.pair.reversed()
        devices = tuple(replace(device, generation=device.generation + 1) for device in before.devices)
        self.before = replace(before, devices=devices)
        left.close()

    def heal(self) -> None:
        """Take the faults from the devices where the guest lives, and what the guest says now as what it is to say
        after the next migration: a device that was reset has lost its state.
        """
        for device, spec in zip(self.side.devices, self.side.spec.references, strict=True):
            device.set_live_knobs(spec.knobs.in_order())
        with self.side.guest.open_ssh(self.pair.keys) as guest:
            means = self.before.means if self.before else find_means(guest, self.side.spec.guest)
            for number in range(len(self.side.devices) if means.has_device else 0):
                mend_device(guest, number)
            self.before = self._prepare_devices(guest, means)

    def take_knobs(self, spec: SideSpec) -> None:
        """Give the devices where the guest lives the knobs of another case; what they offer stays as it is.

        :raises UsageError: the case needs devices that offer something else
        """
        pairs = list(zip(self.side.devices, self.side.spec.references, spec.references, strict=True))
        for _, mine, wanted in pairs:
            if (mine.type, mine.knobs.offers()) != (wanted.type, wanted.knobs.offers()):
                raise UsageError(f"The guest has no device {wanted.id!r} as this case needs it.", why=str(wanted))
        for device, _, wanted in pairs:
            device.set_live_knobs(wanted.knobs)
        resized = any(_sizes(mine.knobs) != _sizes(wanted.knobs) for _, mine, wanted in pairs)
        self.side = replace(self.side, spec=replace(self.side.spec, devices=spec.devices))
        if resized and self.before:
            # a state of another size is another state, with another checksum
            with self.side.guest.open_ssh(self.pair.keys) as guest:
                self.before = self._prepare_devices(guest, self.before.means)


def migrate_again(traveller: Traveller, case: Case, name: str = "destination") -> Check:
    """After a case that did not complete: whether the guest migrates once all is in order, to a side as the source of
    ``case`` is.
    """
    claim = "a second migration completes, with all its checks"
    try:
        traveller.heal()
        verdict = judge_passage(traveller.attempt(in_order(case), name))
    except SwitchoverError as error:
        return Check(claim, passed=False, expected="yes", observed=str(error))
    passed = verdict.name is VerdictName.COMPLETED
    return Check(claim, passed, "yes", "yes" if passed else f"{verdict.name}: {verdict.reason}")


def _sizes(knobs: Knobs) -> tuple[int, int]:
    return knobs.initial_bytes, knobs.stop_copy_bytes


def _with_sizes_of(left: Side, arrival: Side) -> Side:
    """The sizes of a device's state belong to the state, and came with it."""
    devices = tuple(
        replace(new, knobs=replace(
            new.knobs, initial_bytes=old.knobs.initial_bytes, stop_copy_bytes=old.knobs.stop_copy_bytes
        ))
        for old, new in zip(left.spec.devices, arrival.spec.devices, strict=True)
    )  # fmt: skip
    return replace(arrival, spec=replace(arrival.spec, devices=devices))


def _ended(source: Side, destination: Side) -> str:
    """The side whose QEMU ended, the source's first; empty if both live."""
    for name, side in (("source", source), ("destination", destination)):
        if side.guest.is_dead():
            return name
    return ""


@contextlib.contextmanager
def start_traveller(
    spec: SideSpec,
    pair: Pair,
    loop: LoopThread,
    watchers: Watchers | None = None,
    saved_guests: SavedGuests | None = None,
) -> Iterator[Traveller]:
    """A guest started on the source of the pair; it boots, or is read, while the first destination is started.

    ``saved_guests``: where a warm guest comes from, or stays for the next one; None: only this traveller has it.
    """
    watchers = watchers or Watchers()
    pair = pair.for_guest(spec.guest)
    with contextlib.ExitStack() as trips:
        trips.enter_context(start_virtual_functions(pair.source.host, spec.functions))
        stay = trips.enter_context(contextlib.ExitStack())
        saved = None
        if spec.guest.start == "warm":
            watchers.step("save guest")
            source = saved_guests or trips.enter_context(SavedGuests())
            guest = with_lab_words(spec.guest, pair.source.guest_words)
            saved = source.require(
                guest, len(spec.devices), pair.source.host, pair.keys, loop,
                keep=lambda guest: watchers.release(guest, "saved"),
            )  # fmt: skip
        watchers.step("start source")
        side = stay.enter_context(
            start_side(
                spec, pair.source.host, "source", pair.keys, loop,
                incoming=False, saved=saved, keep=lambda guest: watchers.release(guest, "source"),
                words=pair.source.guest_words,
            )
        )  # fmt: skip
        yield Traveller(pair, loop, side, watchers, stay, trips)
