# SPDX-License-Identifier: GPL-2.0-or-later
"""What tracing a host allows, and an instance that is set up, and gone afterwards."""

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scripted_host import ScriptedHost

from switchover.hosts.host import Completed
from switchover.hosts.journal import parse_journal
from switchover.hosts.local import LocalHost
from switchover.irq.recording import Loss
from switchover.irq.tracing import (
    WAKE_READER,
    change_host,
    choose_buffer,
    parse_losses,
    parse_tracefs,
    render_filters,
    start_instance,
)
from switchover.record.errors import HostLost, NotReady
from switchover.record.paths import journals_directory

BOOT = "/proc/sys/kernel/random/boot_id"
PROBE = """\
uid=0
memory_kib=176000
possible=0-3
lockdown=[none] integrity confidentiality
directory=yes
root=/sys/kernel/tracing
clocks=[local] global counter uptime perf mono mono_raw boot tai x86-tsc
instances=writable
tracer=nop
enabled=0
"""
TRACEFS = parse_tracefs(PROBE)


def test_a_host_that_can_be_traced() -> None:
    assert TRACEFS.find_obstacle() is None
    assert (TRACEFS.clock, TRACEFS.memory_kib, TRACEFS.others) == ("mono", 176000, ())


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("root=/sys/kernel/tracing\n", "", "not mounted"),
        ("directory=yes\nroot=/sys/kernel/tracing\n", "", "no tracefs"),
        ("uid=0\nmemory_kib=176000\npossible=0-3\nlockdown=[none]", "uid=1000\nlockdown=[none]", ""),
        ("[none] integrity confidentiality", "none integrity [confidentiality]", "locked down"),
        ("instances=writable\n", "", "cannot be written to"),
        ("tracer=nop", "missing=irq/irq_handler_exit", "irq/irq_handler_exit"),
        ("global counter uptime perf mono mono_raw boot tai x86-tsc", "counter", "no clock"),
    ],
)
def test_what_stands_in_the_way(line: str, instead: str, words: str) -> None:
    """Each obstacle has its own words, and what mends it."""
    obstacle = parse_tracefs(PROBE.replace(line, instead)).find_obstacle()
    assert (obstacle is None) == (not words)
    if obstacle:
        assert words in obstacle[0]
        assert obstacle[1]


def test_somebody_who_is_not_root() -> None:
    obstacle = replace(TRACEFS, uid=1000, writable=False).find_obstacle()
    assert obstacle == ("tracing is for root; the login is user 1000", "log in as root")


def test_who_else_traces_is_told() -> None:
    """Other instances, events and tracers at the top level: none of them is touched."""
    text = PROBE.replace("nop", "function").replace("enabled=0", "enabled=3\ninstance=theirs")
    assert parse_tracefs(text).others == (
        "instance theirs",
        "3 events at the top level",
        "tracer function at the top level",
    )


def test_filters() -> None:
    """Only these interrupts, of handlers' ends only those that ask for the thread, and only their threads."""
    assert render_filters([4, 25], [154, 171]) == (
        "irq == 4 || irq == 25",
        "(irq == 4 || irq == 25) && ret == 2",
        "pid == 154 || pid == 171",
        "prev_pid == 154 || prev_pid == 171 || next_pid == 154 || next_pid == 171",
    )


def test_losses() -> None:
    """Of each CPU, all three kinds; the counters beside them are none."""
    text = (
        "= 1\nentries: 5\noverrun: 2\ncommit overrun: 3\nbytes: 9\nnow ts: 37.22\ndropped events: 4\nread events: 332\n"
        "= 0\nentries: 0\noverrun: 0\ncommit overrun: 0\ndropped events: 0\nread events: 1\n"
    )
    assert parse_losses(text) == (Loss(0, 0, 0, 0), Loss(1, 2, 3, 4))
    assert [loss.events for loss in parse_losses(text)] == [0, 9]


@pytest.mark.parametrize(
    ("rate", "memory", "cpus", "kib"),
    [(0, 176000, 4, 1024), (1000, 176000, 4, 5500), (1000, 1 << 30, 4, 15000), (1e9, 1 << 20, 64, 2048), (5, 0, 4, 64)],
)
def test_buffers(rate: float, memory: int, cpus: int, kib: int) -> None:
    """By the rate, within bounds: never more than an eighth of the memory for all CPUs together."""
    assert choose_buffer(rate, memory, cpus) == kib


