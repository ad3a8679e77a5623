# SPDX-License-Identifier: GPL-2.0-or-later
"""A run as it goes on: one live block on a terminal, lines elsewhere, groups that fold where CI understands them."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from switchover.migration.session import Sample
from switchover.record.log import say
from switchover.record.record import Record
from switchover.record.units import format_bytes, format_duration
from switchover.report.terminal import render_repeat
from switchover.runner.listener import RunListener
from switchover.runner.turns import Turn


def describe_sample(sample: Sample) -> str:
    """Status, bytes so far and bytes left, of a ``query-migrate`` reply; what it does not tell is left out."""
    reply = sample.reply
    ram, vfio = (part if isinstance(part := reply.get(name), dict) else {} for name in ("ram", "vfio"))
    texts = [str(reply["status"])] if "status" in reply else []
    if "transferred" in ram:
        device = f" ({format_bytes(vfio['transferred'])} of the device)" if vfio.get("transferred") else ""
        texts.append(f"{format_bytes(ram['transferred'])} sent{device}")
    if ram.get("remaining"):
        texts.append(f"{format_bytes(ram['remaining'])} of RAM left")
    return ", ".join(texts)


class Estimate:
    """How long a run still takes: the plan's estimates, corrected by how right they were so far."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._seconds = {(turn.line.id, turn.number): turn.line.seconds for turn in turns}
        self._planned = 0.0
        self._taken = 0.0

    def note(self, turn: Turn, record: Record) -> None:
        planned = self._seconds.pop((turn.line.id, turn.number), 0.0)
        if record.seconds:
            self._planned += planned
            self._taken += sum(record.seconds.values())
        if not record.seconds and record.repeat == 1:  # left out: its further repeats are too
            for key in [key for key in self._seconds if key[0] == turn.line.id]:
                del self._seconds[key]

    def seconds_left(self) -> float:
        factor = self._taken / self._planned if self._planned else 1.0
        return sum(self._seconds.values()) * factor


class PlainProgress(RunListener):
    """A line when a repeat begins, and one when it ended. ``group``: around a repeat, for CI; then with its steps."""

    def __init__(self, group: Callable[[str], tuple[str, str]] | None = None, stream: TextIO | None = None) -> None:
        self._group = group
        self._stream = stream
        self._closing = ""
        self._count = 0
        self._done = 0

    def start(self, turns: Sequence[Turn]) -> None:
        self._count = len(turns)
        self._estimate = Estimate(turns)

    def begin(self, turn: Turn) -> None:
        left = self._estimate.seconds_left()
        about = f"; about {format_duration(left)} left" if left else ""
        title = f"[{self._done + 1}/{self._count}] {turn.line.id} #{turn.number}"
        if self._group is None:
            say(f"{title} ...{about}")
        else:
            opening, self._closing = self._group(title)
            self._write(opening)

    def step(self, step: str) -> None:
        if self._group is not None:
            say(f"  {step}")

    def end(self, turn: Turn, record: Record) -> None:
        self._done += 1
        self._estimate.note(turn, record)
        self.close()
        say(f"[{self._done}/{self._count}] {render_repeat(record)}")

    def close(self) -> None:
        if self._closing:
            self._write(self._closing)
            self._closing = ""

    def _write(self, text: str) -> None:
        print(text, file=self._stream or sys.stderr, flush=True)


def find_group(environment: Mapping[str, str]) -> Callable[[str], tuple[str, str]] | None:
    """How this CI folds lines: from a title, what opens and what closes a group; None if it is none that is known."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return lambda title: (f"::group::{title}", "::endgroup::")
    if environment.get("GITLAB_CI") == "true":
        return _make_gitlab_section
    return None


def _make_gitlab_section(title: str) -> tuple[str, str]:
    name = f"repeat_{time.monotonic_ns()}"
    clear = "\r\x1b[0K"
    opening = f"\x1b[0Ksection_start:{int(time.time())}:{name}[collapsed=true]{clear}{title}"
    return opening, f"\x1b[0Ksection_end:{int(time.time())}:{name}{clear}"


class LiveProgress(RunListener):
    """A bar over all repeats, and below it where the one that runs is; a line above it for each that ended.

    Use it in a ``with`` block.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._title = self._step = self._sample = ""
        self._since = self._began = 0.0
        self._count = self._done = 0
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> "LiveProgress":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def pause(self) -> None:
        """Leave the terminal to others, for good."""
        self._live.stop()

    def start(self, turns: Sequence[Turn]) -> None:
        self._count = len(turns)
        self._estimate = Estimate(turns)

    def begin(self, turn: Turn) -> None:
        self._title = f"{turn.line.id} #{turn.number}"
        self._began = time.monotonic()
        self.step("")

    def step(self, step: str) -> None:
        self._step, self._since, self._sample = step, time.monotonic(), ""

    def sample(self, sample: Sample) -> None:
        self._sample = describe_sample(sample)

    def end(self, turn: Turn, record: Record) -> None:
        self._done += 1
        self._estimate.note(turn, record)
        self._title = ""
        self._console.print(Text(render_repeat(record), style="bold red" if record.mismatch else ""), soft_wrap=True)

    def _render(self) -> Group:
        if not self._count:
            return Group()
        left = self._estimate.seconds_left() - (time.monotonic() - self._began if self._title else 0)
        about = f", about {format_duration(left)} left" if left > 0 else ""
        head = Text(f"{self._done} of {self._count} repeats{about}")
        rows: list[Text | ProgressBar] = [head, ProgressBar(total=self._count, completed=self._done, width=40)]
        if self._title:
            spent = f" {time.monotonic() - self._since:.0f} s" if self._step else ""
            rows.append(Text(f"{self._title}: {self._step}{spent}{f' · {self._sample}' if self._sample else ''}"))
        return Group(*rows)
