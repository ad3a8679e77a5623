# SPDX-License-Identifier: GPL-2.0-or-later
"""TLS between two QEMUs: credentials of the lab's authority on both hosts, for the time of a migration.

QEMU gets an object ``tls-creds-x509`` through its monitor, and the parameters that name it.
"""

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from switchover.guests.qemu import QemuGuest
from switchover.migration.certificates import other_authority, own_authority
from switchover.migration.settings import CertificateState, MigrationSettings, set_parameters
from switchover.record.errors import GuestCrashed, NotReady, Refused

CREDENTIALS = "switchover-tls"
"""Id of the object."""
_ENDPOINTS = {"source": "client", "destination": "server"}


@contextlib.contextmanager
def start_tls(source: QemuGuest, destination: QemuGuest, listen: str, settings: MigrationSettings) -> Iterator[None]:
    """Both sides are to use TLS, the destination first; nothing where the settings do not ask for it.

    :raises Refused: QEMU rejects the credentials, or the parameters
    """
    with contextlib.ExitStack() as stack:
        if settings.tls:
            hostname = {"tls-hostname": settings.tls_hostname} if settings.tls_hostname else {}
            sides: tuple[tuple[str, QemuGuest, CertificateState, Mapping[str, object]], ...] = (
                ("destination", destination, settings.tls_destination, {}),
                ("source", source, settings.tls_source, hostname),
            )
            for side, guest, state, parameters in sides:
                credentials = _Credentials(guest, side, state, listen, settings)
                stack.enter_context(credentials.start(parameters))
        yield


@dataclass
class _Credentials:
    """Those of one side. ``address``: where the destination's host is reached."""

    guest: QemuGuest
    side: str
    state: CertificateState
    address: str
    settings: MigrationSettings
    _given: dict[str, object] = field(default_factory=dict)

    @contextlib.contextmanager
    def start(self, parameters: Mapping[str, object]) -> Iterator[None]:
        qmp, directory = (
            self.guest.qmp,
            f"{self.guest.files.directory}/tls",
        )  # in the journal with the guest's directory
        put_credentials(self.guest, directory, self.side, self.state, self.address)
        properties = {
            "qom-type": "tls-creds-x509",
            "id": CREDENTIALS,
            "dir": directory,
            "endpoint": _ENDPOINTS[self.side],
            "verify-peer": self.settings.tls_verify_peer,
            "sanity-check": self.settings.tls_sanity_check,
        }
        qmp.execute("object-add", properties)
        given = {"tls-creds": CREDENTIALS, **parameters}
        try:
            set_parameters(qmp, given)
            yield
        finally:
            # a QEMU that goes on keeps what it was told for its next migration
            with contextlib.suppress(GuestCrashed, NotReady, Refused):
                qmp.execute("migrate-set-parameters", dict.fromkeys(given, ""))
                qmp.execute("object-del", {"id": CREDENTIALS})


def put_credentials(guest: QemuGuest, directory: str, side: str, state: CertificateState, address: str) -> None:
    """Files as QEMU wants them in a directory of a guest's host; what is there from before goes.

    The certificate is for the word ``source`` or ``destination``, and the destination's also for the address at which
    it is reached.
    """
    names = [side, *([address] if side == "destination" else [])]
    authority = other_authority() if state == "other-ca" else own_authority()
    made = authority.issue(f"{side} on {guest.host.name}", names, expired=state == "expired")
    files = {"ca-cert.pem": own_authority().pem}
    if state != "missing":
        word = _ENDPOINTS[side]
        files |= {f"{word}-cert.pem": made.certificate, f"{word}-key.pem": made.key}
    lines = [f"umask 077; rm -rf {shlex.quote(directory)}; mkdir -m 700 {shlex.quote(directory)}"]
    lines += [
        f"cat >{shlex.quote(f'{directory}/{name}')} <<'END OF FILE'\n{text.rstrip()}\nEND OF FILE"
        for name, text in files.items()
    ]
    # a private key is on no command line
    guest.host.run(["sh", "-eu"], stdin="\n".join(lines).encode() + b"\n")
