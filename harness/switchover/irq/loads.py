# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads of a guest: tasks that spin, masks that change, CPUs that come and go. Each proves that it ran, and is gone
afterwards: it ends with its connection.
"""

import contextlib
import re
import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from switchover.hosts.host import Host
from switchover.hosts.waiting import wait_until
from switchover.irq.programs import HOG
from switchover.irq.state import parse_cpus
from switchover.irq.tracing import change_host
from switchover.record.errors import Deadline, NotReady, NotSupported

Policy = Literal["other", "fifo", "rr"]
_TIMEOUT_S = 120.0
_SPUN = re.compile(r"spun (\d+) moved (\d+) woken (\d+) late (\d+)")


@dataclass
class Hog:
    """A task that uses all the CPU time that it gets, or with ``period_us`` a quarter of each period's.

    The rest is its own count, once it has ended: CPU time, changes of its CPU, wake-ups by its period, and the longest
    that it came to run after one.
    """

    policy: Policy
    priority: int
    cpus: str
    period_us: int = 0
    spun_ns: int | None = None
    moved: int = 0
    woken: int = 0
    late_us: int = 0

    def __str__(self) -> str:
        return f"{self.policy} {self.priority} on CPUs {self.cpus}"


@contextlib.contextmanager
def start_hog(
    host: Host, cpus: str, *, policy: Policy = "other", priority: int = 0, period_us: int = 0
) -> Iterator[Hog]:
    """A hog on these CPUs, first on the lowest, for the time of a ``with`` block. A real-time priority is 1 to 99.

    :raises NotReady: it does not start, or did not get to run at all, or ended before it was told to
    """
    hog = Hog(policy, priority, cpus, period_us)
    words = [HOG, policy, str(priority), cpus, *([str(period_us)] if period_us else [])]
    needs = priority if policy != "other" and not period_us else 0
    with _spare_kernel_threads(host, needs, cpus), start_program(host, words, f"The load {hog}") as stream:
        yield hog
        answer = _stop(stream)
        match = _SPUN.fullmatch(answer)
        if match is None or match[1] == "0":
            why = "it ended by itself after three minutes" if answer.startswith("over") else answer
            raise NotReady(f"The load {hog} of {host.name} did not run.", why=why)
        hog.spun_ns, hog.moved, hog.woken, hog.late_us = (int(number) for number in match.groups())


_FIND_KERNEL_THREADS = r"""
for path in /proc/[0-9]*; do
    read -r name <"$path/comm" || continue
    case $name in rcuc/* | irq_work/* | ktimers/*)
        read -r line <"$path/stat"
        set -- $line
        echo "${name#*/} $1 ${40}" ;;
    esac
done 2>/dev/null
true
"""


@contextlib.contextmanager
def _spare_kernel_threads(host: Host, priority: int, cpus: str) -> Iterator[None]:
    """With PREEMPT_RT the kernel has threads of FIFO 1 on each CPU. A load above them that never sleeps would keep
    every grace period of RCU from its end, and every trace instance: they get its ``priority`` and one more meanwhile.
    """
    found = host.run(["sh", "-c", _FIND_KERNEL_THREADS]).text.splitlines() if priority else []
    threads = [(pid, old) for cpu, pid, old in map(str.split, found) if int(cpu) in parse_cpus(cpus)]
    if not threads:
        yield
        return
    undo = [HOG, "priority", *(f"{pid}={old}" for pid, old in threads)]
    with change_host(host, f"priority of kernel threads on CPUs {cpus}", undo, ["true"]):
        host.run([HOG, "priority", *(f"{pid}={priority + 1}" for pid, _ in threads)])
        yield


_DETACH = r"""
place=$1; shift
mkdir "$place" && mkfifo "$place/in" || exit 1
setsid "$@" <>"$place/in" >"$place/out" 2>&1 &
echo $! >"$place/pid"
"""
_END = 'echo stop 1<>"$1/in"'  # to write only would wait for a reader, and it may have ended
_REMOVE = '[ ! -e "$1" ] || { kill -KILL "$(cat "$1/pid")"; rm -r "$1"; } 2>/dev/null'


@dataclass(frozen=True)
class DetachedHog:
    """A hog that goes on without the connection that started it. Made by :func:`start_detached_hog`."""

    host: Host
    place: str

    def read_spun_ns(self) -> int:
        """CPU time so far (the first number of /proc/PID/schedstat). :raises NotReady: it has ended"""
        script = 'cat "/proc/$(cat "$1/pid")/schedstat"'
        found = self.host.run(["sh", "-c", script, "sh", self.place], check=False).text.split()
        if not found:
            raise NotReady(f"The load of {self.host.name} has ended.", why=self._say())
        return int(found[0])

    def _say(self) -> str:
        return self.host.run(["cat", f"{self.place}/out"], check=False).text.strip()

    def end(self) -> None:
        """:raises Deadline: it does not"""
        self.host.run(["sh", "-c", _END, "sh", self.place])
        wait_until("the end of the load", lambda: "spun" in self._say(), timeout=_TIMEOUT_S)


@contextlib.contextmanager
def start_detached_hog(host: Host, cpus: str, *, policy: Policy, priority: int = 0) -> Iterator[DetachedHog]:
    """As :func:`start_hog`, in a guest that may migrate meanwhile. It ends by itself after three minutes.

    :raises NotSupported: the guest has no such program; :raises NotReady: it does not start
    """
    if host.run(["sh", "-c", f"command -v {HOG}"], check=False).returncode:
        raise NotSupported(f"{host.name} has no {HOG}.", fix="use a guest of switchover's own image")
    place = f"/tmp/{HOG}-{secrets.token_hex(4)}"
    hog = DetachedHog(host, place)
    undo = ["sh", "-c", _REMOVE, "sh", place]
    gone = ["test", "!", "-e", place]
    with (
        _spare_kernel_threads(host, priority, cpus),
        change_host(host, f"load {policy} {priority} on CPUs {cpus}", undo, gone),
    ):
        host.run(["sh", "-c", _DETACH, "sh", place, HOG, policy, str(priority), cpus])
        try:
            wait_until("the load", lambda: hog._say().startswith("running"), timeout=_TIMEOUT_S)
        except Deadline as error:
            raise NotReady(f"The load {policy} {priority} of {host.name} did not start.", why=hog._say()) from error
        yield hog


# a shell that starts its work in the background hears the end of its input at once
_REPEAT = r"""
work() { count=0; trap 'echo "times $count"; exit 0' TERM; while :; do turn "$@"; done; }
work "$@" & pid=$!
echo running
read -r word
kill -TERM $pid
wait $pid
"""
_CHURN = (
    r"""
