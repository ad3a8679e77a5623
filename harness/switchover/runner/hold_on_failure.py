# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of a case that was not as expected, kept for somebody to look at; ``kept.json`` says how to get to them.

They live as long as this process and its connections to the hosts: a QEMU dies with its harness. So the harness waits,
and what it changed stays in its journal as open, for ``switchover clean`` should it be killed meanwhile.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from switchover.checks.faults import list_faults
from switchover.hosts.journal import own_journal
from switchover.hosts.local import LocalHost
from switchover.record.errors import HostLost, NotSupported, SwitchoverError
from switchover.record.record import Verdict
from switchover.record.rundir import RepeatDirectory
from switchover.runner.attempt import Attempt
from switchover.runner.host_pair import HostPair
from switchover.runner.side import Side
from switchover.runner.verdict import judge_attempt, judge_error
from switchover.scenarios.case import Case
from switchover.scenarios.expectation import find_mismatch

KEPT = "kept.json"
VERSION = 1


@dataclass(frozen=True)
class HeldSide:
    """A QEMU that lives."""

    host: str
    """the name of the side's host"""
    address: Mapping[str, str]
    """how another process reaches the host, in the form that journals use"""
    pid: int
    """the process id of QEMU on its host"""
    monitor: str
    """the unix socket of QEMU's monitor on its host, to which nobody is connected"""
    console: str
    """the file on its host with the guest's console"""
    log: str
    """the file on its host with QEMU's log"""
    guest_address: str
    """the IPv4 address of the guest, which can be reached from its host"""
    key: str
    """the path on the controller of the private key that the guest accepts"""
    host_key: str
    """the guest's own public key"""
    user: str = "root"
    """the user name for logging in to the guest"""


@dataclass(frozen=True)
class Held:
    """Guests that are kept, and by whom."""

    case: str
    """id of the case"""
    verdict: Verdict
    """what happened to it; not in the file"""
    mismatch: str
    """how the case differs from what was expected"""
    path: Path
    """the repeat's directory; not in the file"""
    sides: Mapping[str, HeldSide]
    """`source` and `destination`, each only if its QEMU still runs"""
    process: int = field(default_factory=os.getpid)
    """process id of the harness that holds them"""


class HoldOnFailure:
    """Keeps the guests of the first case that is not as expected. ``hold`` returns when they may go."""

    def __init__(self, hold: Callable[[Held], None]) -> None:
        self._hold = hold
        self.used = False

    def keep_if_wrong(
        self,
        case: Case,
        source: Side,
        destination: Side | None,
        outcome: Attempt | SwitchoverError,
        pair: HostPair,
        directory: RepeatDirectory,
    ) -> None:
        """``kept.json`` is in the repeat's directory while they are held, and the key beside it (mode 0600)."""
        if isinstance(outcome, Attempt):
            verdict, checks, deaths = judge_attempt(outcome), outcome.checks, outcome.deaths
            not_checked = outcome.not_checked
        else:
            verdict, checks, deaths = judge_error(outcome, "migrate" if destination else "start destination"), (), ()
            not_checked = ()
        mismatch = find_mismatch(case.expectation, verdict, checks, list_faults(case), deaths, not_checked)
        if self.used or not mismatch or isinstance(outcome, HostLost | NotSupported):
            return
        key = directory.path / "kept.key"
        found = {"source": source, "destination": destination}
        sides = {
            name: _describe(side, pair, key)
            for name, side in found.items()
            if side is not None and side.guest.has_begun and side.guest.exit_status() is None
        }
        if not sides:
            return
        self.used = True
        kept = Held(case.id, verdict, mismatch, directory.path, sides)
        with _start_files(directory.path / KEPT, key):
            _write_private(key, pair.keys.login)
            directory.write_text(KEPT, json.dumps(_render(kept), indent=1))
            for name in sides:
                found[name].guest.qmp.close()  # type: ignore[union-attr]
            self._hold(kept)


@contextlib.contextmanager
def _start_files(*paths: Path) -> Iterator[None]:
    """Files of this machine that must not outlive the guests, a private key among them: in the journal too."""
    words = [str(path.absolute()) for path in paths]
    undo = ["rm", "-f", "--", *words]
    gone = ["sh", "-c", 'for path; do [ ! -e "$path" ] || exit 1; done', "sh", *words]
    with own_journal().change(LocalHost(), "the key and the addresses of kept guests", undo=undo, gone=gone):
        yield


def _describe(side: Side, pair: HostPair, key: Path) -> HeldSide:
    guest = side.guest
    return HeldSide(
        guest.host.name,
        dict(guest.host.address),
        guest.pid,
        guest.files.monitor,
        guest.files.console,
        guest.files.log,
        guest.spec.address,
        str(key),
        pair.keys.host_public.strip(),
        pair.keys.user,
    )


def _render(kept: Held) -> dict[str, object]:
    return {
        "schema_version": VERSION,
        "case": kept.case,
        "mismatch": kept.mismatch,
        "process": kept.process,
        "sides": {name: asdict(side) for name, side in kept.sides.items()},
    }


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
