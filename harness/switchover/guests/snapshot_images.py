# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that are saved: booted once without their devices, stopped, and written to a file or a disk of their host.

Those of lab hosts are images: made once, kept in the store, and without anything that is not the same the next time.
Keys, addresses and numbers to draw others from reach a guest when it is restored (``identity``, images/guest/rc). Its
MAC address too: what is restored has the one that was saved, in the NIC's state and in the guest's kernel, where the
guest itself sets the one that it has now.
"""

import contextlib
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from switchover.guests.arguments import build_arguments
from switchover.guests.console import find_trouble
from switchover.guests.qemu import GuestKeys, QemuGuest, start_guest
from switchover.guests.spec import GuestFiles, GuestSpec, Launch
from switchover.hosts.host import Host
from switchover.hosts.journal import own_journal
from switchover.hosts.loop import LoopThread
from switchover.hosts.waiting import wait_until
from switchover.lab.custom_toolchains import LABHOST_QEMU
from switchover.lab.disks import plug_in, unplug
from switchover.lab.images import find_image
from switchover.lab.lab import Lab
from switchover.lab.snapshot_store import StoredGuest, find_stored, keep_disk, lock_stored, remove_stored, start_disk
from switchover.record.errors import NotReady, Refused
from switchover.record.log import step

SAVE_CAPABILITY = "mapped-ram"
"""Each page has its place in the file: none twice, holes for pages of zeros, fast to read. QEMU 9.0 and newer."""
_FORMAT = 1  # raised when what is saved changes without a change in the arguments or the images
_SAVE_TIMEOUT_S = 120
_LABHOST_QEMUS = (GuestSpec.qemu, LABHOST_QEMU)


def find_obstacle(spec: GuestSpec) -> str:
    """Why a guest on a lab host cannot be restored from an image, in words, whatever its driver; empty if it can.

    >>> find_obstacle(GuestSpec(append="threadirqs"))
    'it has words of its own for its kernel'
    """
    if spec.disk:
        return "it has a disk, which may be newer than its memory"
    if spec.append:
        return "it has words of its own for its kernel"
    if spec.iommu:
        return "its IOMMU looks at devices when the machine starts, before one could be plugged in"
    if spec.qemu_devices or spec.qemu_objects:
        return "it has devices or objects of its own, whose state may be outside of it"
    if spec.qemu_arguments:
        return "its QEMU has arguments of its own"
    if spec.firmware and not spec.named_firmware:
        return "its firmware is none of the project's"
    if not spec.is_of_lab or (spec.kernel and not spec.named_kernel):
        return "its kernel or initramfs is none of the project's"
    if spec.ssh_key or spec.ssh_host_key:
        return "it has keys of its own"
    if "/" in spec.qemu or (spec.qemu not in _LABHOST_QEMUS and find_image(spec.qemu) is None):
        return f"its QEMU, {spec.qemu}, is no image"
    return ""


def make_image_key(spec: GuestSpec, ports: int, lab: Lab) -> str:
    """Digest of all that a saved guest of a lab's hosts depends on: the machine, the images, the lab hosts' CPU.

    Not of what it is given when it is restored: name, addresses, keys. ``spec``: with the words of its lab host.
    """
    same = replace(_in_no_place(spec), name="guest", qemu="qemu", prefix=0, traced=False)
    argv = build_arguments(Launch(same), GuestFiles("DIRECTORY", "TAP"), incoming=False, empty_ports=ports)
    text = json.dumps([_FORMAT, argv, _read_made_of(spec, lab), _read_cpu(lab)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _in_no_place(spec: GuestSpec) -> GuestSpec:
    """What is saved is the same for guests of all addresses."""
    return replace(spec, mac=GuestSpec.mac, address="0.0.0.0")


def _read_made_of(spec: GuestSpec, lab: Lab) -> dict[str, str]:
    """Digests of the images that decide what is saved, by name."""
    qemu = "labhost-root" if spec.qemu in _LABHOST_QEMUS else spec.qemu
    made_of = {}
    for name in (qemu, spec.named_kernel or "guest", *([spec.named_firmware] if spec.named_firmware else [])):
        image = find_image(name)
        if image is None:
            raise NotReady(f"The image {name!r} is not built.", fix=f"switchover images build {name}")
        made_of[name] = image.digest
    labhost = find_image("labhost")
    if labhost is None or lab.file.images.get("labhost") != labhost.digest:  # a lab of older images
        made_of["labhost"] = lab.file.images.get("labhost", "")
    return made_of


def _read_cpu(lab: Lab) -> list[str]:
    """What decides which CPU a guest of a lab host has: with KVM that is the controller's own."""
    accel, cpu = (str(lab.file.accelerator.get(name)) for name in ("accel", "cpu"))
    if accel.startswith("tcg"):
        return [accel, cpu]
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return [accel, cpu, *sorted({line for line in lines if line.startswith(("model name", "flags", "microcode"))})]


