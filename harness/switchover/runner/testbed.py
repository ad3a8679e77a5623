# SPDX-License-Identifier: GPL-2.0-or-later
"""What people who write tests have of hosts that somebody took: cases run on them, guests started, all recorded."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from switchover.guests.snapshots import Snapshots
from switchover.hosts.host import Completed, Host
from switchover.hosts.inventory import load_inventory
from switchover.hosts.waiting import paced
from switchover.irq.analysis import Analysis, analyse_file
from switchover.irq.recorder import record
from switchover.lab.acquire import acquire_lab
from switchover.lab.lab import Lab
from switchover.lab.release import list_leftovers
from switchover.record.errors import NotSupported
from switchover.record.planfile import PlanLine, make_skipped
from switchover.record.record import Record, Verdict, VerdictName
from switchover.record.rundir import RepeatDirectory, RunDirectory, make_run_directory
from switchover.runner.case_runner import RunContext, run_repeat
from switchover.runner.leased_hosts import HostNames, LeasedHosts, LeasedLab
from switchover.runner.leased_inventory import reopen_inventory_hosts
from switchover.runner.plan_runner import run_on_pair
from switchover.runner.shared_guest import SharedGuest
from switchover.runner.subject_guest import SubjectGuest, start_subject_guest
from switchover.scenarios.case import Case, in_place
from switchover.scenarios.expand import PlannedCase
from switchover.scenarios.preflight import Known, decide, foresee

ALONE = RunContext()
"""Who watches runs that nobody watches."""


class Guest:
    """A running guest with its VFIO devices. It is on the source at first, and later where its last migration left it.

    Made by :meth:`Testbed.start_guest`.
    """

    def __init__(self, held: SubjectGuest, case: Case, testbed: "Testbed") -> None:
        self._held = held
        self._case = case
        self._testbed = testbed

    @property
    def host(self) -> str:
        """The name of the host on which the guest runs."""
        return self._held.require().pair.source.host.name

    @property
    def migrations(self) -> int:
        """The number of migrations that the guest has completed."""
        return self._held.require().migrations

    @property
    def shell(self) -> Host:
        """A login to the guest over SSH, which stays connected when the guest migrates."""
        guest_session = self._held.require()
        return guest_session.connection.require(guest_session.side.guest)

    def run(self, argv: Sequence[str], *, timeout: float = 30, check: bool = True) -> Completed:
        """Run a command in the guest.

        :raises CommandFailed: with ``check``, on an exit status other than 0, or after ``timeout`` seconds
        :raises HostLost: the guest does not answer
        """
        return self.shell.run(argv, timeout=timeout, check=check)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """QEMU's answer to a QMP command. :raises Refused: QEMU rejects it, in its own words"""
        return self._held.require().side.guest.qmp.execute(command, arguments or None)

    def migrate(self, case: Case | None = None) -> Record:
        """Migrate it to the other host, and check it there; by default as the case says that it was started for.

        ``case``: another one, for this migration: its settings, faults, expectation and knobs of the devices; also
        another QEMU on the destination. A migration that did not complete leaves the guest where it is.

        :raises UsageError: the guest cannot have the devices of ``case``; :raises GuestCrashed: it ended before
        """
        return self._testbed.migrate(self._held, case or self._case)

    def reboot(self) -> None:
        """Let it reboot by its own means, and wait until its SSH answers and its devices are taken.

        :raises UsageError: its driver cannot; :raises GuestCrashed: it ended; :raises Deadline: it does not come up
        """
        self._held.require().reboot()

    def record_irq_threads(self, seconds: float, irqs: Sequence[str] = ()) -> Analysis:
        """Where threads of interrupts run in the guest; see :func:`record_irq_threads`."""
        return self._testbed.record_irq_threads(self.shell, seconds, irqs)


