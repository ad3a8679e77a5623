# SPDX-License-Identifier: GPL-2.0-or-later
"""The latency columns of a trace: one letter for each thing that is known of the CPU at an event. Pure.

Which there are differs by kernel: need-resched-lazy and preempt-lazy-depth came and went with PREEMPT_RT's patches,
migrate-disable is in 5.15 and newer. The kernel says so above the events of its file ``trace`` (kernel/trace/trace.c,
print_func_help_header_irq; the letters: kernel/trace/trace_output.c, trace_print_lat_fmt), one line for each::

    #                                _-----=> irqs-off/BH-disabled
    #                               / _----=> need-resched
    #                              | / _---=> hardirq/softirq

``trace_pipe`` prints no such header.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from switchover.record.errors import UsageError
from switchover.record.toml import suggest

HARD = "hardirq/softirq"
IRQS_OFF, RESCHED, LAZY, DEPTH, LAZY_DEPTH, MIGRATE = (
    "irqs-off",
    "need-resched",
    "need-resched-lazy",
    "preempt-depth",
    "preempt-lazy-depth",
    "migrate-disable",
)
KNOWN = (IRQS_OFF, RESCHED, LAZY, HARD, DEPTH, LAZY_DEPTH, MIGRATE)
HEADER_LINES = 60
"""Of a trace, among which its header is."""
HARD_LETTERS = frozenset("hHZ")
"""In hard interrupt context: alone, inside a softirq, with an NMI inside it."""
_LABEL = re.compile(r"^#.*=> *([\w/-]+)")
_TITLE = re.compile(r"^# +TASK-PID\b.*\bCPU#")
_LATENCY_FORMAT = re.compile(r"^#.*latency trace v|^# +cmd +pid ")
_DEPTHS = (DEPTH, LAZY_DEPTH, MIGRATE)
_HARD_PATTERN, _DEPTH_PATTERN, _OTHER_PATTERN = "[.hHsZz]", r"(?:\.|[0-9a-f]{1,2})", "[^ hHsZz0-9]"


@dataclass(frozen=True)
class Columns:
    """The columns of a trace, from the left, in the kernel's words; none: the trace has none (option ``irq-info``)."""

    names: tuple[str, ...]
    open: bool = False
    """further depths may follow"""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # depths have two digits from 16 on, in kernels before 5.13; what is not known may be any letter
        kinds = {HARD: _HARD_PATTERN, **dict.fromkeys(_DEPTHS, _DEPTH_PATTERN)}
        known = {name: kinds.get(name, _OTHER_PATTERN) for name in KNOWN}
        return re.compile("".join(known.get(name, "[^ ]") for name in self.names) + (f"{_DEPTH_PATTERN}*" * self.open))

    def fits(self, flags: str) -> bool:
        """Whether the letters of an event can be of these columns.

        >>> LAYOUTS["5.15 and newer"].fits("d.h1."), LAYOUTS["5.15 and newer"].fits("d..h1")
        (True, False)
        """
        return self._pattern.fullmatch(flags) is not None

    def is_hard(self, flags: str) -> bool:
        """Whether these letters, which fit, are of hard interrupt context."""
        return flags[self.names.index(HARD)] in HARD_LETTERS

    def __str__(self) -> str:
        return ",".join(self.names)


LAYOUTS = {
    "5.15 and newer": Columns((IRQS_OFF, RESCHED, HARD, DEPTH, MIGRATE)),
    "before 5.15": Columns((IRQS_OFF, RESCHED, HARD, DEPTH)),
    "PREEMPT_RT, with lazy fields": Columns((IRQS_OFF, RESCHED, LAZY, HARD, DEPTH, LAZY_DEPTH, MIGRATE)),
    "PREEMPT_RT, without preempt-lazy-depth": Columns((IRQS_OFF, RESCHED, LAZY, HARD, DEPTH, MIGRATE)),
    "with need-resched-lazy only": Columns((IRQS_OFF, RESCHED, LAZY, HARD, DEPTH)),
}
"""What kernels have that are known; for advice, never to be guessed from."""


TRACE_CMD = Columns((IRQS_OFF, RESCHED, HARD, DEPTH), open=True)
"""What ``trace-cmd report`` prints, if it prints any: by itself, whatever the kernel has (libtraceevent,
data_latency_format)."""


class LatencyFormat(UsageError):
    """The trace was printed with the option ``latency-format``, whose times begin at 0 and have another shape."""


def parse_header(lines: Iterable[str]) -> Columns | None:
    """From the lines with which ``trace`` begins; None if they do not say it.

    :raises LatencyFormat: it is the header of another format
    """
    words: list[str] = []
    titled = False
    for line in lines:
        if _LATENCY_FORMAT.match(line):
            raise LatencyFormat(
                "The trace is in the kernel's latency format.",
                why=line.strip(),
                fix="print it again after: echo 0 >/sys/kernel/tracing/options/latency-format",
            )
        if word := _LABEL.match(line):
            words.append(word[1])
        titled = titled or bool(_TITLE.match(line))
    if not words:
        return Columns(()) if titled else None
    return _make_columns(words) if any(_find_name(word) == HARD for word in words) else None


def parse_columns(text: str) -> Columns:
    """From ``--columns``: names with commas between them, as the kernel's header has them from top to bottom.

    :raises UsageError: a name is not known, or the one that is needed is missing
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if _find_name(word) is None:
            raise UsageError(
                f"--columns: there is no latency column {word!r}{suggest(word, KNOWN)}.",
                fix=f"names from the header of the kernel's trace: {', '.join(KNOWN)}",
            )
    columns = _make_columns(words)
    if columns.names.count(HARD) != 1 or len(set(columns.names)) != len(columns.names):
        raise UsageError(f"--columns: {text}: each column once, and {HARD} among them.")
    return columns


def require_columns(name: str, flags: str) -> UsageError:
    """What to say of a trace that needs columns and has no header; ``flags``: of one of its events."""
    fitting = [f"--columns {columns}  ({which})" for which, columns in LAYOUTS.items() if columns.fits(flags)]
    return UsageError(
        f"{name} does not say which latency columns it has.",
        why=f"trace_pipe prints no header, and columns differ by kernel; the letters here are {flags!r}",
        fix="\n     ".join(
            [
                "say it with --columns NAME,NAME…, as the header of `trace` on the machine that was traced has them",
                *fitting,
            ]
        ),
    )


def _make_columns(words: Sequence[str]) -> Columns:
    """Without what is no letter: the CPU of the latency format, and the delay, which is a mark behind the letters."""
    return Columns(tuple(_find_name(word) or word for word in words if word not in ("CPU", "delay")))


def _find_name(word: str) -> str | None:
    """The name as it is known here of what a kernel prints.

    >>> _find_name("irqs-off/BH-disabled"), _find_name("need-resched_lazy"), _find_name("hardirq")
    ('irqs-off', 'need-resched-lazy', 'hardirq/softirq')
    """
    first = word.partition("/")[0].replace("_", "-")
    return next((name for name in KNOWN if first == name.partition("/")[0]), None)
