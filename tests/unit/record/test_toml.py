# SPDX-License-Identifier: GPL-2.0-or-later
"""TOML texts: keys have lines, and errors say file, line, key and what is allowed."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.record.errors import UsageError
from switchover.record.toml import load_model, parse_toml, read_toml

TEXT = '''# a comment
version = 1

[host.rack1]
address = "10.0.0.1"
qemu = [
    "/usr/bin/a",
    "/usr/bin/b",
]
note = """
[not.a.table]
port = 3
"""

[[host.rack1.device]]
pci = "0000:01:00.0"

[[host.rack1.device]]
mdev.type = "x"
limits = { low = 1, high = 2 }
many = [
  { name = "a" },
  { name = "b" },
]
'''


class Limits(pydantic.BaseModel, extra="forbid"):
    low: int = 0
    high: int = 0


class Device(pydantic.BaseModel, extra="forbid"):
    pci: str | None = None
    limits: Limits | None = None
    either: Limits | list[Limits] | dict[str, Limits] | None = None
    many: list[dict[str, str]] | tuple[int, ...] = ()


class HostTable(pydantic.BaseModel, extra="forbid"):
    address: str
    port: int = pydantic.Field(default=22, ge=1, le=65535)
    device: list[Device] = []


class Whole(pydantic.BaseModel, extra="forbid"):
    version: int
    host: dict[str, HostTable] = {}


def fail(text: str) -> UsageError:
    with pytest.raises(UsageError) as error:
        load_model(parse_toml(text, "some.toml"), Whole)
    return error.value


def test_lines_of_keys() -> None:
    """A key's line is found in tables, arrays of tables, inline tables and values of several lines."""
    document = parse_toml(TEXT, "some.toml")
    device = ("host", "rack1", "device")
    assert document.find_line(["version"]) == 2
    assert document.find_line(["host", "rack1"]) == 4
    assert document.find_line(["host", "rack1", "qemu", 1]) == 6
    assert document.find_line(["host", "rack1", "port"]) == 4, "what a string holds is no key"
    assert document.find_line([*device, 0, "pci"]) == 16
    assert document.find_line([*device, 1]) == 18
    assert document.find_line([*device, 1, "mdev", "type"]) == 19
    assert document.find_line([*device, 1, "limits", "high"]) == 20
    assert document.find_line([*device, 1, "many", 1, "name"]) == 23
    assert document.find_line(["nothing"]) is None
    assert document.place(["nothing"]) == "some.toml"


KEYS = st.text("abcd-_", min_size=1, max_size=4)
SCALARS = st.one_of(st.integers(-5, 5), st.booleans(), st.sampled_from(['"x"', '"[a]"', '"a = 1"']))


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, SCALARS, max_size=4), max_size=4), st.booleans())
def test_every_key_has_its_line(tables: Mapping[str, Mapping[str, object]], carriage: bool) -> None:
    """Each key of a text is found at the line that it was written on."""
    lines: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    for table, entries in tables.items():
        lines += ["", f"[{table}]  # a table"]
        expected[(table,)] = len(lines)
        for key, value in entries.items():
            lines.append(f"  {key} = {str(value).lower()}")
            expected[(table, key)] = len(lines)
    text = ("\r\n" if carriage else "\n").join(lines)
    document = parse_toml(text, "some.toml")
    assert document.lines == expected
    assert document.data == tomllib.loads(text)


@given(st.text("ab=[]{}\"'\n.#, 1", max_size=40))
def test_any_text_is_parsed_or_explained(text: str) -> None:
    """No text brings up another error than ours."""
    try:
        document = parse_toml(text, "some.toml")
    except UsageError:
        return
    assert document.data == tomllib.loads(text)


def test_unknown_key_with_a_suggestion() -> None:
    """An unknown key is named with its line, the key that was likely meant, and all that are allowed."""
    error = fail('version = 1\n[host.a]\naddress = "x"\nadress = "x"\n')
    assert error.what == (
        "some.toml:4: host.a.adress: unknown key; did you mean 'address'? Allowed: address, port, device"
    )


def test_unknown_key_inside_an_array_and_a_union() -> None:
    """Allowed keys are those of the innermost table."""
    error = fail('version = 1\n[host.a]\naddress = "x"\n[[host.a.device]]\nlimits.hight = 1\n')
    assert error.what == (
        "some.toml:5: host.a.device[0].limits.hight: unknown key; did you mean 'high'? Allowed: low, high"
    )