class Testbed:
    """A pair of hosts to run cases on, for the time of a ``with`` block of ``open_lab`` or ``open_hosts``.

    Cases share a guest where nothing about their sources differs; one that is not as expected with a guest of others is
    run again alone. Records and evidence are in :attr:`directory`, a run directory, which ``switchover show`` reads.
    """

    __test__ = False  # its name is not that of a test, for pytest

    def __init__(
        self, leased: LeasedHosts, directory: RunDirectory, context: RunContext, lab: Lab | None = None
    ) -> None:
        self._leased = leased
        self._directory = directory
        self._context = context
        self._known: dict[tuple[object, ...], Known] = {}
        self._place: RepeatDirectory | None = None
        self._lock = threading.Lock()
        self._snapshots = context.snapshots or Snapshots()
        self.lab = lab

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self._directory.path

    @property
    def address(self) -> Mapping[str, object]:
        """How a child of this process finds the same hosts; see :func:`reopen_testbed`."""
        return self._leased.address

    @property
    def hosts(self) -> tuple[Host, Host]:
        """The source and the destination of a guest that starts."""
        pair = self._leased.pair(("", ""))
        return pair.source.host, pair.destination.host

    def find_missing(self, case: Case | PlannedCase) -> str:
        """What a case needs and the hosts lack, in words; empty if the case can be run. Toolchains are brought to lab
        hosts.

        :raises HostLost: a host does not answer; :raises NotReady: a toolchain cannot be had
        """
        return self._find_missing(*_split(case))

    def _find_missing(self, case: Case, hosts: HostNames) -> str:
        return "; ".join(decide(case, hosts, self._ask(case, hosts)).missing)

    def _ask(self, case: Case, hosts: HostNames) -> Known:
        # by the whole guests: hosts are asked for their kernels' files, disks and bridges too
        key = (hosts, repr([side.guest for side in case.sides]))
        if key not in self._known:
            self._known[key] = self._leased.ask([(case, hosts)])
        return self._known[key]

    def run(self, case: Case | PlannedCase, *, alone: bool = False) -> Record:
        """Run a case once, and leave its record in the run directory, whatever happens. A case that cannot be run here
        has a record that says so, with the verdict *not-supported*.

        ``alone``: with a guest of its own. Errors of the product and of the environment are verdicts.

        :raises NotReady: the hosts cannot be had
        """
        number, repeat = self._directory.next_repeat(case.id)
        return self.run_into(case, number, repeat, alone=alone)

    def run_into(
        self, case: Case | PlannedCase, number: int, repeat: RepeatDirectory, *, alone: bool = False
    ) -> Record:
        """Run a case as :meth:`run` does, as a repeat with a directory that the caller chooses."""
        rule = case.rule if isinstance(case, PlannedCase) else None
        case, hosts = _split(case)
        if rule is not None and not rule.place:
            case, _ = foresee(case, rule.name, hosts, self._ask(case, hosts))
        if missing := self._find_missing(case, hosts):
            return _leave_out(case, number, missing, repeat)
        context = self._context.alone() if alone or any(hosts) else self._context
        pair, fingerprint = self._leased.pair(hosts), self._leased.fingerprint(case, hosts)
        run = partial(run_repeat, place=self._leased.guest_place)
        return run_on_pair(case, number, pair, fingerprint, repeat, context, run)

    @contextlib.contextmanager
    def start_guest(self, case: Case) -> Iterator[Guest]:
        """Start the guest of a case with its devices, and connect to it over SSH. The guest ends with the ``with``
        block.

        :raises NotSupported: the case cannot be run here
        """
        if missing := self.find_missing(case):
            raise NotSupported(f"{case.id} cannot be run here.", why=missing)
        self.end_shared_guest()
        placed = in_place(case, self._leased.guest_place) if self._leased.guest_place else case
        with start_subject_guest(placed, self._leased.pair(("", "")), self._snapshots) as held:
            try:
                yield Guest(held, case, self)
            except BaseException as error:
                self._context.listener.left(error)
                raise

    def migrate(self, held: SubjectGuest, case: Case) -> Record:
        """For :meth:`Guest.migrate`."""
        number, repeat = self._directory.next_repeat(case.id)
        pair, fingerprint = self._leased.pair(("", "")), self._leased.fingerprint(case, ("", ""))
        context = replace(self._context, shared=held)
        return run_repeat(case, number, pair, repeat, fingerprint, context, self._leased.guest_place)

    def record_irq_threads(self, host: Host, seconds: float, irqs: Sequence[str] = ()) -> Analysis:
        """For :func:`record_irq_threads`, with the recording in the run directory."""
        place = self._place.path if self._place else self.directory
        with self._lock:
            number = len(list(place.glob("irq-*.trace.gz"))) + 1
            path = place / f"irq-{number:02}.trace.gz"
        return record_irq_threads(host, seconds, irqs, path=path)

    @contextlib.contextmanager
    def inside(self, place: RepeatDirectory) -> Iterator["Testbed"]:
        """The same hosts for a case that runs cases itself: their records are in its own directory."""
        within = Testbed(self._leased, RunDirectory(place.path), self._context, self.lab)
        within._known, within._place = self._known, place
        yield within

    def end_shared_guest(self) -> None:
        """End the guest that cases share, if there is one: another one may have its address."""
        if self._context.shared is not None:
            self._context.shared.end()

    def release_guests(self) -> None:
        """End the guest that cases share, and remove saved guests that are kept for further cases."""
        self.end_shared_guest()
        self._snapshots.clear()

    def directory_of(self, record: Record) -> Path:
        """The directory with the files of a case that was run here; docs/run-directory.md lists them."""
        return self._directory.repeat_path(record.case, record.repeat)

    def list_leftovers(self) -> list[str]:
        """What is on the hosts of guests and devices, as ``host: what``, but for what is kept for further cases: the
        guest that cases share, and saved guests that are no images.

        It is empty if everything that was acquired was released, and nobody else uses the hosts.
        """
        own = self._snapshots.directories
        shared = self._context.shared
        if shared is not None and shared.guest_session is not None:
            side = shared.guest_session.side
            own += [side.guest.files.directory, side.guest.files.tap, *(entry.mediated.uuid for entry in side.devices)]
        return [
            f"{host.name}: {line}"
            for host in dict.fromkeys(self.hosts)
            for line in list_leftovers(host)
            if not any(word in line for word in own)
        ]

    def find_loss(self) -> str:
        """Why no further case can run here, in words; empty if it can."""
        return self._leased.find_loss()


