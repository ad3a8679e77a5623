# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way of a stream between two QEMUs on this machine, one of which is told that it is elsewhere: sockets with
proxies between them, a file that is copied, TLS that is right or wrong.

Guests are paused before they boot: what is claimed is about the stream.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from tests.qemu.conftest import Guests

from switchover.guests.qemu import QemuGuest, start_guest
from switchover.guests.spec import Launch
from switchover.hosts.host import Address
from switchover.hosts.local import KIND, LocalHost
from switchover.hosts.loop import LoopThread
from switchover.migration.phases import Intervention, Phase
from switchover.migration.proxies import kill_proxy
from switchover.migration.session import migrate
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import CommandFailed, NotReady, Refused
from switchover.record.record import Verdict
from switchover.runner.verdict import judge_result
from switchover.scenarios.building import build_case
from switchover.scenarios.expectation import find_mismatch

# without what QEMU 7.2 does not know
PLAIN = MigrationSettings(switchover_bandwidth=0, settle=False, timeout_s=60, settle_timeout_s=30)
FILE = replace(PLAIN, transport="file", return_path=False)
TLS = replace(PLAIN, tls=True)
UNIX = replace(PLAIN, transport="unix")
NAMED = replace(UNIX, tls=True, tls_hostname="destination")
UNCHECKED = replace(TLS, tls_sanity_check=False)
MULTIFD = {"multifd": True}
MAPPED = {"mapped-ram": True}
UNMAPPED = {"mapped-ram": False}


class Elsewhere(LocalHost):
    """This machine under another name."""

    name = "elsewhere"
    address: Address = MappingProxyType({"kind": KIND})


@contextlib.contextmanager
def start_pair(guests: Guests) -> Iterator[tuple[QemuGuest, QemuGuest]]:
    """A paused source here, and a destination elsewhere."""
    launch = Launch(guests.spec)
    there = start_guest(launch, Elsewhere(), "destination", guests.keys, guests.loop, incoming=True)
    with guests.start("source") as source, there as destination:
        source.pause()
        yield source, destination


def expect(settings: MigrationSettings, verdict: Verdict) -> str:
    """Why this is not what the oracle expects of a case with these settings; empty: it is."""
    case = build_case("x", device=(), migration=settings, heartbeat_us=0)
    return find_mismatch(case.expectation, verdict, [])


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(UNIX, id="unix"),
        pytest.param(replace(UNIX, capabilities=MULTIFD), id="unix-multifd"),
        pytest.param(TLS, id="tls"),
        pytest.param(replace(TLS, capabilities=MULTIFD), id="tls-multifd"),
        pytest.param(NAMED, id="unix-tls", marks=pytest.mark.quick),
        pytest.param(replace(NAMED, capabilities=MULTIFD), id="unix-tls-multifd"),
        pytest.param(replace(TLS, tls_source="missing", tls_verify_peer=False), id="tls-nobody-asks-the-source"),
        pytest.param(FILE, id="file", marks=pytest.mark.quick),
        pytest.param(replace(FILE, capabilities=MAPPED), id="file-mapped-ram"),
        pytest.param(replace(FILE, capabilities={**MAPPED, **MULTIFD}), id="file-mapped-ram-multifd"),
    ],
)
def test_a_guest_goes_over(guests: Guests, loop: LoopThread, settings: MigrationSettings) -> None:
    """It arrives, as the oracle expects, and both QEMUs can migrate without TLS and in another way afterwards."""
    with start_pair(guests) as (source, destination):
        result = migrate(source, destination, "127.0.0.1", settings, loop)
        assert (result.status, result.error, result.destination_error) == ("completed", "", "")
        assert expect(settings, judge_result(result, [])) == ""
        assert destination.qmp.execute("query-status")["status"] == "running"
        destination.pause()
        with start_guest(source.launch, source.host, "destination", guests.keys, loop, incoming=True) as back:
            assert migrate(destination, back, "127.0.0.1", PLAIN, loop).status == "completed"


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(replace(UNCHECKED, tls_destination="other-ca"), id="destination-of-another-authority"),
        pytest.param(replace(UNCHECKED, tls_destination="expired"), id="destination-expired"),
        pytest.param(replace(UNCHECKED, tls_source="other-ca"), id="source-of-another-authority"),
        pytest.param(replace(UNCHECKED, tls_source="expired"), id="source-expired"),
        pytest.param(replace(TLS, tls_source="missing"), id="source-without"),
        pytest.param(replace(TLS, tls_hostname="elsewhere.invalid"), id="other-name", marks=pytest.mark.quick),
        pytest.param(replace(NAMED, tls_hostname=""), id="unix-without-name"),
        pytest.param(replace(FILE, return_path=True), id="file-return-path"),
        pytest.param(replace(FILE, tls=True, tls_hostname="destination"), id="file-tls"),
        pytest.param(
            replace(FILE, capabilities=MAPPED, destination_capabilities=UNMAPPED),
            id="mapped-ram-at-source",
        ),
        pytest.param(replace(FILE, destination_capabilities=MAPPED), id="mapped-ram-at-destination"),
    ],
)
def test_a_guest_stays(guests: Guests, loop: LoopThread, settings: MigrationSettings) -> None:
    """It does not arrive, by the side and in the words that the oracle has, and goes on at the source."""
    with start_pair(guests) as (source, destination):
        verdict = judge_result(migrate(source, destination, "127.0.0.1", settings, loop), [])
        assert (expect(settings, verdict), str(verdict)) == ("", str(verdict))
        source.resume()
        assert source.qmp.execute("query-status")["status"] == "running"


