# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest in which IRQ threads are looked at: four vCPUs on the controller, emulated, with a network of its own.

No VFIO device, no bridge, no root: a kernel with its initramfs is all that it is made of.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from switchover.guests.qemu import GuestKeys, QemuGuest, start_guest
from switchover.guests.spec import GuestSpec, Kernel, Launch
from switchover.hosts.inventory import HostEntry
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.ssh import SshHost, SshLogin
from switchover.irq.conditions import CPUS
from switchover.irq.tracing import EVENTS
from switchover.lab.boot import parse_forwarded_port
from switchover.lab.images import Image
from switchover.lab.keys import generate_key_pair
from switchover.record.errors import HostLost, NotReady

LAB_KERNEL = "guest"
"""The image with the kernel of the lab's guest."""
_ADDRESS = "10.0.2.15"  # of the only guest in QEMU's user network
_CONNECT_S = 60
_ACCEL = "tcg,thread=single"
"""All vCPUs in one thread, in turn. With a thread each, QEMU 10.0.13 aborted once, and the guest was gone:
``iotlb_to_section: Assertion … failed`` (system/physmem.c): what a vCPU remembers of the memory map did not fit it.
"""
_MEMORY_MIB = 384  # kernels with all of Debian's modules beside them
HELD = ("switchover-held-1", "switchover-held-2")
"""Trace instances in which the events are always on, and nothing is recorded.

To switch an event on in a first instance patches a call into the kernel's code, in a second one patches the call again;
further instances change data only (tracepoint_add_func(), kernel/tracepoint.c). With several vCPUs QEMU's emulation now
and then runs into a breakpoint of such a patch that is gone already, and the guest's kernel dies of it ("Oops: int3";
QEMU 7.2). Both instances are there before the kernel starts its second CPU, so no recording patches.
"""
_HOLD = r"""
instance=/sys/kernel/tracing/instances/$1; shift
[ -d "$instance" ] || mkdir "$instance" || exit 1
echo 0 >"$instance/tracing_on" || exit 1
for event; do
    [ "$(cat "$instance/events/$event/enable")" = 1 ] || echo 1 >"$instance/events/$event/enable" || exit 1
done
"""
"""Kernels before 6.3 do not make instances from their command line: there it is done after the boot, at that risk."""


def hold_events() -> str:
    """Words for a kernel's command line (``trace_instance=``, Documentation/admin-guide/kernel-parameters.txt)."""
    events = ",".join(event.replace("/", ":") for event in EVENTS)
    return " ".join(f"trace_instance={name},{events}" for name in HELD)


@dataclass(frozen=True)
class IrqGuest:
    """A guest and a connection to it. ``entry``: how anybody else gets in; its key is there while the guest is."""

    qemu: QemuGuest
    host: SshHost
    entry: HostEntry


def make_keys() -> GuestKeys:
    login, host = generate_key_pair(), generate_key_pair()
    return GuestKeys(login.public, login.private, host.private, host.public)


@contextlib.contextmanager
def start_irq_guest(
    image: Image,
    append: str,
    qemu: str,
    *,
    name: str = "irq",
    keys: GuestKeys | None = None,
    more: Sequence[str] = (),
) -> Iterator[IrqGuest]:
    """A guest of a kernel's image for the time of a ``with`` block. ``append``: words for its command line; ``qemu``:
    the program that it runs in.

    :raises Deadline: it does not come up; :raises GuestCrashed: its QEMU ended, or its kernel panicked
    """
    spec = GuestSpec(
        name=name,
        qemu=qemu,
        accel=_ACCEL,
        cpu="max",
        vcpus=CPUS,
        memory_mib=_MEMORY_MIB,
        bridge="",
        address=_ADDRESS,
        append=f"{append} {hold_events()}",
        kernel=Kernel(str(image.artifact("vmlinuz"))),
        initramfs=str(image.artifact("initramfs.cpio")),
    )
    network = (
        *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:0-{_ADDRESS}:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
    )
    keys = keys or make_keys()
    with (
        tempfile.TemporaryDirectory(prefix="switchover-key-") as directory,
        LoopThread() as loop,
        start_guest(Launch(spec), LocalHost(), "source", keys, loop, incoming=False, more=(*network, *more)) as guest,
    ):
        guest.wait_until_reachable()
        text = guest.qmp.execute("human-monitor-command", {"command-line": "info usernet"})
        port = parse_forwarded_port(text)
        if port is None:
            raise NotReady(f"{guest.label} forwards no port to its guest.", why=text)
        key = Path(directory) / "key"
        key.touch(mode=0o600)
        key.write_text(keys.login)
        entry = HostEntry(address="127.0.0.1", port=port, key=str(key), host_key=keys.host_public)
        # without an address: what is changed in it is gone with it, and no journal has to know
        try:
            connection = LocalHost().open_tcp(entry.address, port, timeout=_CONNECT_S)
        except OSError as error:
            guest.require_alive()
            raise HostLost(
                f"Guest {name} does not answer at port {port} of {entry.address}.", why=str(error)
            ) from error
        login = SshLogin(f"guest {name}", keys.login, keys.host_public)
        with SshHost(login, connection, timeout=_CONNECT_S) as host:
            try:
                for instance in HELD:
                    host.run(["sh", "-c", _HOLD, "sh", instance, *EVENTS], timeout=60)
                yield IrqGuest(guest, host, entry)
            except HostLost:
                guest.require_alive()
                raise
