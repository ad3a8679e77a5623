# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings of a migration in libvirt's words: its flags and typed parameters, and what it has no word for. Pure."""

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
DECIDES = ("return-path", "switchover-ack", "pause-before-switchover", "events")
"""Capabilities that libvirt sets as it thinks best; what it made of them is in the record."""


def find_unsettable(settings: MigrationSettings) -> list[str]:
    """What of the settings libvirt has no way to tell QEMU, in words; pure."""
    found = []
    if TRANSPORTS[settings.transport].has_file:
        found.append("the harness has no way to save and restore a guest by libvirt")
    if settings.tls:
        found.append("libvirt has a directory for certificates (migrate_tls_x509_cert_dir) that the harness cannot set")
    for capability, state in {**settings.capabilities, **settings.destination_capabilities}.items():
        if capability not in FLAGS and (state or capability in DECIDES):
            found.append(f"libvirt has no way to set the migration capability {capability!r}")
    for capability in settings.destination_capabilities:
        if capability in FLAGS:
            found.append(f"libvirt sets the migration capability {capability!r} alike on both sides")
    found += [
        f"libvirt has no way to set the migration parameter {name!r}"
        for name in settings.parameters
        if name not in PARAMETERS
    ]
    if not settings.return_path:
        found.append("libvirt has no way to turn the migration capability 'return-path' off")
    if settings.max_bandwidth % MIB:
        found.append("libvirt takes max_bandwidth in whole MiB per second only")
    if settings.switchover_bandwidth % MIB:
        found.append("libvirt takes switchover_bandwidth in whole MiB per second only")
    return found


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