def require_stored(
    key: str,
    spec: GuestSpec,
    ports: int,
    host: Host,
    keys: GuestKeys,
    loop: LoopThread,
    lab: Lab,
    keep: Callable[[QemuGuest], None] = lambda guest: None,
) -> StoredGuest:
    """The saved guest of a key, from the store; booted and saved on a lab host if it is not there.

    Raises what :func:`boot_and_save` raises.

    :raises NotReady: there is no room for it
    """
    if (stored := find_stored(key)) is not None:
        return stored
    with lock_stored(key):
        if (stored := find_stored(key)) is not None:
            return stored
        remove_stored(key)  # a damaged one
        begun = datetime.now(UTC)
        serial = f"new-{key[:12]}"
        with start_disk(key, spec.memory_mib) as disk, step(f"image saved-guest-{key[:16]} (booted once, and saved)"):
            with start_file(host) as path:
                boot_and_save(_in_no_place(spec), ports, host, keys, loop, path, held=True, keep=keep)
                device = plug_in(lab, host.name, disk, serial, what="the disk for a saved guest", writable=True)
                try:  # QEMU itself wants to truncate what it saves to, which no block device lets it
                    copy = ["dd", f"if={path}", f"of={device}", "bs=64k", "conv=sparse,fsync", "status=none"]
                    host.run(copy, timeout=_SAVE_TIMEOUT_S)
                finally:
                    unplug(lab, host.name, serial)
            seconds = (datetime.now(UTC) - begun).total_seconds()
            return keep_disk(key, disk, _read_made_of(spec, lab), seconds, begun.isoformat())


@contextlib.contextmanager
def start_file(host: Host) -> Iterator[str]:
    """A path for a saved guest on a host, in a directory of its own that is gone after the block."""
    directory = f"/tmp/switchover-saved-{uuid.uuid4().hex[:12]}"
    undo, gone = ["rm", "-rf", directory], ["test", "!", "-e", directory]
    with own_journal().change(host, f"saved guest {directory}", undo=undo, gone=gone):
        host.run(["mkdir", "-m", "700", directory])
        yield f"{directory}/guest"


def boot_and_save(
    spec: GuestSpec,
    ports: int,
    host: Host,
    keys: GuestKeys,
    loop: LoopThread,
    path: str,
    *,
    held: bool,
    keep: Callable[[QemuGuest], None] = lambda guest: None,
) -> None:
    """Boot a guest without its devices, with root ports for them, and save it to a file of its host.

    ``held``: it has taken on no identity yet, else it has answered over SSH. ``keep``: see :func:`start_guest`.

    :raises Refused: QEMU rejected what it was given; :raises GuestCrashed: it ended, or its guest did
    :raises NotReady: it could not be saved
    """
    bare = Launch(spec)
    with start_guest(bare, host, "saved", keys, loop, incoming=False, empty_ports=ports, held=held, keep=keep) as guest:
        if held:
            guest.wait_until_held()
        else:
            guest.wait_until_reachable()
            guest.open_ssh(keys).close()
        if trouble := find_trouble(guest.console.text()):  # of the boot, which no case with it would see
            raise NotReady(f"The guest of {guest.label} is not fit to be saved.", why="; ".join(trouble))
        _save(guest, path)


def set_mapped_ram(guest: QemuGuest, *, state: bool) -> None:
    guest.qmp.execute("migrate-set-capabilities", {"capabilities": [{"capability": SAVE_CAPABILITY, "state": state}]})


def _save(guest: QemuGuest, path: str) -> None:
    """Stopped first: each page is written once, and the guest is restored stopped, to be given its devices."""
    try:
        guest.qmp.execute("stop")
        set_mapped_ram(guest, state=True)
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
