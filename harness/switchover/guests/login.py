# SPDX-License-Identifier: GPL-2.0-or-later
"""SSH keys of a guest of the user, in files of the controller. Light to import: scenario files are checked with it."""

import re
from pathlib import Path

_PUBLIC = re.compile(r"(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{32,}={0,2}(?: .*)?")


def read_private_key(path: str) -> str:
    """The contents of a private key's file. :raises ValueError: there is none at this path"""
    text = _read(path)
    if not re.match(r"-----BEGIN [A-Z ]*PRIVATE KEY-----", text):
        hint = f"; the private key to it may be {path.removesuffix('.pub')}" if path.endswith(".pub") else ""
        raise ValueError(f"{path} holds no private SSH key{hint}")
    return text


def read_host_key(word: str) -> str:
    """``TYPE BASE64`` of a public key that is given as such, or as the path of a file with it as its first line.

    :raises ValueError: neither
    """
    text = word.strip()
    if not _PUBLIC.fullmatch(text):
        if not text.startswith(("/", "~/")):
            raise ValueError(
                "must be a public key, such as 'ssh-ed25519 AAAA…', or the absolute path of a file with it"
            )
        lines = _read(text).splitlines()
        text = lines[0].strip() if lines else ""
        if not _PUBLIC.fullmatch(text):
            raise ValueError(f"the first line of {word} is no public SSH key")
    return " ".join(text.split()[:2])


def _read(path: str) -> str:
    if not path.startswith(("/", "~/")):
        raise ValueError(f"must be an absolute path of the controller, or begin with ~/, not {path!r}")
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text") from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
