# SPDX-License-Identifier: GPL-2.0-or-later
"""Masks of interrupts and of their threads, set and read back: state is made, not hoped for."""

import contextlib
import re
from collections.abc import Iterator

from switchover.hosts.host import Host
from switchover.irq.state import IrqThread, parse_cpus
from switchover.irq.tracing import change_host
from switchover.record.errors import CommandFailed, NotSupported

_WRITE = 'printf %s "$1" >"$2"'
# shells do not say what the kernel answered: dash calls all of it an I/O error, and printf of busybox none; dd does
_WRITE_OR_SAY = f"""
{{ {_WRITE}; }} 2>/dev/null || echo "$1" | LC_ALL=C dd of="$2" && exit 0
echo "effective $(cat "${{2%/*}}/effective_affinity_list")" >&2
exit 1
"""
_REFUSALS = (
    (re.compile("Operation not permitted"), "EPERM"),
    (re.compile("Input/output error"), "EIO"),
    (re.compile("Invalid argument"), "EINVAL"),
    (re.compile("Numerical result out of range"), "ERANGE"),
    (re.compile("Value too large"), "EOVERFLOW"),
    (re.compile("No space left"), "ENOSPC"),
)
"""What dd says of the kernel's answer."""
_NO_CPU = "none of these CPUs is online"
_REASONS = {
    "EINVAL": _NO_CPU,
    "ERANGE": _NO_CPU,
    "EOVERFLOW": _NO_CPU,
    "ENOSPC": "these CPUs have no vector left for it",
}
"""kernel/irq/proc.c, write_irq_affinity, with lib/bitmap-str.c and what sets a chip's affinity. A mask that nobody may
set is EPERM in newer kernels (seen: 6.12.118), EIO in older ones.
"""


def set_mask(host: Host, irq: int, cpus: str) -> None:
    """Ask for CPUs of an interrupt, a list such as ``0-2,5``. They take effect with the next interrupt.

    :raises NotSupported: the kernel refuses it (its chip sets no affinity, or the CPUs are offline) or did not take it
    """
    path = _mask_path(irq)
    try:
        host.run(["sh", "-c", _WRITE_OR_SAY, "sh", cpus, path])
    except CommandFailed as error:
        why, fix = explain_refusal(error.why)
        raise NotSupported(
            f"Interrupt {irq} of {host.name} cannot be sent to CPUs {cpus}.", why=why, fix=fix
        ) from error
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


def explain_refusal(said: str) -> tuple[str, str]:
    """Why the kernel refuses a mask, and what to do: by what dd ``said`` of it, and by the effective mask behind
    that, which an interrupt has whose chip can set one.

    >>> explain_refusal("dd: error writing 'x': Input/output error\\neffective ")
    ('its chip sets no mask: it arrives where the chip sends it (EIO)', '')
    """
    effective = "".join(re.findall(r"^\s*effective (\S+)$", said, re.MULTILINE))
    code = next((code for pattern, code in _REFUSALS if pattern.search(said)), "")
    if code in _REASONS:
        return f"{_REASONS[code]} ({code})", ""
    if code not in ("EPERM", "EIO"):
        return said, ""
    if not effective:
        return f"its chip sets no mask: it arrives where the chip sends it ({code})", ""
    return (
        f"it is managed: its driver spread it over CPUs, and nobody else may set its mask, now {effective} ({code})",
        "where managed interrupts go is said at boot: isolcpus=managed_irq,LIST keeps them off CPUs",
    )


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
