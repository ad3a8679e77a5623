# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that lives on one end of a pair and migrates to the other, as often as it is asked to."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from switchover.devices.passthrough import start_virtual_functions
from switchover.devices.reference import Knobs
from switchover.guests.capabilities import GuestCapabilities, Need, find_capabilities
from switchover.guests.connection import GuestConnection
from switchover.guests.qemu import QemuGuest
from switchover.guests.questions import (
    PLACE_CANARY,
    TAKEN,
    GuestAnswers,
    Unanswered,
    mend_device,
    prepare_guest,
    wait_for_functions,
    wait_until_taken,
)
from switchover.guests.snapshots import Beginning, Snapshot, Snapshots, finish_restore
from switchover.hosts.loop import LoopThread
from switchover.hosts.parallel import do_both
from switchover.migration.drivers import DRIVERS
from switchover.migration.phases import Action, Phase
from switchover.migration.session import carry_out
from switchover.probes.probe import Given
from switchover.probes.table import start_probes
from switchover.record.checks import CheckId
from switchover.record.errors import CommandFailed, GuestCrashed, HostLost, Refused, SwitchoverError, UsageError
from switchover.record.measurement import Check, NotChecked, make_check
from switchover.record.record import VerdictName
from switchover.runner.attempt import Attempt, migrate_sides
from switchover.runner.examination import Departure, examine, examine_stayed
from switchover.runner.guest_capabilities import list_not_checked, require_capabilities
from switchover.runner.host_pair import HostPair
from switchover.runner.interventions import Scene, make_intervention, make_last, start_link
from switchover.runner.listener import RunListener
from switchover.runner.side import Side, exchange_devices, start_side
from switchover.runner.verdict import judge_attempt
from switchover.scenarios.case import AnyDevice, Case, DeviceSpec, SideSpec, in_order, side_in_order
from switchover.scenarios.oracle import choose_rule, find_named_rule, make_traits

_NEEDED_BY = {PLACE_CANARY: Need.MEMORY, TAKEN: Need.DRIVER}
"""What a guest of the user lacks that cannot do what it was told."""


