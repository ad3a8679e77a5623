# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases from a coordinator of labgrid 26, for hosts that people and CI share. A place is a pair.

labgrid reserves one place at a time, and locks places, not what two of them have in common: so a place has the name of
a pair (``rack1-rack2``), and below it are locks of ours (:mod:`switchover.runner.leases.flocks`), which keep our own
runs apart when the coordinator is gone.

What labgrid does, as labgrid/remote/coordinator.py of 26.0 has it, and what is done about it here:

- It knows who asks by the connection of a ``ClientStream``, and by the name that was sent there: that name has the id
  of the run, so that a place tells whose it is.
- A place stays acquired when its client dies, for ever: :func:`release_stale_places` gives back those of runs of this
  controller that are gone.
- When it is started again it has forgotten who has what: each place is acquired anew, within some seconds, and if
  somebody else was quicker the lease is lost (:meth:`Lease.find_loss`).

There is no stable client in Python; the generated stubs are used, and imported when a backend is made.
"""

import contextlib
import getpass
import hashlib
import importlib
import os
import platform
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from switchover.hosts.inventory import Inventory
from switchover.hosts.ownership import describe_process, find_owner, take_file
from switchover.record.errors import NotReady
from switchover.record.log import LOG
from switchover.record.paths import leases_directory
from switchover.runner.leases.flocks import FlockBackend
from switchover.runner.leases.protocol import Holder, Lease, LeaseBackend, Waiting, keep_silent, never, wait_for_lease
from switchover.runner.leases.resources import Choice

VARIABLE = "LG_COORDINATOR"
"""labgrid's own variable for the address of its coordinator."""
PORT = 20408
"""labgrid's own."""
_ANSWER_S = 5.0
_NOBODY = "nobody"


def find_coordinator(inventory: Inventory | None = None) -> str:
    """``HOST:PORT`` of the coordinator, from ``LG_COORDINATOR`` or the inventory; empty: there is none."""
    address = os.environ.get(VARIABLE, "") or (inventory.labgrid if inventory is not None else "")
    host, colon, port = address.rpartition(":")
    is_whole = not address or (bool(colon) and port.isdigit() and bool(host))
    return address if is_whole else f"{address}:{PORT}"


def name_user(run: str) -> str:
    """Who a run of this controller is to labgrid: ``HOST/switchover-SCOPE-RUN``.

    The scope is a digest of the state directory: runs of others on this machine are not ours to judge.
    """
    return f"{_user_prefix()}{run}"


def _user_prefix() -> str:
    where = f"{platform.node()} {getpass.getuser()} {leases_directory()}"
    return f"{platform.node()}/switchover-{hashlib.sha256(where.encode()).hexdigest()[:8]}-"


