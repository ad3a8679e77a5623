# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin for pytest (docs/pytest.md): fixtures for people's own tests, and the catalogue as tests.

Everybody who has the package installed loads this module with every start of pytest: it imports pytest and nothing
else, and all that costs anything begins when an option, an argument or a fixture asks for it.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from switchover.fronts.pytest_words import UNKEPT, USED, find_word, name_run, note_used, split_pair

if TYPE_CHECKING:
    from switchover.fronts.pytest_run import PytestRun
    from switchover.hosts.host import Host
    from switchover.hosts.inventory import Inventory
    from switchover.irq.analysis import Analysis
    from switchover.lab.lab import Lab
    from switchover.record.record import Record
    from switchover.runner.testbed import Guest, Testbed
    from switchover.scenarios.case import Case
    from switchover.scenarios.expand import PlannedCase

OLDEST = (8, 0)
"""The first pytest that this works with."""
_PAIRS = pytest.StashKey[dict[str, str]]()
"""Pairs of hosts by the worker of pytest-xdist that has them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("switchover", "switchover: live migration of guests with VFIO devices")
    group.addoption(
        "--switchover",
        action="store_true",
        help="collect the catalogue of cases, and no other tests unless files are named; arguments switchover:WORD "
        "choose from it: an id, a scenario, a pattern with *",
    )
    group.addoption(
        "--switchover-cases",
        action="append",
        default=[],
        metavar="PATH",
        help="collect the cases of this file or directory (*.toml, *.py); with --switchover, besides the catalogue",
    )
    group.addoption(
        "--switchover-tag",
        action="append",
        default=[],
        metavar="T",
        help="only cases that have this tag; -T: only cases that do not have it; given several times, all must hold",
    )
    group.addoption(
        "--switchover-pair",
        action="append",
        default=[],
        metavar="SOURCE,DESTINATION",
        help="migrate between these hosts of the inventory instead of in a lab; give it once for each worker of -n",
    )
    group.addoption(
        "--switchover-inventory", metavar="FILE", help="the inventory; default: ~/.config/switchover/inventory.toml"
    )
    group.addoption("--switchover-output", metavar="DIRECTORY", help="make the run directory in this directory")
    told = "add the numbers of the session to this history; off: to none; default: the one beside the runs"
    group.addoption("--switchover-history", metavar="FILE", help=told)
    parser.addini("switchover_history", f"{told}; a path from this file", default="")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "switchover_case(case): whose guest switchover_guest is: a case, or its id in the catalogue"
    )
    pairs: list[str] = config.getoption("switchover_pair")
    if pairs:
        check_pairs(config, pairs)
    if wants_catalogue(config):
        require_fitting()
        from switchover.fronts.pytest_items import CataloguePlugin

        config.pluginmanager.register(CataloguePlugin(config), "switchover-catalogue")


def wants_catalogue(config: pytest.Config) -> bool:
    """Whether cases are to be collected."""
    options = ("switchover", "switchover_cases", "switchover_tag")
    return any(config.getoption(name) for name in options) or any(find_word(word) is not None for word in config.args)


def require_fitting() -> None:
    """:raises pytest.UsageError: this pytest is too old, or changed what the plugin builds upon"""
    if pytest.version_tuple[:2] < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise pytest.UsageError(f"switchover needs pytest {oldest} or newer; this is {pytest.__version__}")
    try:
        import switchover.fronts.pytest_reports  # noqa: F401
    except ImportError as error:
        raise pytest.UsageError(f"switchover does not fit pytest {pytest.__version__}: {error}") from error


def check_pairs(config: pytest.Config, pairs: Sequence[str]) -> None:
    """:raises pytest.UsageError: a pair is none, or of hosts that the inventory does not have; or there are too many"""
    from switchover.fronts.pytest_run import load_hosts
    from switchover.record.errors import SwitchoverError

    try:
        inventory = load_hosts(config)
        for pair in pairs:
            for name in split_pair(pair):
                inventory.require(name)
    except SwitchoverError as error:
        raise pytest.UsageError(str(error)) from error
    if len(pairs) > 1 and not config.getoption("tx", None) and not hasattr(config, "workerinput"):
        raise pytest.UsageError(
            f"{len(pairs)} pairs of hosts are named, but each worker uses one pair: give -n {len(pairs)}"
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[object]) -> None:
    pairs: list[str] = config.getoption("switchover_pair")
    if pairs and len(specs) > len(pairs):
        raise pytest.UsageError(f"{len(specs)} workers need as many pairs of hosts; {len(pairs)} are named")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """What a worker of pytest-xdist has to know; a worker that takes the place of a dead one takes its hosts, too."""
    config = node.config
    node.workerinput["switchover_run"] = name_run(config)
    pairs: list[str] = config.getoption("switchover_pair")
    taken = config.stash.setdefault(_PAIRS, {})
    free = list(pairs)
    for pair in taken.values():
        free.remove(pair)
    if free:
        taken[node.gateway.id] = node.workerinput["switchover_pair"] = free[0]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    node.config.stash.setdefault(_PAIRS, {}).pop(node.gateway.id, None)
    used = getattr(node, "workeroutput", None) or {}
    if "switchover_used" in used:
        note_used(node.config, used["switchover_used"])


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """When all others have ended: records of workers, and of what was not run, are there."""
    result = yield
    config = session.config
    if (used := config.stash.get(USED, "")) and not hasattr(config, "workerinput"):
        from switchover.fronts.pytest_run import keep_session

        config.stash[UNKEPT] = keep_session(config, used)
    return result


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if used := config.stash.get(USED, ""):
        terminalreporter.write_sep("-", "switchover")
        terminalreporter.write_line(f"run directory: {used}")
        terminalreporter.write_line(f"what it holds: switchover show {used}")
        if trouble := config.stash.get(UNKEPT, ""):
            terminalreporter.write_line(trouble)


# The ladder of fixtures. The names have a prefix, since a plugin's fixtures are everybody's: who wants them without
# takes those of switchover.fronts.fixtures.


@pytest.fixture(scope="session")
def switchover_run(request: pytest.FixtureRequest) -> "PytestRun":
    """What this process has of the run: its directory, and hosts once something needs them."""
    require_fitting()
    from switchover.fronts.pytest_run import require_run

    return require_run(request.config)


@pytest.fixture(scope="session")
def switchover_inventory(request: pytest.FixtureRequest) -> "Inventory":
    """Real hosts, of ``--switchover-inventory`` or the user's own file; empty if there is none."""
    from switchover.fronts.pytest_run import load_hosts

    return load_hosts(request.config)


