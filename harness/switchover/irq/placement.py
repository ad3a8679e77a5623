# SPDX-License-Identifier: GPL-2.0-or-later
"""Masks of interrupts and of their threads, set and read back: state is made, not hoped for."""

import contextlib
from collections.abc import Iterator

from switchover.hosts.host import Host
from switchover.irq.state import IrqThread, parse_cpus
from switchover.irq.tracing import change_host
from switchover.record.errors import CommandFailed, NotSupported

_WRITE = 'printf %s "$1" >"$2"'


def set_mask(host: Host, irq: int, cpus: str) -> None:
    """Ask for CPUs of an interrupt, a list such as ``0-2,5``. They take effect with the next interrupt.

    :raises NotSupported: the kernel refuses it (its chip sets no affinity, or the CPUs are offline) or did not take it
    """
    path = _mask_path(irq)
    try:
        host.run(["sh", "-c", _WRITE, "sh", cpus, path])
    except CommandFailed as error:
        raise NotSupported(f"Interrupt {irq} of {host.name} cannot be sent to CPUs {cpus}.", why=error.why) from error
    asked = host.read_file(path).decode().strip()
    if parse_cpus(asked) != parse_cpus(cpus):
        raise NotSupported(f"Interrupt {irq} of {host.name} was sent to CPUs {cpus}; the kernel made {asked} of it.")


@contextlib.contextmanager
def start_mask(host: Host, irq: int, cpus: str) -> Iterator[None]:
    """:func:`set_mask` for the time of a ``with`` block; then the mask is again what it was."""
    path = _mask_path(irq)
    before = host.read_file(path).decode().strip()
    undo = ["sh", "-c", _WRITE, "sh", before, path]
    gone = ["sh", "-c", 'test "$(cat "$2")" = "$1"', "sh", before, path]
    with change_host(host, f"mask of interrupt {irq}", undo, gone):
        set_mask(host, irq, cpus)
        yield


def _mask_path(irq: int) -> str:
    return f"/proc/irq/{irq}/smp_affinity_list"


def set_thread_affinity(host: Host, thread: IrqThread, cpus: str) -> None:
    """Move an IRQ thread by its own affinity, which its interrupt's does not follow. It stays so until it is set again.

    :raises NotSupported: the kernel forbids it (6.19 and newer, PF_NO_SETAFFINITY)
    """
    mask = f"{sum(1 << cpu for cpu in parse_cpus(cpus)):x}"
    try:
        host.run(["taskset", "-p", mask, str(thread.pid)])
    except CommandFailed as error:
        raise NotSupported(
            f"The affinity of thread {thread.pid} ({thread.name}) of {host.name} cannot be set.", why=error.why
        ) from error
