# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest run by libvirt on a host: a transient domain, started or migrated through libvirt's API.

What the harness reads of QEMU itself (events, counters, states) comes from a second monitor that the domain has for
that. libvirt's own is left to libvirt: what is asked there waits for libvirt's jobs, and libvirt waits for it.
"""

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from switchover.guests.console import Console
from switchover.guests.domain import DomainIdentity, alias_of, build_domain, render_hostdev
from switchover.guests.hotplug import wait_until_deleted
from switchover.guests.libvirtd import START, DomainEvent, Libvirtd, connect_libvirtd
from switchover.guests.qemu import (
    GuestEvidence,
    GuestKeys,
    QemuGuest,
    condense_words,
    prepare_files,
    removal_of_files,
)
from switchover.guests.spec import GuestFiles, GuestSpec, Launch, VfioDevice
from switchover.hosts.host import UNKNOWN_SIGNAL, Host, paste
from switchover.hosts.journal import own_journal
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import LateQmpSession
from switchover.hosts.undo import end_processes
from switchover.hosts.waiting import Invariant, wait_until
from switchover.record.errors import Deadline, NotReady, Refused

_STATUS_DIRECTORY = "/run/libvirt/qemu"  # NAME.pid and NAME.xml of each domain that runs
_LOG_DIRECTORY = "/var/log/libvirt/qemu"  # NAME.log: QEMU's command line and its standard error
_MONITOR_S = 60
_END_S = 30
_EVENT_S = 3


class DomainProcess:
    """The QEMU of a domain; satisfies :class:`switchover.hosts.host.Running`. What ended it, libvirt tells."""

    def __init__(self, host: Host, libvirtd: Libvirtd, has_closed: Callable[[], bool]) -> None:
        """``has_closed``: whether QEMU has closed a monitor that was open."""
        self._host = host
        self._libvirtd = libvirtd
        self._has_closed = has_closed
        self._closed_at: float | None = None
        self._killed = False
        self._pid = 0
        self._code: int | None = None
        self.name = ""

    def note_event(self, event: DomainEvent) -> None:
        """From a lifecycle event: whether QEMU ended, and whether it was let to."""
        libvirt = self._libvirtd.module
        if event.name == "lifecycle" and event.details["event"] == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            crashed = event.details["detail"] == libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED
            self._code = UNKNOWN_SIGNAL if crashed else 0

    @property
    def pid(self) -> int:
        """:raises NotReady: libvirt has no such domain running"""
        if not self._pid:
            self._pid = int(self._host.read_file(f"{_STATUS_DIRECTORY}/{self.name}.pid"))
        return self._pid

    def poll(self) -> int | None:
        """0: it ended as libvirt had it do; negative: by itself, as a crash is. None also before it was started."""
        if self._code is None:
            self._libvirtd.require_connected()
            if self._has_closed():
                self._closed_at = self._closed_at or time.monotonic()
                # libvirt's event says why, and comes a moment later; for some ends of a destination there is none
                self._code = 0 if time.monotonic() - self._closed_at > _EVENT_S else None
        return UNKNOWN_SIGNAL if self._killed and self._code is not None else self._code

    def wait(self, timeout: float) -> int | None:
        with contextlib.suppress(Deadline):
            return wait_until("the end of a domain", self.poll, timeout=timeout)
        return None

    def kill(self) -> None:
        """As a crash: libvirt is not asked."""
        if self.name and self.poll() is None:
            self._killed = True
            self._host.run(["kill", "-KILL", str(self.pid)], check=False)
            self.wait(_END_S)

    def stderr(self) -> str:
        """What QEMU wrote since it was started last, from libvirt's log of the domain."""
        if not self.name:
            return ""
        completed = self._host.run(["cat", f"{_LOG_DIRECTORY}/{self.name}.log"], check=False)
        return find_words(completed.text)


_BEGIN = re.compile(r"^\S+ \S+: starting up libvirt version: ", re.MULTILINE)
_QEMU_LINE = re.compile(r"^\S+Z [\w./-]*qemu[\w.-]*: ")
_ENDED_BY_LIBVIRT = re.compile(r": terminating on signal 15 from pid \d+ \(\S*(?:libvirtd|virtqemud)\)$")


def find_words(log: str) -> str:
    """QEMU's own lines of a domain's log, of its last start; its command line and libvirt's remarks are left out, and
    that libvirt ended it: it does that to a destination whatever has failed.

    >>> find_words("2026-11-22 05:00:00.000+0000: starting up libvirt version: 11.3.0\\n-S\\n2026Z qemu-kvm: no\\n")
    '2026Z qemu-kvm: no\\n'
    >>> find_words("2026Z qemu-kvm: terminating on signal 15 from pid 226 (libvirtd)\\n")
    ''
    """
    last = _BEGIN.split(log)[-1]
    return "".join(
        line + "\n" for line in last.splitlines() if _QEMU_LINE.match(line) and not _ENDED_BY_LIBVIRT.search(line)
    )


