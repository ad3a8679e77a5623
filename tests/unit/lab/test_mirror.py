# SPDX-License-Identifier: GPL-2.0-or-later
"""The mirror that apt is configured with, in both formats of its sources."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.lab import mirror
from switchover.lab.mirror import (
    AptSource,
    Mirror,
    choose_mirror,
    parse_apt_options,
    parse_deb822_sources,
    parse_one_line_sources,
    read_mirror,
    require_keyring,
)
from switchover.record.errors import NotReady

DEBIAN = "http://mirror.example/debian"
SECURITY = "http://security.mirror.example/debian-security"
WORDS = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
URIS = st.builds("http://{}.example/{}".format, WORDS, WORDS)
SOURCES = st.builds(AptSource, URIS, st.tuples(WORDS), st.lists(WORDS, min_size=1, max_size=4).map(tuple))

ONE_LINE = f"""\
# deb {DEBIAN} bullseye main
#deb cdrom:[Debian GNU/Linux 12.0.0 _Bookworm_]/ bookworm main
deb cdrom:[Debian GNU/Linux 12.0.0 _Bookworm_ - Official amd64 NETINST]/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {DEBIAN} bookworm main contrib # all of it
deb-src {DEBIAN} bookworm main
  deb\t{SECURITY}   bookworm-security\tmain
deb http://example.org/flat ./
"""

DEB822 = f"""\
# See sources.list(5)
Types: deb deb-src
URIs: {DEBIAN}
Suites: bookworm
# a comment in a stanza
  bookworm-updates
Components: main
 contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS/xcRfwEQWzr
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
Enabled: no

types: deb
uris: {SECURITY} http://second.example/security
suites: bookworm-security
components: main
enabled: yes

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main
"""


def test_one_line_sources() -> None:
    """Options, comments, tabs and indentation are understood; sources of source packages and comments are not taken."""
    real = [source for source in parse_one_line_sources(ONE_LINE) if not source.uri.startswith("cdrom:")]
    assert real == [
        AptSource(DEBIAN, ("bookworm",), ("main", "contrib")),
        AptSource(SECURITY, ("bookworm-security",), ("main",)),
    ]
    assert choose_mirror(parse_one_line_sources(ONE_LINE), "bookworm") == (DEBIAN, SECURITY)


def test_deb822_sources() -> None:
    """Continued fields, comments in a stanza, keys inside, any case of the field names, several URIs."""
    assert parse_deb822_sources(DEB822) == [
        AptSource(DEBIAN, ("bookworm", "bookworm-updates"), ("main", "contrib")),
        AptSource(SECURITY, ("bookworm-security",), ("main",)),
        AptSource("http://second.example/security", ("bookworm-security",), ("main",)),
    ]
    assert choose_mirror(parse_deb822_sources(DEB822), "bookworm") == (DEBIAN, SECURITY)


@pytest.mark.parametrize("word", ["no", "No", "false"])
def test_a_disabled_stanza_is_left_out(word: str) -> None:
    """A stanza that is switched off is not a source."""
    stanza = f"Types: deb\nURIs: {DEBIAN}\nSuites: bookworm\nComponents: main\nEnabled: {word}\n"
    assert parse_deb822_sources(stanza) == []


@pytest.mark.parametrize("word", ["off", "without", "disable", "0"])
def test_apts_other_words_for_no(word: str) -> None:
    """All words that apt itself reads as no (StringToBool in apt-pkg/contrib/strutl.cc) switch a stanza off."""
    test_a_disabled_stanza_is_left_out(word)


@given(st.lists(SOURCES, max_size=6))
def test_both_formats_say_the_same(sources: list[AptSource]) -> None:
    """The same sources written in either format are read back as they were."""
    lines = [f"deb [trusted=yes] {one.uri} {one.suites[0]} {' '.join(one.components)}" for one in sources]
    assert parse_one_line_sources("\n".join(lines)) == sources
    stanzas = [
        f"Types: deb\nURIs: {one.uri}\nSuites: {one.suites[0]}\nComponents: {' '.join(one.components)}"
        for one in sources
    ]
    assert parse_deb822_sources("\n\n".join(stanzas)) == sources


@given(st.text())
def test_no_text_is_an_error(text: str) -> None:
    """Any text parses in both formats: what is not understood is left out."""
    assert isinstance(parse_one_line_sources(text), list)
    assert isinstance(parse_deb822_sources(text), list)


@pytest.mark.parametrize(
    ("sources", "chosen"),
    [
        ([], None),
        ([AptSource(DEBIAN, ("trixie",), ("main",))], None),
        ([AptSource(DEBIAN, ("bookworm",), ("contrib",))], None),
        ([AptSource("cdrom:[x]/", ("bookworm",), ("main",))], None),
        ([AptSource(SECURITY, ("bookworm-security",), ("main",))], None),
        ([AptSource(DEBIAN, ("bookworm",), ("main",))], (DEBIAN, None)),
        (
            [AptSource("http://first/", ("bookworm",), ("main",)), AptSource(DEBIAN, ("bookworm",), ("main",))],
            ("http://first/", None),
        ),
    ],
)
def test_choice(sources: list[AptSource], chosen: tuple[str, str | None] | None) -> None:
    """The first archive with main for this release, its security archive if there is one, never a disc."""
    assert choose_mirror(sources, "bookworm") == chosen


def test_lines_for_another_release() -> None:
    """The mirror's lines are for the wanted release, security only where it is configured."""
    assert Mirror(DEBIAN, SECURITY, ()).sources("trixie") == [
        f"deb {DEBIAN} trixie main",
        f"deb {DEBIAN} trixie-updates main",
        f"deb {SECURITY} trixie-security main",
    ]
    assert not any("security" in line for line in Mirror(DEBIAN, None, ()).sources("trixie"))


