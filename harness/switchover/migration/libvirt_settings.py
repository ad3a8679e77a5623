# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of a migration in libvirt's words: its flags and typed parameters, and what it has no word for. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from switchover.migration.settings import MigrationSettings
from switchover.migration.transports import TRANSPORTS
from switchover.record.units import MIB

FLAGS = {
    "multifd": "VIR_MIGRATE_PARALLEL",
    "auto-converge": "VIR_MIGRATE_AUTO_CONVERGE",
    "postcopy-ram": "VIR_MIGRATE_POSTCOPY",
}
"""Capabilities that libvirt has flags for, by QEMU's names."""
PARAMETERS = {
    "multifd-channels": "parallel.connections",
    "cpu-throttle-initial": "auto_converge.initial",
    "cpu-throttle-increment": "auto_converge.increment",
    "max-postcopy-bandwidth": "bandwidth.postcopy",
}
"""Parameters that libvirt has, by QEMU's names, besides those that settings have keys for."""
_BOTH = ("source", "destination")
DECIDES: Mapping[str, Sequence[str]] = {
    "events": _BOTH,
    "return-path": _BOTH,
    "switchover-ack": _BOTH,
    "pause-before-switchover": ("source",),
    "late-block-activate": ("destination",),
}
"""Capabilities that libvirt sets by itself, whatever it is asked for, with the sides on which it does if QEMU has them
(qemu_migration_params.c: qemuMigrationParamsAlwaysOn). They are no reason not to run a case: what libvirt made of them
is in the record.
"""


def find_unsettable(settings: MigrationSettings) -> list[str]:
    """What of the settings libvirt has no way to tell QEMU, in words; pure."""
    found = []
    if TRANSPORTS[settings.transport].has_file:
        found.append("the harness has no way to save and restore a guest by libvirt")
    if settings.tls:
        found.append("libvirt has a directory for certificates (migrate_tls_x509_cert_dir) that the harness cannot set")
    for capability, state in {**settings.capabilities, **settings.destination_capabilities}.items():
        if state and capability not in (*FLAGS, *DECIDES):
            found.append(f"libvirt has no way to set the migration capability {capability!r}")
    for capability in settings.destination_capabilities:
        if capability in FLAGS:
            found.append(f"libvirt sets the migration capability {capability!r} alike on both sides")
    found += [
        f"libvirt has no way to set the migration parameter {name!r}"
        for name in settings.parameters
        if name not in PARAMETERS
    ]
    if settings.max_bandwidth % MIB:
        found.append("libvirt takes max_bandwidth in whole MiB per second only")
    if settings.switchover_bandwidth % MIB:
        found.append("libvirt takes switchover_bandwidth in whole MiB per second only")
    return found


def list_wanted_capabilities(settings: MigrationSettings) -> list[str]:
    """Those that a case wants to be on at the source, and that libvirt does not set on the other side only."""
    asked = settings.all_capabilities("source")
    return sorted(name for name, state in asked.items() if state and "source" in DECIDES.get(name, _BOTH))


def list_own(settings: MigrationSettings, side: str, held: Sequence[str]) -> tuple[str, ...]:
    """Of the capabilities that were on at a side, those that the case does not ask for there."""
    asked = settings.all_capabilities(side)
    return tuple(name for name in held if not asked.get(name))


def make_parameters(settings: MigrationSettings, uri: str, xml: str) -> dict[str, Any]:
    """libvirt's typed parameters. ``uri``: the way of the stream. Bandwidths there are in MiB per second."""
    parameters: dict[str, Any] = {"migrate_uri": uri, "destination_xml": xml}
    if settings.max_bandwidth:
        parameters["bandwidth"] = settings.max_bandwidth // MIB
    if settings.switchover_bandwidth:
        parameters["bandwidth.avail.switchover"] = settings.switchover_bandwidth // MIB  # libvirt 11.1 and newer
    for name, value in settings.parameters.items():
        parameters[PARAMETERS[name]] = value
    return parameters


def list_flags(settings: MigrationSettings) -> list[str]:
    """libvirt's flags by name."""
    peer = ["VIR_MIGRATE_PEER2PEER"] if settings.peer_to_peer else []
    return ["VIR_MIGRATE_LIVE", *peer, *(flag for name, flag in FLAGS.items() if settings.capabilities.get(name))]