class LabgridBackend:
    """Satisfies :class:`switchover.runner.leases.protocol.LeaseBackend`; a context manager.

    ``run``: id of the run. ``below``: locks of this controller. ``name_place``: of a pair. ``poll_s``: how often places
    are looked at, those that are waited for and those that are held.

    :raises NotReady: labgrid is not installed, or another process has a run of this id
    """

    def __init__(
        self,
        address: str,
        run: str,
        *,
        below: LeaseBackend | None = None,
        name_place: Callable[[Choice], str] = lambda choice: choice.name,
        poll_s: float = 2.0,
    ) -> None:
        self._stubs = _require_stubs()
        self._address = address
        self._user = name_user(run)
        self._below = below or FlockBackend(who=f"run {run}, {describe_process()}")
        self._name_place = name_place
        self._poll_s = poll_s
        self._lock = threading.RLock()
        self._session: _Session | None = None
        self._held: dict[str, str] = {}
        """Places that are ours, and why they are no longer; empty: they are."""
        self._owed: set[str] = set()
        """Places that could not be given back, since the coordinator did not answer."""
        alive = take_file(_alive_path(self._user), note=describe_process())
        if alive is None:
            raise NotReady(f"Another process leases as the run {run!r}.")
        self._alive = alive
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="labgrid", daemon=True)
        self._keeper.start()

    def acquire(
        self,
        choices: Sequence[Choice],
        timeout_s: float,
        waiting: Waiting = keep_silent,
        unwanted: Callable[[], bool] = never,
    ) -> Lease:
        """As :meth:`LeaseBackend.acquire`; who waits for a place polls, and labgrid keeps no order."""
        return wait_for_lease(
            choices, lambda: self._attempt(choices), timeout_s, waiting, unwanted, poll_s=min(self._poll_s, 1.0)
        )

    def close(self) -> None:
        """Give back what could not be given back before, as far as that is possible now."""
        self._closing.set()
        self._keeper.join(2 * _ANSWER_S)
        with self._lock:
            self._settle()
            if self._owed:
                LOG.warning("labgrid still has as ours: %s; switchover clean gives them back", sorted(self._owed))
            if self._session is not None:
                self._session.close()
        self._alive.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self, choices: Sequence[Choice]) -> Lease | Sequence[Holder]:
        left = list(choices)
        holders: list[Holder] = []
        while left:
            try:
                ours = self._below.acquire(left, 0)
            except NotReady as error:
                return [
                    *holders,
                    Holder("a lock of this controller", f"another case ({error.why})", news=bool(holders)),
                ]
            with contextlib.ExitStack() as stack:
                stack.callback(ours.release)
                holder = self._acquire_place(self._name_place(ours.choice))
                if holder is None:
                    stack.pop_all()
                    return self._make_lease(ours)
            holders.append(holder)
            left.remove(ours.choice)
        return holders

    def _make_lease(self, ours: Lease) -> Lease:
        place = self._name_place(ours.choice)

        def give_back() -> None:
            try:
                self._give_back(place)
            finally:
                ours.release()

        return Lease(ours.choice, give_back, find_loss=lambda: self._find_loss(place))

    def _acquire_place(self, place: str) -> Holder | None:
        """None: it is ours. :raises NotReady: there is no such place, or it cannot be had at all"""
        grpc = self._stubs.grpc
        with self._lock:
            self._owed.discard(place)
            try:
                owner = self._ask().find_owners().get(place)
                if owner is None:
                    raise NotReady(
                        f"labgrid at {self._address} has no place {place!r}.",
                        fix=f"labgrid-client -p {place} create",
                    )
                if owner and owner != self._user:
                    return Holder(place, owner)
                if not owner:
                    self._ask().acquire(place)
                self._held[place] = ""
                return None
            except grpc.RpcError as error:
                if error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED):
                    return Holder(place, f"{_NOBODY} but not to be had: {error.details()}")
                return Holder(place, f"{_NOBODY}: labgrid at {self._address} does not answer ({error.details()})")
            except _Silent as error:
                return Holder(place, f"{_NOBODY}: {error}")

    def _give_back(self, place: str) -> None:
        with self._lock:
            if not self._held.pop(place, ""):
                self._owed.add(place)
            self._settle()

    def _find_loss(self, place: str) -> str:
        with self._lock:
            self._settle()
            return self._held.get(place, "")

    def _keep(self) -> None:
        while not self._closing.wait(self._poll_s):
            with self._lock:
                self._settle()

    def _settle(self) -> None:
        """Acquire again what a coordinator that was started again has forgotten; give back what is owed."""
        if not self._held and not self._owed:
            return
        grpc = self._stubs.grpc
        try:
            owners = self._ask().find_owners()
            for place in sorted(self._owed):
                if owners.get(place) == self._user:
                    self._ask().release(place)
                self._owed.discard(place)
            for place, lost in self._held.items():
                owner = owners.get(place)
                if lost or owner == self._user:
                    continue
                if owner:
                    self._held[place] = f"labgrid has given the place {place} to {owner}"
                elif owner is None:
                    self._held[place] = f"labgrid has no place {place} any more"
                else:
                    LOG.warning("labgrid has forgotten that the place %s is ours; it is acquired again", place)
                    self._ask().acquire(place)
        except (grpc.RpcError, _Silent) as error:
            LOG.debug("labgrid at %s: %s", self._address, error)

    def _ask(self) -> "_Session":
        """A session that lives; a new one after the coordinator was gone."""
        if self._session is None or self._session.broken.is_set():
            if self._session is not None:
                self._session.close()
            self._session = _Session(self._stubs, self._address, self._user)
        return self._session


