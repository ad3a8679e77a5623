# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference device as its driver in the guest has it: what it shows, and what it can be told to do.

Names and units are those of the driver's files (docs/reference-device.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from switchover.devices.reference import split_files
from switchover.hosts.host import Host


@dataclass(frozen=True)
class InterruptCounts:
    """Interrupts per vector. ``hard``, ``thread``: how often primary handler and thread ran, summed over CPUs.

    ``raised``: how often the device raised it since its reset. ``hard_seen``, ``thread_seen``: that count, as handler
    and thread last read it. Interrupts that come together run a handler once; once raising has stopped and the handlers
    have run, one that saw less than was raised missed an interrupt.
    """

    hard: tuple[int, ...]
    thread: tuple[int, ...]
    raised: tuple[int, ...] = ()
    hard_seen: tuple[int, ...] = ()
    thread_seen: tuple[int, ...] = ()

    @property
    def seen(self) -> tuple[int, ...]:
        """What both primary handler and thread have seen."""
        return tuple(min(pair) for pair in zip(self.hard_seen, self.thread_seen, strict=True))


@dataclass(frozen=True)
class GuestView:
    """What the guest's driver sees of the device."""

    scratch: tuple[str, ...]
    generation: int
    seed: str
    checksum: str
    checksum_expected: str
    irq_hard: tuple[int, ...]
    irq_thread: tuple[int, ...]
    irq_raised: tuple[int, ...] = ()
    irq_seen: tuple[int, ...] = ()


@dataclass(frozen=True)
class WrongPage:
    """A page of the DMA buffer, its first wrong 64-bit word, and what that is instead of what it must be."""

    page: int
    word: int
    found: int
    expected: int


