# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of a migration through libvirt, and what it is told; libvirt and the QEMUs are scripted."""

import contextlib
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.builders import EXACT

from switchover.guests.domain import DomainIdentity
from switchover.guests.libvirt import LibvirtGuest
from switchover.hosts.local import LocalHost
from switchover.hosts.loop import LoopThread
from switchover.hosts.qmp import Event
from switchover.hosts.ssh import SshLogin
from switchover.hosts.waiting import wait_until
from switchover.migration import libvirt_session, session, watch
from switchover.migration.libvirt_session import find_words_of_start, join_words, migrate_domain, start_peer
from switchover.migration.libvirt_settings import (
    find_unsettable,
    list_flags,
    list_own,
    list_wanted_capabilities,
    make_parameters,
)
from switchover.migration.phases import Intervention, Phase
from switchover.migration.progress import HangKind
from switchover.migration.session import MigrationResult
from switchover.migration.settings import HOLD_LIMIT_MS, MigrationSettings
from switchover.record.errors import GuestCrashed, NotReady, NotSupported, Refused
from switchover.record.units import MIB

CAPABILITIES = [{"capability": "return-path", "state": True}, {"capability": "multifd", "state": False}]


class libvirtError(Exception):
    def get_error_message(self) -> str:
        return str(self)


MODULE = SimpleNamespace(
    libvirtError=libvirtError,
    VIR_MIGRATE_LIVE=1,
    VIR_MIGRATE_PARALLEL=2,
    VIR_MIGRATE_PEER2PEER=4,
    VIR_DOMAIN_JOB_STATS_COMPLETED=1,
    VIR_DOMAIN_JOB_NONE=0,
)


class World:
    """A migration that goes through ``statuses`` once the switchover is allowed; ``log``: what was said to whom."""

    def __init__(self, error: str = "", *, starts: bool = True) -> None:
        self.log: list[str] = []
        self.error = error
        self.looks = 0
        self.starts = starts
        self.aborted = threading.Event()
        self.allowed = threading.Event()
        self.looked_at = threading.Event()  # the source, once it had completed
        self.asked = threading.Event()  # the destination, what it holds
        self.source = self.make_guest("source")
        self.destination = self.make_guest("destination")

    def make_guest(self, side: str) -> Any:
        events: list[Event] = []

        def execute(command: str, arguments: Any = None, *, timeout: float = 60) -> object:
            if command == "query-migrate-capabilities":
                if side == "destination":
                    self.asked.set()
                return CAPABILITIES
            if side == "source" and self.log[-1:] == ["end source"]:
                raise NotReady("it is gone")
            status = events[-1].data["status"] if events else "none"
            if status == "completed" and threading.current_thread() is threading.main_thread():
                self.looked_at.set()
            if command == "query-migrate-parameters":
                return {"downtime-limit": 1, "avail-switchover-bandwidth": 64 * MIB, "max-bandwidth": 1 << 60}
            if command == "query-status":
                return {"status": "running"}
            ram = {"remaining": 0, "transferred": len(events)}
            return {"status": status, "ram": ram, "vfio": {"transferred": 5}}

        async def execute_async(command: str) -> object:
            return execute(command)

        guest = SimpleNamespace(
            side=side,
            label=f"the {side} QEMU",
            xml="<domain/>",
            files=SimpleNamespace(log="log", directory="d"),
            host=SimpleNamespace(name=side, run=lambda argv, **options: SimpleNamespace(stdout=b"", text="0")),
            identity=DomainIdentity("x", "u"),
            has_begun=side == "source",
            events=[],
            exit_status=lambda: None,
            qmp=SimpleNamespace(name=side, events=events, execute=execute, execute_async=execute_async),
            require_alive=lambda: None,
            last_words=lambda: "",
            libvirtd=self.make_libvirtd(side),
            list_remarks=lambda: ("tainted: custom-argv",),
            cancel_migration=self.cancel,
            kill=lambda: self.log.append(f"kill {side}"),
            identify=lambda identity: self.log.append(f"{side} is {identity.name}"),
            domain=self.make_domain(),
        )

        def open_monitor(invariants: Any) -> None:
            def there() -> bool:
                for invariant in invariants:
                    invariant()
                return bool(self.source.qmp.events)

            wait_until("the destination", there, timeout=5)
            guest.has_begun = True

        guest.open_monitor = open_monitor
        return guest

    def make_libvirtd(self, side: str) -> Any:
        @contextlib.contextmanager
        def calls(doing: str) -> Iterator[None]:
            yield

        return SimpleNamespace(module=MODULE, raw=f"libvirtd of {side}", calls=calls, version="11.3.0")

    def make_domain(self) -> Any:
        def set_downtime(limit: int) -> None:
            self.log.append(f"downtime limit {limit}")
            if limit != HOLD_LIMIT_MS:
                self.allowed.set()

        return SimpleNamespace(
            migrateSetMaxDowntime=set_downtime,
            migrate3=self.migrate,
            migrateToURI3=self.migrate,
            jobStats=self.tell_job,
        )

    def tell_job(self, flags: int = 0) -> dict[str, int]:
        """Of a completed job its downtime; else of the one that goes on, which at the first look there is none."""
        if flags:
            return {"downtime": 9}
        self.looks += 1
        return {"type": 2, "memory_remaining": 5} if self.looks > 1 else {"type": 0}

    def migrate(self, there: str, parameters: Mapping[str, Any], flags: int) -> None:
        self.log.append(f"migrate to {there} with flags {flags}")
        if not self.starts:
            raise libvirtError(self.error)
        self.emit("setup", "active")
        while not (self.allowed.wait(0.01) or self.aborted.is_set()):
            pass
        if self.aborted.is_set():
            self.emit("cancelling", "cancelled")
            raise libvirtError("operation aborted: canceled by client")
        if self.error:
            self.emit("failed")
            raise libvirtError(self.error)
        self.asked.wait(5)
        self.emit("completed")
        self.looked_at.wait(5)
        self.log.append("end source")

    def emit(self, *statuses: str) -> None:
        for status in statuses:
            self.source.qmp.events.append(Event("MIGRATION", {"status": status}, 0, 0))

    def cancel(self) -> None:
        self.log.append("abort")
        self.aborted.set()

    def run(
        self, settings: MigrationSettings, *interventions: Intervention, login: SshLogin | None = None
    ) -> MigrationResult:
        with LoopThread() as loop:
            return migrate_domain(
                cast(LibvirtGuest, self.source),
                cast(LibvirtGuest, self.destination),
                "10.0.0.2",
                settings,
                loop,
                interventions=interventions,
                login=login,
            )


