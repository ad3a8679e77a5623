# SPDX-License-Identifier: GPL-2.0-or-later
"""Heartbeats of a guest as they arrive outside it: Ethernet, IPv4, UDP, and what ``images/guest/heartbeat.c`` sends.

Pure, and light to import: the receiver is a process of its own.
"""

import struct
from dataclasses import dataclass

PORT = 7777
_ETHERNET = struct.Struct(">6s6sH")
_HEARTBEAT = struct.Struct(">4sIQQQ")
_MAGIC = b"SWHB"
_IPV4 = 0x0800
_UDP = 17


@dataclass(frozen=True)
class Heartbeat:
    """``token`` tells one sender from others, ``sequence`` counts what it sent from 0, ``guest_ns``: its monotonic."""

    token: int
    sequence: int
    guest_ns: int


@dataclass(frozen=True)
class Arrival:
    """A heartbeat and where it came out."""

    side: str
    """the side whose host the heartbeat came from, `source` or `destination`"""
    at_ns: int
    """when it arrived, by the controller's monotonic clock"""
    sequence: int
    """the number of the heartbeat, from 0"""
    guest_ns: int
    """the guest's own monotonic clock when the heartbeat was sent"""


@dataclass(frozen=True)
class Outlet:
    """Where frames of a host's guests reach the controller, and no other frames do.

    ``sockets``: paths of datagram sockets, of which a receiver makes one; each gets all frames, so that several guests
    can be received at a time. That of a guest is by the number of its place, the first of one that has none.
    ``address`` and ``mac``: what a guest sends to.
    """

    sockets: tuple[str, ...]
    address: str
    mac: str


def parse_heartbeat(frame: bytes) -> Heartbeat | None:
    """The heartbeat in an Ethernet frame; None for every other frame, damaged ones included."""
    if len(frame) < _ETHERNET.size + 20 or _ETHERNET.unpack_from(frame)[2] != _IPV4:
        return None
    packet = frame[_ETHERNET.size :]
    header = (packet[0] & 0x0F) * 4
    (fragment,) = struct.unpack_from(">H", packet, 6)
    if packet[0] >> 4 != 4 or header < 20 or packet[9] != _UDP or fragment & 0x3FFF:
        return None
    datagram = packet[header:]
    if len(datagram) < 8 + _HEARTBEAT.size:
        return None
    _, port, length, _ = struct.unpack_from(">HHHH", datagram)
    if port != PORT or length != 8 + _HEARTBEAT.size:
        return None
    magic, _, token, sequence, guest_ns = _HEARTBEAT.unpack_from(datagram, 8)
    return Heartbeat(token, sequence, guest_ns) if magic == _MAGIC else None
