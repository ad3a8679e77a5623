# SPDX-License-Identifier: GPL-2.0-or-later
"""``switchover irq``: what people type, and exit codes."""

import json
from pathlib import Path

import pytest
from tests.unit.irq.test_analysis import DATA

from switchover.cli.hosts import parse_login
from switchover.cli.main import main
from switchover.irq.conditions import CONDITIONS
from switchover.record.errors import UsageError

LOCAL, MIXED, STARVED, QUIET = (
    str(DATA / f"6.12-{name}.trace.gz")
    for name in ("virtio", "virtio-mask-changes", "fifo-60-on-the-only-cpu-0", "one-effective-cpu-0")
)
FOREIGN, LAZY = str(DATA / "foreign-trace.txt"), str(DATA / "lazy-letters.trace.gz")
COLUMNS = "irqs-off,need-resched,need-resched-lazy,hardirq/softirq,preempt-depth"


@pytest.mark.parametrize(
    ("word", "user", "address", "port"),
    [
        ("root@10.0.0.1", "root", "10.0.0.1", 22),
        ("me@guest.lan:2222", "me", "guest.lan", 2222),
        ("root@[fe80::1%eth0]:22", "root", "fe80::1%eth0", 22),
        ("root@[::1]", "root", "::1", 22),
    ],
)
def test_logins(word: str, user: str, address: str, port: int) -> None:
    """As ssh and scp write them; the host key is that of known_hosts unless it is given."""
    entry = parse_login(word, None, None)
    assert (entry.user, entry.address, entry.port, entry.key, entry.host_key) == (
        user,
        address,
        port,
        "~/.ssh/id_ed25519",
        None,
    )


@pytest.mark.parametrize("word", ["@x", "root@", "root@a:b", "root@a:99999", "a b@c", "root@::1"])
def test_what_is_no_login(word: str) -> None:
    with pytest.raises(UsageError):
        parse_login(word, None, None)


