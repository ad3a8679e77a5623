# SPDX-License-Identifier: GPL-2.0-or-later
"""SSH keys of a guest of the user: what is no key is told before anything is started."""

from pathlib import Path

import pytest

from switchover.guests.login import read_host_key, read_private_key
from switchover.guests.qemu import GuestKeys
from switchover.guests.spec import GuestSpec, HostKey, KeyFile
from switchover.lab.keys import generate_key_pair
from switchover.record.errors import UsageError

GIVEN = GuestKeys("authorized", "login", "host private", "host public")


def test_a_guest_with_keys_of_its_own(tmp_path: Path) -> None:
    """Its key and its host key replace those it would be given; the user is the one that is named."""
    pair = generate_key_pair()
    (tmp_path / "key").write_text(pair.private)
    (tmp_path / "host.pub").write_text(pair.public.strip() + " root@guest\n")
    wanted = " ".join(pair.public.split()[:2])
    for host_key in (pair.public, str(tmp_path / "host.pub")):
        spec = GuestSpec(ssh_user="me", ssh_key=KeyFile(str(tmp_path / "key")), ssh_host_key=HostKey(host_key))
        assert GIVEN.for_guest(spec) == GuestKeys("authorized", pair.private, "host private", wanted, "me")
        assert GIVEN.for_guest(spec).for_guest(spec) == GIVEN.for_guest(spec)
    assert GIVEN.for_guest(GuestSpec()) == GIVEN


def test_a_key_that_went_meanwhile(tmp_path: Path) -> None:
    """A file that was there when the scenario was read, and no longer is, is an error with its path."""
    with pytest.raises(UsageError, match="A key of the guest guest cannot be read") as caught:
        GIVEN.for_guest(GuestSpec(ssh_key=KeyFile(str(tmp_path / "gone"))))
    assert str(tmp_path / "gone") in caught.value.why


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("none", None, "No such file"),
        ("id.pub", "ssh-ed25519 AAAA", "holds no private SSH key; the private key to it may be"),
        ("empty", "", "holds no private SSH key"),
    ],
)
def test_what_is_no_private_key(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    """It is told with the path, and with what else it may be."""
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=told):
        read_private_key(str(tmp_path / name))
    with pytest.raises(ValueError, match="must be an absolute path of the controller"):
        read_private_key("keys/id")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("AAAA", "must be a public key"),
        ("ssh-ed25519 AAAA", "must be a public key"),
        ("host.pub", "must be a public key"),
        ("/no/such", "No such file"),
        ("/dev/null", "the first line of /dev/null is no public SSH key"),
    ],
)
def test_what_is_no_host_key(word: str, told: str) -> None:
    """A word that is neither a key nor a file with one is told."""
    with pytest.raises(ValueError, match=told):
        read_host_key(word)