path=$1; shift
turn() {
    for cpus; do
        printf %s "$cpus" >"$path" || exit 1
        count=$((count + 1))
        sleep 0.02
    done
}
"""
    + _REPEAT
)
_HOTPLUG = (
    r"""
turn() { echo 0 >"$1" && sleep 0.1 && echo 1 >"$1" || exit 1; count=$((count + 1)); sleep 0.1; }
"""
    + _REPEAT
)


@dataclass
class Repeated:
    """Something that is done again and again. ``times``: its own count, once it has ended."""

    what: str
    times: int | None = None


@contextlib.contextmanager
def start_churn(host: Host, irq: int, masks: Sequence[str]) -> Iterator[Repeated]:
    """The mask of an interrupt is each of these in turn, a new one every 20 ms or so; then again what it was.

    :raises NotReady: it does not start, or did not change the mask at all
    """
    path = f"/proc/irq/{irq}/smp_affinity_list"
    before = host.read_file(path).decode().strip()
    undo = ["sh", "-c", 'printf %s "$1" >"$2"', "sh", before, path]
    gone = ["sh", "-c", 'test "$(cat "$2")" = "$1"', "sh", before, path]
    with (
        change_host(host, f"churn of the mask of interrupt {irq}", undo, gone),
        _start_repeated(host, f"churn of the mask of interrupt {irq}", [_CHURN, path, *masks]) as repeated,
    ):
        yield repeated


@contextlib.contextmanager
def start_hotplug(host: Host, cpu: int) -> Iterator[Repeated]:
    """A CPU goes offline and comes back again and again; at the end it is online.

    :raises NotSupported: the kernel cannot take it offline
    """
    path = _require_hotplug(host, cpu)
    with (
        change_host(host, f"hotplug of CPU {cpu}", *_online(path)),
        _start_repeated(host, f"hotplug of CPU {cpu}", [_HOTPLUG, path]) as repeated,
    ):
        yield repeated


@contextlib.contextmanager
def start_offline(host: Host, cpu: int) -> Iterator[None]:
    """A CPU is offline for the time of a ``with`` block.

    :raises NotSupported: the kernel cannot take it offline
    """
    path = _require_hotplug(host, cpu)
    with change_host(host, f"CPU {cpu} offline", *_online(path)):
        host.run(["sh", "-c", 'echo 0 >"$1" && test "$(cat "$1")" = 0', "sh", path], timeout=60)
        yield


def _require_hotplug(host: Host, cpu: int) -> str:
    path = f"/sys/devices/system/cpu/cpu{cpu}/online"
    if host.run(["test", "-w", path], check=False).returncode:
        raise NotSupported(f"CPU {cpu} of {host.name} cannot go offline.", why=f"there is no {path}")
    return path


def _online(path: str) -> tuple[list[str], list[str]]:
    """Undo, and its proof."""
    script = 'test "$(cat "$1")" = 1'
    return ["sh", "-c", f'{script} || echo 1 >"$1"', "sh", path], ["sh", "-c", script, "sh", path]


@contextlib.contextmanager
def _start_repeated(host: Host, what: str, script: Sequence[str]) -> Iterator[Repeated]:
    text, *words = script
    repeated = Repeated(what)
    with start_program(host, ["sh", "-c", text, "sh", *words], f"The {what}") as stream:
        yield repeated
        answer = _stop(stream)
        match = re.fullmatch(r"times (\d+)", answer)
        if match is None or match[1] == "0":
            raise NotReady(f"The {what} of {host.name} did not run.", why=answer)
        repeated.times = int(match[1])


@contextlib.contextmanager
def start_program(host: Host, argv: Sequence[str], what: str) -> Iterator[socket.socket]:
    """A program that says ``running`` first and goes on until it is told something, for a ``with`` block.

    :raises NotReady: it does not start; ``what`` names it
    """
    with contextlib.closing(host.open_stream(argv)) as stream:
        stream.settimeout(_TIMEOUT_S)
        if (word := _read_line(stream)) != "running":
            raise NotReady(f"{what} of {host.name} did not start.", why=word)
        yield stream


def _stop(stream: socket.socket) -> str:
    """Its last words. The end of its input would close the channel over SSH before them, so it is told."""
    with contextlib.suppress(OSError):  # it may have ended
        stream.sendall(b"stop\n")
    return _read_line(stream)


def _read_line(stream: socket.socket) -> str:
    """Empty if none comes."""
    line = bytearray()
    with contextlib.suppress(OSError):
        while not line.endswith(b"\n") and (byte := stream.recv(1)):
            line += byte
    return line.decode(errors="replace").strip()