@pytest.fixture(autouse=True)
def clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "measure_offset", lambda host: EXACT)
    monkeypatch.setattr(session, "SAMPLE_INTERVAL_S", 0.01)
    monkeypatch.setattr(libvirt_session, "JOB_INTERVAL_S", 0.01)


def test_held_back_then_let_go() -> None:
    """The limit is small before libvirt migrates and the real one once all is drained; what QEMU counted in the end was
    asked before libvirt ended it.
    """
    world = World()
    result = world.run(MigrationSettings(downtime_limit_ms=500))
    assert world.log == [
        "destination is x",
        f"downtime limit {HOLD_LIMIT_MS}",
        "migrate to libvirtd of destination with flags 1",
        "downtime limit 500",
        "end source",
    ]
    assert (result.status, result.error, result.hang) == ("completed", "", None)
    assert result.source["status"] == "completed"
    assert result.driver["capabilities"] == {"source": ["return-path"], "destination": ["return-path"]}
    assert result.driver["by_itself"] == {"source": (), "destination": ()}
    assert result.driver["statistics"]["destination"] == {"downtime": 9}
    assert result.driver["held"]["source"] == {"downtime-limit": 1, "avail-switchover-bandwidth": 64 * MIB}


def test_what_the_destination_says() -> None:
    """What its QEMU wrote has the cause, what it told its monitor only that the load failed."""
    world = World(error="operation failed: job failed")
    world.destination.last_words = lambda: "Features 0x7 unsupported; Failed to load virtio-net:virtio"
    result = world.run(MigrationSettings())
    assert result.status == "failed"
    assert result.destination_error == "Features 0x7 unsupported; Failed to load virtio-net:virtio"
    assert join_words("Features 0x7 unsupported", "load failed") == "Features 0x7 unsupported; load failed"
    assert join_words("x: load failed", "load failed") == "x: load failed"
    assert join_words("", "load failed") == "load failed"


def test_without_settle_the_limit_is_the_real_one_from_the_start() -> None:
    world = World()
    world.run(MigrationSettings(downtime_limit_ms=500, settle=False))
    assert [line for line in world.log if line.startswith("downtime")] == ["downtime limit 500"]


