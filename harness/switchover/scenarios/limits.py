# SPDX-License-Identifier: GPL-2.0-or-later
"""What values of a case may be, whether a file or Python sets them: ranges, forms, and what goes together. Pure."""

import dataclasses
import ipaddress
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from switchover.devices.known_types import REFERENCE, is_reference
from switchover.devices.reference import Knobs
from switchover.guests.spec import GuestSpec
from switchover.migration.settings import MigrationSettings
from switchover.migration.transports import TRANSPORTS
from switchover.record.record import VerdictName
from switchover.scenarios.bounds import parse_bound
from switchover.scenarios.case import AnyDevice, Case, DeviceSpec, FunctionSpec, MediatedSpec, SideSpec
from switchover.scenarios.expectation import Expectation
from switchover.scenarios.faults import Fault
from switchover.scenarios.hardware import (
    check_firmware,
    check_iommu,
    find_hardware_problems,
    find_storage_problems,
    find_unshared_disk,
)

Target = tuple[str | int, ...]
"""A value of a case: the part it is in (``source``, ``destination``, ``settings``, ``faults``, ``probes``, ``hosts``),
then the way to it.
"""
Problem = tuple[Target, str]
"""The value of a case that is wrong, and what is allowed."""


@dataclass(frozen=True)
class Limit:
    """Numbers from ``low`` to ``high``, in ``unit``, that are multiples of ``multiple``. ``above``: ``low`` is none of
    them. ``or_zero``: 0 is one too.
    """

    low: float
    high: float
    unit: str = ""
    multiple: int = 1
    above: bool = False
    or_zero: bool = False

    def __str__(self) -> str:
        low = f"more than {self.low}" if self.above else str(self.low)
        text = f"{'0, or ' * self.or_zero}{low} to {self.high}{self.unit and ' '}{self.unit}"
        return f"{text}, and a multiple of {self.multiple}" if self.multiple > 1 else text

    def allows(self, value: float) -> bool:
        if self.or_zero and value == 0:
            return True
        if not math.isfinite(value) or value > self.high or value < self.low or (self.above and value == self.low):
            return False
        return value % self.multiple == 0 if self.multiple > 1 else True


_SECTION = Limit(4096, 1 << 40, "bytes", 8)
_RATE = Limit(0, 10**12, "bytes per second")
_MS = Limit(0, 600_000, "milliseconds")
_BOUND = Limit(0, 604_800, "seconds", above=True)
_BYTES = Limit(0, (1 << 63) - 1, "bytes")
# MAX_MIGRATE_DOWNTIME_SECONDS (QEMU, migration/options.c)
_DOWNTIME_LIMIT = Limit(0, 2_000_000, "milliseconds")
RATE_LIMIT = Limit(0, 10_000, "interrupts per second")
LIMITS: Mapping[type, Mapping[str, Limit]] = {
    # images/modules/refdev: knobs.c, stream.h, refdev_regs.h
    Knobs: {
        "initial_bytes": _SECTION,
        "stop_copy_bytes": _SECTION,
        "dirty_bytes_per_sec": _RATE,
        "reinit_count": Limit(0, 1_000_000),
        "reinit_bytes": _SECTION,
        "reinit_after_bytes": Limit(0, 1 << 40, "bytes"),
        "save_bytes_per_sec": _RATE,
        "load_bytes_per_sec": _RATE,
        "load_initial_ms": _MS,
        "state_change_ms": _MS,
        "dma_pages_per_sec": Limit(0, 1_000_000, "pages per second"),
        "log_page_bytes": Limit(4096, 1 << 30, "bytes", 4096),
        "log_max_ranges": Limit(1, 256),
        "log_max_pages": Limit(1, 1 << 20, "pages"),
        "irq_rates": RATE_LIMIT,
        "fail_errno": Limit(1, 133),
        "stream_version": Limit(1, 3),
        "version_errno": Limit(1, 133),
    },
    # vcpus: KVM_MAX_VCPUS of x86; queues: MAX_TAP_QUEUES of Linux (drivers/net/tun.c); memory: less than what a kernel
    # with its initramfs needs is a mistake
    GuestSpec: {
        "memory_mib": Limit(64, 1 << 24, "MiB"),
        "vcpus": Limit(1, 4096),
        "nic_queues": Limit(1, 256),
        "prefix": Limit(1, 31),
        "boot_timeout_s": _BOUND,
    },
    MigrationSettings: {
        "downtime_limit_ms": _DOWNTIME_LIMIT,
        "downtime_steps_ms": _DOWNTIME_LIMIT,
        "downtime_step_s": _BOUND,
        "switchover_bandwidth": _BYTES,
        "max_bandwidth": _BYTES,
        "settle_vfio_bytes": _BYTES,
        "timeout_s": _BOUND,
        "settle_timeout_s": _BOUND,
        "hang_s": _BOUND,
    },
    FunctionSpec: {"vf": Limit(0, 65_534), "vfs": Limit(0, 65_535)},
    Fault: {
        "rate_bit": Limit(1_000, 10**12, "bits per second"),
        "at_s": _BOUND,
        "seconds": _BOUND,
    },
    Case: {
        "heartbeat_us": Limit(100, 10_000_000, "microseconds", or_zero=True),
        "irq_seconds": Limit(0, 3600, "seconds"),
    },
}
"""By dataclass and field, the numbers that it takes."""


