# SPDX-License-Identifier: GPL-2.0-or-later
"""Warm guests: booted once without their devices, saved, and restored from that as often as needed.

The devices are plugged into the guest that was restored. Saved with them, they would go through a migration of their
own before the one that a case is about, with their history, and a device that does not migrate could not be saved.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Self

from switchover.devices.abilities import read_abilities
from switchover.guests.arguments import build_arguments
from switchover.guests.qemu import GuestKeys, QemuGuest
from switchover.guests.snapshot_images import (
    SAVE_CAPABILITY,
    boot_and_save,
    find_obstacle,
    make_image_key,
    require_stored,
    set_mapped_ram,
    start_file,
)
from switchover.guests.spec import GuestFiles, GuestSpec, Launch, Start, with_lab_words
from switchover.hosts.host import Host
from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import wait_until
from switchover.lab.disks import plug_in, unplug
from switchover.lab.lab import Lab
from switchover.lab.snapshot_store import remove_stored
from switchover.record.errors import Deadline, GuestCrashed, NotReady, Refused

KEPT = 3
"""Saved guests of one host at a time; each takes about 80 MiB, of memory where /tmp is in memory."""
_FORMAT = 1  # raised when what is saved changes without a change in the arguments
_RESTORE_TIMEOUT_S = 120


class NotRestored(NotReady):
    """A saved guest that could not be restored, which says nothing about the devices that it was to get.

    ``saved``: which.
    """

    def __init__(self, what: str, why: str, saved: "Snapshot") -> None:
        super().__init__(what, why=why, fix='use start = "cold"')
        self.saved = saved


@dataclass(frozen=True)
class Snapshot:
    """A guest in a file of its host, stopped, without devices.

    ``key``: digest of all that it was made from, equal for saved guests that are interchangeable; ``sha256``: of the
    file itself; ``bytes``: what the file takes; ``seconds``: how long booting and saving took; ``made``: when it
    was begun, ISO 8601. ``held``: it waits for its identity (``identity`` in :func:`prepare_files`), as those in the
    store of images do.
    """

    key: str
    path: str
    sha256: str
    bytes: int
    seconds: float
    made: str
    held: bool = False

    def describe(self) -> dict[str, object]:
        """For the fingerprint of a repeat."""
        fields = asdict(self)
        fields.pop("path")
        return fields


@dataclass(frozen=True)
class Beginning:
    """How a source gets its guest, ``cold`` or ``warm``, and why it is not warm where nobody asked for cold."""

    start: Start
    reason: str = ""


class Snapshots:
    """Where saved guests come from: on lab hosts from the store of images, made once; elsewhere, where a scenario asks
    for ``warm``, booted and saved once for a ``with`` block at whose end they are removed.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._guests: dict[tuple[str, str], tuple[Snapshot, contextlib.ExitStack]] = {}
        self._digests: dict[tuple[str, str], str] = {}
        self._plugged: dict[tuple[str, str], Snapshot] = {}
        self._savable: dict[tuple[str, str], bool] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove those that are kept on hosts."""
        with contextlib.ExitStack() as stack:
            for entry in self._guests.values():
                stack.enter_context(entry[1])
            self._guests.clear()

    @property
    def directories(self) -> list[str]:
        """Of those that are kept on hosts until the end of the block, whichever host."""
        return [str(PurePosixPath(saved.path).parent) for saved, _ in self._guests.values()]

    def decide(self, spec: GuestSpec, host: Host, lab: Lab | None, obstacle: str = "") -> Beginning:
        """How a guest on a host begins: warm where the boot is not the subject and a saved guest can be an image.

        ``obstacle``: why its driver restores none, in words; empty: it does.
        """
        if spec.start != "auto":
            return Beginning(spec.start)
        obstacle = obstacle or find_obstacle(spec)
        obstacle = obstacle or ("" if lab else "its host is none of a lab, whose saved guests are images")
        if not obstacle and not self._can_save(spec, host):
            obstacle = f"its QEMU, {spec.qemu}, has no {SAVE_CAPABILITY}"
        return Beginning("cold", obstacle) if obstacle else Beginning("warm")

    def _can_save(self, spec: GuestSpec, host: Host) -> bool:
        place = (json.dumps(dict(host.address)), spec.qemu)
        with self._lock:
            if place not in self._savable:
                self._savable[place] = SAVE_CAPABILITY in read_abilities(host, spec.qemu).capabilities
            return self._savable[place]

    def require(
        self,
        spec: GuestSpec,
        ports: int,
        host: Host,
        keys: GuestKeys,
        loop: LoopThread,
        lab: Lab | None = None,
        words: str = "",
        keep: Callable[[QemuGuest], None] = lambda guest: None,
    ) -> Snapshot:
        """The saved guest for a spec, booted and saved if there is none yet. ``ports``: for how many devices.

        ``lab``: the one that the host is of; ``words``: the host's for the kernels of its guests.
        ``keep``: called with the guest that was booted, see :func:`start_guest`.

        :raises Refused: QEMU rejected what it was given; :raises GuestCrashed: it ended, or its guest did
        :raises NotReady: it could not be saved
        """
        with self._lock:  # two that want the same guest do not both boot it
            stored = lab is not None and not find_obstacle(spec)
            spec = with_lab_words(spec, words)
            if lab is not None and stored:
                return self._require_image(spec, ports, host, keys, loop, lab, keep)
            key = make_key(spec, ports, keys, self._read_digests(spec, host))
            place = (json.dumps(dict(host.address)), key)
            found = self._guests.pop(place, None)
            if found is None:
                self._make_room(place[0])
                found = _make(key, spec, ports, host, keys, loop, keep)
            self._guests[place] = found  # the last one: those that were not wanted for longest go first
            return found[0]

    def _require_image(
        self,
        spec: GuestSpec,
        ports: int,
        host: Host,
        keys: GuestKeys,
        loop: LoopThread,
        lab: Lab,
        keep: Callable[[QemuGuest], None],
    ) -> Snapshot:
        key = make_image_key(spec, ports, lab)
        place = (json.dumps(dict(host.address)), key)
        if (plugged := self._plugged.get(place)) is not None:
            return plugged
        stored = require_stored(key, spec, ports, host, keys, loop, lab, keep)
        path = plug_in(lab, host.name, stored.path, stored.serial, what=f"the saved guest {stored.serial}")
        saved = Snapshot(key, path, stored.sha256, stored.bytes, stored.seconds, stored.made, held=True)
        self._plugged[place] = saved
        return saved

    def forget(self, saved: Snapshot, lab: Lab | None) -> None:
        """One that could not be restored: the next time it is made again."""
        with self._lock:
            for place in [place for place, one in self._plugged.items() if one == saved]:
                del self._plugged[place]
            for place in [place for place, entry in self._guests.items() if entry[0] == saved]:
                self._guests.pop(place)[1].close()
            if lab is not None and saved.held:
                for name in lab.file.hosts:
                    unplug(lab, name, saved.key[:16])
                remove_stored(saved.key)

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
    """Digest of all that a guest that is saved by a run depends on; pure. ``digests``: of the files on its host."""
    argv = build_arguments(Launch(spec), GuestFiles("DIRECTORY", "TAP"), incoming=False, empty_ports=ports)
    text = json.dumps([_FORMAT, argv, keys.authorized, keys.host_public, dict(digests)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def begin_restore(guest: QemuGuest, saved: Snapshot) -> None:
    """Let a QEMU that waits for an incoming migration read a saved guest; it answers nothing until it has.

    :raises NotRestored: it does not take it
    """
    try:
        set_mapped_ram(guest, state=True)
        guest.qmp.execute("migrate-incoming", {"uri": f"file:{saved.path}"})
    except (GuestCrashed, Refused) as error:
        raise _not_restored(guest, saved, error) from error


def finish_restore(guest: QemuGuest, saved: Snapshot) -> None:
    """Wait for the guest, plug its devices in, and let it run; one that was held, until it answers.

    :raises Refused: QEMU rejected a device, in its own words
    :raises NotRestored: the guest could not be restored, which says nothing about the devices
    """

    def is_read() -> bool:
        return str(guest.qmp.execute("query-status", timeout=_RESTORE_TIMEOUT_S)["status"]) == "paused"

    try:
        wait_until("the saved guest to be read", is_read, timeout=_RESTORE_TIMEOUT_S, invariants=[guest.require_alive])
        set_mapped_ram(guest, state=False)
    except (GuestCrashed, Refused, Deadline) as error:
        raise _not_restored(guest, saved, error) from error
    for number, device in enumerate(guest.launch.devices, start=1):
        guest.plug(device, number)
    guest.qmp.execute("cont")
    if saved.held:
        try:
            guest.wait_until_reachable(_RESTORE_TIMEOUT_S)
        except (GuestCrashed, Deadline) as error:
            raise _not_restored(guest, saved, error) from error


def _not_restored(guest: QemuGuest, saved: Snapshot, error: Exception) -> NotRestored:
    return NotRestored(f"The saved guest could not be restored by {guest.label}.", str(error), saved)


def _make(
    key: str,
    spec: GuestSpec,
    ports: int,
    host: Host,
    keys: GuestKeys,
    loop: LoopThread,
    keep: Callable[[QemuGuest], None],
) -> tuple[Snapshot, contextlib.ExitStack]:
    """Boot and save; what is returned with the guest removes it."""
    begun = datetime.now(UTC)
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(start_file(host))
        boot_and_save(spec, ports, host, keys, loop, path, held=False, keep=keep)
        size, sha256 = _measure(host, path)
        seconds = (datetime.now(UTC) - begun).total_seconds()
        saved = Snapshot(key, path, sha256, size, round(seconds, 3), begun.isoformat())
        return saved, stack.pop_all()


def _measure(host: Host, path: str) -> tuple[int, str]:
    blocks, unit = host.run(["stat", "-c", "%b %B", path]).text.split()
    return int(blocks) * int(unit), _read_digest(host, path)


def _read_digest(host: Host, path: str) -> str:
    return host.run(["sha256sum", "--", path], timeout=120).text.split()[0]