def _split(case: Case | PlannedCase) -> tuple[Case, HostNames]:
    return (replace(case.case, id=case.id), case.hosts) if isinstance(case, PlannedCase) else (case, ("", ""))


def _leave_out(case: Case, number: int, missing: str, repeat: RepeatDirectory) -> Record:
    verdict = Verdict(VerdictName.NOT_SUPPORTED, reason=missing)
    line = PlanLine(case.id, case.id, "", 1, asdict(case.expectation), "", 0.0)
    record = replace(make_skipped(line, verdict, datetime.now(UTC).isoformat()), repeat=number)
    repeat.write_record(record)
    return record


def record_irq_threads(host: Host, seconds: float, irqs: Sequence[str] = (), *, path: Path | None = None) -> Analysis:
    """Trace interrupts of a host, or of a guest that one can log in to, and tell where their threads ran.

    ``irqs``: numbers, or parts of names such as ``virtio0``; default: all threaded ones. ``path``: where the recording
    stays (``.trace.gz``, for ``switchover irq report``); default: a file of its own in the current directory.

    :raises NotSupported: it cannot be traced, or none of its interrupts is threaded
    :raises UsageError: no threaded interrupt is meant by a word; :raises HostLost: it does not answer
    """
    path = path or Path(f"irq-{datetime.now(UTC):%Y%m%dT%H%M%S}.trace.gz")
    record(host, path, seconds, irqs)
    return analyse_file(path)


def read_irq_recording(path: Path) -> Analysis:
    """Analyse a recording that exists already; no host is asked.

    :raises UsageError: the file cannot be read, or is not a recording
    """
    return analyse_file(path)


@contextlib.contextmanager
def open_testbed(
    leased: LeasedHosts,
    output: Path | None = None,
    title: str = "api",
    share_guest: bool = True,
    lab: Lab | None = None,
    *,
    directory: RunDirectory | None = None,
    context: RunContext = ALONE,
) -> Iterator[Testbed]:
    """Hosts that somebody has already. ``directory``: the run directory, if there is one already."""
    directory = directory or make_run_directory(title, output)
    with Snapshots() as snapshots, SharedGuest() as shared:
        yield Testbed(
            leased, directory, replace(context, snapshots=snapshots, shared=shared if share_guest else None), lab
        )


@contextlib.contextmanager
def reopen_testbed(address: Mapping[str, object], directory: RunDirectory, context: RunContext) -> Iterator[Testbed]:
    """Hosts that the parent of this process has, and keeps from others meanwhile; without an address, a lab.

    :raises NotReady: they are not there any more; :raises UsageError: the inventory has changed
    """
    with contextlib.ExitStack() as stack:
        lab: Lab | None = None
        leased: LeasedHosts
        place = int(str(address.get("place", 1)))
        if "lab" in address:
            lab = stack.enter_context(contextlib.closing(Lab(Path(str(address["lab"])))))
            stack.enter_context(paced(lab.file.pace))
            source, destination = (str(name) for name in address.get("pair", ("", "")))  # type: ignore[attr-defined]
            leased = LeasedLab(lab, (source, destination), place)
        elif "hosts" in address:
            source, destination = (str(name) for name in address["hosts"])  # type: ignore[attr-defined]
            file = Path(str(address["inventory"])) if address.get("inventory") else None
            inventory = load_inventory(file)
            leased = stack.enter_context(reopen_inventory_hosts(inventory, (source, destination), place))
        else:
            lab = stack.enter_context(acquire_lab())
            leased = LeasedLab(lab)
        yield stack.enter_context(open_testbed(leased, lab=lab, directory=directory, context=context))
