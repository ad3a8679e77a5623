# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a migration can end, and how long it takes, by the sizes, rates and times of its devices. Pure.

**What QEMU compares.** Every 100 ms it sets the threshold to

    bandwidth (bytes per ms, rounded down) × downtime limit (ms)

with ``avail-switchover-bandwidth``, or where that is 0 with what it sent in the last 100 ms or more
(migration/migration.c: migration_update_counters). It switches over once what is pending is below the threshold, or
nothing is (migration_iteration_run; QEMU 11 also where the two are equal). A cheap estimate of what is pending comes
first, and decides nothing but whether the exact size is asked for: RAM after a look for what got dirty, and for each
VFIO device the stop-copy size that its driver gives (VFIO_DEVICE_FEATURE_MIG_DATA_SIZE; hw/vfio/migration.c:
vfio_state_pending_exact), also of one without PRE_COPY.

**What the reference device gives** (images/modules/refdev, migration.c: refdev_get_data_size): all that STOP_COPY would
have to read if it began now. Without PRE_COPY that are ``initial_bytes + stop_copy_bytes`` for as long as it runs. With
PRE_COPY it is ``stop_copy_bytes``, what is unread of the initial bytes, and what got dirty of those that were read:

- Not dirtied, or slower than it is read: the second and third go to 0, and ``stop_copy_bytes`` remain.
- Dirtied faster than it can be read: all that was read is soon dirty again, and all bytes remain pending for ever.
  Blocks that are read at once, and work that the device does ahead, make a dip of at most :data:`DIP`.

So the **least that is ever pending** is known from below: RAM is 0 or more, and only a rate that is set (the device's,
or that of its destination, or ``max-bandwidth``) bounds how fast a device is read. Where it is above the highest
threshold that there ever is, the migration *never converges*. Nothing is said of a threshold that is above it by less
than the RAM that the guest dirties: whether that migration converges depends on what the guest does.

**How long it takes** is known from below too. Devices read and load no faster than their rates, ahead by at most
:data:`AHEAD`; every arc takes ``state_change_ms``; a limit in force later lets the migration end later. A migration
whose least time is clearly above ``timeout_s`` *runs out of time*. A single call of the device that takes clearly
longer than ``hang_s``, in which nothing is sent and no QEMU writes to its log, makes it *stuck* before that.

Bytes, seconds, bytes per second, but for limits, which are in milliseconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from switchover.devices.reference import Knobs
from switchover.migration.phases import Action, Phase
from switchover.migration.settings import MigrationSettings
from switchover.record.units import MIB, format_bytes, format_duration
from switchover.scenarios.faults import Fault

BLOCK = 1 * MIB
"""QEMU's buffer for a device: so much is read by one call (VFIO_MIG_DEFAULT_DATA_BUFFER_SIZE)."""
AHEAD = 2 * MIB
"""How much a reference device may do ahead of its rate (REFDEV_PACE_CREDIT)."""
DIP = 4 * MIB
"""A block, what is done ahead, and units of 4 KiB with their headers that are not dirty yet."""
BUFFERED = 16 * MIB
"""What lies in the sockets and QEMU's buffers of both sides at most: read, and neither sent nor loaded."""
WINDOWS_PER_S = 10
"""QEMU limits its bandwidth in windows of 100 ms, and looks before each block: it exceeds the limit by one."""
RAM_LEAST = 24 * MIB
"""A Linux that runs has at least so much that is not zero: its kernel and what was in its initramfs."""
RAM_USUAL = 75 * MIB
"""What the guest of the lab has, as the demo shows: for estimates."""
CLEARLY = 1.15
"""By this factor a rate or a time has to be larger before something is said for sure."""
CANCEL_S = 25.0
"""A migration that is given up while a device is saved has so long to complete all the same: QEMU hears no cancel then,
and what it is given for an answer is 20 s (migration/session.py).
"""
SEEN_BY = 1.5
"""By so many times ``hang_s`` a hang is seen: there is a sixth of it between two looks (migration/watch.py)."""
SENT_S = 5.0
"""How long the buffers between two hosts take to fill before nothing is sent any more."""
LOOK_S = 5.0
"""If a round of QEMU's takes longer, nobody sees the threshold in a look (migration/watch.py)."""
RESTLESS = 16 << 10
"""Bytes per second: a device that gets dirty so fast has a unit of 4 KiB to be read in any half second."""