class _Stubs:
    """Modules of labgrid and grpc."""

    def __init__(self) -> None:
        self.grpc: Any = importlib.import_module("grpc")
        generated = "labgrid.remote.generated.labgrid_coordinator"
        self.messages: Any = importlib.import_module(f"{generated}_pb2")
        self.service: Any = importlib.import_module(f"{generated}_pb2_grpc")


def _require_stubs() -> _Stubs:
    try:
        return _Stubs()
    except ImportError as error:
        raise NotReady("labgrid cannot be used.", why=str(error), fix="pip install 'switchover[labgrid]'") from error


class _Silent(NotReady):
    """The coordinator takes the connection, and says nothing."""


class _Session:
    """A connection to the coordinator, under a name.

    ``broken``: it ended, and its coordinator may have forgotten everything.
    """

    def __init__(self, stubs: _Stubs, address: str, user: str) -> None:
        """:raises grpc.RpcError: the coordinator does not answer"""
        self._messages = stubs.messages
        self._user = user
        # a connection of its own: the coordinator tells sessions apart by their connections
        self._channel = stubs.grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub = stubs.service.CoordinatorStub(self._channel)
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._started = threading.Event()
        self.broken = threading.Event()
        self._error: BaseException | None = None
        message = stubs.messages.ClientInMessage
        hello = stubs.messages.StartupDone(version="26", name=user)
        self._requests.put(message(startup=hello))
        self._requests.put(message(sync=stubs.messages.Sync(id=1)))
        stream = self._stub.ClientStream(iter(self._requests.get, None))
        threading.Thread(target=self._follow, args=(stream, stubs.grpc.RpcError), daemon=True).start()
        if not self._started.wait(_ANSWER_S) or self.broken.is_set():
            self.close()
            if self._error is not None:
                raise self._error
            raise _Silent(f"labgrid at {address} does not answer within {_ANSWER_S:g} s.")

    def _follow(self, stream: Any, failure: type[BaseException]) -> None:
        try:
            for message in stream:
                if message.HasField("sync"):
                    self._started.set()
        except failure as error:
            self._error = error
        self.broken.set()
        self._started.set()

    def find_owners(self) -> Mapping[str, str]:
        """By place, who has it; empty: nobody."""
        reply = self._stub.GetPlaces(self._messages.GetPlacesRequest(), timeout=_ANSWER_S)
        return {place.name: place.acquired for place in reply.places}

    def acquire(self, place: str) -> None:
        self._stub.AcquirePlace(self._messages.AcquirePlaceRequest(placename=place), timeout=_ANSWER_S)

    def release(self, place: str, user: str = "") -> None:
        """Nothing, if somebody else has it by now."""
        request = self._messages.ReleasePlaceRequest(placename=place, fromuser=user or self._user)
        self._stub.ReleasePlace(request, timeout=_ANSWER_S)

    def close(self) -> None:
        self._requests.put(None)
        self._channel.close()


def release_stale_places(address: str, *, dry_run: bool = False) -> list[str]:
    """Give back the places of runs of this controller that are gone; they, a line each.

    :raises NotReady: labgrid is not installed, or its coordinator does not answer
    """
    stubs = _require_stubs()
    with _open_session(stubs, address) as session:
        stale = {
            place: owner
            for place, owner in session.find_owners().items()
            if owner.startswith(_user_prefix()) and find_owner(_alive_path(owner)) is None
        }
        for place, owner in stale.items():
            if not dry_run:
                session.release(place, owner)
    return [f"place {place} of {owner}, which is gone" for place, owner in sorted(stale.items())]


@contextlib.contextmanager
def _open_session(stubs: _Stubs, address: str) -> Iterator[_Session]:
    try:
        session = _Session(stubs, address, f"{platform.node()}/switchover-clean")
        try:
            yield session
        finally:
            session.close()
    except stubs.grpc.RpcError as error:
        raise NotReady(
            f"labgrid at {address} does not answer.",
            why=str(error.details()),
            fix=f"start it, or unset {VARIABLE} if there is none any more",
        ) from error


def _alive_path(user: str) -> Any:
    """A file that a run owns while it lives."""
    return leases_directory() / "labgrid" / hashlib.sha256(user.encode()).hexdigest()[:24]
