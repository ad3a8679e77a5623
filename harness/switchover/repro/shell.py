# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that a shell reads: words, comments and here-documents with variables of the shell in them. Pure."""

import re
import secrets
import shlex
import textwrap
from collections.abc import Callable, Iterator, Sequence


def render_comment(text: str) -> Iterator[str]:
    """Lines of a comment, whatever the text has in it."""
    for line in text.splitlines():
        clean = "".join(char if char.isprintable() else "?" for char in line.rstrip())
        indent = " " * (len(clean) - len(clean.lstrip()))
        wrapped = textwrap.wrap(clean, 116, subsequent_indent=indent + "  ") if len(clean) > 118 else [clean]
        yield from (f"# {part}".rstrip() for part in wrapped)


_MARK = secrets.token_hex(8)
"""Drawn anew for each process: no text that was written before can hold it, and be taken for a variable."""
_VARIABLE = re.compile(rf"\x00{_MARK}([A-Za-z_][A-Za-z0-9_]*)\x00")


def render_variable(name: str) -> str:
    """A shell variable inside a word."""
    return f"\0{_MARK}{name}\0"


def replace_nul(text: str) -> str:
    """A text as a shell can have it: neither its scripts nor its words hold NUL, and ``?`` stands in its place."""
    return text.replace("\0", "?")


def render_words(words: Sequence[str]) -> Iterator[str]:
    """An option and its value on each line."""
    line: list[str] = []
    for word in words:
        if word.startswith("-") and line:
            yield " ".join(line)
            line = []
        line.append(quote(word))
    yield " ".join(line)


def quote(word: str) -> str:
    """A word for the shell, its variables left to be expanded, and nothing else, whatever is in it.

    >>> quote("unix:" + render_variable("here") + "/a b"), quote("a b")
    ('"unix:$here/a b"', "'a b'")
    """
    if _VARIABLE.search(word):
        return f'"{_expand(word, _escape_quoted)}"'
    return shlex.quote(replace_nul(word))


def render_here_document(text: str) -> str:
    """A here-document from its ``<<``, its variables left to be expanded. No line of the text ends it.

    >>> print(render_here_document("costs $5: " + render_variable("price")))
    <<END
    costs \\$5: $price
    END
    """
    body = _expand(text.rstrip("\n"), _escape_here)
    delimiter = "END"
    while delimiter in body.split("\n"):
        delimiter += "_"
    return f"<<{delimiter}\n{body}\n{delimiter}"


def _escape_quoted(text: str) -> str:
    return re.sub(r'([\\"$`])', r"\\\1", text)


def _escape_here(text: str) -> str:
    return re.sub(r"([\\$`])", r"\\\1", text)


def _expand(text: str, escape: Callable[[str], str]) -> str:
    parts = _VARIABLE.split(text)
    expanded = escape(replace_nul(parts[0]))
    for name, follows in zip(parts[1::2], parts[2::2], strict=True):
        in_name = follows[:1].isalnum() or follows[:1] == "_"
        expanded += (f"${{{name}}}" if in_name else f"${name}") + escape(replace_nul(follows))
    return expanded
