# SPDX-License-Identifier: GPL-2.0-or-later
"""Examples of rules about the way of the stream, as :data:`tests.unit.scenarios.oracle_examples.EXAMPLES` has them."""

from switchover.record.record import VerdictName as V

UNIX, FILE = 'migration.transport = "unix"', 'migration.transport = "file", migration.return_path = "off"'
TLS = 'migration.tls = "on"'
UNCHECKED = f'{TLS}, migration.tls_sanity_check = "off"'
MAPPED = 'migration.capabilities.mapped-ram = "on"'
KILLED = f'{UNIX}, fault.action = "kill proxy", fault.phase'

TRANSPORT_EXAMPLES = [
    ("tls-destination-without-certificate", f'{TLS}, migration.tls_destination = "missing"', TLS, V.REFUSED, "",
     "object-add: Unable to access credentials /tmp/d/tls/server-cert.pem: No such file or directory"),
    ("tls-certificate-of-another-authority", f'{TLS}, migration.tls_source = "other-ca"', TLS, V.REFUSED, "",
     "Our own certificate /tmp/c.pem failed validation against /tmp/ca.pem: The certificate hasn't got a known issuer"),
    ("tls-certificate-expired", f'{TLS}, migration.tls_destination = "expired"', TLS, V.REFUSED, "",
     "The server certificate /tmp/d/server-cert.pem has expired"),
    ("mapped-ram-over-a-socket", MAPPED, f"{FILE}, {MAPPED}", V.REFUSED, "",
     "migrate-incoming: Migration requires seekable transport (e.g. file)"),
    ("mapped-ram-of-a-source-over-a-socket", f'{MAPPED}, migration.destination_capabilities.mapped-ram = "off"', "",
     V.BLOCKED, "source", "Migration requires seekable transport (e.g. file)"),
    ("multifd-over-a-file", f'{FILE}, migration.capabilities.multifd = "on"', FILE, V.BLOCKED, "source",
     "Migration requires multi-channel URIs (e.g. tcp)"),
    ("tls-over-a-file", f"{FILE}, {TLS}", FILE, V.FAILED, "source",
     "TLS handshake failed: Error in the pull function.: Unable to read from file: Bad file descriptor"),
    ("return-path-over-a-file", 'migration.transport = "file"', FILE, V.FAILED, "source",
     "failed: Unable to read from file: Bad file descriptor"),
    ("tls-without-hostname", f"{UNIX}, {TLS}", f'{UNIX}, {TLS}, migration.tls_hostname = "destination"', V.FAILED,
     "source", "failed: No hostname for certificate validation"),
    ("tls-destination-of-another-authority", f'{UNCHECKED}, migration.tls_destination = "other-ca"', TLS, V.FAILED,
     "source", "failed: The certificate hasn't got a known issuer"),
    ("tls-destination-expired", f'{UNCHECKED}, migration.tls_destination = "expired"', TLS, V.FAILED, "source",
     "failed: The certificate is not trusted"),
    ("tls-other-hostname", f'{TLS}, migration.tls_hostname = "elsewhere"', TLS, V.FAILED, "source",
     "failed: Certificate does not match the hostname elsewhere"),
    ("tls-source-not-trusted", f'{TLS}, migration.tls_source = "missing"',
     f'{TLS}, migration.tls_source = "missing", migration.tls_verify_peer = "off"', V.FAILED, "source",
     "failed: Unable to write to socket: Connection reset by peer"),
    ("proxy-killed-before-migrate", f'{KILLED} = "before"', UNIX, V.FAILED, "source",
     "failed: Failed to connect to '/tmp/d/outgoing': Connection refused"),
    ("proxy-killed", f'{KILLED} = "active"', UNIX, V.FAILED, "source",
     "failed: Unable to write to socket: Broken pipe"),
    ("mapped-ram-on-one-side", f'{FILE}, migration.destination_capabilities.mapped-ram = "on"', FILE, V.FAILED,
     "destination", "Capability mapped-ram is on, but received capability is off"),
]  # fmt: skip
