# SPDX-License-Identifier: GPL-2.0-or-later
"""Nothing is decided by a sentence of our own: sources are searched for code that goes by the words of one."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3] / "harness" / "switchover"

SENTENCES = {
    "because",
    "change",
    "claim",
    "evidence",
    "explanation",
    "fix",
    "judged",
    "label",
    "likely",
    "lacking",
    "mismatch",
    "note",
    "problem",
    "reason",
    "summary",
    "title",
    "what",
    "why",
}
"""Names of fields and variables that hold what we say to people."""

MATCHING = {
    "startswith",
    "endswith",
    "partition",
    "rpartition",
    "split",
    "rsplit",
    "removeprefix",
    "removesuffix",
    "find",
    "index",
    "rfind",
    "count",
    "search",
    "match",
    "fullmatch",
    "findall",
    "finditer",
}

ALLOWED = {
    "record/sentences.py": "reads older records, which have sentences only",
    "scenarios/expectation.py": "the reason that a scenario expects is searched for in what was said",
    "scenarios/scenario.py": "mistakes of a file are sorted by the lines that they name",
}
"""Files that may, each with its reason."""


def holds_sentence(node: ast.expr) -> bool:
    """Whether an expression is a sentence, or made from one: ``record.verdict.reason``, ``str(error)``."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in SENTENCES
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name in SENTENCES
        case ast.Subscript(value=value):
            return holds_sentence(value)
        case ast.Call(func=ast.Name(id="str"), args=[ast.Name(id=name)]):
            return name in ("error", "loss")
        case ast.Call(func=ast.Attribute(value=value)):
            return holds_sentence(value)
        case ast.BoolOp(values=values):
            return any(holds_sentence(value) for value in values)
    return False


def is_written(node: ast.expr) -> bool:
    """Whether an expression is words that stand in the code, a constant with a name included; no empty text is."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, str) and bool(value)
        case ast.JoinedStr():
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.isupper()
        case ast.Tuple(elts=nodes) | ast.List(elts=nodes) | ast.Set(elts=nodes):
            return any(is_written(one) for one in nodes)
    return False


def is_pattern(node: ast.expr) -> bool:
    """Whether a method of this is one of a regular expression."""
    return isinstance(node, ast.Name) and (node.id == "re" or node.id.isupper() or "pattern" in node.id)


def find_matches(tree: ast.AST) -> Iterator[int]:
    """Lines where code goes by the words of a sentence: compares it with words, searches it, or takes it apart."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                compares = any(isinstance(op, ast.In | ast.NotIn | ast.Eq | ast.NotEq) for op in ops)
                if compares and any(map(holds_sentence, sides)) and any(map(is_written, sides)):
                    yield node.lineno
            case ast.Call(func=ast.Attribute(value=value, attr=name), args=arguments) if name in MATCHING:
                if is_pattern(value):
                    found = any(map(holds_sentence, arguments))
                else:
                    found = holds_sentence(value) and any(map(is_written, arguments))
                if found:
                    yield node.lineno
            case ast.Match(subject=subject) if holds_sentence(subject):
                yield node.lineno


def list_sources() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py"))


@pytest.mark.parametrize("source", list_sources())
def test_no_sentence_of_ours_decides(source: str) -> None:
    """No file takes apart, compares or searches what we say to people, but those that are named with a reason."""
    found = list(find_matches(ast.parse((ROOT / source).read_text())))
    assert found == [] or source in ALLOWED


def test_every_exception_is_needed() -> None:
    """A file that goes by no sentence any more is named no more."""
    assert {source for source in ALLOWED if not list(find_matches(ast.parse((ROOT / source).read_text())))} == set()


@pytest.mark.parametrize(
    "code",
    [
        "record.verdict.reason.startswith(NOT_RUN)",
        "reason.endswith('interrupted')",
        "'expected a reason with' in record.mismatch",
        "record.mismatch == 'differs alone'",
        "re.search(r'lab host', record.verdict.reason)",
        "_KIND.fullmatch(check.claim)",
        "'rejected migrate.' in error.what",
        "'signal' in str(error)",
        "entry['reason'].partition(': ')",
        "record.verdict.reason.lower().find('lost')",
        "reason in ('interrupted', 'not run')",
    ],
)
def test_what_is_found(code: str) -> None:
    """Each of these goes by a sentence; the first, third and seventh stood in this project."""
    assert list(find_matches(ast.parse(code))) == [1]


@pytest.mark.parametrize(
    "code",
    [
        "record.mismatch != ''",
        "record.mismatch.endswith(record.verdict.reason)",
        "record.verdict.reason.splitlines()[0]",
        "name == 'source'",
        "'Connection reset' in qemu.stderr",
        "record.ending is Ending.INTERRUPTED",
        "f'{record.mismatch}; {more}'",
    ],
)
def test_what_is_not_found(code: str) -> None:
    """Whether there is a sentence at all, or whether two are one, is no question of its words."""
    assert list(find_matches(ast.parse(code))) == []