class LibvirtGuest(QemuGuest):
    """A domain of a host's libvirtd. Made by :func:`start_domain`.

    One that waits for a migration is no domain yet: libvirt makes it when the migration begins, from XML that goes
    with it, and under the name that the source has.
    """

    qmp: LateQmpSession

    def __init__(
        self, launch: Launch, host: Host, side: str, files: GuestFiles, libvirtd: Libvirtd, loop: LoopThread
    ) -> None:
        self.libvirtd = libvirtd
        self._domain_process = DomainProcess(host, libvirtd, lambda: self.qmp.opened and not self.qmp.is_open())
        super().__init__(launch, host, side, files, [], self._domain_process)
        self.identity: DomainIdentity | None = None
        self.emulator = launch.spec.qemu
        self.xml = ""
        self.events: list[DomainEvent] = []
        self.qmp = LateQmpSession(self.label, host, files.monitor, loop)

    @property
    def has_begun(self) -> bool:
        return self.qmp.opened

    @property
    def run_by(self) -> str:
        return f"libvirt {self.libvirtd.version}"

    def name_device(self, device_id: str) -> str:
        return alias_of(device_id)

    def exit_status(self) -> int | None:
        """libvirt does not tell the status of a QEMU that ended by itself: one that said why has not crashed."""
        code = super().exit_status()
        return 1 if code == UNKNOWN_SIGNAL and not self.killed and self.last_words() else code

    def last_words(self) -> str:
        """Also of one that runs, as one that has failed does until libvirt ends it: they are in libvirt's log."""
        return condense_words(self._domain_process.stderr())

    @property
    def domain(self) -> Any:
        """The library's object, found anew: that of a domain which migrated is another one on each side.

        :raises Refused: there is no such domain
        """
        if self.identity is None:
            raise AssertionError(f"{self.label} has no domain yet")
        with self.libvirtd.calls("to find the domain"):
            return self.libvirtd.raw.lookupByUUIDString(self.identity.uuid)

    def identify(self, identity: DomainIdentity) -> None:
        """Give it its name, and make its XML. Done once, before there is a domain."""
        self.identity = identity
        self._domain_process.name = identity.name
        launch = replace(self.launch, spec=replace(self.spec, qemu=self.emulator))
        self.xml = build_domain(launch, self.files, identity)
        self.libvirtd.listen(identity.uuid, self._note_event)

    def _note_event(self, event: DomainEvent) -> None:
        self.events.append(event)
        self._domain_process.note_event(event)

    def create(self) -> None:
        """Start the domain, its XML validated against the schema of the host's libvirt.

        :raises Refused: libvirt or QEMU does not take it, in their own words
        """
        libvirt = self.libvirtd.module
        try:
            with self.libvirtd.calls("the domain"):
                self.libvirtd.raw.createXML(self.xml, libvirt.VIR_DOMAIN_START_VALIDATE)
        except Refused as error:
            raise Refused(f"{self.label} did not start.", why=error.why) from error
        self.open_monitor([self.require_accepted])

    def open_monitor(self, invariants: list[Invariant]) -> None:
        """Connect to QEMU's second monitor, which may still have to appear."""
        self.qmp.open(timeout=_MONITOR_S, invariants=invariants)

    def list_remarks(self) -> tuple[str, ...]:
        """What libvirt has marked the domain with: that it was given what goes past libvirt."""
        with self.libvirtd.calls("to tell what the domain is marked with"):
            return tuple(self.domain.messages(self.libvirtd.module.VIR_DOMAIN_MESSAGE_TAINTING))

    def cancel_migration(self) -> None:
        with self.libvirtd.calls("to abort the migration"):
            self.domain.abortJob()

    def pause(self) -> None:
        """Through libvirt, which has to know: it starts a guest on the destination as it believes it to have left."""
        with self.libvirtd.calls("to suspend the domain"):
            self.domain.suspend()

    def resume(self) -> None:
        with self.libvirtd.calls("to resume the domain"):
            domain = self.domain
            if domain.state()[0] == self.libvirtd.module.VIR_DOMAIN_PAUSED:
                domain.resume()

    def wake(self) -> None:
        with self.libvirtd.calls("to wake the domain"):
            self.domain.pMWakeup()

    def plug(self, device: VfioDevice, number: int) -> None:
        with self.libvirtd.calls(f"the device {device.id}"):
            live = self.libvirtd.module.VIR_DOMAIN_AFFECT_LIVE
            self.domain.attachDeviceFlags(render_hostdev(self.launch, device), live)
        self.launch = replace(self.launch, bare=self.launch.bare | {device.id})

    def unplug(self, device_id: str) -> None:
        device = next(one for one in self.launch.devices if one.id == device_id)
        seen = len(self.qmp.events)
        with self.libvirtd.calls(f"to take the device {device_id}"):
            live = self.libvirtd.module.VIR_DOMAIN_AFFECT_LIVE
            self.domain.detachDeviceFlags(render_hostdev(self.launch, device), live)
        wait_until_deleted(self.qmp, alias_of(device_id), seen, [self.require_alive])

    def destroy(self) -> None:
        """End the domain, if there is one, and see that it is gone; its QEMU also where libvirt does not."""
        if self.identity is not None:
            with contextlib.suppress(self.libvirtd.module.libvirtError):
                self.libvirtd.raw.lookupByUUIDString(self.identity.uuid).destroy()
        undo, gone = _removal_of_domain(self.files)
        self.host.run(undo)
        self.host.run(gone)

    def collect_evidence(self) -> GuestEvidence:
        found = super().collect_evidence()
        command = paste(["virsh", "create", f"{self.side}.xml"])
        events = tuple({"at_ns": event.at_ns, "event": event.name, **event.details} for event in list(self.events))
        return GuestEvidence(command, found.console, found.log, found.stderr, self.xml, events)