def _check_address(text: str) -> str:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return "must be an IPv4 address, such as 10.77.0.101"
    usable = not (address.is_multicast or address.is_loopback or address.is_unspecified or address.is_reserved)
    return "" if usable else "must be the IPv4 address of a machine, such as 10.77.0.101"


def _check_mac(text: str) -> str:
    if not re.fullmatch("([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", text) or int(text[:2], 16) % 2:
        return "must be a MAC address of one interface, such as 52:54:00:53:67:01"
    return ""


def _check_interface(text: str) -> str:
    right = not text or (re.fullmatch(r"[^\s/:]{1,15}", text) and text not in (".", ".."))
    return "" if right else "must be the name of a network interface, 1 to 15 characters without blanks, '/' and ':'"


def _check_word(text: str) -> str:
    return "" if text.strip() else "must not be empty"


def _check_reference(text: str) -> str:
    if not is_reference(text):
        return f"must begin with {REFERENCE}: another device is a MediatedSpec, which make_mediated makes"
    return ""


def _check_fault_byte(text: str) -> str:
    word, _, number = text.partition(":")
    if number.isdecimal() and int(number) >= 1 << 64:
        return f"{word}:BYTE must be a byte from 0 to {(1 << 64) - 1}"
    return ""


def _check_cpus(text: str) -> str:
    parts = [re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part) for part in text.split(",")] if text else []
    right = all(part and int(part[1]) <= int(part[2] or part[1]) for part in parts)
    return "" if right else "must be a list of CPUs, such as 2-3 or 0,2-3"


FORMS: Mapping[type, Mapping[str, Callable[[str], str]]] = {
    GuestSpec: {
        "address": _check_address,
        "mac": _check_mac,
        "bridge": _check_interface,
        "qemu": _check_word,
        "machine": _check_word,
        "accel": _check_word,
        "cpu": _check_word,
        "ssh_user": _check_word,
        "firmware": check_firmware,
        "iommu": check_iommu,
    },
    Knobs: {"fail_at": _check_fault_byte},
    DeviceSpec: {"type": _check_reference, "id": _check_word},
    MediatedSpec: {"type": _check_word, "id": _check_word},
    FunctionSpec: {"id": _check_word},
    Case: {"irq_forbid_cpus": _check_cpus},
}
"""By dataclass and field, what is wrong with a text; empty: nothing."""