def test_unknown_key_where_more_than_one_kind_is_allowed() -> None:
    """What pydantic adds to a location for a union is no key of the text."""
    error = fail('version = 1\n[host.a]\naddress = "x"\n[[host.a.device]]\neither = [{ low = 1 }, { lo = 1 }]\n')
    expected = "some.toml:5: host.a.device[0].either[1].lo: unknown key; did you mean 'low'? Allowed: low, high"
    assert expected in error.what.splitlines()


def test_all_errors_at_once() -> None:
    """Every error is told, not the first only: a missing key at its table, a bad value at its line."""
    error = fail("version = 1\n[host.a]\nport = 70000\n[[host.a.device]]\npci = 3\n")
    assert error.what.splitlines() == [
        "some.toml:2: host.a.address: is missing",
        "some.toml:3: host.a.port: must be less than or equal to 65535 (it is 70000)",
        "some.toml:5: host.a.device[0].pci: must be a valid string (it is 3)",
    ]


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("pci = 01:00.0", 'quote the value: "01:00.0"'),
        ("pci = 0000:3b:00.2  # a VF", 'quote the value: "0000:3b:00.2"'),
        ("list = [01:00.0]", 'quote the value: "01:00.0"'),
        ("pre_copy = off", 'quote the value: "off"'),
        ("qemu = /usr/bin/qemu-system-x86_64", 'quote the value: "/usr/bin/qemu-system-x86_64"'),
        ("many = [true, off]", 'quote the value: "off"'),
        ('many = ["a, b", on]  # off', 'quote the value: "on"'),
        ("a = true b", ""),
    ],
)
def test_values_as_yaml_has_them(line: str, fix: str) -> None:
    """A value that TOML wants quoted is named with its quotes and its line."""
    with pytest.raises(UsageError) as error:
        parse_toml(f"version = 1\n{line}\nnext = 1\n", "some.toml")
    assert error.value.what == "some.toml:2: this is no TOML."
    assert error.value.fix == fix


def test_a_time_is_no_address() -> None:
    """A value that TOML reads as a time of day is said to be one."""
    error = fail("version = 1\n[host.a]\naddress = 01:00:00\n")
    assert error.what == "some.toml:3: host.a.address: is a time to TOML; quote the value"


def test_files(tmp_path: Path) -> None:
    """A file that is not there, or is no text, is a mistake of the user."""
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(tmp_path / "bytes.toml")


def make_long(lines: int) -> str:
    """A table of many keys, an array of many tables, a long text and a long list."""
    return "\n".join(
        (
            *(f"key-{number} = {number}" for number in range(lines)),
            'text = """',
            *(f"line {number} [ {{ ' # \\\\" for number in range(lines)),
            '"""',
            "list = [",
            *(f"  {{ a = {number}, b = 'x]' }}, # ]" for number in range(lines)),
            "]",
            "last = 1",
            "[[tables]]",
            "x = 1",
        )
    )


def test_the_work_of_locating_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a statement is and however long, no part of a text is parsed more than three times."""
    parsed: list[int] = []
    real = tomllib.loads

    def loads(text: str) -> dict[str, Any]:
        parsed.append(len(text))
        return real(text)

    monkeypatch.setattr(tomllib, "loads", loads)
    text = make_long(3000)
    document = parse_toml(text, "x")
    assert sum(parsed) <= 3 * len(text)
    lines = text.split("\n")
    assert document.find_line(["key-2999"]) == 3000
    assert document.find_line(["list", 2999, "b"]) == 3000 + 3002 + 1 + 3000
    assert document.find_line(["last"]) == lines.index("last = 1") + 1
    assert document.find_line(["tables", 0, "x"]) == len(lines)


@pytest.mark.parametrize(
    "value",
    [
        '"""a\n"""',
        "'''\n]\n'''",
        '"""\n\\"""\n"""',
        '""" "" \n""""',
        '"""x\\\n  y"""',
        '[\n \'a[\', # [\n "b\\"]"\n]',
        "{ a = [\n1] }",
        '""',
        "''",
        '""""""',
        "[\"\"\"\n]\"\"\", '''\n[''']",
        '"\\\\"',
    ],
)
def test_the_end_of_a_statement(value: str) -> None:
    """Quotes, escapes, comments and brackets inside of values do not move the lines of what follows."""
    text = f"first = {value}\nsecond = 2\n[table]\nthird = 3\n"
    tomllib.loads(text)
    more = value.count("\n")
    document = parse_toml(text, "x")
    assert document.lines["second",] == 2 + more
    assert document.lines["table", "third"] == 4 + more


def test_a_byte_order_mark() -> None:
    """Which an editor put there unseen, is named."""
    with pytest.raises(UsageError, match=r"x:1: the text begins with a byte order mark") as caught:
        parse_toml("\ufeffversion = 1\n", "x")
    assert "UTF-8 without one" in caught.value.fix