def test_a_host_key_as_it_is_or_in_a_file(tmp_path: Path) -> None:
    key = "ssh-ed25519 " + "A" * 68
    path = tmp_path / "key.pub"
    path.write_text(f"{key} somebody\n")
    assert parse_login("a@b", None, key).host_key == key
    assert parse_login("a@b", "/k", str(path)).host_key == key
    with pytest.raises(UsageError, match="cannot be read"):
        parse_login("a@b", None, str(tmp_path / "none"))
    with pytest.raises(UsageError, match="host_key"):
        parse_login("a@b", None, "ssh-rsa AAAA")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["irq", "report", LOCAL], 0),
        (["irq", "report", LOCAL, "--require-local", "100"], 0),
        (["irq", "report", MIXED], 0),
        (["irq", "report", MIXED, "--require-local", "80"], 0),
        (["irq", "report", MIXED, "--require-local", "81"], 1),
        (["irq", "report", MIXED, "--forbid-cpus", "3"], 0),
        (["irq", "report", MIXED, "--forbid-cpus", "2-3"], 1),
        (["irq", "report", MIXED, "--forbid-cpus", "3", "--require-local", "81"], 1),
        (["irq", "report", STARVED, "--require-local", "0"], 1),
        (["irq", "report", STARVED], 0),
        (["irq", "report", QUIET, "--forbid-cpus", "3"], 0),
        (["irq", "report", FOREIGN], 0),
        (["irq", "report", FOREIGN, "--require-local", "1"], 1),
        (["irq", "report", LAZY], 2),
        (["irq", "report", LAZY, "--columns", COLUMNS], 0),
        (["irq", "report", LAZY, "--columns", "irqs-off,need-resched,hardirq/softirq,preempt-depth"], 3),
        (["irq", "report", LAZY, "--columns", "irqs-off,hardirk"], 2),
        (["irq", "report", LOCAL, "--columns", COLUMNS], 2),
        (["irq", "report", "/none"], 2),
        (["irq", "report", __file__], 2),
        (["irq", "record", "nowhere"], 2),
        (["irq", "record", "local", "--key", "/k"], 2),
        (["irq", "record", "root@"], 2),
        (["doctor", "--for", "irq", "nowhere"], 2),
    ],
)
def test_exit_codes(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """0: told; 1: less local than required; 2: no recording, no host."""
    assert main(words) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert (code == 2) == captured.err.startswith("switchover: ")


def test_a_recording_that_was_cut_off_is_not_ready(tmp_path: Path) -> None:
    """3: no number counts, whatever was required."""
    path = tmp_path / "cut.gz"
    path.write_bytes(Path(LOCAL).read_bytes()[:9000])
    assert main(["irq", "report", str(path), "--require-local", "0"]) == 3


@pytest.mark.parametrize(
    "option",
    [
        ["--seconds", "0"],
        ["--require-local", "101"],
        ["--seconds", "x"],
        *(["--forbid-cpus", word] for word in ("", "2-", "x", "3-2", "0,3-2", "-1")),
    ],
)
def test_numbers_out_of_range(option: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["irq", "record", "local", *option])
    assert caught.value.code == 2


def test_json_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON alone on standard output; the page beside it."""
    page = tmp_path / "x.html"
    assert main(["irq", "report", MIXED, "--json", "--html", str(page)]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "mixed"
    assert str(page) in captured.err
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert main(["irq", "report", MIXED, "--html", str(tmp_path / "none" / "x")]) == 2


def test_the_throughput_of_the_analysis(capsys: pytest.CaptureFixture[str]) -> None:
    """A real recording repeated: every turn of it is counted, nothing is lost to the repetition."""
    assert main(["bench", "irq-parse", "--file", MIXED, "--count", "3000"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("3,030 events in ")
    assert "370 of 460 activations local" in out


def test_conditions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its row, what it is, and the boot options that it needs; nothing is booted."""
    assert main(["irq", "conditions", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CONDITIONS)
    assert any("no-effective-cpu" in line and "row 4" in line and "threadirqs noapic" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mask-change"], "did you mean 'mask-changes'"),
        (["--kernel", "kernel-6.12-tr"], "did you mean 'kernel-6.12-rt'"),
        (["--kernel", "qemu-7.2"], "There is no kernel 'qemu-7.2'"),
        (["--against", "nothing"], "There is no kernel 'nothing'"),
        (["--guest", "root@a", "--kernel", "kernel-6.12-rt"], "runs its own kernel"),
    ],
)
def test_conditions_that_cannot_be_run(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Said at once, before anything is built or booted."""
    assert main(["irq", "conditions", *words]) == 2
    assert message in capsys.readouterr().err


def test_forbidden_cpus_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Who was there, how often, and who may go there; in JSON too."""
    assert main(["irq", "report", MIXED, "--forbid-cpus", "2-3"]) == 1
    assert (
        "  interrupt 25, virtio0-input.0: 9 hard handlers on CPU 2, its thread came to run " in capsys.readouterr().out
    )
    assert main(["irq", "report", MIXED, "--forbid-cpus", "2-3", "--json"]) == 1
    (one,) = json.loads(capsys.readouterr().out)["forbidden"]["interrupts"]
    assert (one["number"], one["hard_handlers"]) == (25, {"2": 9})


def test_columns_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that begins with the header of the kernel that was traced."""
    path = tmp_path / "trace"
    path.write_text(
        "# tracer: nop\n#  _----=> irqs-off\n#  / _----=> need-resched\n#  |/ _----=> need-resched-lazy\n"
        "#  ||/ _----=> hardirq/softirq\n#  |||/ _---=> preempt-depth\n#           TASK-PID     CPU#  |||||\n"
    )
    assert main(["irq", "report", LAZY, "--columns", str(path)]) == 0
    assert "13 of 28 activations local" in capsys.readouterr().out
    assert main(["irq", "report", LAZY, "--columns", __file__]) == 2
    assert "has no header of the kernel's trace" in capsys.readouterr().err