def find_problem(of: type, field: str, value: object) -> str:
    """What a field of a dataclass may be, if ``value`` is not that; empty: it is."""
    limit = LIMITS.get(of, {}).get(field)
    if limit is not None:
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(number is None or limit.allows(number) for number in numbers):
            return f"{'each ' if isinstance(value, tuple) else ''}must be {limit}"
    form = FORMS.get(of, {}).get(field)
    return form(value) if form and isinstance(value, str) else ""


def find_control(text: str, *, lines: bool = False) -> str:
    """What is wrong with the characters of a text of one line, or with ``lines`` of several; empty: nothing.

    >>> find_control("a\\0")
    'has the control character U+0000 at its place 2'
    """
    for place, character in enumerate(text, start=1):
        control = ord(character) < 32 or 127 <= ord(character) < 160 or character in "\u2028\u2029"
        if control and not (lines and character in "\n\t"):
            what = "a line break" if character == "\n" else f"the control character U+{ord(character):04X}"
            return f"has {what} at its place {place}"
    return ""


OWN_PARAMETERS = {
    "downtime-limit": "downtime_limit_ms",
    "max-bandwidth": "max_bandwidth",
    "avail-switchover-bandwidth": "switchover_bandwidth",
}
"""Migration parameters that are set by keys of their own, and by which: a second way would undo ``settle`` silently."""
_AT_SOURCE = ("dirty_bytes_per_sec", "save_bytes_per_sec")
_AT_DESTINATION = ("load_bytes_per_sec", "load_initial_ms")
_OF_VERSIONS = ("other_version", "version_errno")
_OF_REINITS = ("reinit_bytes", "reinit_after_bytes", "reinit_at")
_OF_LOGGING = ("log_report", "log_page_bytes", "log_max_ranges", "log_max_pages")
_STATES_OF = {"PRE_COPY": "source", "PRE_COPY_P2P": "source", "STOP_COPY": "source", "RESUMING": "destination"}


def find_side(knob: str, value: object) -> str:
    """The only side on which a knob with this value acts; empty: both, or it does nothing on either."""
    if not value or value == "none":
        return ""
    if knob in _AT_SOURCE:
        return "source"
    if knob in _AT_DESTINATION or (knob in _OF_VERSIONS and value != getattr(Knobs, knob)):
        return "destination"
    if knob in ("reinit_count", *_OF_REINITS, *_OF_LOGGING) and value != getattr(Knobs, knob):
        return "source"
    if knob == "corrupt":
        return "source" if value == "stream" else "destination"
    if knob == "fail_at":
        word = str(value).partition(":")[0]
        return {"read": "source", "write": "destination", "load": "destination", **_STATES_OF}.get(word, "")
    return ""


def find_problems(case: Case) -> Iterator[Problem]:
    """Every value of a case that cannot be, by itself or beside the others."""
    yield from _find_own_problems(case)
    if not case.then:
        yield from find_contradictions(case.settings)
        yield from find_side_contradictions(case.source, case.destination)


def _find_own_problems(case: Case) -> Iterator[Problem]:
    yield from _check_fields(case, ("probes",))
    places: list[Target] = [("source",), ("destination",)]
    places += [("then", number, "destination") for number in range(len(case.then))]
    for place, spec in zip(places, case.sides, strict=True):
        yield from _check_fields(spec.guest, (*place, "guest"))
        for device in spec.devices:
            yield from _check_fields(device, (*place, "devices", device.id))
            if isinstance(device, DeviceSpec):
                yield from _check_fields(device.knobs, (*place, "devices", device.id))
    yield from _find_setting_problems(case.settings, ())
    for number, hop in enumerate(case.then):
        yield from _find_setting_problems(hop.settings, ("then", number))
    for number, fault in enumerate(case.faults):
        yield from _check_fields(fault, ("faults", number))
    if text := find_expectation_problem(case.expectation):
        yield ("expectation",), text


