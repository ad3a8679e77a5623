# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes on in a guest while it migrates: processes, files, time, interrupts."""

import time

from switchover import MIB, Context, DeviceSpec, Direction, Guest, Knobs, Unit, build_case, case

BUSY = Knobs(initial_bytes=4 * MIB, dirty_bytes_per_sec=1 * MIB, irq_rates=(50, 20, 10))
PLAIN = Knobs(initial_bytes=4 * MIB)


@case(tags=["guest", "connection"], seconds=25, hops=[1, 3])
def processes_survive(context: Context, hops: int) -> None:
    """A process in the guest, and the connection that started it, go on through migrations, with no count left out."""
    with context.testbed.start_guest(build_case("hop", device=DeviceSpec(knobs=PLAIN), heartbeat_us=0)) as guest:
        shell = guest.shell
        script = "n=0; while :; do n=$((n+1)); echo $n >>/tmp/count; sleep 0.2; done"
        pid = shell.run(["sh", "-c", f"sh -c '{script}' >/dev/null 2>&1 </dev/null & echo $!"]).text.strip()
        for _ in range(hops):
            context.require(guest.migrate())
        context.check("connection", True, guest.shell is shell, claim="the login from before is the one in use")
        guest.run(["kill", "-STOP", pid])
        counts = [int(line) for line in guest.run(["cat", "/tmp/count"]).text.split()]
        context.check("gaps", list(range(1, len(counts) + 1)), counts, claim="each count is there once")


@case(tags=["guest", "memory"], seconds=20)
def memory_keeps_a_file(context: Context) -> None:
    """A file in the guest's memory that is written to all through the migration is whole afterwards."""
    with context.testbed.start_guest(build_case("hop", device=DeviceSpec(knobs=PLAIN), heartbeat_us=0)) as guest:
        guest.run(["sh", "-c", "head -c 16777216 /dev/urandom >/tmp/file; sha256sum /tmp/file >/tmp/sum"])
        script = "i=0; while :; do i=$((i+1)); cp /tmp/file /tmp/copy.new && mv /tmp/copy.new /tmp/copy; done"
        pid = guest.run(["sh", "-c", f"sh -c '{script}' >/dev/null 2>&1 </dev/null & echo $!"]).text.strip()
        record = context.require(guest.migrate())
        guest.run(["kill", pid])
        checked = guest.run(["sh", "-c", "sha256sum -c /tmp/sum && cmp /tmp/file /tmp/copy && echo whole"], check=False)
        context.check("file", "whole", checked.text.strip().splitlines()[-1:] and checked.text.split()[-1])
        context.measure(
            "bytes.ram.precopy",
            record.measured("bytes.ram.precopy"),
            Unit.BYTES,
            definition="RAM moved while the guest wrote to its memory all the time",
            source="query-migrate",
        )


@case(tags=["guest", "time"], seconds=20, most_s=[1.0])
def clock_goes_on(context: Context, most_s: float) -> None:
    """The guest's wall clock is off by no more than before, and the time that the guest stood still."""
    with context.testbed.start_guest(build_case("hop", device=DeviceSpec(knobs=PLAIN), heartbeat_us=0)) as guest:
        before = _read_offset(guest)
        record = context.require(guest.migrate())
        moved = abs(_read_offset(guest) - before)
        stood = record.measured("downtime.explained") or 0.0
        context.measure(
            "guest.clock-step",
            moved,
            Unit.SECONDS,
            definition="change of the guest's wall clock against the controller's over the migration",
            source="date in the guest, to the second's fraction that it tells",
        )
        context.check_bound("clock-step", moved, stood + most_s, claim="the clock steps by the downtime at most")


def _read_offset(guest: Guest) -> float:
    began = time.time()
    text = guest.run(["sh", "-c", "cut -d' ' -f1 /proc/uptime; date +%s"]).text.split()
    return float(text[1]) - (began + time.time()) / 2


@case(tags=["guest", "irq"], seconds=20)
def interrupts_go_on(context: Context) -> None:
    """A device that raises interrupts all the time loses none over two migrations."""
    with context.testbed.start_guest(build_case("hop", device=DeviceSpec(knobs=BUSY), heartbeat_us=0)) as guest:
        first = _count_interrupts(guest)
        for _ in range(2):
            record = context.require(guest.migrate())
            context.check(
                f"at-a-rate-{guest.migrations}",
                True,
                record.check("device.interrupts-at-a-rate", "device 1").passed,
                claim="every interrupt that the device raised was seen",
            )
        raised = _count_interrupts(guest) - first
        context.measure(
            "guest.interrupts",
            raised,
            Unit.INTERRUPTS,
            direction=Direction.HIGHER,
            definition="interrupts of the device that the guest took meanwhile",
            source="/proc/interrupts",
        )
        context.check("some", True, raised > 0, claim="the device raised interrupts")


def _count_interrupts(guest: Guest) -> int:
    lines = guest.run(["cat", "/proc/interrupts"]).text.splitlines()
    mine = [line.split() for line in lines if "refdev" in line]
    return sum(int(word) for words in mine for word in words[1:2])
