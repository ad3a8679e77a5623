# SPDX-License-Identifier: GPL-2.0-or-later
"""The way of the stream: sockets, proxies, files, and TLS. Pure."""

import ipaddress

from switchover.migration.phases import Action
from switchover.record.record import VerdictName
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import Traits

V = VerdictName
_CREDENTIALS = "QEMU, crypto/tlscredsx509.c"
_SESSION = "QEMU, crypto/tlssession.c: qcrypto_tls_session_check_certificate"
_CHANNEL = "QEMU, migration/migration.c"


def _has_certificate(traits: Traits, *states: str) -> bool:
    """Whether one of the sides has a certificate in such a state."""
    return bool(traits.stream.certificates and set(states) & set(traits.stream.certificates))


def _source_has(traits: Traits, *states: str) -> bool:
    return bool(traits.stream.certificates and traits.stream.certificates[0] in states)


def _destination_has(traits: Traits, *states: str) -> bool:
    return bool(traits.stream.certificates and traits.stream.certificates[1] in states)


def _has_other_name(traits: Traits) -> bool:
    """Whether the destination's certificate is for none such. Which address it is for, the hosts decide."""
    hostname = traits.stream.hostname
    if not traits.stream.certificates or hostname in ("", "destination"):
        return False
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return True
    return False


def _kills_proxy(traits: Traits, *, on_the_way: bool) -> bool:
    return any(fault.action is Action.KILL_PROXY and fault.is_on_the_way is on_the_way for fault in traits.faults)