@pytest.mark.parametrize(
    ("settings", "side"),
    [
        pytest.param(replace(TLS, tls_destination="missing"), "destination", id="destination-without"),
        pytest.param(replace(TLS, tls_destination="expired"), "destination", id="destination-expired"),
        pytest.param(replace(TLS, tls_source="other-ca"), "source", id="source-of-another-authority"),
        pytest.param(replace(UNIX, capabilities=MAPPED), "destination", id="mapped-ram-over-a-socket"),
        pytest.param(
            replace(PLAIN, capabilities=MAPPED, destination_capabilities=UNMAPPED),
            "source",
            id="mapped-ram",
        ),
        pytest.param(replace(FILE, capabilities=MULTIFD), "source", id="multifd-over-a-file"),
    ],
)
def test_a_migration_that_is_rejected(guests: Guests, loop: LoopThread, settings: MigrationSettings, side: str) -> None:
    """By the side that does so, in the words that the oracle has; where it is ``migrate``, the case is blocked."""
    case = build_case("x", device=(), migration=settings, heartbeat_us=0)
    with start_pair(guests) as (source, destination), pytest.raises(Refused, match=case.expectation.reason) as raised:
        migrate(source, destination, "127.0.0.1", settings, loop)
    assert f"the {side} QEMU" in raised.value.what
    assert (raised.value.command == "migrate") is (case.expectation.verdict == "blocked")


@pytest.mark.quick
def test_a_proxy_that_dies(guests: Guests, loop: LoopThread) -> None:
    """Before the migration, and on its way; where there is none, that is told."""
    with start_pair(guests) as (source, destination):
        with pytest.raises(CommandFailed):
            kill_proxy(source)
        kill = Intervention("kill proxy", Phase.BEFORE, lambda: kill_proxy(source))
        result = migrate(source, destination, "127.0.0.1", UNIX, loop, interventions=[kill])
        assert "Connection refused" in result.error
    slow = replace(UNIX, max_bandwidth=1 << 20, downtime_limit_ms=1)
    with start_pair(guests) as (source, destination):
        kill = Intervention("kill proxy", Phase.ACTIVE, lambda: kill_proxy(source))
        result = migrate(source, destination, "127.0.0.1", slow, loop, interventions=[kill])
        assert result.status == "failed"


def test_a_path_that_is_taken(guests: Guests, loop: LoopThread, tmp_path: Path) -> None:
    """What is there already stays, and is named; what the migration puts there is gone afterwards."""
    path = tmp_path / "there"
    path.write_text("mine")
    for settings in (replace(FILE, path=str(path)), replace(UNIX, path=str(path))):
        with start_pair(guests) as (source, destination), pytest.raises(NotReady, match=f"{path} is there"):
            migrate(source, destination, "127.0.0.1", settings, loop)
    assert path.read_text() == "mine"
    path.unlink()
    with start_pair(guests) as (source, destination):
        shared = replace(FILE, path=str(path), file_is_shared=True)
        assert migrate(source, destination, "127.0.0.1", shared, loop).status == "completed"
    assert not path.exists()


def test_no_room_for_the_saved_guest(guests: Guests, loop: LoopThread) -> None:
    """A file that cannot be written fails the migration in the source's words, and the guest goes on."""
    with start_pair(guests) as (source, destination):
        with pytest.raises(Refused, match="No such file or directory"):
            migrate(source, destination, "127.0.0.1", replace(FILE, path="/proc/none/saved"), loop)
        source.resume()
        assert source.qmp.execute("query-status")["status"] == "running"
