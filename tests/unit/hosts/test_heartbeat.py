# SPDX-License-Identifier: GPL-2.0-or-later
"""Heartbeats are read from raw frames, and nothing else is taken for one."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchover.hosts.heartbeat import PORT, Heartbeat, parse_heartbeat

BEAT = Heartbeat(7, 3, 5)
U64 = st.integers(0, 2**64 - 1)


def make_frame(
    beat: Heartbeat = BEAT,
    *,
    port: int = PORT,
    magic: bytes = b"SWHB",
    ethertype: int = 0x0800,
    protocol: int = 17,
    fragment: int = 0x4000,
    options: bytes = b"",
) -> bytes:
    """An Ethernet frame as a guest sends it; ``fragment``: don't-fragment is set."""
    payload = struct.pack(">4sIQQQ", magic, 0, beat.token, beat.sequence, beat.guest_ns)
    udp = struct.pack(">HHHH", 40000, port, 8 + len(payload), 0) + payload
    first = 0x40 | (20 + len(options)) // 4
    ip = (
        struct.pack(">BBHHHBBHII", first, 0, 20 + len(options) + len(udp), 1, fragment, 64, protocol, 0, 1, 2) + options
    )
    return b"\x52\x54\0\x53\x6f\xff" + b"\x52\x54\0\x53\x67\x01" + struct.pack(">H", ethertype) + ip + udp


@given(U64, U64, U64, st.integers(0, 10), st.binary(max_size=20))
def test_what_is_sent_is_read(token: int, sequence: int, guest_ns: int, options: int, padding: bytes) -> None:
    """Every heartbeat is read as it was sent, with IP options, and with the padding of short frames."""
    beat = Heartbeat(token, sequence, guest_ns)
    assert parse_heartbeat(make_frame(beat, options=bytes(4 * options)) + padding) == beat


@pytest.mark.parametrize(
    "changes",
    [
        {"port": PORT + 1},
        {"magic": b"SWHC"},
        {"ethertype": 0x0806},
        {"ethertype": 0x86DD},
        {"protocol": 6},
        {"fragment": 0x2000},
        {"fragment": 0x0001},
    ],
)
def test_other_frames_are_none(changes: dict[str, int]) -> None:
    """Another port, magic, protocol, or a piece of a packet is no heartbeat."""
    assert parse_heartbeat(make_frame(**changes)) is None  # type: ignore[arg-type]


@given(st.integers(0, len(make_frame()) - 1))
def test_a_frame_cut_short_is_none(length: int) -> None:
    """No prefix of a heartbeat is one."""
    assert parse_heartbeat(make_frame()[:length]) is None


@given(st.binary(max_size=200))
def test_noise_does_no_harm(frame: bytes) -> None:
    """Whatever arrives, the parser answers."""
    parse_heartbeat(frame)
    parse_heartbeat(make_frame()[:14] + frame)
