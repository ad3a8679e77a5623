# SPDX-License-Identifier: GPL-2.0-or-later
"""Warm guests: booted once without their devices, saved on their host, and restored from that as often as needed.

The devices are plugged into the guest that was restored. Saved with them, they would go through a migration of their
own before the one that a case is about, with their history, and a device that does not migrate could not be saved.
"""

import contextlib
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Self

from switchover.guests.arguments import build_arguments, render_device
from switchover.guests.console import find_trouble
from switchover.guests.qemu import GuestKeys, QemuGuest, start_guest
from switchover.guests.spec import GuestFiles, GuestSpec
from switchover.hosts.host import Host
from switchover.hosts.journal import own_journal
from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import wait_until
from switchover.record.errors import Deadline, GuestCrashed, NotReady, Refused

SAVE_CAPABILITY = "mapped-ram"
"""Each page has its place in the file: none twice, holes for pages of zeros, fast to read. QEMU 9.0 and newer."""
KEPT = 3
"""Saved guests of one host at a time; each takes about 80 MiB, of memory where /tmp is in memory."""
_FORMAT = 1  # raised when what is saved changes without a change in the arguments
_SAVE_TIMEOUT_S = 120
_RESTORE_TIMEOUT_S = 120


@dataclass(frozen=True)
class SavedGuest:
    """A guest in a file of its host, stopped, without devices.

    ``key``: digest of all that it was made from, equal for saved guests that are interchangeable; ``sha256``: of the
    file itself; ``bytes``: what the file takes; ``seconds``: how long booting and saving took; ``made``: when it
    was begun, ISO 8601.
    """

    key: str
    path: str
    sha256: str
    bytes: int
    seconds: float
    made: str

    def describe(self) -> dict[str, object]:
        """For the fingerprint of a repeat."""
        fields = asdict(self)
        fields.pop("path")
        return fields