def journalled() -> list[str]:
    texts = [path.read_bytes() for path in journals_directory().glob("*.jsonl")]
    return [change.what for text in texts for change in parse_journal(text).changes]


def test_an_instance_is_in_the_journal_before_it_is_made() -> None:
    """And is undone at the end, by the journal's command."""
    seen: list[list[str]] = []

    def answer(argv: Sequence[str]) -> str:
        seen.append(journalled())
        return ""

    host = ScriptedHost(answer)
    with start_instance(host, TRACEFS, [4], [154], buffer_kib=1024) as instance:
        assert instance.path.startswith("/sys/kernel/tracing/instances/switchover-irq-")
    assert seen[0] == [f"trace instance {instance.path}"]
    assert f"test '!' -e {instance.path}" in host.commands[-1][-1]
    assert journalled() == []


def test_an_instance_that_the_kernel_refuses() -> None:
    """Its own words, and the undo all the same."""
    host = ScriptedHost(lambda argv: 1 if "mkdir" in argv[2] else "")
    with pytest.raises(NotReady, match="could not be set up"), start_instance(host, TRACEFS, [4], [1], buffer_kib=1):
        pytest.fail("it was set up")
    assert "rmdir" in host.commands[-1][-1]


def test_a_host_that_is_lost_leaves_it_in_the_journal(capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be undone is said, with the command that does it later, and does not hide the error."""
    up = True

    def answer(argv: Sequence[str]) -> str:
        if not up:
            raise HostLost("gone")
        return ""

    with (
        contextlib.suppress(ZeroDivisionError),
        start_instance(ScriptedHost(answer), TRACEFS, [4], [154], buffer_kib=1024),
    ):
        up = False
        raise ZeroDivisionError
    assert "switchover clean" in capsys.readouterr().err
    assert len(journalled()) == 1


def test_a_guest_that_no_later_process_can_reach(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no journal for it; the instance goes at the end, or it is said how it goes by hand."""
    host = ScriptedHost(lambda argv: 1 if "rmdir" in argv[2] and len(argv) == 3 else "")
    host.address = {}
    with start_instance(host, TRACEFS, [4], [154], buffer_kib=1024):
        assert journalled() == []
    assert "by hand" in capsys.readouterr().err


@pytest.mark.parametrize(("now", "undone"), [("a-boot", True), ("another-boot", False)])
def test_a_change_ends_with_the_boot_it_was_made_in(now: str, undone: bool, tmp_path: Path) -> None:
    """What is undone later, after the host was booted again, is taken as gone, and its undo does nothing."""
    (tmp_path / "boot").write_text("a-boot\n")

    class Booted(LocalHost):
        def run(self, argv: Sequence[str], **more: Any) -> Completed:
            return super().run([word.replace(BOOT, str(tmp_path / "boot")) for word in argv], **more)

        def read_file(self, path: str) -> bytes:
            return super().read_file(path.replace(BOOT, str(tmp_path / "boot")))

    done = tmp_path / "undone"
    with change_host(Booted(), "a change", ["touch", str(done)], ["test", "-e", str(done)]):
        (tmp_path / "boot").write_text(f"{now}\n")
    assert done.exists() is undone
    assert journalled() == []


READER = """#!{python}
import signal, sys
signal.signal(signal.SIGCONT, lambda *_: (print("continued", flush=True), sys.exit()))
print("waits", flush=True)
while True:
    signal.pause()
"""


def test_a_reader_that_waits_is_woken_at_the_end(tmp_path: Path) -> None:
    """Stopped and continued, so that it reads again and finds the end: ours, and no other ``dd``."""
    program = tmp_path / "dd"
    program.write_text(READER.format(python=sys.executable))
    program.chmod(0o755)
    with contextlib.ExitStack() as stack:
        ours, other = (
            stack.enter_context(subprocess.Popen([program, f"if={path}"], stdout=subprocess.PIPE, text=True))
            for path in (tmp_path / "trace_pipe", tmp_path / "else")
        )
        stack.callback(other.kill)
        stack.callback(ours.kill)
        for process in (ours, other):
            assert process.stdout is not None
            assert process.stdout.readline() == "waits\n"
        subprocess.run(["sh", "-c", WAKE_READER, "sh", str(tmp_path)], check=True, timeout=60)
        assert ours.wait(timeout=20) == 0
        assert ours.stdout is not None
        assert ours.stdout.read() == "continued\n"
        assert other.poll() is None