TLS_REFUSED = (
    make_rule(
        "tls-destination-without-certificate",
        "The destination is to use TLS, and there is no file with its certificate.",
        V.REFUSED,
        reason="Unable to access credentials .*: No such file or directory|Missing server cert",
        because="a server needs a certificate, and object-add fails without its file; the second text is that of 11.1",
        source=f"{_CREDENTIALS}: qcrypto_tls_creds_get_path",
        when=lambda traits: _destination_has(traits, "missing"),
    ),
    make_rule(
        "tls-certificate-of-another-authority",
        "A side has a certificate that is of another authority than the one that it trusts, and sanity-check is on.",
        V.REFUSED,
        reason="failed validation against .*: The certificate hasn't got a known issuer|has no issuer in CA chain",
        because="object-add looks at QEMU's own certificate; the second text is that of 11.1",
        source=f"{_CREDENTIALS}: qcrypto_tls_creds_check_cert_pair",
        when=lambda traits: traits.stream.sanity_check and _has_certificate(traits, "other-ca"),
    ),
    make_rule(
        "tls-certificate-expired",
        "A side has a certificate that has expired, and sanity-check is on.",
        V.REFUSED,
        reason="The (client|server) certificate .* has expired",
        because="object-add looks at QEMU's own certificate",
        source=f"{_CREDENTIALS}: qcrypto_tls_creds_check_cert_times",
        when=lambda traits: traits.stream.sanity_check and _has_certificate(traits, "expired"),
    ),
)
TRANSPORTS_REFUSED = (
    make_rule(
        "mapped-ram-over-a-socket",
        "mapped-ram is on at the destination, and the transport is no file.",
        V.REFUSED,
        says="Migration requires seekable transport (e.g. file)",
        because="each page has its place in a file, and a socket has no places; migrate-incoming is rejected",
        source=f"{_CHANNEL}: migration_channels_and_transport_compatible",
        when=lambda traits: traits.stream.transport != "file" and "mapped-ram" in traits.capabilities[1],
    ),
)
TRANSPORTS_BLOCKED = (
    make_rule(
        "mapped-ram-of-a-source-over-a-socket",
        "mapped-ram is on at the source only, and the transport is no file.",
        V.BLOCKED,
        "source",
        says="Migration requires seekable transport (e.g. file)",
        because="each page has its place in a file, and a socket has no places; migrate is rejected",
        source=f"{_CHANNEL}: migration_channels_and_transport_compatible",
        when=lambda traits: traits.stream.transport != "file" and "mapped-ram" in traits.capabilities[0],
    ),
    make_rule(
        "multifd-over-a-file",
        "multifd is on at the source, the transport is a file, and mapped-ram is off.",
        V.BLOCKED,
        "source",
        says="Migration requires multi-channel URIs (e.g. tcp)",
        because="a file that is a stream is written by one channel; with mapped-ram each page has its place",
        source=f"{_CHANNEL}: migration_channels_and_transport_compatible",
        when=lambda traits: (
            traits.stream.transport == "file"
            and "multifd" in traits.capabilities[0]
            and "mapped-ram" not in traits.capabilities[0]
        ),
    ),
)
TRANSPORTS_FAILED = (
    make_rule(
        "tls-over-a-file",
        "The stream is to use TLS, and the transport is a file.",
        V.FAILED,
        "source",
        says="TLS handshake failed: Error in the pull function",
        because="the source waits for the answer of a file that is open for writing",
        source="QEMU, migration/channel.c: migration_channel_connect",
        when=lambda traits: traits.stream.transport == "file" and traits.stream.certificates is not None,
    ),
    make_rule(
        "return-path-over-a-file",
        "return-path is on at the source, and the transport is a file.",
        V.FAILED,
        "source",
        says="Unable to read from file: Bad file descriptor",
        because="the source reads answers from the file, which is open for writing: files need return_path = off",
        source=f"{_CHANNEL}: open_return_path_on_source",
        when=lambda traits: traits.stream.transport == "file" and "return-path" in traits.capabilities[0],
    ),
    make_rule(
        "tls-without-hostname",
        "The stream uses TLS over a unix socket, and tls_hostname is empty.",
        V.FAILED,
        "source",
        says="No hostname for certificate validation",
        because="the path of a socket is no name that a certificate is for",
        source=_SESSION,
        when=lambda traits: (
            traits.stream.transport == "unix" and traits.stream.certificates is not None and not traits.stream.hostname
        ),
    ),
    make_rule(
        "tls-destination-of-another-authority",
        "The destination has a certificate of an authority that the source does not trust, and sanity-check is off.",
        V.FAILED,
        "source",
        says="The certificate hasn't got a known issuer",
        because="the source verifies the destination's certificate",
        source=_SESSION,
        when=lambda traits: _destination_has(traits, "other-ca"),
    ),
    make_rule(
        "tls-destination-expired",
        "The destination has a certificate that has expired, and sanity-check is off.",
        V.FAILED,
        "source",
        says="The certificate is not trusted",
        because="the source verifies the destination's certificate",
        source=_SESSION,
        when=lambda traits: _destination_has(traits, "expired"),
    ),
    make_rule(
        "tls-other-hostname",
        "The source is to find a name in the destination's certificate that it does not have.",
        V.FAILED,
        "source",
        says="Certificate does not match the hostname %s",
        because="the source verifies the name",
        source=_SESSION,
        when=_has_other_name,
    ),
    make_rule(
        "tls-source-not-trusted",
        "The destination asks for a certificate of the source, which is missing, expired, or of another authority.",
        V.FAILED,
        "source",
        reason="socket|TLS|ram_save_setup failed",
        because="the destination closes the connection, says why on its standard error only, and goes on listening",
        source=_SESSION,
        when=lambda traits: traits.stream.verify_peer and _source_has(traits, "missing", "other-ca", "expired"),
    ),
    make_rule(
        "proxy-killed-before-migrate",
        "The proxy on the source's host is killed before the source is told to migrate.",
        V.FAILED,
        "source",
        says="Failed to connect to '%s': Connection refused",
        because="the socket is still there, and nobody listens",
        source="QEMU, util/qemu-sockets.c: unix_connect_saddr",
        when=lambda traits: _kills_proxy(traits, on_the_way=False),
    ),
    make_rule(
        "proxy-killed",
        "The proxy on the source's host is killed while the guest migrates.",
        V.FAILED,
        reason="Unable to (write to|read from) socket|Broken pipe|Connection reset|unexpected EOF|Input/output error",
        because="the stream ends, which both sides see",
        source="QEMU, io/channel-socket.c",
        when=lambda traits: _kills_proxy(traits, on_the_way=True),
    ),
    make_rule(
        "mapped-ram-on-one-side",
        "mapped-ram is on at one side only, and the transport is a file.",
        V.FAILED,
        "destination",
        says="Capability mapped-ram is %s, but received capability is %s",
        because="what is saved begins with the capabilities that matter for it",
        source="QEMU, migration/savevm.c: configuration_validate_capabilities",
        when=lambda traits: (
            traits.stream.transport == "file"
            and ("mapped-ram" in traits.capabilities[0]) != ("mapped-ram" in traits.capabilities[1])
        ),
    ),
)
"""In the order in which a migration meets them: the connection, what goes over it, what is found in it."""
