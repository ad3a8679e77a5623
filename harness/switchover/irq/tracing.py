# SPDX-License-Identifier: GPL-2.0-or-later
"""tracefs on a host: what it can, and an instance of our own in it, which disturbs nobody else's tracing.

An instance has buffers, events, filters and a clock of its own (Documentation/trace/ftrace.rst, "Instances"). It is in
the journal before it is made, and it goes with everything that was set in it by one rmdir, once nobody reads it.
"""

import contextlib
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from switchover.hosts.host import Host, paste
from switchover.hosts.journal import own_journal
from switchover.irq.events import BEGIN, END
from switchover.irq.recording import Around, Loss
from switchover.irq.state import counters_script, parse_counters
from switchover.record.errors import CommandFailed, HostLost, NotReady, NotSupported, SwitchoverError
from switchover.record.log import LOG, say

EVENTS = (
    "irq/irq_handler_entry",
    "irq/irq_handler_exit",
    "sched/sched_waking",
    "sched/sched_wakeup",
    "sched/sched_switch",
    "sched/sched_migrate_task",
)
CLOCKS = ("mono", "global")
"""Clocks that order events of all CPUs, the best first; ``local``, the default, does not."""
IRQ_WAKE_THREAD = 2
"""What a hard handler returns to have its thread woken (include/linux/irqreturn.h)."""
EVENT_BYTES = 64
"""Of an event in the ring buffer, generously: sched_switch has 64, the others less."""
PREFIX = "switchover-irq-"

_PROBE = r"""
exec 2>/dev/null
echo "uid=$(id -u)"
sed -n 's/^MemAvailable: *\([0-9]*\) kB/memory_kib=\1/p' /proc/meminfo
echo "possible=$(cat /sys/devices/system/cpu/possible)"
echo "lockdown=$(cat /sys/kernel/security/lockdown)"
for root in /sys/kernel/tracing /sys/kernel/debug/tracing; do [ -e "$root/trace_clock" ] && break; done
[ -d /sys/kernel/tracing ] && echo directory=yes
[ -e "$root/trace_clock" ] || exit 0
echo "root=$root"
echo "clocks=$(cat "$root/trace_clock")"
[ -w "$root/instances" ] && echo instances=writable
for event in EVENTS; do [ -d "$root/events/$event" ] || echo "missing=$event"; done
echo "tracer=$(cat "$root/current_tracer")"
echo "enabled=$(grep -c . "$root/set_event")"
for path in "$root"/instances/*/; do [ -d "$path" ] && path=${path%/} && echo "instance=${path##*/}"; done
exit 0
"""


@dataclass(frozen=True)
class Tracefs:
    """What tracing a host allows. ``root``: where tracefs is; empty if nowhere."""

    root: str
    uid: int
    directory: bool
    """the kernel has a place to mount tracefs, and so has tracing"""
    clocks: tuple[str, ...]
    writable: bool
    missing: tuple[str, ...]
    """of :data:`EVENTS`"""
    lockdown: str
    others: tuple[str, ...]
    """who else traces there, in words"""
    memory_kib: int
    possible: str

    @property
    def clock(self) -> str:
        """The best clock that there is; empty: none that will do."""
        return next((clock for clock in CLOCKS if clock in self.clocks), "")

    def find_obstacle(self) -> tuple[str, str] | None:
        """Why interrupts cannot be traced there, and what to do; None if they can."""
        if not self.root:
            if self.directory:
                return "tracefs is not mounted", "as root: mount -t tracefs tracefs /sys/kernel/tracing"
            return "its kernel has no tracefs", "a kernel with CONFIG_EVENT_TRACING, such as a distribution's"
        if self.uid != 0 and not self.writable:
            return f"tracing is for root; the login is user {self.uid}", "log in as root"
        if "[confidentiality]" in self.lockdown:
            return "the kernel is locked down (confidentiality), which forbids tracing", "boot without lockdown="
        if not self.writable:
            return f"{self.root}/instances cannot be written to", "see that tracefs is mounted read-write"
        if self.missing:
            return f"its kernel has no events {', '.join(self.missing)}", "a kernel with CONFIG_EVENT_TRACING"
        if not self.clock:
            return f"no clock orders events of all CPUs ({' '.join(self.clocks)})", "a newer kernel"
        return None


def read_tracefs(host: Host) -> Tracefs:
    """:raises HostLost: the host does not answer"""
    return parse_tracefs(host.run(["sh", "-c", _PROBE.replace("EVENTS", " ".join(EVENTS))], timeout=60).text)


def require_tracefs(host: Host) -> Tracefs:
    """:raises NotSupported: interrupts of the host cannot be traced, with the reason"""
    found = read_tracefs(host)
    if obstacle := found.find_obstacle():
        why, fix = obstacle
        raise NotSupported(f"Interrupts of {host.name} cannot be traced.", why=why, fix=fix)
    return found