@dataclass(frozen=True)
class DmaVerification:
    """Every word of the DMA buffer compared by the guest. ``sequence``: the number that the next page will have."""

    sequence: int
    wrong_pages: int = 0
    first_wrong: tuple[WrongPage, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.wrong_pages


def parse_dma_verification(text: str) -> DmaVerification:
    """``ok SEQUENCE``, or ``wrong SEQUENCE PAGES`` and lines ``PAGE WORD FOUND EXPECTED`` for the first of them.

    >>> parse_dma_verification("ok 12").sequence
    12

    :raises ValueError: the text is neither
    """
    first, *rest = text.strip().splitlines() or [""]
    match first.split():
        case ["ok", sequence]:
            return DmaVerification(int(sequence))
        case ["wrong", sequence, pages]:
            wrong = tuple(WrongPage(*(int(number, 0) for number in line.split())) for line in rest)
            return DmaVerification(int(sequence), int(pages), wrong)
    raise ValueError(f"the guest's driver says of its DMA buffer: {text[:200]!r}")


_DRIVEN = "/sys/bus/pci/drivers/refdev_guest/*/refdev"


def ask_devices_taken(count: int, seconds: float) -> str:
    """A script for a guest that waits until its driver has taken so many devices, and fails if it does not."""
    tries = round(seconds / _POLL_S)
    return (
        f'tries=0; while set -- {_DRIVEN}; [ -e "$1" ] || shift; [ $# != {count} ]; do '
        f"[ $((tries += 1)) -lt {tries} ] || exit 1; sleep {_POLL_S}; done"
    )


_POLL_S = 0.05


def find_driven(number: int) -> str:
    """Begin of a script for a guest, in the directory of a device that its driver has; ``number``: which, from 0."""
    return f'set -- {_DRIVEN}; shift {number}; cd "$1" && '


READ_VIEW = "head -c 1000000 scratch generation seed checksum checksum_expected irq_hard irq_thread irq_raised irq_seen"
"""What :func:`parse_view` reads, as a script in the directory of a device."""
VERIFY_DMA = "cat dma_verify"
"""What :func:`parse_dma_verification` reads."""
ENABLE_DMA = "echo 1 >dma_enable"
_FIRED_S = 15


def write_state(scratch: Sequence[int], seed: int) -> str:
    """A script in the directory of a device: values for its scratch registers, a seed for its state."""
    return f"echo {' '.join(str(word) for word in scratch)} >scratch && echo {seed} >seed"


FIRE = f"""{{
last() {{ while read -r line; do kept=$line; done <"$1"; echo "$kept"; }}
hard=$(last irq_hard) thread=$(last irq_thread)
echo "$hard"
echo "$thread"
echo "${{hard%% *}}" >trigger || exit
tries=0
while [ "$(last irq_hard)" = "$hard" ] || [ "$(last irq_thread)" = "$thread" ]; do
    [ $((tries += 1)) -lt {round(_FIRED_S / _POLL_S)} ] || break
    sleep {_POLL_S}
done
last irq_hard
last irq_thread
}}"""
"""Let a device raise its last vector once, and wait until it has arrived; what :func:`parse_fired` reads."""


@dataclass(frozen=True)
class Fired:
    """How often primary handler and thread of a vector had run before it was raised, and how often after it."""

    vector: int
    before: tuple[int, int]
    after: tuple[int, int]


def parse_fired(text: str) -> Fired:
    """Four lines ``VECTOR COUNT…`` with a count per CPU: primary handler and thread, before and after.

    >>> parse_fired("3 1 0\\n3 0 1\\n3 2 0\\n3 0 2")
    Fired(vector=3, before=(1, 1), after=(2, 2))

    :raises ValueError: the text is something else
    """
    rows = [[int(word) for word in line.split()] for line in text.strip().splitlines()]
    if len(rows) != 4 or not all(len(row) > 1 for row in rows):
        raise ValueError(f"not four lines of counts: {text[:200]!r}")
    sums = [sum(row[1:]) for row in rows]
    return Fired(rows[0][0], (sums[0], sums[1]), (sums[2], sums[3]))


def parse_view(text: str) -> GuestView:
    """The files of :data:`READ_VIEW`, as ``head`` prints them."""
    files = split_files(text)
    counts = parse_interrupts(files)
    return GuestView(
        scratch=tuple(files["scratch"].split()),
        generation=int(files["generation"]),
        seed=files["seed"].strip(),
        checksum=files["checksum"].strip(),
        checksum_expected=files["checksum_expected"].strip(),
        irq_hard=counts.hard,
        irq_thread=counts.thread,
        irq_raised=counts.raised,
        irq_seen=counts.seen,
    )


class GuestDriver:
    """The driver of a reference device inside a guest that is reached over SSH. ``number``: which, from 0, by slot."""

    _INTERRUPTS = "irq_hard irq_thread irq_raised irq_seen"

    def __init__(self, guest: Host, number: int = 0) -> None:
        self._guest = guest
        self._find = find_driven(number)

    def read(self) -> GuestView:
        """The checksum is computed by the device and, word by word, by the guest."""
        return parse_view(self._guest.run(["sh", "-c", f"{self._find} {READ_VIEW}"], timeout=120).text)

    def read_interrupts(self) -> InterruptCounts:
        return parse_interrupts(self._read_files(self._INTERRUPTS))

    def read_irqs(self) -> tuple[int, ...]:
        """The numbers that the guest's kernel has given the interrupts, by vector."""
        return _read_column(self._read_files("irqs /dev/null")["irqs"], 1)

    def set_interrupt_rate(self, vector: int, hertz: int) -> None:
        """Let the device raise a vector at a rate, at most 10000 Hz; 0: at the rate of its knob ``irq_rates``."""
        self._echo(f"{vector} {hertz}", "irq_rate")

    def read_interrupt_rates(self) -> tuple[int, ...]:
        """The rates that the guest has set, in Hz by vector."""
        return _read_column(self._read_files("irq_rate /dev/null")["irq_rate"], 1)

    def enable_dma(self) -> None:
        """Let the device write to the buffer. :raises CommandFailed: it has none, or was reset behind the driver"""
        self._echo("1", "dma_enable")

    def disable_dma(self) -> None:
        """When this returns the last page has been written."""
        self._echo("0", "dma_enable")

    def verify_dma(self) -> DmaVerification:
        """Compare all of the buffer; the device does not write meanwhile, and goes on after it if it did before."""
        return parse_dma_verification(self._read_files("dma_verify /dev/null")["dma_verify"])

    def _read_files(self, names: str) -> dict[str, str]:
        script = f"{self._find} head -c 1000000 {names}"
        return split_files(self._guest.run(["sh", "-c", script], timeout=120).text)

    def write(self, *, scratch: list[int], seed: int) -> None:
        """Put values into the scratch registers and seed the device's state with a new one."""
        self._guest.run(["sh", "-c", f"{self._find} {write_state(scratch, seed)}"])

    def is_enabled(self) -> bool:
        """Whether the device raises interrupts; after a reset it does not."""
        return self._read_files("enabled /dev/null")["enabled"].strip() == "1"

    def reinitialise(self) -> None:
        """Set the device up again after a reset that the guest did not ask for."""
        self._echo("1", "reinit")

    def trigger(self, vector: int) -> None:
        """Let the device raise an interrupt."""
        self._echo(str(vector), "trigger")

    def _echo(self, text: str, name: str) -> None:
        self._guest.run(["sh", "-c", f"{self._find} echo {text} >{name}"])


def parse_interrupts(files: Mapping[str, str]) -> InterruptCounts:
    """The driver's files on interrupts by name: a line per vector, ``VECTOR`` and then its numbers.

    >>> parse_interrupts({"irq_hard": "0 1 2", "irq_thread": "0 3 0", "irq_raised": "0 5", "irq_seen": "0 5 4"}).seen
    (4,)
    """
    seen = files.get("irq_seen", "")
    return InterruptCounts(
        hard=_sum_lines(files["irq_hard"]),
        thread=_sum_lines(files["irq_thread"]),
        raised=_read_column(files.get("irq_raised", ""), 1),
        hard_seen=_read_column(seen, 1),
        thread_seen=_read_column(seen, 2),
    )


def _read_column(text: str, column: int) -> tuple[int, ...]:
    return tuple(int(line.split()[column]) for line in text.splitlines() if line.strip())


def _sum_lines(text: str) -> tuple[int, ...]:
    """Lines ``VECTOR COUNT…`` with a count per CPU, summed."""
    return tuple(sum(int(word) for word in line.split()[1:]) for line in text.splitlines() if line.strip())
