# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts for a guest, run by this machine's shells on files as the guest's driver has them."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.builders import make_answers, render_view

from switchover.devices import guest_driver
from switchover.devices.guest_driver import (
    FIRE,
    READ_VIEW,
    Fired,
    ask_devices_taken,
    find_driven,
    parse_fired,
    parse_view,
    write_state,
)
from switchover.hosts.host import Completed
from switchover.hosts.local import LocalHost

SHELLS = [["sh", "-c"], ["bash", "-c"], *([["busybox", "sh", "-c"]] if shutil.which("busybox") else [])]
IMPATIENT = FIRE.replace(f"-lt {round(guest_driver._FIRED_S / guest_driver._POLL_S)}", "-lt 3")


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def shell(request: pytest.FixtureRequest) -> Callable[[str], Completed]:
    def run(script: str) -> Completed:
        return LocalHost().run([*request.param, script], check=False)

    return run


class Driver:
    """The files of a guest's driver for its devices, in slots ``0``, ``1`` …"""

    def __init__(self, tree: Path) -> None:
        self.tree = tree

    def add(self, slot: int, **files: str) -> Path:
        directory = self.tree / str(slot) / "refdev"
        directory.mkdir(parents=True)
        for name, text in files.items():
            (directory / name).write_text(text)
        return directory

    def place(self, script: str) -> str:
        """A script with its paths led here."""
        assert "/sys/bus/pci/drivers/refdev_guest/" in script
        return script.replace("/sys/bus/pci/drivers/refdev_guest/", f"{self.tree}/")


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


IRQS = {"irq_hard": "0 9 9\n1 3 4\n", "irq_thread": "0 8 8\n1 2 5\n"}


def react(directory: Path, **after: str) -> threading.Thread:
    """A device that once it is told to raise a vector, has these counts then."""
    told = directory / "trigger"

    def wait() -> None:
        vector = told.read_text()  # a pipe: until something is written
        for name, text in after.items():
            (directory / f"{name}.new").write_text(text)
            (directory / f"{name}.new").rename(directory / name)
        (directory / "told").write_text(vector)

    LocalHost().run(["mkfifo", str(told)])
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_an_interrupt_is_fired(shell: Callable[[str], Completed], driver: Driver) -> None:
    """The last vector of the device that was meant is raised, and its counts are told from before and after."""
    driver.add(0, **IRQS)
    device = driver.add(1, **IRQS)
    thread = react(device, irq_hard="0 9 9\n1 3 5\n", irq_thread="0 8 8\n1 3 5\n")
    done = shell(driver.place(f"{find_driven(1)} {FIRE}"))
    thread.join(10)
    assert (device / "told").read_text() == "1\n"
    assert (done.returncode, done.stderr) == (0, b"")
    assert parse_fired(done.text) == Fired(1, (7, 7), (8, 8))
    assert not (driver.tree / "0" / "refdev" / "trigger").exists()


@pytest.mark.parametrize(
    ("after", "counts"),
    [({}, (7, 7)), ({"irq_hard": "1 3 5\n"}, (8, 7)), ({"irq_thread": "1 2 6\n"}, (7, 8))],
)
def test_an_interrupt_that_does_not_arrive(
    shell: Callable[[str], Completed], driver: Driver, after: dict[str, str], counts: tuple[int, int]
) -> None:
    """It is waited for in primary handler and thread, and the counts that there are then are told."""
    device = driver.add(0, **IRQS)
    thread = react(device, **after)
    assert IMPATIENT != FIRE
    done = shell(driver.place(f"{find_driven(0)} {IMPATIENT}"))
    thread.join(10)
    assert parse_fired(done.text) == Fired(1, (7, 7), counts)


def test_a_driver_that_refuses(shell: Callable[[str], Completed], driver: Driver) -> None:
    """A trigger that cannot be written ends the script at once, and not in order."""
    device = driver.add(0, **IRQS)
    (device / "trigger").mkdir()
    done = shell(driver.place(f"{find_driven(0)} {FIRE}"))
    assert done.returncode != 0
    assert done.stderr
    with pytest.raises(ValueError, match="four lines"):
        parse_fired(done.text)