def test_one_limit_after_the_other() -> None:
    """By libvirt's own call, and its end is when the limit was taken."""
    world = World()
    steps = MigrationSettings(downtime_limit_ms=500, settle=False, downtime_steps_ms=(700, 900), downtime_step_s=0.01)
    result = world.run(steps)
    told = [line for line in world.log if line.startswith("downtime")]
    assert told == [f"downtime limit {limit}" for limit in (500, 700, 900)][: len(told)]
    assert len(told) > 1
    assert [limit.limit_ms for limit in result.limits] == [500, 700, 900][: len(told)]
    assert all(limit.taken_ns is not None and limit.taken_ns >= limit.told_ns for limit in result.limits)


def test_libvirts_job_is_looked_at_on_the_way() -> None:
    """What it says while there is a job is kept, and counted; that there is none is not."""
    result = World().run(MigrationSettings())
    assert [dict(sample.reply) for sample in result.job_samples][:1] == [{"type": 2, "memory_remaining": 5}]
    assert result.driver["samples"] == len(result.job_samples)
    times = [sample.at_ns for sample in result.job_samples]
    assert times == sorted(times)


def test_a_cancelled_migration() -> None:
    """The intervention aborts libvirt's job in its phase, and the status is QEMU's own word."""
    world = World()
    result = world.run(MigrationSettings(), Intervention("cancel", Phase.ACTIVE, world.cancel))
    assert (result.status, result.error) == ("cancelled", "operation aborted: canceled by client")
    assert [made.status for made in result.interventions] == ["active"]


def test_a_failed_migration_has_libvirts_words() -> None:
    world = World("operation failed: load of migration failed")
    result = world.run(MigrationSettings())
    assert (result.status, result.error) == ("failed", "operation failed: load of migration failed")


def test_a_source_that_ended_has_crashed() -> None:
    """Also if libvirt's call ends at once, before the source is looked at: the migration has not just failed."""
    world = World("domain is not running")

    def require_alive() -> None:
        if world.source.exit_status() is not None:
            raise GuestCrashed("the source QEMU ended")

    def kill() -> None:
        world.source.exit_status = lambda: -9
        world.source.qmp.execute = lambda command, arguments=None, timeout=60: {}
        world.allowed.set()
        time.sleep(0.1)

    world.source.require_alive = require_alive
    with pytest.raises(GuestCrashed):
        world.run(MigrationSettings(), Intervention("kill source", Phase.ACTIVE, kill))


def test_a_migration_that_hangs_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is still going on when its time is over: the job is aborted, and the result says that it hung."""
    monkeypatch.setattr(watch, "_LOOK_S", 0.1)  # these QEMUs trace nothing
    world = World()
    result = world.run(
        MigrationSettings(
            timeout_s=0.3,
            settle_timeout_s=60,
            settle_vfio_bytes=0,
            hang_s=60,
            switchover_bandwidth=0,
            downtime_limit_ms=HOLD_LIMIT_MS,
        )
    )
    assert "abort" in world.log
    assert result.status is None
    assert result.hang is not None


def test_a_connection_that_is_never_made_is_a_hang() -> None:
    """libvirt has started the destination, and QEMU is told nothing: that is found out before all time is over."""
    world = World()

    def wait(there: str, parameters: Mapping[str, Any], flags: int) -> None:
        world.aborted.wait(20)
        raise libvirtError("operation aborted")

    world.source.domain.migrate3 = wait
    world.destination.has_begun = True
    world.destination.open_monitor = lambda invariants: None
    result = world.run(MigrationSettings(hang_s=1, timeout_s=15))
    assert result.hang is not None
    assert result.hang.kind is HangKind.NO_PROGRESS
    assert "abort" in world.log


@pytest.mark.parametrize(
    ("error", "what", "why"),
    [
        ("operation is not valid: migration is disabled", "libvirt of source rejected migrate.", "disabled"),
        (
            "internal error: QEMU unexpectedly closed the monitor (vm='x'): 2026Z qemu-kvm: no such property",
            "the destination QEMU did not start.",
            "no such property",
        ),
    ],
)
def test_what_was_never_started_is_a_refusal(error: str, what: str, why: str) -> None:
    """Of the migration, or of the destination, by what libvirt says; nobody waits for a QEMU that will not come."""
    begin = time.monotonic()
    with pytest.raises(Refused) as caught:
        World(error, starts=False).run(MigrationSettings())
    assert time.monotonic() - begin < 3
    assert caught.value.what == what
    assert why in caught.value.why


def test_peers_get_a_key_for_the_time_of_the_migration(tmp_path: Path) -> None:
    """The URI names a command by which the peer is reached with that key and no other host key; then all is gone."""
    login = SshLogin("hostb", "PRIVATE\n", "ssh-ed25519 AAAA comment\n")
    with start_peer(LocalHost(), str(tmp_path), "10.0.0.2", login) as uri:
        peer = tmp_path / "peer"
        assert uri == f"qemu+ssh://root@10.0.0.2/system?command={peer}/ssh&no_tty=1"
        assert (peer / "key").read_text() == "PRIVATE\n"
        assert (peer / "known_hosts").read_text() == "10.0.0.2 ssh-ed25519 AAAA\n"
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (peer, *peer.iterdir())}
        assert modes == {"peer": 0o700, "ssh": 0o700, "key": 0o600, "config": 0o600, "known_hosts": 0o600}
        told = LocalHost().run([f"{peer}/ssh", "-G", "10.0.0.2"]).text.splitlines()
        assert {f"identityfile {peer}/key", f"userknownhostsfile {peer}/known_hosts"} <= set(told)
        assert "stricthostkeychecking true" in told
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(NotSupported, match="no way to log in"),
        start_peer(LocalHost(), str(tmp_path), "10.0.0.2", None),
    ):
        pass


def test_peers_talk_to_each_other() -> None:
    """With peer_to_peer the source's libvirtd is told where the other is, and to go there itself."""
    world = World()
    login = SshLogin("destination", "", "")
    world.run(MigrationSettings(peer_to_peer=True), login=login)
    assert any(line.startswith("migrate to qemu+ssh://root@10.0.0.2/system?command=") for line in world.log)
    assert "with flags 5" in " ".join(world.log)