@dataclass
class GuestSession:
    """``pair.source`` is where the guest lives now. Made by :func:`start_guest_session`.

    ``migrations``: how many it has completed. ``listener`` may be another one for each attempt.
    """

    pair: HostPair
    loop: LoopThread
    side: Side
    beginning: Beginning
    saved: Snapshot | None
    """what it was restored from; None: it was booted"""
    listener: RunListener
    connection: GuestConnection
    _stay: contextlib.ExitStack
    _trips: contextlib.ExitStack
    before: GuestAnswers | None = field(default=None)
    migrations: int = 0
    _is_stale: bool = False
    """Whether a case has changed what the guest says of itself and of its devices."""
    _lost_canary: bool = False

    def attempt(self, case: Case, name: str = "destination", recordings: Path | None = None) -> Attempt:
        """Migrate to the other end, as the case says, and look at the guest where it then is.

        ``recordings``: where those of IRQ threads are kept; None: nowhere. On completion the guest lives there, and the
        side it left is released; otherwise the side that waited is. A destination that is refused, or a host that is
        lost, raises.
        """
        with contextlib.ExitStack() as failed:
            there = failed.enter_context(contextlib.ExitStack())
            arrival: Side | None = None
            try:
                self.side.guest.take_side("source")
                self.listener.step(f"start {name}")
                # a guest that boots does so by itself; one that is restored is given its devices meanwhile
                with ThreadPoolExecutor(1, name) as aside:
                    starting = aside.submit(self._start_arrival, there, case, name)
                    if self.before is None:
                        self.settle_in()
                arrival = starting.result()
                self.listener.sides_started(self.side, arrival)
                before = self._meet(case)
                self._is_stale = bool(case.renewed) or case.does(Action.REBOOT_GUEST)
                attempt = self._pass(case, arrival, before, recordings)
                if case.does(Action.REBOOT_GUEST):
                    self._forget_boot()
                lacking = list_not_checked(case, before.capabilities)
                others = [entry for entry in attempt.not_checked if entry.id not in {lack.id for lack in lacking}]
                attempt = replace(attempt, not_checked=(*lacking, *others))
            except SwitchoverError as error:
                self.listener.attempted(case, self.side, arrival, error)
                raise
            self.listener.attempted(case, self.side, arrival, attempt)
            if attempt.result and attempt.result.status == "completed" and not attempt.error:
                self._trips.enter_context(there)  # before anything can fail, since the guest lives there now
                failed.pop_all()
                self._move(there, arrival, before)
            return attempt

    def _start_arrival(self, there: contextlib.ExitStack, case: Case, name: str) -> Side:
        spec = case.destination
        # until the guest session's end: the guest may come back, or be on the same host
        self._trips.enter_context(start_virtual_functions(self.pair.destination.host, spec.functions))
        return there.enter_context(
            start_side(
                spec,
                self.pair.destination.host,
                name,
                self.pair.keys,
                self.loop,
                incoming=True,
                keep=self._release,
                words=self.pair.destination.guest_words,
                absent=case.unplugged,
            )
        )

    def _forget_boot(self) -> None:
        """What runs now was booted, and has nothing of what was put into the memory of the boot before."""
        self._lost_canary = True
        self.saved = None
        self.side = replace(self.side, saved=None)

    def _release(self, guest: QemuGuest) -> None:
        """A QEMU that is about to go: one that the guest has come to by a migration before is the source by now."""
        self.listener.release(guest, guest.side)

    def settle_in(self) -> None:
        """The guest boots, or is restored, gets its state, and says what it is before its first migration."""
        guest, saved = self.side.guest, self.side.saved
        if saved:
            self.listener.step("guest restore")
            finish_restore(guest, saved)
        else:
            self.listener.step("guest boot")
            guest.wait_until_reachable()
        self.listener.step("ask before")
        host = self.connection.open(guest)
        self.before = self._prepare(find_capabilities(host, self.side.spec.guest), canary=True)

    def _prepare(self, capabilities: GuestCapabilities, *, canary: bool = False, awaits: bool = False) -> GuestAnswers:
        """Its devices taken by its driver and given their state. What a guest of the user cannot do, it has no means
        for.

        ``canary``: it gets one; ``awaits``: devices were plugged in.

        :raises Unanswered: the lab's guest cannot do it
        """
        spec, guest = self.side.spec, self.connection.host
        restored = self.side.saved is not None
        canary = canary or self._lost_canary
        if restored and canary and self.side.function_numbers and Need.PCI in capabilities.has:
            wait_for_functions(guest, self.side.function_numbers, [self.side.guest.require_alive])
        while True:
            try:
                answers = prepare_guest(
                    guest,
                    [device.knobs for device, _ in self.side.present],
                    capabilities,
                    self.side.function_numbers,
                    restored=restored and canary,
                    awaits=awaits or restored or not spec.guest.is_of_lab,
                    canary=canary,
                ).answers
                self._is_stale = self._lost_canary = False
                return answers
            except Unanswered as failed:
                needs = _NEEDED_BY.get(failed.question)
                if needs is None or needs not in capabilities.has or spec.guest.is_of_lab:
                    raise
                capabilities = capabilities.without(needs)
            except (CommandFailed, HostLost):
                self.side.guest.require_alive()
                raise

    def _meet(self, case: Case) -> GuestAnswers:
        """What the guest says before this migration, over a connection that the case leaves alone."""
        if case.disturbs_link and self.connection.through != self.side.guest.host.name:
            self.connection.open(self.side.guest)
        if self.before is None:
            raise AssertionError("the guest has not settled in")
        if self.side.absent or self._is_stale:
            self.connection.require(self.side.guest)
            self._plug_absent(self.before.capabilities)
            self.before = self._prepare(self.before.capabilities, awaits=True)
        return self.before

    def _plug_absent(self, capabilities: GuestCapabilities) -> None:
        """Give the guest back what a case has taken from it, until its driver has it.

        :raises Refused: QEMU rejects a device; :raises Unanswered: the guest's driver does not take it
        """
        if not self.side.absent:
            return
        for device_id in self.side.absent:
            self.side.plug(device_id)
        if capabilities.has_device:
            wait_until_taken(self.connection.host, len(self.side.present))

    def _pass(self, case: Case, arrival: Side, before: GuestAnswers, recordings: Path | None) -> Attempt:
        require_capabilities(case, before.capabilities)
        login = self.connection.require(self.side.guest)
        truths = do_both(self.side.read_truths, arrival.read_truths)
        departure = Departure(case, self.side, arrival, before, truths, self.connection, made=[])
        with contextlib.ExitStack() as probes, contextlib.ExitStack() as faults:
            links = tuple(
                faults.enter_context(start_link(end.host, end.link))
                for end in (self.pair.source, self.pair.destination)
                if case.disturbs_link
            )
            scene = Scene(self.side, arrival, links, self.pair.keys, login)
            interventions = [
                make_intervention(fault, scene, case) for fault in case.faults if fault.phase is not Phase.AFTER
            ]
            given = Given(
                case,
                self.side.guest,
                self.side.spec.references,
                self.pair.outlets(),
                self.pair.keys,
                before.capabilities,
                login,
                recordings,
                self.listener.step,
            )
            running = probes.enter_context(start_probes(given, self.listener.probe_ended))
            self.listener.step("migrate")
            try:
                migrated = migrate_sides(
                    self.side,
                    arrival,
                    self.pair.destination.address,
                    case.bound_settings,
                    self.loop,
                    interventions,
                    self.listener.sample,
                    faults.close,
                    self.pair.destination.login,
                    departure.made.append,
                    running.settle,
                )
            except (Refused, GuestCrashed) as caught:
                error = caught
            else:
                self.listener.step("ask after")
                faults.close()  # the guest is reached over the link too
                status = migrated.migration.status
                _make_last(departure, scene, status)
                if status == "completed":
                    return examine(departure, migrated, running)
                return examine_stayed(departure, migrated)
        self.listener.step("ask after")
        _make_last(departure, scene, None)
        return examine_stayed(departure, error=error)

    def _move(self, there: contextlib.ExitStack, arrival: Side, before: GuestAnswers) -> None:
        left, self._stay = self._stay, there
        self.migrations += 1
        self.side, self.pair = _with_sizes_of(self.side, arrival), self.pair.reversed()
        devices = tuple(replace(device, generation=device.generation + 1) for device in before.devices)
        self.before = replace(before, devices=devices)
        left.close()

    def heal(self) -> None:
        """Take the faults from the devices where the guest lives, and what the guest says now as what it is to say
        after the next migration: a device that was reset has lost its state.
        """
        self.side = replace(self.side, spec=side_in_order(self.side.spec))
        for device, spec in zip(self.side.devices, self.side.spec.references, strict=True):
            device.set_live_knobs(spec.knobs)
        guest = self.connection.require(self.side.guest)
        capabilities = self.before.capabilities if self.before else find_capabilities(guest, self.side.spec.guest)
        self._plug_absent(capabilities)
        for number in range(len(self.side.devices) if capabilities.has_device else 0):
            mend_device(guest, number)
        self.before = self._prepare(capabilities)

    def reboot(self) -> None:
        """Let the guest reboot, by its own means, and come up again with its devices, whose state begins anew.

        QEMU ends with a guest that reboots (``-no-reboot``), unless it is told otherwise before.

        :raises UsageError: its driver cannot; :raises GuestCrashed: it ended; :raises Deadline: it does not come up
        """
        guest = self.side.guest
        if words := DRIVERS[self.side.spec.guest.driver].cannot_reboot:
            raise UsageError(words, fix='driver = "qmp"')
        capabilities = find_capabilities(self.connection.require(guest), self.side.spec.guest)
        guest.reboot(self.connection.require(guest))
        self.saved = None  # what runs now was booted
        self.side = replace(self.side, saved=None)
        self.connection.open(guest)
        self.before = self._prepare(capabilities, canary=True, awaits=True)

    def take_devices(self, spec: SideSpec) -> None:
        """Give the guest where it lives the devices of another case's source: by knobs where what they offer is the
        same, else others are plugged in their place, since a device in use does not change what it offers.

        :raises UsageError: the case needs other devices than by their knobs
        """
        if self.before is None:
            raise AssertionError("the guest has not settled in")
        if offers_of(self.side.spec) == offers_of(spec):
            self.take_knobs(spec)
            return
        others = (*self.side.functions, *self.side.mediated, *spec.functions, *spec.mediated)
        if others or len(spec.devices) != len(self.side.spec.devices):
            raise UsageError("The guest does not have the devices that this case needs.", why=str(spec))
        self.side = exchange_devices(self.side, spec)
        self.connection.require(self.side.guest)
        self.before = self._prepare(self.before.capabilities, awaits=True)

    def take_knobs(self, spec: SideSpec) -> None:
        """Give the devices where the guest lives the knobs of another case; what they offer stays as it is.

        :raises UsageError: the case needs devices that offer something else
        """
        pairs = list(zip(self.side.devices, self.side.spec.references, spec.references, strict=True))
        for _, mine, wanted in pairs:
            if (mine.type, mine.knobs.offers()) != (wanted.type, wanted.knobs.offers()):
                raise UsageError(
                    f"The device {wanted.id!r} of the guest is not as this case needs it.", why=str(wanted)
                )
        for device, _, wanted in pairs:
            device.set_live_knobs(wanted.knobs)
        resized = any(_sizes(mine.knobs) != _sizes(wanted.knobs) for _, mine, wanted in pairs)
        self.side = replace(self.side, spec=replace(self.side.spec, devices=spec.devices))
        if resized and self.before:
            # a state of another size is another state, with another checksum
            self.connection.require(self.side.guest)
            self.before = self._prepare(self.before.capabilities)