class Ending(StrEnum):
    """Why a migration has no end of its own, or that it may have one."""

    OPEN = "may end"
    NOT_CONVERGING = "never converges"
    STUCK = "is stuck"
    OUT_OF_TIME = "runs out of time"


@dataclass(frozen=True)
class Stream:
    """The state of a reference device on its way from the source to the destination. A rate of 0 is none."""

    initial_bytes: int
    stop_copy_bytes: int
    pre_copy: bool
    """Whether QEMU takes the device through PRE_COPY."""
    dirty_rate: int = 0
    save_rate: int = 0
    load_rate: int = 0
    save_arcs_s: float = 0.0
    """All changes of state of the source's device until the stream is saved."""
    longest_save_arc_s: float = 0.0
    """The longest call among these."""
    load_arcs_s: float = 0.0
    """The same of the destination's device, until the stream can be loaded: one call."""
    load_initial_s: float = 0.0
    reinits: int = 0
    """How often initial data comes anew once all before it is read."""
    reinit_bytes: int = 0
    """How much of it comes each time."""
    silent: bool = False
    """Whether no QEMU writes to its log while the device is saved or loaded: nothing is traced."""

    @property
    def all_bytes(self) -> int:
        """Without what gets dirty."""
        return self.initial_bytes + self.stop_copy_bytes

    @property
    def block(self) -> int:
        return min(BLOCK, self.all_bytes)

    @property
    def slowest_rate(self) -> int:
        """Of saving and loading; 0: neither has one."""
        return min((rate for rate in (self.save_rate, self.load_rate) if rate), default=0)

    def drains(self, rate: int) -> bool | None:
        """Whether pre-copy gets to its end where it is read at most at ``rate`` (0: unknown); None: nobody can tell."""
        if not self.dirty_rate:
            return True
        if not rate:
            return None
        if self.dirty_rate > rate * CLEARLY:
            return False
        return True if self.dirty_rate * CLEARLY < rate else None


@dataclass(frozen=True)
class Terms:
    """What a migration is given, besides its devices."""

    limits_ms: tuple[int, ...]
    """Downtime limits, in the order in which they come in force once the switchover is let go."""
    step_s: float
    """The time from one limit to the next."""
    bandwidth: int
    """``avail-switchover-bandwidth``; 0: what QEMU measures."""
    most_bandwidth: int
    """``max-bandwidth``; 0: unlimited."""
    settle_s: float
    """How long the switchover is held back at most, where a device does not drain; 0: it is not."""
    settle_bytes: int
    hang_s: float
    timeout_s: float
    waits_for_load: bool
    """Whether the source's migration ends after the destination has loaded everything (``return-path``)."""
    link_rate: int = 0
    """Of a link that is slowed from the beginning; 0: it is not."""
    paused: bool = False
    """Whether the guest is paused on the way: a device is not read any more then before it is saved, nor gets dirty."""

    @property
    def measured_most(self) -> int:
        """The most bandwidth that QEMU measures; 0: unlimited."""
        return self.most_bandwidth + WINDOWS_PER_S * BLOCK if self.most_bandwidth else 0


@dataclass(frozen=True)
class Forecast:
    """What becomes of a migration. ``limit``: the number, from 0, of the downtime limit with which the switchover may
    come; None: it does not.
    """

    ending: Ending
    seconds: float
    """An estimate of the time from ``migrate`` to the end, or until the hang is told, on top of the second or two that
    a small guest with a quick device takes."""
    limit: int | None = 0
    least_pending: int = 0
    threshold: int | None = None
    """The highest that there ever is; None: nobody knows."""
    least_seconds: float = 0.0
    """From ``migrate`` to its end, if nothing ended it before."""

    @property
    def why(self) -> str:
        """In words, with numbers; empty: nothing keeps it from its end."""
        match self.ending:
            case Ending.NOT_CONVERGING if self.threshold is not None:
                pending, threshold = format_bytes(self.least_pending), format_bytes(self.threshold)
                return f"at least {pending} pending, and a threshold of at most {threshold}"
            case Ending.OUT_OF_TIME if self.limit is not None:
                return f"takes at least {format_duration(self.least_seconds)}"
            case _:
                return ""