def test_typed_parameters() -> None:
    """In libvirt's names and units; what is QEMU's own idea is left to it."""
    settings = MigrationSettings(
        max_bandwidth=8 * MIB,
        switchover_bandwidth=64 * MIB,
        capabilities={"multifd": True},
        parameters={"multifd-channels": 4},
    )
    assert make_parameters(settings, "tcp://10.0.0.2", "<domain/>") == {
        "migrate_uri": "tcp://10.0.0.2",
        "destination_xml": "<domain/>",
        "bandwidth": 8,
        "bandwidth.avail.switchover": 64,
        "parallel.connections": 4,
    }
    assert list_flags(settings) == ["VIR_MIGRATE_LIVE", "VIR_MIGRATE_PARALLEL"]
    assert find_unsettable(settings) == []
    plain = MigrationSettings(switchover_bandwidth=0)
    assert set(make_parameters(plain, "a", "b")) == {"migrate_uri", "destination_xml"}


def test_which_ways_libvirt_has() -> None:
    """A unix socket, by the migration's URI; no file, and no certificates."""
    assert find_unsettable(MigrationSettings(transport="unix")) == []
    assert any("save and restore" in words for words in find_unsettable(MigrationSettings(transport="file")))
    assert any("migrate_tls_x509_cert_dir" in words for words in find_unsettable(MigrationSettings(tls=True)))


def test_what_libvirt_cannot_be_told() -> None:
    """A capability that it has no word for. One that it sets by itself is none of them, whichever way it is asked for:
    what became of it is told afterwards.
    """
    for name, state in (("return-path", False), ("late-block-activate", True), ("late-block-activate", False)):
        assert find_unsettable(MigrationSettings(capabilities={name: state})) == []
        assert find_unsettable(MigrationSettings(destination_capabilities={name: state})) == []
    assert find_unsettable(MigrationSettings(return_path=False)) == []
    assert len(find_unsettable(MigrationSettings(capabilities={"x-colo": True}))) == 1
    assert len(find_unsettable(MigrationSettings(capabilities={"x-colo": False}))) == 0
    assert len(find_unsettable(MigrationSettings(destination_capabilities={"multifd": True}))) == 1
    assert len(find_unsettable(MigrationSettings(switchover_bandwidth=MIB + 1))) == 1


def test_what_libvirt_set_by_itself() -> None:
    """A capability that was on and is not asked for on that side, or is to be off; what is wanted at the source is not
    what libvirt sets at the destination only.
    """
    settings = MigrationSettings(return_path=False, capabilities={"late-block-activate": True, "multifd": True})
    held = ("late-block-activate", "multifd", "return-path")
    assert list_own(settings, "destination", held) == ("return-path",)
    assert list_own(MigrationSettings(), "destination", held) == ("late-block-activate", "multifd")
    assert list_wanted_capabilities(settings) == ["events", "multifd"]
    world = World()
    assert world.run(settings).driver["by_itself"] == {"source": ("return-path",), "destination": ("return-path",)}


def test_other_errors_are_no_words_of_a_start() -> None:
    assert find_words_of_start("operation failed: job aborted") == ""
