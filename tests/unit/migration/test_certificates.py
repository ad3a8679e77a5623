# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates for TLS: right ones verify, and wrong ones are wrong in what they are to be."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from switchover.migration.certificates import Certificate, make_authority, other_authority, own_authority


def load(made: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(made.certificate.encode())


def test_a_certificate_is_of_its_authority() -> None:
    """Signed by that and by no other, for the names that were given, and its key is its own."""
    authority, other = make_authority("one"), make_authority("two")
    made = authority.issue("x", ["destination", "10.0.0.1"])
    certificate = load(made)
    certificate.verify_directly_issued_by(authority.certificate)
    with pytest.raises((ValueError, InvalidSignature)):
        certificate.verify_directly_issued_by(other.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["destination"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1"]
    key = load_pem_private_key(made.key.encode(), None)
    assert key.public_key() == certificate.public_key()
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_one_that_has_expired() -> None:
    """It was valid before, as its authority is now."""
    now, authority = datetime.now(UTC), make_authority("one")
    good, bad = load(authority.issue("x", ["y"])), load(authority.issue("x", ["y"], expired=True))
    assert good.not_valid_before_utc < now < good.not_valid_after_utc
    assert bad.not_valid_before_utc < bad.not_valid_after_utc < now
    bad.verify_directly_issued_by(authority.certificate)


def test_the_authorities_of_a_process_stay() -> None:
    """Both sides of a migration trust the same one, and the other one is another."""
    assert own_authority() is own_authority()
    assert own_authority().pem != other_authority().pem
