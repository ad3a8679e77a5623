# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that a shell reads: words, comments and here-documents with variables of the shell in them. Pure."""

import re
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


def render_variable(name: str) -> str:
    """A shell variable inside a word: NUL cannot be in an argument."""
    return f"\0{name}\0"


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
    """A word for the shell, its variables left to be expanded.

    >>> quote("unix:" + render_variable("here") + "/a b"), quote("a b")
    ('"unix:$here/a b"', "'a b'")
    """
    return f'"{_expand(word, _escape_quoted)}"' if "\0" in word else shlex.quote(word)


def render_here_document(text: str) -> str:
    """Lines of a here-document whose delimiter is not quoted, its variables left to be expanded.

    >>> render_here_document("costs $5: " + render_variable("price"))
    'costs \\\\$5: $price'
    """
    return _expand(text, _escape_here)


def _escape_quoted(text: str) -> str:
    return re.sub(r'([\\"$`])', r"\\\1", text)


def _escape_here(text: str) -> str:
    return re.sub(r"([\\$`])", r"\\\1", text)


def _expand(text: str, escape: Callable[[str], str]) -> str:
    parts = text.split("\0")
    expanded = ""
    for number, part in enumerate(parts):
        if number % 2 == 0:
            expanded += escape(part)
        else:
            follows = parts[number + 1][:1]
            expanded += f"${{{part}}}" if follows.isalnum() or follows == "_" else f"${part}"
    return expanded