def _make_last(departure: Departure, scene: Scene, status: str | None) -> None:
    """The faults of the phase ``after``, where the guest is now; nobody gets a device whose QEMU has ended.

    ``status``: QEMU's, in the end; None: the migration was rejected, or a QEMU ended.
    """
    for fault in departure.case.faults:
        if fault.phase is Phase.AFTER and not scene.find_place(completed=status == "completed").guest.is_dead():
            last = make_last(fault, scene, departure.case, completed=status == "completed")
            if (made := carry_out(last, status)) is not None:
                departure.made.append(made)


def find_why_not_again(case: Case) -> str:
    """Why the guest of a case cannot migrate even if all is in order, as far as the oracle and the case's author know,
    whose scenario may name a rule that depends on the hosts; empty: it can.
    """
    traits = make_traits(in_order(case))
    expectation = choose_rule(traits).expectation
    if expectation.verdict is VerdictName.COMPLETED and (named := find_named_rule(case.expectation, traits)):
        expectation = named.expectation
    return "" if expectation.verdict is VerdictName.COMPLETED else f"it cannot complete: {expectation.because}"


def migrate_again(guest_session: GuestSession, case: Case, name: str = "destination") -> Check | NotChecked:
    """After a case that did not complete: whether the guest migrates once all is in order, to a side as the source of
    ``case`` is. Not checked where even such a migration cannot complete.
    """
    again = CheckId.MIGRATION_AGAIN
    try:
        guest_session.heal()
        if why := find_why_not_again(case):
            return NotChecked(again, again.claim, reason=why)
        verdict = judge_attempt(guest_session.attempt(in_order(case), name))
    except SwitchoverError as error:
        return make_check(again, False, "yes", str(error))
    passed = verdict.name is VerdictName.COMPLETED
    return make_check(again, passed, "yes", "yes" if passed else f"{verdict.name}: {verdict.reason}")


