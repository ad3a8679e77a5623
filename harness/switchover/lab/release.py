# SPDX-License-Identifier: GPL-2.0-or-later
"""What a harness that was killed left: its changes to hosts are undone, its labs are stopped."""

from pathlib import Path

from switchover.hosts import journal
from switchover.hosts.host import Host
from switchover.hosts.journal import DeadJournal
from switchover.hosts.ownership import describe_process, take_file
from switchover.lab.host_kinds import reach_host
from switchover.lab.labfile import find_starter, lab_processes, read_lab_file, starter_path, stop_lab
from switchover.record.errors import NotReady
from switchover.record.log import say
from switchover.record.paths import labs_directory


def undo_dead_journals(*, dry_run: bool = False, forget: bool = False) -> list[DeadJournal]:
    """Undo what dead processes changed, on this machine and on lab hosts. See :func:`journal.undo_dead_journals`."""
    return journal.undo_dead_journals(reach_host, dry_run=dry_run, forget=forget)


def clean_up_after_others() -> list[DeadJournal]:
    """Before hosts are used: undo what is left of harnesses that were killed, and say so. Returns what remains."""
    found = undo_dead_journals()
    for dead in found:
        say(f"what {dead.owner} left is undone first ({len(dead.outcomes)} changes)")
        for line in render_remains(dead):
            say(f"  {line}")
    return [dead for dead in found if dead.remains]


def render_remains(dead: DeadJournal) -> list[str]:
    """What of a dead process's changes is not undone, and what to do, a line each."""
    lines = [str(outcome) for outcome in dead.outcomes if outcome.remains]
    if dead.damaged:
        numbers = ", ".join(str(number) for number in dead.damaged)
        lines.append(f"{dead.path}: line {numbers} cannot be read; look at what it names, then remove the file")
    return lines


def find_dead_labs() -> list[Path]:
    """Labs that nobody will stop: of a run whose harness died, half started, or with no process left."""
    directories = sorted(path for path in labs_directory().glob("*/") if path.is_dir())
    return [path for path in directories if find_starter(path) is None and _is_dead(path)]


def stop_dead_lab(directory: Path) -> list[str]:
    """What was done, a line each; nothing if the lab is not dead after all.

    :raises NotReady: something of it stayed
    """
    starter = take_file(starter_path(directory), note=describe_process())
    if starter is None:
        return []  # somebody is just starting one of that name
    try:
        return (stop_lab(directory) or ["its directory removed"]) if _is_dead(directory) else []
    finally:
        starter.release()


def _is_dead(directory: Path) -> bool:
    """Of a lab that nobody boots and no harness owns."""
    if not (directory / "lab.json").exists():
        return True  # killed before anything was started
    try:
        file = read_lab_file(directory)
    except NotReady:
        return True  # what cannot be read is told by who tries to stop it
    return file.owner != 0 or not file.ports or not lab_processes(file)


def list_leftovers(host: Host) -> list[str]:
    """QEMUs of guests, their files, taps, mediated devices, libvirt's domains, disturbed links, PCI functions with an
    override and virtual functions on a lab host where none should be.

    A QEMU that ended has nothing any more, but is there until its parent has taken note: that gets some seconds.
    """
    script = (
        "for _ in 1 2 3 4 5 6 7 8 9 10; do ps -eo stat=,comm= | grep -q '^Z.* qemu-' || break; sleep 0.5; done; "
        "pgrep -af '[q]emu-system|/opt/[q]emu/'; ls -d /tmp/switchover-* 2>/dev/null; ls /sys/bus/mdev/devices; "
        "ls /sys/class/net | grep ^sw; tc qdisc show | grep netem; "
        "ls -d /run/libvirt/qemu/switchover-*.xml 2>/dev/null; cd /sys/bus/pci/devices; "
        "grep -v '^(null)$' */driver_override; grep -v '^0$' */sriov_numvfs; true"
    )
    return host.run(["sh", "-c", script]).text.splitlines()
