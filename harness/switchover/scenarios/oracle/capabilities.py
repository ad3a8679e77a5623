# SPDX-License-Identifier: GPL-2.0-or-later
"""Capabilities and parameters of a migration that do not go together, or differ between the sides. Pure.

The harness sets those of the destination first, capabilities before parameters (migration/settings.py): so it is nearly
always the destination that refuses.
"""

from collections.abc import Callable, Mapping

from switchover.migration.progress import HangKind
from switchover.record.record import VerdictName
from switchover.scenarios.oracle.qemus import QemuTraits, is_one_of
from switchover.scenarios.oracle.rule import make_rule
from switchover.scenarios.oracle.traits import Traits

V = VerdictName
_CAPS_CHECK = "QEMU, migration/options.c: migrate_caps_check"
_PARAMS_CHECK = "QEMU, migration/options.c: migrate_params_check"
_ZERO_COPY = "Zero copy only available for non-compressed non-TLS multifd migration"
Names = frozenset[str]

RANGES: Mapping[str, tuple[int, int]] = {
    "announce-initial": (0, 100_000),
    "announce-max": (0, 100_000),
    "announce-rounds": (0, 1_000),
    "announce-step": (1, 10_000),
    "cpu-throttle-increment": (1, 99),
    "cpu-throttle-initial": (1, 99),
    "multifd-channels": (1, 255),
    "multifd-zlib-level": (0, 9),
    "multifd-zstd-level": (0, 20),
    "throttle-trigger-threshold": (1, 100),
    "x-vcpu-dirty-limit-period": (1, 1_000),
}
"""Parameters with fixed bounds, both allowed."""


def _on_a_side(
    condition: Callable[[Names], bool], qemu: Callable[[QemuTraits | None], bool] = lambda qemu: True
) -> Callable[[Traits], bool]:
    """Whether a side has such capabilities, and such a QEMU."""

    def when(traits: Traits) -> bool:
        return any(
            condition(capabilities) and qemu(side.qemu)
            for side, capabilities in zip(traits.sides(), traits.capabilities, strict=True)
        )

    return when


def compresses(traits: Traits) -> bool:
    """Whether multifd's channels are compressed, if there are any."""
    return traits.parameter("multifd-compression", "none") != "none"


def _cannot_zero_copy(traits: Traits) -> bool:
    def lacks(capabilities: Names) -> bool:
        alone = "multifd" not in capabilities or "xbzrle" in capabilities
        with_tls = bool(traits.parameter("tls-creds")) or traits.stream.certificates is not None
        return "zero-copy-send" in capabilities and (alone or with_tls or compresses(traits))

    return any(lacks(capabilities) for capabilities in traits.capabilities)


def _is_out_of_range(traits: Traits) -> bool:
    for name, value in traits.parameters:
        low, high = RANGES.get(name, (0, 0))
        if name in RANGES and not (value.isdecimal() and low <= int(value) <= high):
            return True
    return False


def _only_at(traits: Traits, name: str) -> str:
    """The one side that has a capability; empty: both or none."""
    source, destination = (name in capabilities for capabilities in traits.capabilities)
    return "" if source == destination else "source" if source else "destination"


REFUSED_CAPABILITIES = (
    make_rule(
        "zero-copy-send-without-plain-multifd",
        "zero-copy-send is on, and multifd is not, or with compression, TLS or xbzrle.",
        V.REFUSED,
        says=_ZERO_COPY,
        because="pages are sent from where they are, which only multifd's channels do, as they are",
        source=f"{_CAPS_CHECK}, migrate_params_check",
        when=_cannot_zero_copy,
    ),
    make_rule(
        "multifd-with-postcopy",
        "multifd and postcopy-ram are on, and the QEMU is one that does not go both ways.",
        V.REFUSED,
        says="Postcopy is not yet compatible with multifd",
        because="10.0 says so; 7.2 lets it pass, and 11.1 can do it",
        source=_CAPS_CHECK,
        when=_on_a_side(lambda on: {"multifd", "postcopy-ram"} <= on, is_one_of("10.0.13")),
    ),
    make_rule(
        "multifd-with-xbzrle",
        "multifd and xbzrle are on.",
        V.REFUSED,
        says="Multifd is not compatible with xbzrle",
        because="xbzrle sends pages as changes, on the main channel only; 7.2 lets it pass",
        source=_CAPS_CHECK,
        when=_on_a_side(lambda on: {"multifd", "xbzrle"} <= on, lambda qemu: not is_one_of("7.2.22")(qemu)),
    ),
    make_rule(
        "postcopy-preempt-without-postcopy",
        "postcopy-preempt is on, and postcopy-ram is not.",
        V.REFUSED,
        says="Postcopy preempt requires postcopy-ram",
        because="it is a way of postcopy",
        source=_CAPS_CHECK,
        when=_on_a_side(lambda on: "postcopy-preempt" in on and "postcopy-ram" not in on),
    ),
    make_rule(
        "dirty-limit-without-dirty-ring",
        "dirty-limit is on.",
        V.REFUSED,
        reason="dirty-limit requires KVM with accelerator property 'dirty-ring-size' set|dirty-limit conflicts with",
        because="it slows vCPUs down by what KVM's dirty ring tells of each, which is off by default",
        source=_CAPS_CHECK,
        when=_on_a_side(lambda on: "dirty-limit" in on),
    ),
    make_rule(
        "mapped-ram-with-xbzrle-or-postcopy",
        "mapped-ram is on, and xbzrle or postcopy-ram too.",
        V.REFUSED,
        says="Mapped-ram migration is incompatible with %s",
        because="each page has its place in the file, whole",
        source=_CAPS_CHECK,
        when=_on_a_side(lambda on: "mapped-ram" in on and bool(on & {"xbzrle", "postcopy-ram"})),
    ),
    make_rule(
        "parameter-out-of-range",
        "A migration parameter has a value out of its range.",
        V.REFUSED,
        reason="expects|Invalid parameter type",
        because="parameters are checked when they are set",
        source=_PARAMS_CHECK,
        when=_is_out_of_range,
    ),
)

UNLIKE_CAPABILITIES = (
    make_rule(
        "tls-creds-without-an-object",
        "The parameter tls-creds names an object that neither QEMU has.",
        V.FAILED,
        reason="No TLS credentials with id '",
        because="all commands are accepted; each side looks for the object once it is connected, and which of them is "
        "the first is a race",
        source="QEMU, migration/tls.c: migration_tls_get_creds",
        when=lambda traits: bool(traits.parameter("tls-creds")),
    ),
    make_rule(
        "multifd-at-source-only",
        "multifd is on at the source only.",
        V.FAILED,
        reason="Unable to (?:write to|read from) socket|Channel error|Input/output error|Connection reset|Broken pipe",
        because="the destination takes one connection only, and ignores those of multifd's channels; nobody has words "
        "for it",
        source="QEMU, migration/socket.c: socket_accept_incoming_migration",
        when=lambda traits: _only_at(traits, "multifd") == "source",
    ),
    make_rule(
        "multifd-at-destination-only",
        "multifd is on at the destination only.",
        V.HUNG,
        reason=f"{HangKind.NO_PROGRESS}|{HangKind.NO_END}|{HangKind.NOT_CONVERGING}",
        because="the destination waits for the connections of multifd's channels before it reads a byte, and no side "
        "looks at the time",
        source="QEMU, migration/migration.c: migration_has_all_channels",
        when=lambda traits: _only_at(traits, "multifd") == "destination",
    ),
)