def offers_of(spec: SideSpec) -> list[object]:
    """What its devices are, in what cannot be changed while they are open."""
    return [
        (replace(device, knobs=Knobs()), device.knobs.offers(), bool(device.knobs.dma_pages_per_sec))
        if isinstance(device, DeviceSpec)
        else device
        for device in spec.devices
    ]


def _sizes(knobs: Knobs) -> tuple[int, int]:
    return knobs.initial_bytes, knobs.stop_copy_bytes


def _with_sizes_of(left: Side, arrival: Side) -> Side:
    """The sizes of a device's state belong to the state, and came with it."""

    def take_sizes(old: AnyDevice, new: AnyDevice) -> AnyDevice:
        if not (isinstance(old, DeviceSpec) and isinstance(new, DeviceSpec)):
            return new
        initial_bytes, stop_copy_bytes = _sizes(old.knobs)
        return replace(new, knobs=replace(new.knobs, initial_bytes=initial_bytes, stop_copy_bytes=stop_copy_bytes))

    devices = tuple(map(take_sizes, left.spec.devices, arrival.spec.devices))
    return replace(arrival, spec=replace(arrival.spec, devices=devices))


@contextlib.contextmanager
def start_guest_session(
    spec: SideSpec,
    pair: HostPair,
    loop: LoopThread,
    listener: RunListener | None = None,
    snapshots: Snapshots | None = None,
) -> Iterator[GuestSession]:
    """A guest started on the source of the pair; it boots, or is read, while the first destination is started.

    ``snapshots``: where a warm guest comes from, or stays for the next one; None: only this guest session has it.
    """
    listener = listener or RunListener()
    pair = pair.for_guest(spec.guest)
    with contextlib.ExitStack() as trips:
        trips.enter_context(start_virtual_functions(pair.source.host, spec.functions))
        stay = trips.enter_context(contextlib.ExitStack())
        here, saved = pair.source, None
        snapshots = snapshots or trips.enter_context(Snapshots())
        beginning = snapshots.decide(spec.guest, here.host, here.lab, DRIVERS[spec.guest.driver].cannot_restore)
        if beginning.start == "warm":
            listener.step("saved guest")
            saved = snapshots.require(
                spec.guest,
                len(spec.devices),
                here.host,
                pair.keys,
                loop,
                here.lab,
                here.guest_words,
                keep=lambda guest: listener.release(guest, "saved"),
            )
        listener.step("start source")
        made: list[GuestSession] = []

        def release(guest: QemuGuest) -> None:
            (made[0].listener if made else listener).release(guest, guest.side)

        side = stay.enter_context(
            start_side(
                spec,
                here.host,
                "source",
                pair.keys,
                loop,
                incoming=False,
                saved=saved,
                keep=release,
                words=here.guest_words,
            )
        )
        with contextlib.closing(GuestConnection(pair.keys)) as connection:
            made.append(GuestSession(pair, loop, side, beginning, saved, listener, connection, stay, trips))
            yield made[0]
