# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways to guests that were kept: what ``kept.json`` says, and the commands that lead there."""

import json
import shlex
from pathlib import Path

import psutil
import pydantic

from switchover.hosts.host_kind import build_openssh
from switchover.lab.host_kinds import find_kind
from switchover.record.errors import NotReady, UsageError
from switchover.runner.hold_on_failure import KEPT, VERSION, HeldSide

_ALIAS = "kept-guest"
"""The name under which OpenSSH looks up the guest's host key."""
_SIDES = pydantic.TypeAdapter(dict[str, HeldSide])


def require_kept(repeat: Path, side: str) -> HeldSide:
    """A side of a repeat whose guests are kept.

    :raises UsageError: they are not, or not this side's; :raises NotReady: who kept them has ended, and they with it
    """
    try:
        fields = json.loads((repeat / KEPT).read_text(encoding="utf-8"))
        version, process, case = int(fields["schema_version"]), int(fields["process"]), str(fields["case"])
        if version > VERSION:
            raise UsageError(f"{repeat / KEPT} is of a newer version of switchover.", fix="update switchover")
        sides = _SIDES.validate_python(fields["sides"])
    except FileNotFoundError as error:
        raise UsageError(
            f"The repeat in {repeat} keeps no guest.",
            why="switchover run --keep-on-fail keeps guests of the first case that is not as expected, while it waits",
            fix="switchover run SCENARIO --only CASE --keep-on-fail",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{repeat / KEPT} cannot be read.", why=str(error)) from error
    if not psutil.pid_exists(process):
        raise NotReady(
            f"The guests of {case} are gone.",
            why=f"process {process}, which kept them, has ended",
            fix="switchover clean undoes what it left",
        )
    if side not in sides:
        raise UsageError(f"The {side} of {case} is not kept: its QEMU ended.", fix=f"kept: {', '.join(sides)}")
    return sides[side]


def build_console_command(side: HeldSide) -> list[str]:
    """Print the guest's console from its start and follow it until QEMU ends."""
    way, command = _on_host(side), ["tail", "-c", "+1", "-F", f"--pid={side.pid}", side.console]
    return [*way, shlex.join(command)] if way else command


def build_ssh_command(side: HeldSide) -> list[str]:
    """A shell in the guest, through its host; only the guest's own host key is accepted, and no file is written."""
    way = _on_host(side)
    proxy = ["-o", f"ProxyCommand={shlex.join([*way, '-W', '%h:%p'])}"] if way else []
    return [*build_openssh(side.key, side.host_key, _ALIAS), *proxy, f"{side.user}@{side.guest_address}"]


def _on_host(side: HeldSide) -> list[str]:
    """OpenSSH to the host of a side, for a command to follow; empty for this machine."""
    kind = find_kind(side.address)
    if kind is None:
        raise NotReady(f"{side.host} cannot be reached by this version of switchover.", why=str(dict(side.address)))
    return kind.build_login(side.address)