def test_a_device_that_is_not_there(shell: Callable[[str], Completed], driver: Driver, tmp_path: Path) -> None:
    """Nothing is raised, nothing is waited for, and nothing is written elsewhere."""
    here = tmp_path / "here"
    here.mkdir()
    for number in (0, 2):
        done = shell(f"cd {here}; " + driver.place(f"{find_driven(number)} {FIRE}"))
        assert done.returncode != 0
        assert done.stdout == b""
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "wanted", "taken"),
    [(0, 0, True), (1, 1, True), (2, 2, True), (1, 2, False), (2, 1, False), (0, 1, False)],
)
def test_devices_are_waited_for(
    shell: Callable[[str], Completed], driver: Driver, there: int, wanted: int, taken: bool
) -> None:
    """As many as are wanted, no more and no fewer; a wait that ends without them fails."""
    for slot in range(there):
        driver.add(slot)
    assert (shell(driver.place(ask_devices_taken(wanted, 0.1))).returncode == 0) is taken


def test_a_device_that_comes_late(shell: Callable[[str], Completed], driver: Driver) -> None:
    """The wait goes on until it is there."""
    late = threading.Timer(0.3, driver.add, (0,))
    late.start()
    assert shell(driver.place(ask_devices_taken(1, 30))).returncode == 0
    late.join(10)


def test_a_state_is_written_and_read(shell: Callable[[str], Completed], driver: Driver) -> None:
    """Into the files of the device that was meant; what is read of it is what its files say."""
    for slot in range(2):
        driver.add(slot, **dict.fromkeys(("scratch", "seed"), ""))
    assert shell(driver.place(find_driven(1) + write_state([5, 6], 7))).returncode == 0
    device = driver.tree / "1" / "refdev"
    assert ((device / "scratch").read_text(), (device / "seed").read_text()) == ("5 6\n", "7\n")
    assert (driver.tree / "0" / "refdev" / "seed").read_text() == ""
    view = make_answers().devices[0]
    for name, text in _files_of(render_view(view)).items():
        (device / name).write_text(text)
    (device / "irq_raised").write_text("0 5\n1 6\n")
    (device / "irq_seen").write_text("0 5 4\n1 6 6\n")
    found = parse_view(shell(driver.place(f"{find_driven(1)} {READ_VIEW}")).text)
    assert (found.scratch, found.seed, found.irq_hard) == (view.scratch, view.seed, view.irq_hard)
    assert (found.irq_raised, found.irq_seen) == ((5, 6), (4, 6))


def _files_of(text: str) -> dict[str, str]:
    blocks = [block.partition(" <==\n") for block in text.split("==> ")[1:]]
    return {name: contents for name, _, contents in blocks}


COUNTS = st.lists(st.integers(0, 2**40), min_size=1, max_size=4)


@given(st.integers(0, 2047), st.tuples(COUNTS, COUNTS, COUNTS, COUNTS))
def test_counts_are_summed_over_cpus(vector: int, rows: tuple[list[int], ...]) -> None:
    """Primary handler and thread, before and after, whatever the number of CPUs."""
    text = "\n".join(" ".join(map(str, (vector, *row))) for row in rows)
    sums = [sum(row) for row in rows]
    assert parse_fired(text) == Fired(vector, (sums[0], sums[1]), (sums[2], sums[3]))


@pytest.mark.parametrize("text", ["", "1 2\n1 2\n1 3\n", "1 2\n1 2\n1 3\n1 3\n1 3\n", "1\n1\n1\n1\n", "a b\n" * 4])
def test_counts_that_are_none(text: str) -> None:
    """Fewer or more lines, lines without a count, words: none of it is taken for counts."""
    with pytest.raises(ValueError):  # noqa: PT011 (int's own words)
        parse_fired(text)
