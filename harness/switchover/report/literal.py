# SPDX-License-Identifier: GPL-2.0-or-later
"""Texts of others in Markdown of 72 columns: code spans and code blocks, in which nothing is markup. Pure."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

COLUMNS = 72
_LABEL = 12
_CUT = "[…]"
_UNPRINTABLE = re.compile(r"[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What is no text of a mail, line separators of Unicode among it."""


def shorten(text: str, most: int) -> str:
    """With […] in place of the middle, if it is longer. ``most``: 3 or more."""
    if len(text) <= most:
        return text
    kept = most - len(_CUT)
    return f"{text[: kept - kept // 2]}{_CUT}{text[len(text) - kept // 2 :]}"


def clean(text: str) -> str:
    """Without control characters; tabs become blanks."""
    return _UNPRINTABLE.sub("�", text.expandtabs().replace("\r\n", "\n"))


def render_span(text: str, most: int) -> str:
    """A code span in a line, of so many characters at most."""
    line = " ".join(clean(text).split())
    fence = "`" * (_longest_ticks(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line else ""
    around = 2 * (len(fence) + len(pad))
    if len(line) + around <= most:
        return f"{fence}{pad}{line}{pad}{fence}"
    if len(fence) > 1:  # ticks are what makes it long, and could be cut anywhere
        return render_span(line.replace("`", "'"), most)
    return f"`{shorten(line, most - 2)}`"


def render_block(lines: Iterable[str], language: str = "") -> str:
    """A code block. ``lines``: each short enough."""
    text = "\n".join(lines)
    fence = "`" * max(3, _longest_ticks(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most so many characters, broken at blanks; a word that is longer is broken where a line ends.

    Lines of the text stay apart. A run of ticks as long as a line is one of apostrophes: no fence could hold it.
    """
    return [
        line
        for one in re.sub("`{20,}", lambda ticks: "'" * len(ticks[0]), clean(text)).split("\n")
        for line in _wrap_line(one.rstrip(), width)
    ]


def _wrap_line(text: str, width: int) -> Iterator[str]:
    while len(text) > width:
        blank = text.rfind(" ", 1, width + 1)
        end = blank if text[:blank].strip() and blank > 0 else width
        yield text[:end].rstrip()
        text = text[end:].lstrip(" ")
    yield text


def render_rows(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A label and a text in each, which goes on below itself."""
    width = max(_LABEL, *(len(label) for label, _ in rows)) if rows else _LABEL
    for label, text in rows:
        for number, line in enumerate(wrap(text, COLUMNS - width - 2)):
            yield f"{label if not number else '':<{width}}  {line}".rstrip()


def render_command(words: Sequence[str]) -> list[str]:
    """A command as a shell takes it, over as many lines as it needs."""
    lines = [""]
    for word in words:
        pieces = list(_split_word(word))
        if lines[-1] and len(lines[-1]) + 1 + len(pieces[0]) <= COLUMNS - 2:
            lines[-1] += f" {pieces[0]}"
        elif lines[-1]:
            lines[-1] += " \\"
            lines.append(f"  {pieces[0]}")
        else:
            lines[-1] = pieces[0]
        for piece in pieces[1:]:
            lines[-1] += "\\"
            lines.append(piece)
    return lines


def _split_word(word: str) -> Iterator[str]:
    """Quoted parts of a word, each of which fits into a line with what is around it."""
    most = COLUMNS - 6
    part = ""
    for character in clean(word):
        if part and len(shlex.quote(part + character)) > most:
            yield shlex.quote(part)
            part = ""
        part += character
    yield shlex.quote(part)
