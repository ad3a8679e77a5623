# SPDX-License-Identifier: GPL-2.0-or-later
"""Two scripted QEMUs of a migration, which leave in one log what was done with them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

from tests.unit.builders import make_sample
from tests.unit.fakes import ScriptedQmp

from switchover.guests.qemu import QemuGuest
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import Event
from switchover.migration.phases import Intervention, Phase
from switchover.migration.session import (
    SETTLED_SAMPLES,
    MigrationResult,
    migrate,
)
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import GuestCrashed

SETTLED = [make_sample() for _ in range(SETTLED_SAMPLES)]


class Side:
    """A QEMU that behaves; ``log`` is shared with the other side, so that it shows the order of both."""

    def __init__(self, name: str, log: list[str], statuses: Iterator[str]) -> None:
        self.name = name
        self.log = log
        self.parameters: dict[str, object] = {}
        self.capabilities: dict[str, object] = {}
        self.events: list[Event] = []
        self.statuses = statuses
        self.last = "none"
        self.open = True
        self.words = ""
        self.code: int | None = None
        self.trace = "/dev/null"
        self.ends_on_continue = False
        self.run_state = "running"
        self.yank: Iterator[list[str]] = iter(())
        """Types of what ``query-yank`` has, one reply after the other; afterwards nothing."""
        self.on_kill: Callable[[], None] = lambda: None
        self.qmp = ScriptedQmp(
            {
                "migrate-set-capabilities": self.set_capabilities,
                "query-migrate-capabilities": lambda _: [
                    {"capability": name, "state": state} for name, state in self.capabilities.items()
                ],
                "migrate-set-parameters": self.set_parameters,
                "query-migrate-parameters": lambda _: dict(self.parameters),
                "migrate-incoming": self.listen,
                "migrate": self.start,
                "migrate-continue": self.proceed,
                "migrate_cancel": self.cancel,
                "trace-event-set-state": lambda _: {},
                "query-migrate": self.query,
                "query-yank": lambda _: [{"type": kind} for kind in next(self.yank, [])],
                "query-status": lambda _: {"running": self.run_state == "running", "status": self.run_state},
            },
            name,
        )

    def emit(self, status: str) -> None:
        self.last = status
        self.events.append(Event("MIGRATION", {"status": status}, time.monotonic_ns(), 0))

    def set_capabilities(self, arguments: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: capabilities")
        self.capabilities |= {entry["capability"]: entry["state"] for entry in arguments["capabilities"]}
        return {}

    def set_parameters(self, arguments: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: downtime-limit {arguments['downtime-limit']}")
        self.parameters |= arguments
        return {}

    def resume(self) -> None:
        self.log.append(f"{self.name}: cont")
        self.run_state = "running"

    def listen(self, _: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: listen")
        return {}

    def start(self, arguments: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: migrate to {arguments['uri']}")
        return {}

    def query(self, _: dict[str, Any]) -> object:
        if self.name == "destination":
            return {"socket-address": [{"type": "inet", "host": "127.0.0.1", "port": "4444"}], "status": "completed"}
        if not any("migrate to" in line for line in self.log):
            return {}  # as QEMU says before its first migration
        status = next(self.statuses, self.last)
        if status != self.last:
            self.emit(status)
        return {"status": status, "ram": {"remaining": 0}, "error-desc": "why it failed" if status == "failed" else ""}

    def proceed(self, arguments: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: continue {arguments['state']}")
        if self.ends_on_continue:
            self.end("completed")
        return {}

    def cancel(self, _: dict[str, Any]) -> object:
        self.log.append(f"{self.name}: cancel")
        self.end("cancelled")
        return {}

    def end(self, status: str) -> None:
        """The migration is in a status for good."""
        self.statuses = iter(())
        self.emit(status)

    def kill(self) -> None:
        self.log.append(f"{self.name}: killed")
        self.code, self.open = -9, False
        self.on_kill()

    def guest(self) -> QemuGuest:
        side = self

        class Session:
            name = side.name
            events = side.events

            def execute(self, command: str, arguments: dict[str, Any] | None = None, *, timeout: float = 60) -> object:
                self._require_open()
                return side.qmp.execute(command, arguments)

            def submit(self, command: str, arguments: dict[str, Any] | None = None) -> Future[object]:
                answer: Future[object] = Future()
                answer.set_result(self.execute(command, arguments))
                return answer

            def _require_open(self) -> None:
                if not side.open:
                    raise GuestCrashed(f"{side.name} closed its monitor")

            async def execute_async(self, command: str) -> object:
                return side.qmp.execute(command)

            def is_open(self) -> bool:
                return side.open

        def require_alive() -> None:
            if side.code is not None:
                raise GuestCrashed(f"{side.name} ended")

        def explain_silence() -> None:
            raise GuestCrashed(f"{side.name} ended")

        return cast(
            QemuGuest,
            SimpleNamespace(
                side=self.name,
                host=LocalHost(),
                told={},
                qmp=Session(),
                require_alive=require_alive,
                explain_silence=explain_silence,
                last_words=lambda: self.words,
                exit_status=lambda: self.code,
                kill=self.kill,
                resume=self.resume,
                files=SimpleNamespace(log=self.trace),
            ),
        )


class HostPair:
    def __init__(self, *statuses: str) -> None:
        self.log: list[str] = []
        self.source = Side("source", self.log, iter(statuses))
        self.destination = Side("destination", self.log, iter(()))

    def migrate(self, settings: MigrationSettings, **options: Any) -> MigrationResult:
        with LoopThread() as loop:
            return migrate(self.source.guest(), self.destination.guest(), "127.0.0.1", settings, loop, **options)


def act(pair: HostPair, name: str, then: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """An intervention's action that leaves a line in the log."""

    def run() -> None:
        pair.log.append(name)
        then()

    return run


def intervene(pair: HostPair, phase: Phase, then: Callable[[], None] = lambda: None) -> Intervention:
    return Intervention(f"in {phase}", phase, act(pair, f"in {phase}", then))


NOW = MigrationSettings(settle=False)