@pytest.fixture(scope="session")
def switchover_testbed(switchover_run: "PytestRun") -> "Testbed":
    """The hosts of this process: those of ``--switchover-pair``, or a lab that is borrowed, or booted and stopped."""
    return switchover_run.require_testbed()


@pytest.fixture(scope="session")
def switchover_lab(switchover_testbed: "Testbed") -> "Lab":
    """The lab. A test that needs one is skipped on hosts of the inventory."""
    if switchover_testbed.lab is None:
        pytest.skip("the hosts of this session are no lab")
    return switchover_testbed.lab


@pytest.fixture(scope="session")
def switchover_host_pair(switchover_testbed: "Testbed") -> "tuple[Host, Host]":
    """Source and destination, as a guest that begins finds them."""
    return switchover_testbed.hosts


@pytest.fixture(scope="session")
def switchover_source(switchover_host_pair: "tuple[Host, Host]") -> "Host":
    """The host where guests begin."""
    return switchover_host_pair[0]


@pytest.fixture(scope="session")
def switchover_destination(switchover_host_pair: "tuple[Host, Host]") -> "Host":
    """The host that guests migrate to first."""
    return switchover_host_pair[1]


@pytest.fixture
def switchover_case(request: pytest.FixtureRequest, switchover_run: "PytestRun") -> "Case":
    """The case of the mark ``switchover_case``, of the test, its class or its module; default: a guest with one
    reference device.
    """
    switchover_run.begin(request.node)
    mark = request.node.get_closest_marker("switchover_case")
    return switchover_run.find_case(*mark.args if mark else (), name=request.node.name)


@pytest.fixture
def switchover_guest(switchover_run: "PytestRun", switchover_case: "Case") -> "Iterator[Guest]":
    """The guest of the case, started, with its devices, and ended after the test."""
    with switchover_run.require_testbed().start_guest(switchover_case) as guest:
        yield guest


@pytest.fixture
def switchover_migration(
    request: pytest.FixtureRequest, switchover_run: "PytestRun", switchover_guest: "Guest"
) -> "Record":
    """The record of a migration of that guest, which was as the case expects."""
    return switchover_run.require_expected(switchover_guest.migrate(), request.node.nodeid)


@pytest.fixture
def switchover_migrated_guest(switchover_guest: "Guest", switchover_migration: "Record") -> "Guest":
    """The guest after that migration, where it left it."""
    return switchover_guest


@pytest.fixture
def switchover_run_case(request: pytest.FixtureRequest, switchover_run: "PytestRun") -> "Callable[..., Record]":
    """Runs a case, or one of the catalogue by its id: ``record = switchover_run_case("precopy.device.pre_copy-on")``.

    A case that is not as expected fails the test, one that cannot be run here skips it, and hosts that fail are an
    error. With ``check=False`` the record is returned whatever it says. ``alone``: with a guest of its own.
    """

    switchover_run.begin(request.node)

    def run_case(case: "Case | PlannedCase | str", *, check: bool = True, alone: bool = False) -> "Record":
        record = switchover_run.require_testbed().run(switchover_run.find_runnable(case), alone=alone)
        return switchover_run.require_expected(record, request.node.nodeid) if check else record

    return run_case


@pytest.fixture
def switchover_irq_recorder(switchover_run: "PytestRun") -> "Callable[..., Analysis]":
    """Records where IRQ threads run, on a host or in a guest: ``switchover_irq_recorder(guest, seconds=2)``. The
    recording is in the run directory.
    """

    def record_irq_threads(where: "Guest | Host", seconds: float, irqs: Sequence[str] = ()) -> "Analysis":
        from switchover.runner.testbed import Guest

        host = where.shell if isinstance(where, Guest) else where
        return switchover_run.require_testbed().record_irq_threads(host, seconds, irqs)

    return record_irq_threads