def parse_tracefs(text: str) -> Tracefs:
    """From lines ``NAME=VALUE``; what is not told is empty."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign:
            values.setdefault(name, []).append(value.strip())

    def first(name: str) -> str:
        return values.get(name, [""])[0]

    others = [f"instance {name}" for name in values.get("instance", [])]
    if first("enabled") not in ("", "0"):
        others.append(f"{first('enabled')} events at the top level")
    if first("tracer") not in ("", "nop"):
        others.append(f"tracer {first('tracer')} at the top level")
    return Tracefs(
        first("root"),
        int(first("uid") or -1),
        "directory" in values,
        tuple(word.strip("[]") for word in first("clocks").split()),
        "instances" in values,
        tuple(values.get("missing", [])),
        first("lockdown"),
        tuple(others),
        int(first("memory_kib") or 0),
        first("possible"),
    )


_SET_UP = r"""
instance=$1 clock=$2 buffer=$3 irqs=$4 wakes=$5 threads=$6 switches=$7
put() { printf '%s' "$1" >"$instance/$2" || { echo "writing '$1' to $2" >&2; exit 1; }; }
mkdir "$instance" || exit 1
put 0 tracing_on
put "$clock" trace_clock
put "$buffer" buffer_size_kb
for option in annotate context-info irq-info overwrite markers; do
    if [ -e "$instance/options/$option" ]; then
        case $option in annotate) put 0 "options/$option" ;; *) put 1 "options/$option" ;; esac
    fi
done
put "$irqs" events/irq/irq_handler_entry/filter
put "$wakes" events/irq/irq_handler_exit/filter
for event in sched_waking sched_wakeup sched_migrate_task; do put "$threads" "events/sched/$event/filter"; done
put "$switches" events/sched/sched_switch/filter
for event in EVENTS; do put 1 "events/$event/enable"; done
while read -r line; do case $line in "#"*) echo "$line" ;; *) break ;; esac; done <"$instance/trace"
true
"""
# Whoever reads the instance keeps it from being removed. The reader is known by its command line, in which the path
# ends otherwise than in this one's; a guest may have neither pkill nor fuser.
_REMOVE = r"""
[ -d "$1" ] || exit 0
echo 0 >"$1/tracing_on"
for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    rmdir "$1" 2>/dev/null && exit 0
    for path in /proc/[0-9]*; do
        case $(tr '\0' ' ' 2>/dev/null <"$path/cmdline") in *"$1/trace_pipe"*) kill -KILL "${path#/proc/}" ;; esac
    done
    sleep 0.1
done
rmdir "$1"
"""
# A reader that waits for events is not woken by the end of tracing, and would wait for ever (kernel/trace/trace.c,
# wait_pipe_cond). Stopped and continued it reads again, and finds the end.
WAKE_READER = r"""
for path in /proc/[0-9]*; do
    read -r name <"$path/comm" && [ "$name" = dd ] || continue
    pid=${path#/proc/}
    case $(tr '\0' ' ' <"$path/cmdline") in *"$1/trace_pipe"*) kill -STOP "$pid" && kill -CONT "$pid" ;; esac
done 2>/dev/null
true
"""
_STATS = r"""
for path in "$1"/per_cpu/cpu[0-9]*; do echo "= ${path##*cpu}"; cat "$path/stats"; done
"""


@dataclass(frozen=True)
class TraceInstance:
    """An instance of ours on a host, tracing off. Made by :func:`start_instance`."""

    host: Host
    path: str
    clock: str
    buffer_kib: int
    """for each CPU"""
    pids: tuple[int, ...]
    header: tuple[str, ...] = ()
    """lines with which the kernel's ``trace`` begins"""

    @property
    def reader(self) -> list[str]:
        """The command that prints the trace until tracing is off and all is printed.

        In large pieces: each piece that goes over the network makes interrupts, which may be the ones that are traced.
        """
        return ["sh", "-c", 'exec dd if="$1" ibs=65536 obs=131072 2>/dev/null', "sh", f"{self.path}/trace_pipe"]

    def switch_on(self) -> Around:
        """Begin the window. Returns the counters right before and right after."""
        return self._around(f"echo 1 >{self.path}/tracing_on; echo '{BEGIN}' >{self.path}/trace_marker")

    def switch_off(self) -> Around:
        """End the window, as :meth:`switch_on`; whoever reads the trace comes to its end."""
        return self._around(f"echo '{END}' >{self.path}/trace_marker; echo 0 >{self.path}/tracing_on", WAKE_READER)

    def _around(self, command: str, later: str = "") -> Around:
        counters = counters_script(self.pids)
        script = f"{counters}\necho '= moment'\n{command} || exit 1\n{counters}\n{later}"
        text = self.host.run(["sh", "-c", script, "sh", self.path], timeout=60).text
        before, _, after = text.partition("= moment\n")
        return Around(parse_counters(before), parse_counters(after))

    def read_losses(self) -> tuple[Loss, ...]:
        return parse_losses(self.host.run(["sh", "-c", _STATS, "sh", self.path], timeout=60).text)