def make_stream(source: Knobs, destination: Knobs | None, *, pre_copy: bool, silent: bool = False) -> Stream:
    """Of a device whose pre-copy QEMU uses or not, and of that which loads its state (None: nothing is known of it)."""
    loading = destination or Knobs()
    saving_arcs = 2 + source.p2p  # PRE_COPY, PRE_COPY_P2P, STOP_COPY; or RUNNING_P2P, STOP, STOP_COPY
    again = pre_copy and source.reinit_at == "read" and not source.reinit_after_bytes
    arc, loading_arc = source.state_change_ms / 1000, loading.state_change_ms / 1000
    return Stream(
        source.initial_bytes,
        source.stop_copy_bytes,
        pre_copy,
        source.dirty_bytes_per_sec if pre_copy else 0,
        source.save_bytes_per_sec,
        loading.load_bytes_per_sec,
        arc * saving_arcs,
        arc,
        loading_arc * (2 + loading.p2p),  # RUNNING_P2P, STOP, RESUMING
        loading.load_initial_ms / 1000,
        source.reinit_count if again else 0,
        source.reinit_bytes,
        silent,
    )


def make_terms(settings: MigrationSettings, faults: Sequence[Fault] = ()) -> Terms:
    slowed = [
        fault.rate_bit // 8
        for fault in faults
        if fault.action is Action.SLOW_LINK and fault.phase in (Phase.BEFORE, Phase.SETUP, Phase.ACTIVE)
    ]
    return Terms(
        limits_ms=(settings.downtime_limit_ms, *settings.downtime_steps_ms),
        step_s=settings.downtime_step_s if settings.downtime_steps_ms else 0.0,
        bandwidth=settings.switchover_bandwidth,
        most_bandwidth=settings.max_bandwidth,
        settle_s=min(settings.settle_timeout_s, settings.timeout_s) if settings.settle else 0.0,
        settle_bytes=settings.settle_vfio_bytes,
        hang_s=settings.hang_s,
        timeout_s=settings.timeout_s,
        waits_for_load=settings.return_path,
        link_rate=min(slowed, default=0),
        paused=any(fault.action is Action.PAUSE_GUEST and fault.phase is not Phase.BEFORE for fault in faults),
    )


def find_least_pending(streams: Iterable[Stream], terms: Terms) -> int:
    """Bytes that are pending at any time, at least."""
    least = 0
    for stream in streams:
        if not stream.pre_copy:
            least += stream.all_bytes
            continue
        least += stream.stop_copy_bytes
        if terms.paused:
            continue
        read_most = ((stream.save_rate, DIP), (stream.load_rate, BUFFERED), (terms.measured_most, DIP))
        kept = [stream.initial_bytes - dip for rate, dip in read_most if stream.drains(rate) is False]
        least += max(0, *kept) if kept else 0
    return least


def find_threshold(limit_ms: int, terms: Terms) -> int | None:
    """The most that the threshold is with a limit; None: it depends on what QEMU measures, and nothing bounds that."""
    if terms.bandwidth:
        return terms.bandwidth // 1000 * limit_ms
    return terms.measured_most * limit_ms // 1000 if terms.measured_most else None


def find_limit(least: int, terms: Terms) -> int | None:
    """The number, from 0, of the first limit that may let a migration switch over of which ``least`` bytes are always
    pending; None: none does.
    """
    for number, limit in enumerate(terms.limits_ms):
        threshold = find_threshold(limit, terms)
        if threshold is None or least <= threshold:
            return number
    return None


def find_highest_threshold(terms: Terms) -> int | None:
    """Of all limits; None: it depends on what QEMU measures."""
    thresholds = [find_threshold(limit, terms) for limit in terms.limits_ms]
    known = [threshold for threshold in thresholds if threshold is not None]
    return max(known) if len(known) == len(thresholds) else None


def find_least_seconds(streams: Sequence[Stream], terms: Terms) -> float:
    """How long a migration takes that can switch over, at least."""
    limit = find_limit(find_least_pending(streams, terms), terms) or 0
    times = [limit * terms.step_s]
    for stream in streams:
        save = stream.save_arcs_s + _take(stream.all_bytes - AHEAD, stream.save_rate)
        load = stream.load_arcs_s + _take(stream.all_bytes - AHEAD, stream.load_rate) + stream.load_initial_s
        times += [save, load if terms.waits_for_load else _take(stream.all_bytes - BUFFERED, stream.load_rate)]
        if terms.settle_s and _never_settles(stream, terms):
            left = _take(stream.stop_copy_bytes - AHEAD, stream.save_rate)
            times.append(terms.settle_s + limit * terms.step_s + left)
    threshold = find_highest_threshold(terms)
    if threshold is not None:  # RAM in pre-copy; in stop-copy there is no limit of the bandwidth
        times.append(_take(RAM_LEAST - threshold, terms.most_bandwidth))
    if terms.link_rate:
        sent = sum(stream.all_bytes for stream in streams) + RAM_LEAST - BUFFERED
        times.append(_take(sent, terms.link_rate))
    return max(times)