def _find_setting_problems(settings: MigrationSettings, place: Target) -> Iterator[Problem]:
    yield from _check_fields(settings, (*place, "settings"))
    for name in settings.parameters:
        if own := OWN_PARAMETERS.get(name):
            yield (
                (*place, "settings", "parameters", name),
                f"has a field of its own, which it would silently override: write {own}",
            )


def _check_fields(value: Any, place: Target) -> Iterator[Problem]:
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        control = find_control(inner) if isinstance(inner, str) else ""
        if text := control or find_problem(type(value), field.name, inner):
            yield (*place, field.name), text
        for name, held in inner.items() if isinstance(inner, Mapping) else ():
            if text := find_control(str(name)) or find_control(held if isinstance(held, str) else ""):
                yield (*place, field.name, name), text


def find_expectation_problem(expectation: Expectation) -> str:
    """Why nothing can be expected so; empty: it can."""
    if expectation.verdict is VerdictName.INFRASTRUCTURE_ERROR:
        return "infrastructure-error is no outcome of a case: nothing can be learned from an environment that failed"
    if expectation.verdict is VerdictName.COMPLETED and (expectation.reason or expectation.side):
        return "a migration that completes gives no reason, and no side says why"
    for name, text in (
        ("downtime_ms", expectation.downtime_ms),
        ("outside_downtime_ms", expectation.outside_downtime_ms),
    ):
        try:
            parse_bound(text or "> 1")
        except ValueError as error:
            return f"{name} {error} (it is {text!r})"
    return ""


def find_contradictions(settings: MigrationSettings) -> Iterator[Problem]:
    """Settings that cannot be together, whatever QEMU makes of them."""
    yield from find_storage_problems(settings)
    for name in ("hang_s", "settle_timeout_s"):
        value = getattr(settings, name)
        given = name in settings.given_bounds or value != getattr(MigrationSettings, name)
        if given and value > settings.timeout_s:
            text = f"{value:g} s is above timeout_s ({settings.timeout_s:g} s): it would never be reached"
            yield ("settings", name), text
    yield from _find_step_contradictions(settings)
    yield from find_transport_contradictions(settings)


def _find_step_contradictions(settings: MigrationSettings) -> Iterator[Problem]:
    """Downtime limits that would change nothing, or never come."""
    steps, step_s = settings.downtime_steps_ms, settings.downtime_step_s
    if not steps and step_s != MigrationSettings.downtime_step_s:
        yield ("settings", "downtime_step_s"), "has no effect without downtime_steps_ms"
    for before, limit in itertools.pairwise((settings.downtime_limit_ms, *steps)):
        if before == limit:
            yield ("settings", "downtime_steps_ms"), f"{limit} ms has no effect: it is the limit before it, too"
    if steps and len(steps) * step_s >= settings.timeout_s:
        late = f"the last limit would come after {len(steps) * step_s:g} s"
        yield ("settings", "downtime_steps_ms"), f"{late}, and timeout_s is {settings.timeout_s:g} s"


_TLS_KEYS = ("tls_hostname", "tls_source", "tls_destination", "tls_verify_peer", "tls_sanity_check")


def find_transport_contradictions(settings: MigrationSettings) -> Iterator[Problem]:
    """What of the way of the stream has no effect, or cannot be."""
    transport = TRANSPORTS[settings.transport]
    if settings.path and (text := transport.find_path_problem(settings.path)):
        yield ("settings", "path"), text
    if settings.file_is_shared and not (transport.has_file and settings.path):
        yield ("settings", "file_is_shared"), 'has no effect without transport = "file" and a path'
    for name in _TLS_KEYS:
        if not settings.tls and getattr(settings, name) != getattr(MigrationSettings, name):
            yield ("settings", name), 'has no effect without tls = "on"'
    for name in ("tls-creds", "tls-hostname", "tls-authz") if settings.tls else ():
        if name in settings.parameters:
            yield (
                ("settings", "parameters", name),
                'with tls = "on" the harness sets it: write tls_hostname, or leave it out',
            )


