# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys of a lab."""

import io

import paramiko

from switchover.lab.keys import generate_key_pair


def test_a_pair_belongs_together() -> None:
    """The private key is OpenSSH's format and gives the public key; two pairs differ."""
    pair = generate_key_pair()
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(pair.private))
    assert f"{key.get_name()} {key.get_base64()}" == pair.public
    assert generate_key_pair().public != pair.public