def find_longest_call(streams: Iterable[Stream], terms: Terms) -> float:
    """The longest time in which one call of a device keeps a migration from sending anything. QEMU writes what it loads
    in pieces, so that a destination that loads slowly still lets the source send now and then.
    """
    times = [0.0]
    for stream in streams:
        times += [stream.longest_save_arc_s, _take(stream.block, stream.save_rate)]
        if stream.silent:  # QEMU answers nothing while it saves a device, and its log is all that is seen of it
            times.append(_take(stream.stop_copy_bytes - AHEAD, stream.save_rate))
        if terms.waits_for_load:
            times += [stream.load_arcs_s, stream.load_initial_s]
    return max(times)


def estimate_hold(streams: Iterable[Stream], terms: Terms) -> float:
    """How long the switchover is held back, with ``settle``: until pre-copy is over."""
    seconds = 0.0
    for stream in streams:
        if _never_settles(stream, terms):
            return terms.settle_s
        if stream.pre_copy:
            rate = stream.slowest_rate
            left = terms.settle_bytes if stream.dirty_rate and terms.settle_bytes else stream.initial_bytes
            seconds += _take(left, rate)
            seconds += stream.reinits * (_take(stream.reinit_bytes, rate) + stream.load_initial_s)
    return min(seconds + _take(RAM_USUAL, terms.most_bandwidth), terms.settle_s)


def estimate_seconds(streams: Sequence[Stream], terms: Terms, limit: int) -> float:
    """Of a migration that comes to its end, with the limit of this number."""
    seconds = limit * terms.step_s + (estimate_hold(streams, terms) if terms.settle_s else 0.0)
    for stream in streams:
        drained = terms.settle_s and stream.pre_copy and stream.drains(stream.slowest_rate)
        left = stream.stop_copy_bytes if drained else stream.all_bytes
        seconds += _take(left, stream.slowest_rate) + stream.load_initial_s
        seconds += max(stream.save_arcs_s, stream.load_arcs_s)
    slow = _take(RAM_USUAL, 0 if terms.settle_s else terms.most_bandwidth)
    return seconds + slow + _take(RAM_USUAL + sum(stream.all_bytes for stream in streams), terms.link_rate)


def forecast(streams: Sequence[Stream], terms: Terms) -> Forecast:
    """What becomes of a migration with these devices. ``streams``: of its reference devices; of others nothing is known
    but that they make it longer.
    """
    least, threshold = find_least_pending(streams, terms), find_highest_threshold(terms)
    limit, least_s = find_limit(least, terms), find_least_seconds(streams, terms)

    def found(ending: Ending, seconds: float) -> Forecast:
        return Forecast(ending, min(seconds, terms.timeout_s), limit, least, threshold, least_s)

    # without an end a device is read in pre-copy only
    read = streams if limit is not None else [stream for stream in streams if stream.pre_copy]
    told_s = terms.hang_s * SEEN_BY
    if find_longest_call(read, terms) > told_s + SENT_S and told_s < terms.timeout_s:
        return found(Ending.STUCK, terms.hang_s)
    if limit is not None:
        if least_s > max(terms.timeout_s * CLEARLY, terms.timeout_s + CANCEL_S):
            return found(Ending.OUT_OF_TIME, terms.timeout_s)
        return found(Ending.OPEN, estimate_seconds(streams, terms, limit))
    # a first pass through all initial bytes may be progress, and its second is none
    began = estimate_hold(streams, terms) + (len(terms.limits_ms) - 1) * terms.step_s
    passes = 2 * sum(_take(stream.initial_bytes, stream.slowest_rate) for stream in read)
    rounds = sum(_take(stream.block, stream.slowest_rate) for stream in read)
    if rounds < LOOK_S and began + passes + told_s < terms.timeout_s:
        return found(Ending.NOT_CONVERGING, began + passes + terms.hang_s)
    return found(Ending.OUT_OF_TIME, terms.timeout_s)


def _take(count: int, rate: int) -> float:
    """Seconds for so many bytes; 0 where there are none, or no rate."""
    return max(0, count) / rate if rate else 0.0


def _never_settles(stream: Stream, terms: Terms) -> bool:
    """Whether a device's counter of bytes never rests."""
    return stream.dirty_rate >= RESTLESS and not terms.settle_bytes and not terms.paused