def test_how_apt_reaches_its_mirror() -> None:
    """Proxies, certificates and retries are taken over, and nothing else of apt's configuration."""
    dump = """\
APT "";
APT::Install-Recommends "true";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy:3128";
Acquire::https::CaInfo "/etc/ssl/ours.pem";
Acquire::https::Proxy::mirror.example "DIRECT";
Acquire::Retries "5";
Acquire::httpx::Proxy "no";
Acquire::cdrom::mount "/media/cdrom";
Dir::Etc::sourcelist "sources.list";
"""
    assert parse_apt_options(dump) == [
        'Acquire::http::Proxy "http://proxy:3128";',
        'Acquire::https::CaInfo "/etc/ssl/ours.pem";',
        'Acquire::https::Proxy::mirror.example "DIRECT";',
        'Acquire::Retries "5";',
    ]


def test_a_mirror_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """``SWITCHOVER_MIRROR`` decides before what apt is configured with."""
    monkeypatch.setenv("SWITCHOVER_MIRROR", "http://named.example/debian")
    found = read_mirror()
    assert (found.archive, found.security) == ("http://named.example/debian", None)


def test_backports_and_source_packages() -> None:
    """Backports have a suite of their own; source packages have lines beside those of binary ones."""
    mirror_of = Mirror("http://archive", "http://security", ())
    assert mirror_of.sources("trixie", backports=True) == [
        "deb http://archive trixie main",
        "deb http://archive trixie-updates main",
        "deb http://archive trixie-backports main",
        "deb http://security trixie-security main",
    ]
    lines = Mirror("http://archive", None, ()).sources("trixie", source_packages=True)
    assert [line.split()[0] for line in lines] == ["deb", "deb", "deb-src", "deb-src"]


def test_a_machine_without_a_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine whose apt has no Debian archive is told what to do."""
    monkeypatch.delenv("SWITCHOVER_MIRROR", raising=False)
    monkeypatch.setattr(mirror, "_APT", tmp_path)
    with pytest.raises(NotReady, match="SWITCHOVER_MIRROR"):
        read_mirror()


def test_a_machine_with_files_of_both_formats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All files that apt reads are read, and no others."""
    codename = next(
        line.partition("=")[2].strip('"\n')
        for line in Path("/etc/os-release").read_text().splitlines()
        if line.startswith("VERSION_CODENAME=")
    )
    monkeypatch.delenv("SWITCHOVER_MIRROR", raising=False)
    monkeypatch.setattr(mirror, "_APT", tmp_path)
    (tmp_path / "sources.list.d").mkdir()
    stanza = "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\n"
    (tmp_path / "sources.list.d" / "a.sources.save").write_text(stanza.format("http://old/", codename))
    (tmp_path / "sources.list.d" / "b.sources").write_text(stanza.format("http://archive/", codename))
    (tmp_path / "sources.list.d" / "c.list").write_text(f"deb http://security/ {codename}-security main\n")
    is_debian = "\nID=debian\n" in Path("/etc/os-release").read_text()
    if not is_debian:
        with pytest.raises(NotReady):
            read_mirror()
        return
    found = read_mirror()
    assert (found.archive, found.security) == ("http://archive/", "http://security/")


def test_keyring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Debian's keys are required, with the package that has them."""
    monkeypatch.setattr(mirror, "KEYRING", tmp_path / "keys.gpg")
    with pytest.raises(NotReady, match="apt-get install debian-archive-keyring"):
        require_keyring()
    (tmp_path / "keys.gpg").touch()
    assert require_keyring() == tmp_path / "keys.gpg"
