# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian mirror that this machine's apt is configured with, and how apt reaches it."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from switchover.hosts import processes
from switchover.hosts.packages import explain_install, read_distribution
from switchover.record.errors import NotReady

KEYRING_FILE = "/usr/share/keyrings/debian-archive-keyring.gpg"
KEYRING = Path(KEYRING_FILE)
_APT = Path("/etc/apt")
_NO = ("no", "false", "without", "off", "disable", "0")  # apt's words


@dataclass(frozen=True)
class AptSource:
    """One source of binary packages: its URI and suites, as apt's sources.list(5) has them."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


@dataclass(frozen=True)
class Mirror:
    """Where Debian's archive and its security archive (None: not configured) are to be had, and apt options for it."""

    archive: str
    security: str | None
    options: tuple[str, ...]

    def sources(self, release: str, *, backports: bool = False, source_packages: bool = False) -> list[str]:
        """Lines of a sources.list for a release, with its backports and with source packages if wanted."""
        suites = [release, f"{release}-updates", *([f"{release}-backports"] if backports else [])]
        places = [f"{self.archive} {suite} main" for suite in suites]
        if self.security:
            places.append(f"{self.security} {release}-security main")
        return [f"{kind} {place}" for kind in (("deb", "deb-src") if source_packages else ("deb",)) for place in places]


def parse_one_line_sources(text: str) -> list[AptSource]:
    """Sources in the one-line format (``deb [options] URI SUITE COMPONENT…``)."""
    sources = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if match:
            sources.append(AptSource(match[1], (match[2],), tuple(match[3].split())))
    return sources


def parse_deb822_sources(text: str) -> list[AptSource]:
    """Sources in the deb822 format (stanzas of ``Types:``, ``URIs:``, ``Suites:``, ``Components:``)."""
    sources = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in _NO:
            sources += [
                AptSource(uri, tuple(fields.get("suites", "").split()), tuple(fields.get("components", "").split()))
                for uri in fields.get("uris", "").split()
            ]
    return sources


def choose_mirror(sources: Iterable[AptSource], codename: str) -> tuple[str, str | None] | None:
    """The archive and the security archive among the sources of a machine that runs ``codename``; None without."""
    archive: str | None = None
    security: str | None = None
    for source in sources:
        if "main" not in source.components or source.uri.startswith("cdrom:"):
            continue
        if codename in source.suites:
            archive = archive or source.uri
        if f"{codename}-security" in source.suites:
            security = security or source.uri
    return (archive, security) if archive else None


def parse_apt_options(dump: str) -> list[str]:
    """From ``apt-config dump``: how apt reaches its mirror (proxies, certificates, retries), as lines of apt.conf."""
    wanted = re.compile(r'^Acquire::(?:https?|Retries)\b[^ ]* "[^"]+";$')
    return [line for line in dump.splitlines() if wanted.match(line)]


def read_mirror() -> Mirror:
    """The mirror of this machine, or the one that ``SWITCHOVER_MIRROR`` names.

    :raises NotReady: this machine's apt has no Debian archive
    """
    options: Sequence[str] = ()
    if Path("/usr/bin/apt-config").exists():
        options = parse_apt_options(processes.run(["apt-config", "dump"], timeout=30).text)
    if named := os.environ.get("SWITCHOVER_MIRROR"):
        return Mirror(named, None, tuple(options))
    distribution = read_distribution()
    sources: list[AptSource] = []
    for path in [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*"))]:
        if path.suffix == ".list" and path.is_file():
            sources += parse_one_line_sources(path.read_text())
        elif path.suffix == ".sources":
            sources += parse_deb822_sources(path.read_text())
    chosen = choose_mirror(sources, distribution.codename)
    if chosen is None or distribution.id != "debian":
        raise NotReady(
            "This machine's apt is not configured with a Debian mirror; images are made of Debian packages.",
            why=f"this is {distribution.title}" if distribution.id != "debian" else "",
            fix="set SWITCHOVER_MIRROR to the address of a Debian mirror, as http://HOST/debian",
        )
    return Mirror(*chosen, tuple(options))


def require_keyring() -> Path:
    """:raises NotReady: the keys that sign Debian's archive are not installed"""
    if not KEYRING.exists():
        raise NotReady(f"{KEYRING} is missing.", fix=explain_install(KEYRING_FILE))
    return KEYRING
