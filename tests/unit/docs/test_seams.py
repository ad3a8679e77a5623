# SPDX-License-Identifier: GPL-2.0-or-later
"""A thing that varies has one seam: sources are searched for code that asks which driver there is, beside the table."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchover.migration.drivers import DRIVERS

ROOT = Path(__file__).parents[3] / "harness" / "switchover"

GUESTS = {"LibvirtGuest"}
"""Classes of guests that one driver has."""

ALLOWED = {
    "migration/libvirt_driver.py": "its guests are its own: what it is given is told from another driver's",
    "scenarios/oracle/traits.py": "what libvirt is known to do otherwise is a trait of a case",
}
"""Files that may, each with its reason."""


def names_driver(node: ast.expr) -> bool:
    """Whether an expression is the name of a driver, or several things with one among them."""
    match node:
        case ast.Constant(value=value):
            return value in DRIVERS
        case ast.Tuple(elts=nodes) | ast.List(elts=nodes) | ast.Set(elts=nodes):
            return any(map(names_driver, nodes))
    return False


def names_guest(node: ast.expr) -> bool:
    """Whether an expression is the class of a driver's guests, or several with one among them."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in GUESTS
        case ast.Tuple(elts=nodes):
            return any(map(names_guest, nodes))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return names_guest(left) or names_guest(right)
    return False


def find_questions(tree: ast.AST) -> Iterator[int]:
    """Lines where code asks which driver there is: by its name, or by the class of its guests."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others) if any(map(names_driver, [left, *others])):
                yield node.lineno
            case ast.MatchValue(value=value) if names_driver(value):
                yield node.lineno
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]) if names_guest(kinds):
                yield node.lineno
            case ast.MatchClass(cls=kind) if names_guest(kind):
                yield node.lineno


def list_sources() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py"))


@pytest.mark.parametrize("source", list_sources())
def test_nobody_asks_which_driver_there_is(source: str) -> None:
    """What differs between drivers is asked of the driver, but in the files that are named with a reason."""
    found = list(find_questions(ast.parse((ROOT / source).read_text())))
    assert found == [] or source in ALLOWED


def test_every_exception_is_needed() -> None:
    """A file that asks no more is named no more."""
    assert {source for source in ALLOWED if not list(find_questions(ast.parse((ROOT / source).read_text())))} == set()


@pytest.mark.parametrize(
    "code",
    [
        "guest.driver == 'libvirt'",
        "'qmp' != spec.driver",
        "driver in ('libvirt', 'other')",
        "match driver:\n case 'libvirt': pass",
        "isinstance(guest, LibvirtGuest)",
        "isinstance(guest, (libvirt.LibvirtGuest, str))",
        "isinstance(guest, LibvirtGuest | str)",
        "match guest:\n case LibvirtGuest(): pass",
    ],
)
def test_what_is_found(code: str) -> None:
    """Each of these asks; the first and the fifth stood in this project."""
    assert len(list(find_questions(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code", ["here.driver != wanted.driver", "DRIVERS[spec.driver].name", "with_driver(case, 'libvirt')", "x == ''"]
)
def test_what_is_not_found(code: str) -> None:
    """Whether two drivers are one, and which one is wanted, are other questions."""
    assert list(find_questions(ast.parse(code))) == []