def find_side_contradictions(source: SideSpec, destination: SideSpec) -> Iterator[Problem]:
    """Values of the two sides that cannot be together, whatever QEMU makes of them."""
    yield from find_unshared_disk(source, destination)
    for name, here, other in (("source", source, destination), ("destination", destination, source)):
        yield from find_hardware_problems(here, name)
        there = {device.id: device for device in other.devices}
        for device in here.devices:
            place = (name, "devices", device.id)
            if isinstance(device, FunctionSpec):
                yield from _find_function_contradictions(device, place)
            elif isinstance(device, DeviceSpec):
                yield from _find_device_contradictions(device, there.get(device.id), name, place)


def _find_function_contradictions(function: FunctionSpec, place: Target) -> Iterator[Problem]:
    if function.managed and function.vfio_driver:
        yield (
            (*place, "vfio_driver"),
            'managed = "on" leaves it to libvirt which driver has the function: leave vfio_driver out',
        )
    if function.vf is not None and function.vfs and function.vf >= function.vfs:
        yield (*place, "vf"), f"must be 0 to {function.vfs - 1}, since vfs = {function.vfs}"


def _find_device_contradictions(
    device: DeviceSpec, there: AnyDevice | None, side: str, place: Target
) -> Iterator[Problem]:
    vectors = re.fullmatch(r"refdev-(\d+)vec", device.type)
    if vectors and len(device.knobs.irq_rates) > int(vectors[1]):
        text = f"has {len(device.knobs.irq_rates)} rates; a device of type {device.type} has {vectors[1]} vectors"
        yield (*place, "irq_rates"), text
    for name, text in find_knob_contradictions(device.knobs):
        yield (*place, name), text
    for field in dataclasses.fields(device.knobs):
        value = getattr(device.knobs, field.name)
        acts = find_side(field.name, value)
        same = isinstance(there, DeviceSpec) and getattr(there.knobs, field.name) == value
        if acts and acts != side and not same:
            yield (*place, field.name), f"{value!r} has no effect on the {side}: it acts on the {acts}'s device only"
    if side == "destination" and isinstance(there, DeviceSpec):
        yield from _find_version_contradictions(device.knobs, there.knobs, place)


def find_knob_contradictions(knobs: Knobs) -> Iterator[tuple[str, str]]:
    """Knobs of one device that do nothing beside its others: the name, and why."""
    page = knobs.log_page_bytes
    if page & (page - 1):
        yield "log_page_bytes", f"must be a power of 2 (it is {page})"
    for names, why, without in (
        (("reinit_count",), 'pre_copy = "off"', not knobs.pre_copy),
        (_OF_REINITS, "reinit_count = 0", not knobs.reinit_count),
        (("reinit_after_bytes",), 'reinit_at = "PRE_COPY_P2P"', knobs.reinit_at == "PRE_COPY_P2P"),
        (("reinit_at", "p2p_active"), 'p2p = "off"', not knobs.p2p),
        (_OF_LOGGING, 'dirty_tracking = "off"', not knobs.dirty_tracking),
    ):
        for name in names if without else ():
            value = getattr(knobs, name)
            if value != getattr(Knobs, name):
                yield name, f"{value!r} has no effect with {why}"


def _find_version_contradictions(knobs: Knobs, saving: Knobs, place: Target) -> Iterator[Problem]:
    """What is to be done with another version, where there is none, or where it is not refused."""
    for name in _OF_VERSIONS:
        value = getattr(knobs, name)
        if value == getattr(Knobs, name):
            continue
        if knobs.stream_version == saving.stream_version:
            same = f"both sides' devices have stream_version {knobs.stream_version}"
            yield (*place, name), f"{value!r} has no effect: {same}"
        elif name == "version_errno" and knobs.other_version != "refused":
            yield (*place, name), f'{value} has no effect with other_version = "{knobs.other_version}"'