class SavedGuests:
    """The saved guests of all hosts, for a ``with`` block at whose end they are removed."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._guests: dict[tuple[str, str], tuple[SavedGuest, contextlib.ExitStack]] = {}
        self._digests: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            for entry in self._guests.values():
                stack.enter_context(entry[1])
            self._guests.clear()

    def require(
        self,
        spec: GuestSpec,
        ports: int,
        host: Host,
        keys: GuestKeys,
        loop: LoopThread,
        keep: Callable[[QemuGuest], None] = lambda guest: None,
    ) -> SavedGuest:
        """The saved guest for a spec, booted and saved if there is none yet. ``ports``: for how many devices.

        ``keep``: called with the guest that was booted, see :func:`start_guest`.

        :raises Refused: QEMU rejected what it was given; :raises GuestCrashed: it ended, or its guest did
        :raises NotReady: it could not be saved
        """
        with self._lock:  # two that want the same guest do not both boot it
            key = make_key(spec, ports, keys, self._read_digests(spec, host))
            place = (json.dumps(dict(host.address)), key)
            found = self._guests.pop(place, None)
            if found is None:
                self._make_room(place[0])
                found = _make(key, spec, ports, host, keys, loop, keep)
            self._guests[place] = found  # the last one: those that were not wanted for longest go first
            return found[0]

    def _make_room(self, host: str) -> None:
        mine = [place for place in self._guests if place[0] == host]
        for place in mine[: max(0, len(mine) + 1 - self._kept)]:
            self._guests.pop(place)[1].close()

    def _read_digests(self, spec: GuestSpec, host: Host) -> dict[str, str]:
        """SHA-256 of the files that a guest is made from, by their role; read again only when a file changed.

        :raises Refused: a file is not there
        """
        script = 'for file; do stat -L -c "%n %d %i %s %Y" -- "$(command -v -- "$file" || echo "$file")" || exit; done'
        wanted = {"qemu": spec.qemu, "kernel": spec.kernel_file, "initramfs": spec.initramfs_file}
        completed = host.run(["sh", "-c", script, "sh", *wanted.values()], check=False)
        if completed.returncode:
            words = completed.stderr.decode(errors="replace").strip()
            raise Refused(f"The guest {spec.name} cannot be started on {host.name}.", why=words)
        found: dict[str, str] = {}
        for role, identity in zip(wanted, completed.text.splitlines(), strict=True):
            place = (json.dumps(dict(host.address)), identity)
            if place not in self._digests:
                path = identity.rsplit(" ", 4)[0]
                self._digests[place] = _read_digest(host, path)
            found[role] = self._digests[place]
        return found


def make_key(spec: GuestSpec, ports: int, keys: GuestKeys, digests: Mapping[str, str]) -> str:
    """Digest of all that a saved guest depends on; pure. ``digests``: of the files on its host, by their role."""
    argv = build_arguments(replace(spec, devices=()), GuestFiles("DIRECTORY", "TAP"), incoming=False, empty_ports=ports)
    text = json.dumps([_FORMAT, argv, keys.authorized, keys.host_public, dict(digests)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def begin_restore(guest: QemuGuest, saved: SavedGuest) -> None:
    """Let a QEMU that waits for an incoming migration read a saved guest; it answers nothing until it has.

    :raises NotReady: it does not take it
    """
    try:
        _set_mapped_ram(guest, state=True)
        guest.qmp.execute("migrate-incoming", {"uri": f"file:{saved.path}"})
    except (GuestCrashed, Refused) as error:
        raise _not_restored(guest, error) from error


def finish_restore(guest: QemuGuest) -> None:
    """Wait for the guest, plug its devices in, and let it run.

    :raises Refused: QEMU rejected a device, in its own words
    :raises NotReady: the guest could not be restored, which says nothing about the devices
    """

    def is_read() -> bool:
        return str(guest.qmp.execute("query-status", timeout=_RESTORE_TIMEOUT_S)["status"]) == "paused"

    try:
        wait_until("the saved guest to be read", is_read, timeout=_RESTORE_TIMEOUT_S, invariants=[guest.require_alive])
        _set_mapped_ram(guest, state=False)
    except (GuestCrashed, Refused, Deadline) as error:
        raise _not_restored(guest, error) from error
    for number, device in enumerate(guest.spec.devices, start=1):
        # QMP's own device_add wants each property in its type; this one reads them as the command line does
        line = {"command-line": f"device_add {render_device(device, number)}"}
        if words := find_error(guest.qmp.execute("human-monitor-command", line)):
            raise Refused(f"{guest.label} rejected the device {device.id}.", why=words)
    guest.qmp.execute("cont")


def find_error(answer: str) -> str:
    """What the human monitor says after ``Error: ``, to the end; empty if it only warns, or says nothing.

    >>> find_error("warning: slow\\r\\nError: vfio x: no such device\\r\\n")
    'vfio x: no such device'
    """
    found = re.search(r"^Error: (.*)", answer, re.MULTILINE | re.DOTALL)
    return found[1].replace("\r", "").strip() if found else ""


def _not_restored(guest: QemuGuest, error: Exception) -> NotReady:
    return NotReady(
        f"The saved guest could not be restored by {guest.label}.", why=str(error), fix='use start = "cold"'
    )


def _set_mapped_ram(guest: QemuGuest, *, state: bool) -> None:
    guest.qmp.execute("migrate-set-capabilities", {"capabilities": [{"capability": SAVE_CAPABILITY, "state": state}]})


def _make(
    key: str,
    spec: GuestSpec,
    ports: int,
    host: Host,
    keys: GuestKeys,
    loop: LoopThread,
    keep: Callable[[QemuGuest], None],
) -> tuple[SavedGuest, contextlib.ExitStack]:
    """Boot and save; what is returned with the guest removes it."""
    begun = datetime.now(UTC)
    directory = f"/tmp/switchover-saved-{uuid.uuid4().hex[:12]}"
    path = f"{directory}/guest"
    with contextlib.ExitStack() as stack:
        undo, gone = ["rm", "-rf", directory], ["test", "!", "-e", directory]
        stack.enter_context(own_journal().change(host, f"saved guest {directory}", undo=undo, gone=gone))
        host.run(["mkdir", "-m", "700", directory])
        bare = replace(spec, devices=())
        with start_guest(bare, host, "saved", keys, loop, incoming=False, empty_ports=ports, keep=keep) as guest:
            guest.wait_until_reachable()
            guest.open_ssh(keys).close()
            if trouble := find_trouble(guest.console.text()):  # of the boot, which no case with it would see
                raise NotReady(f"The guest of {guest.label} is not fit to be saved.", why="; ".join(trouble))
            _save(guest, path)
        size, sha256 = _measure(host, path)
        seconds = (datetime.now(UTC) - begun).total_seconds()
        saved = SavedGuest(key, path, sha256, size, round(seconds, 3), begun.isoformat())
        return saved, stack.pop_all()


def _save(guest: QemuGuest, path: str) -> None:
    """Stopped first: each page is written once, and the guest is restored stopped, to be given its devices."""
    try:
        guest.qmp.execute("stop")
        _set_mapped_ram(guest, state=True)
        guest.qmp.execute("migrate-set-parameters", {"max-bandwidth": 0})
        guest.qmp.execute("migrate", {"uri": f"file:{path}"})
    except Refused as error:
        raise NotReady(f"The guest of {guest.label} could not be saved.", why=str(error)) from error

    def ended() -> Mapping[str, object] | None:
        reply: Mapping[str, object] = guest.qmp.execute("query-migrate", timeout=_SAVE_TIMEOUT_S)
        return reply if reply.get("status") in _ENDS else None

    reply = wait_until("the guest to be saved", ended, timeout=_SAVE_TIMEOUT_S, invariants=[guest.require_alive])
    if reply["status"] != "completed":
        raise NotReady(f"The guest of {guest.label} could not be saved.", why=str(reply.get("error-desc", reply)))


_ENDS: Sequence[str] = ("completed", "failed", "cancelled")


def _measure(host: Host, path: str) -> tuple[int, str]:
    blocks, unit = host.run(["stat", "-c", "%b %B", path]).text.split()
    return int(blocks) * int(unit), _read_digest(host, path)


def _read_digest(host: Host, path: str) -> str:
    return host.run(["sha256sum", "--", path], timeout=120).text.split()[0]
