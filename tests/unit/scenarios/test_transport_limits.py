# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the way of the stream has no effect, or cannot be; and what the oracle expects of the rest."""

from dataclasses import replace
from typing import Any

import pytest

from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.errors import UsageError
from switchover.record.record import VerdictName
from switchover.scenarios.building import build_case
from switchover.scenarios.expand import expand
from switchover.scenarios.faults import Fault
from switchover.scenarios.oracle import choose_rule, make_traits
from switchover.scenarios.scenario import parse_scenario

HEAD = 'version = 1\n[scenario]\ntitle = "t"\n[migration]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("transport = 'uds'", "s.toml:5: migration.transport:"),
        ("path = '/x'", 's.toml:5: migration.path: s: has no effect with the transport "tcp", which has no path'),
        ("transport='unix'\npath = 'x'", "must be the absolute path of a file"),
        ("transport='file'\npath = '/tmp/'", "must be the absolute path of a file"),
        ("transport='file'\npath = '/a b'", "must have no blanks, quotes, backslashes, ',', ':' and '!'"),
        (f"transport='unix'\npath = '/{'x' * 107}'", "it has 108 bytes, and must have at most 107"),
        (f"transport='unix'\npath = '/{'ü' * 60}'", "it has 121 bytes"),
        ("file_is_shared = 'on'", 'has no effect without transport = "file" and a path'),
        ("transport='file'\nfile_is_shared = 'on'", 'has no effect without transport = "file" and a path'),
        ("tls_hostname = 'x'", 's.toml:5: migration.tls_hostname: s: has no effect without tls = "on"'),
        ("tls_source = 'missing'", 'has no effect without tls = "on"'),
        ("tls_verify_peer = 'off'", 'has no effect without tls = "on"'),
        ("tls = 'on'\nparameters.tls-creds = 'tls0'", "write tls_hostname, or leave it out"),
        ("[[faults]]\naction='kill proxy'\nphase='active'", 'there are proxies only with migration.transport = "unix"'),
    ],
)
def test_what_cannot_be(text: str, words: str) -> None:
    """With its place, and what would be allowed."""
    with pytest.raises(UsageError) as raised:
        expand(parse_scenario(HEAD + text, "s.toml"))
    assert words in raised.value.what


@pytest.mark.parametrize(
    "text",
    [
        f"transport='unix'\npath = '/{'x' * 106}'",
        f"transport='file'\npath = '/{'x' * 300}'",
        "transport='file'\npath='/x'\nfile_is_shared='on'\nreturn_path='off'",
        "tls='on'\ntls_source='missing'\ntls_verify_peer='off'",
        "parameters.tls-creds = 'tls0'",
    ],
)
def test_what_can_be(text: str) -> None:
    """At the edge of what cannot."""
    assert len(expand(parse_scenario(HEAD + text, "s.toml"))) == 1


MAPPED, MULTIFD = {"mapped-ram": True}, {"multifd": True}


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("", {"transport": "unix"}),
        ("", {"tls": True}),
        ("", {"transport": "unix", "tls": True, "tls_hostname": "destination"}),
        ("", {"tls": True, "tls_hostname": "10.0.0.1"}),
        ("", {"tls": True, "tls_source": "missing", "tls_verify_peer": False}),
        ("", {"transport": "file", "return_path": False}),
        ("", {"transport": "file", "return_path": False, "capabilities": {**MAPPED, **MULTIFD}}),
        ("return-path-over-a-file", {"transport": "file"}),
        ("tls-over-a-file", {"transport": "file", "return_path": False, "tls": True}),
        ("multifd-over-a-file", {"transport": "file", "return_path": False, "capabilities": MULTIFD}),
        (
            "mapped-ram-on-one-side",
            {"transport": "file", "return_path": False, "destination_capabilities": MAPPED},
        ),
        ("mapped-ram-over-a-socket", {"capabilities": MAPPED}),
        ("mapped-ram-over-a-socket", {"transport": "unix", "capabilities": MAPPED}),
        (
            "mapped-ram-of-a-source-over-a-socket",
            {"capabilities": MAPPED, "destination_capabilities": {"mapped-ram": False}},
        ),
        ("tls-without-hostname", {"transport": "unix", "tls": True}),
        ("tls-other-hostname", {"tls": True, "tls_hostname": "elsewhere"}),
        ("tls-destination-without-certificate", {"tls": True, "tls_destination": "missing", "tls_source": "expired"}),
        ("tls-certificate-expired", {"tls": True, "tls_destination": "expired"}),
        ("tls-certificate-of-another-authority", {"tls": True, "tls_source": "other-ca"}),
        ("tls-destination-expired", {"tls": True, "tls_destination": "expired", "tls_sanity_check": False}),
        (
            "tls-destination-of-another-authority",
            {"tls": True, "tls_destination": "other-ca", "tls_source": "expired", "tls_sanity_check": False},
        ),
        ("tls-source-not-trusted", {"tls": True, "tls_source": "missing"}),
        ("tls-source-not-trusted", {"tls": True, "tls_source": "expired", "tls_sanity_check": False}),
    ],
)
def test_which_rule_a_way_meets(rule: str, settings: dict[str, Any]) -> None:
    """Of several, the one that a migration meets first."""
    case = build_case("x", migration=MigrationSettings(**settings))
    assert choose_rule(make_traits(case)).name == rule
    assert (case.expectation.verdict is VerdictName.COMPLETED) is (rule == "")


def test_a_dead_proxy_by_its_phase() -> None:
    """Before the migration the source cannot connect; on the way the stream ends."""
    for phase, name in ((Phase.BEFORE, "proxy-killed-before-migrate"), (Phase.ACTIVE, "proxy-killed")):
        case = build_case("x", migration=MigrationSettings(transport="unix"))
        case = replace(case, faults=(Fault(Action.KILL_PROXY, phase),))
        assert choose_rule(make_traits(case)).name == name