@contextlib.contextmanager
def start_instance(
    host: Host, tracefs: Tracefs, irqs: Sequence[int], pids: Sequence[int], *, buffer_kib: int
) -> Iterator[TraceInstance]:
    """An instance for the time of a ``with`` block, with filters for these interrupts and threads, tracing off.

    :raises NotReady: the kernel refuses it, in its own words
    """
    path = f"{tracefs.root}/instances/{PREFIX}{secrets.token_hex(4)}"
    undo, gone = ["sh", "-c", _REMOVE, "sh", path], ["test", "!", "-e", path]
    filters = render_filters(irqs, pids)
    with change_host(host, f"trace instance {path}", undo, gone):
        try:
            script = _SET_UP.replace("EVENTS", " ".join(EVENTS))
            words = [path, tracefs.clock, str(buffer_kib), *filters]
            header = host.run(["sh", "-c", script, "sh", *words], timeout=60).text
        except CommandFailed as error:
            raise NotReady(
                f"Tracing could not be set up on {host.name}.",
                why=error.why,
                fix="--buffer with a smaller number, if it says that memory is short; others that trace there: "
                + (", ".join(tracefs.others) or "none"),
            ) from error
        yield TraceInstance(host, path, tracefs.clock, buffer_kib, tuple(pids), tuple(header.splitlines()))


# what is changed here is in the kernel's memory: another boot of the host has nothing of it
_BOOT = "/proc/sys/kernel/random/boot_id"
_SAME_BOOT = f'[ "$(cat {_BOOT})" = "$1" ] || exit 0; shift; exec "$@"'


@contextlib.contextmanager
def change_host(host: Host, what: str, undo: Sequence[str], gone: Sequence[str]) -> Iterator[None]:
    """A change of the journal that lasts until the host's next boot at most; of a host that no later process could
    reach (a guest of a run) without one.

    What cannot be undone is said, with the command for it; nothing is raised.
    """
    if host.address:
        boot = host.read_file(_BOOT).decode().strip()
        bound = ["sh", "-c", _SAME_BOOT, "sh", boot]
        with own_journal().change(host, what, undo=[*bound, *undo], gone=[*bound, *gone]):
            yield
        return
    try:
        yield
    finally:
        try:
            host.run(["sh", "-c", f"{paste(undo)}; {paste(gone)}"])
        except HostLost:
            say(f"not undone: {what} on {host.name}, which does not answer")
        except SwitchoverError as error:
            LOG.debug("release of %s", what, exc_info=True)
            say(f"not undone: {what} on {host.name}: {error.what}\n  by hand: {paste(undo)}")


def render_filters(irqs: Sequence[int], pids: Sequence[int]) -> tuple[str, str, str, str]:
    """For handlers, handlers that want their thread, wake-ups and migrations, and switches."""

    def any_of(field: str, values: Sequence[int]) -> str:
        return " || ".join(f"{field} == {value}" for value in values)

    # without threads what is never so: no task has a pid below 0
    numbers, threads = any_of("irq", irqs), any_of("pid", pids or [-1])
    switches = f"{any_of('prev_pid', pids or [-1])} || {any_of('next_pid', pids or [-1])}"
    return numbers, f"({numbers}) && ret == {IRQ_WAKE_THREAD}", threads, switches


def parse_losses(text: str) -> tuple[Loss, ...]:
    """Of ``per_cpu/cpuN/stats`` of all CPUs, each behind a line ``= N``."""
    losses = []
    for part in re.split(r"^= ", text, flags=re.MULTILINE)[1:]:
        number, _, lines = part.partition("\n")
        found = dict(re.findall(r"^([\w ]+): (\d+)$", lines, re.MULTILINE))
        losses.append(
            Loss(
                int(number),
                int(found.get("overrun", 0)),
                int(found.get("commit overrun", 0)),
                int(found.get("dropped events", 0)),
            )
        )
    return tuple(sorted(losses, key=lambda loss: loss.cpu))


def choose_buffer(rate: float, memory_kib: int, cpus: int) -> int:
    """KiB for each CPU: ten seconds of six events for each of ``rate`` interrupts a second on one CPU, four times as
    many as were seen; at least 1 MiB, and all CPUs together at most an eighth of the memory that is available.
    """
    wanted = int(rate * 4 * 10 * 6 * EVENT_BYTES / 1024)
    return max(64, min(max(1024, wanted), memory_kib // 8 // max(1, cpus)))
