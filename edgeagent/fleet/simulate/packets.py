"""MQTT 3.1.1 packets, as far as a simulated device needs them (OASIS MQTT 3.1.1, section 3).

A real device has one connection and a library for it; here one thread carries hundreds, and
does so with the few packets that devices send: CONNECT with a will, SUBSCRIBE, PUBLISH, PINGREQ.
"""

from __future__ import annotations

from typing import NamedTuple

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 2, 3, 4, 9, 13
PING = b"\xc0\x00"
LEAVE = b"\xe0\x00"


class Packet(NamedTuple):
    """A packet that came."""

    kind: int
    topic: str = ""
    payload: bytes = b""
    id: int = 0
    """Of QoS 1; 0 = none. Of CONNACK: the return code."""
    retained: bool = False
    refused: bool = False
    """Of SUBACK: the broker does not grant one of the topics."""


def connect(
    client_id: str, will: tuple[str, bytes], keepalive_s: int, login: tuple[str, str] = ("", "")
) -> bytes:
    """CONNECT with a clean session and a retained will at QoS 1."""
    user, word = login
    flags = 0b0010_1110 | (0x80 if user else 0) | (0x40 if user and word else 0)
    body = _text("MQTT") + bytes((4, flags)) + keepalive_s.to_bytes(2, "big")
    body += _text(client_id) + _text(will[0]) + _sized(will[1])
    body += (_text(user) if user else b"") + (_text(word) if user and word else b"")
    return _packet(0x10, body)


def subscribe(id: int, topics: list[str]) -> bytes:
    """At QoS 1."""
    return _packet(0x82, id.to_bytes(2, "big") + b"".join(_text(t) + b"\x01" for t in topics))


def publish(topic: str, payload: bytes, id: int = 0, *, retain: bool = False) -> bytes:
    """QoS 1 with an ``id``, else 0."""
    first = 0x30 | (0x02 if id else 0) | retain
    return _packet(first, _text(topic) + (id.to_bytes(2, "big") if id else b"") + payload)


def puback(id: int) -> bytes:
    return b"\x40\x02" + id.to_bytes(2, "big")


def take(buffer: bytearray) -> list[Packet]:
    """Remove whole packets from the buffer. Raises ValueError: that is no MQTT."""
    found: list[Packet] = []
    while True:
        size, at = 0, 1
        while True:
            if at >= len(buffer):
                return found
            size |= (buffer[at] & 0x7F) << 7 * (at - 1)
            at += 1
            if not buffer[at - 1] & 0x80:
                break
            if at > 4:
                raise ValueError("a packet's length has more than four bytes")
        if len(buffer) < at + size:
            return found
        found.append(_read(buffer[0], bytes(buffer[at : at + size])))
        del buffer[: at + size]


def _read(first: int, body: bytes) -> Packet:
    kind = first >> 4
    if kind == PUBLISH:
        length = int.from_bytes(body[:2], "big")
        topic, at = body[2 : 2 + length].decode(), 2 + length
        id = int.from_bytes(body[at : at + 2], "big") if first & 0x06 else 0
        return Packet(kind, topic, body[at + 2 if id else at :], id, bool(first & 1))
    if kind == CONNACK:
        return Packet(kind, id=body[1])
    refused = kind == SUBACK and any(code & 0x80 for code in body[2:])
    return Packet(kind, id=int.from_bytes(body[:2], "big"), refused=refused)


def _packet(first: int, body: bytes) -> bytes:
    size, length = bytearray(), len(body)
    while True:
        length, low = length >> 7, length & 0x7F
        size.append(low | (0x80 if length else 0))
        if not length:
            return bytes((first,)) + bytes(size) + body


def _text(text: str) -> bytes:
    return _sized(text.encode())


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
