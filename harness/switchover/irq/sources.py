# SPDX-License-Identifier: GPL-2.0-or-later
"""Threaded interrupts that fire on demand: of the serial port, and of a simulated GPIO chip."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from switchover.hosts.host import Host
from switchover.hosts.waiting import wait_until
from switchover.irq.conditions import HOUSE
from switchover.irq.loads import start_program
from switchover.irq.programs import GPIO
from switchover.irq.state import Interrupt, IrqThread, counters_script, parse_counters, read_state
from switchover.record.errors import CommandFailed, NotReady, NotSupported

_TIMEOUT_S = 180.0
_HOLD_S = 0.5


class InterruptSource(Protocol):
    """An interrupt that fires when it is told to."""

    number: int

    def fire(self, host: Host, count: int, cpus: Sequence[int], priority: int) -> None:
        """So many times at least. ``cpus``: where, in turn, and ``priority``: of the FIFO task that is there then, 0:
        of none; if the source can choose.
        """

    def fire_once(self, host: Host) -> None:
        """Once, without waiting for what its thread does."""


class SerialPort:
    """``/dev/ttyS0``, which interrupts when it has sent; where it does is up to its chip and its mask."""

    _FIRE = 'i=0; while [ $i -lt "$1" ]; do echo >/dev/ttyS0; sleep 0.02; i=$((i + 1)); done'

    def __init__(self, number: int) -> None:
        self.number = number

    def fire(self, host: Host, count: int, cpus: Sequence[int], priority: int) -> None:
        # on one CPU: each program that starts elsewhere may have the stopper of its CPU run, a real-time task
        host.run(["taskset", f"{1 << HOUSE:x}", "sh", "-c", self._FIRE, "sh", str(count)], timeout=_TIMEOUT_S)

    def fire_once(self, host: Host) -> None:
        # closing waits until it is sent, which may need the thread
        host.run(["sh", "-c", "(echo >/dev/ttyS0) >/dev/null 2>&1 &"])


class GpioLine:
    """A line of gpio-sim, a chip without an affinity: its interrupt comes on the CPU that changes the line."""

    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self._path = path

    def fire(self, host: Host, count: int, cpus: Sequence[int], priority: int) -> None:
        # an even number: the first of the next time is a change again
        words = [self._path, str(count + count % 2), str(priority), *(str(cpu) for cpu in cpus)]
        host.run([GPIO, "pull", *words], timeout=_TIMEOUT_S)

    def fire_once(self, host: Host) -> None:
        host.run(["sh", "-c", 'echo pull-up >"$1"', "sh", self._path])


def require_serial_port(host: Host) -> SerialPort:
    """:raises NotSupported: the interrupt of /dev/ttyS0 is not there, or not threaded"""
    for interrupt in read_state(host).threaded:
        if "ttyS0" in interrupt.actions:
            return SerialPort(interrupt.number)
    raise NotSupported(f"{host.name} has no threaded interrupt of its serial port.", why="/dev/ttyS0 must be open")


# built in, or a module; configfs may be either, too
_GPIO_SET_UP = r"""
exec 2>&1
there() { [ -d /sys/kernel/config/gpio-sim ]; }
there || mount -t configfs configfs /sys/kernel/config
there || { modprobe gpio-sim; there || mount -t configfs configfs /sys/kernel/config; }
there || exit 9
chip=/sys/kernel/config/gpio-sim/$1
mkdir "$chip" "$chip/bank" || exit 1
echo 1 >"$chip/bank/num_lines" && echo 1 >"$chip/live" || exit 1
echo "$(cat "$chip/dev_name") $(cat "$chip/bank/chip_name")"
"""
_GPIO_REMOVE = 'chip=/sys/kernel/config/gpio-sim/$1; echo 0 >"$chip/live"; rmdir "$chip/bank" "$chip"'
_GPIO_NAME = "switchover"


@contextlib.contextmanager
def start_gpio_line(host: Host) -> Iterator[GpioLine]:
    """A simulated chip and a process that has its line interrupt, for the time of a ``with`` block.

    :raises NotSupported: the kernel has no gpio-sim, or the guest not our program
    """
    try:
        if host.run(["sh", "-c", f"command -v {GPIO}"], check=False).returncode:
            raise NotSupported(f"{host.name} has no {GPIO}.", fix="use a guest of switchover's own image")
        text = host.run(["sh", "-c", _GPIO_SET_UP, "sh", _GPIO_NAME], timeout=60).text.split()
    except CommandFailed as error:
        if error.returncode == 9:
            why = "CONFIG_GPIO_SIM is not set, or its module is not there"
            raise NotSupported(f"The kernel of {host.name} has no gpio-sim.", why=why) from error
        raise
    device, chip = text[-2:]
    try:
        with start_program(host, [GPIO, f"/dev/{chip}", "0"], "The GPIO line"):
            interrupt = _find_interrupt(host)
            if interrupt is None:
                raise NotReady(f"The interrupt of the GPIO line of {host.name} did not appear.")
            yield GpioLine(interrupt.number, f"/sys/devices/platform/{device}/{chip}/sim_gpio0/pull")
    finally:
        host.run(["sh", "-c", _GPIO_REMOVE, "sh", _GPIO_NAME], timeout=60, check=False)


def _find_interrupt(host: Host) -> Interrupt | None:
    return next((one for one in read_state(host).threaded if _GPIO_NAME in one.actions), None)


def read_thread(host: Host, number: int) -> IrqThread:
    """The thread that the hard handler of an interrupt wakes. :raises NotReady: it has none"""
    threads = [one for one in read_state(host).threads_of(number) if not one.secondary]
    if not threads:
        raise NotReady(f"Interrupt {number} of {host.name} has no thread.")
    return threads[0]


def fire_and_hold(host: Host, source: InterruptSource) -> None:
    """Fire once, see that the hard handler has run, and give the thread, which cannot, some time in which it might.

    :raises Deadline: the interrupt does not come
    """

    def count() -> int:
        text = host.run(["sh", "-c", counters_script([])], timeout=60).text
        return sum(parse_counters(text).interrupts.get(source.number, {}).values())

    before = count()
    source.fire_once(host)
    wait_until("the interrupt", lambda: count() > before, timeout=60)
    until = time.monotonic() + _HOLD_S
    wait_until("the window", lambda: time.monotonic() > until, timeout=60)