def make_identity(spec: GuestSpec) -> DomainIdentity:
    """A name that no other domain has."""
    whole = uuid.uuid4()
    return DomainIdentity(f"switchover-{spec.name}-{whole.hex[:12]}", str(whole))


@contextlib.contextmanager
def start_domain(
    launch: Launch,
    host: Host,
    side: str,
    keys: GuestKeys,
    loop: LoopThread,
    *,
    incoming: bool,
    keep: Callable[[QemuGuest], None] = lambda guest: None,
) -> Iterator[LibvirtGuest]:
    """A domain for the time of a ``with`` block, as :func:`start_guest` is a QEMU; ``incoming``: all but the domain.

    :raises NotReady: no libvirtd answers on the host
    :raises Refused: libvirt or QEMU rejected the domain, in their own words
    """
    spec = launch.spec
    ident = uuid.uuid4().hex[:12]
    files = GuestFiles(f"/tmp/switchover-{spec.name}-{side}-{ident}", f"sw{ident}")
    journal = own_journal()
    with contextlib.ExitStack() as stack:
        libvirtd = stack.enter_context(connect_libvirtd(host))
        undo, gone = removal_of_files(files)
        stack.enter_context(journal.change(host, f"directory {files.directory}", undo=undo, gone=gone))
        undo, gone = _removal_of_domain(files)
        change = stack.enter_context(journal.change(host, f"domain of {files.directory}", undo=undo, gone=gone))
        prepare_files(host, spec, files, keys, tap=False)
        guest = LibvirtGuest(launch, host, side, files, libvirtd, loop)
        guest.emulator = _require_program(host, spec.qemu)
        change.release = guest.destroy
        stack.callback(keep, guest)
        guest.console = Console(host.open_stream(["tail", "-c", "+1", "-F", files.console]))
        stack.callback(guest.console.close)
        stack.callback(guest.qmp.close)
        if not incoming:
            guest.identify(make_identity(spec))
            guest.create()
        yield guest


def _require_program(host: Host, name: str) -> str:
    """The path of a program, as libvirt wants its emulators. :raises NotReady: the host does not have it"""
    found = host.run(["sh", "-c", 'command -v -- "$1"', "sh", name], check=False).text.strip()
    if not found:
        raise NotReady(f"{host.name} has no {name}.")
    return found


def _removal_of_domain(files: GuestFiles) -> tuple[list[str], list[str]]:
    """Undo of a domain by its directory, which its XML names: the name may be that of another host's guest.

    A transient domain is gone when its QEMU is; libvirt takes its tap and its files away, and one that died does so
    when it is back. libvirt's log of it stays otherwise.
    """
    ident = files.directory.rpartition("-")[2]
    halves = [ident[:4], ident[4:]]
    end, ended = end_processes(ident)
    known = f'grep -l -s -F -- "$1$2" {_STATUS_DIRECTORY}/*.xml >&2'
    undo = (
        f"{paste(end)}; if {known}; then {START}; fi; n=0; "
        f"while {known} && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done; "
        f'grep -l -s -F -- "$1$2" {_LOG_DIRECTORY}/*.log | while read -r log; do rm -f "$log"; done'
    )
    gone = f"{paste(ended)} && ! {known}"
    return ["sh", "-c", undo, "sh", *halves], ["sh", "-c", gone, "sh", *halves]
