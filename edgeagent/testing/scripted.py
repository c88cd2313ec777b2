"""A broker that answers as it is told: enough of MQTT 3.1.1 and 5 to misbehave on purpose."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Published:
    """A PUBLISH of the client."""

    topic: str
    payload: bytes
    flags: int
    mid: int

    @property
    def duplicate(self) -> bool:
        return bool(self.flags & 8)


@dataclass
class Script:
    """What a `ScriptedBroker` answers. Codes are MQTT 5's, or 3.1.1's for its clients."""

    connack: Callable[[int], int] = lambda _version: 0
    """Version → CONNACK code; −1 = say nothing, −2 = hang up."""
    properties: bytes = b""
    """Of the CONNACK, encoded, without the length."""
    suback: Callable[[str], int] = lambda _pattern: 1
    puback: Callable[[Published], int] = lambda _message: 0
    """Code; −1 = don't acknowledge, −2 = hang up."""
    echo: bool = True
    """Send a message on …/cmd/echo/… back."""


class ScriptedBroker:
    """Listens on 127.0.0.1:``port``; one thread per connection."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.connects: list[int] = []
        """Protocol version of each CONNECT."""
        self.published: list[Published] = []
        self.pubacks: list[int] = []
        """Ids of messages of ours that the client acknowledged."""
        self.largest_under_way = 0
        self._under_way: set[int] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def records(self) -> list[Published]:
        return [m for m in self.published if m.topic.endswith("/records")]

    def send(self, packet: bytes) -> None:
        """Raw bytes to the newest client."""
        self._sockets[-1].sendall(packet)

    def send_publish(
        self, topic: str, payload: bytes, *, mid: int, version: int = 5, dup: bool = False
    ) -> None:
        body = _text(topic) + struct.pack("!H", mid) + (b"\x00" if version == 5 else b"") + payload
        self.send(_packet(0x32 | (8 if dup else 0), body))

    def disconnect(self, code: int) -> None:
        """A DISCONNECT of MQTT 5, then hang up."""
        self.send(_packet(0xE0, bytes([code, 0])))
        self.hang_up()

    def hang_up(self) -> None:
        self._sockets[-1].shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        for sock in self._sockets:
            sock.close()

    def __enter__(self) -> ScriptedBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        stream = sock.makefile("rb")
        version = 0
        try:
            while packet := _read_packet(stream):
                kind, flags, body = packet
                if kind == 1:
                    version = body[6]
                    self.connects.append(version)
                    self._under_way.clear()
                    if not self._connack(sock, version):
                        return
                elif not self._packet(sock, kind, flags, body, version):
                    return
        except (OSError, ValueError):
            return
        finally:
            sock.close()

    def _connack(self, sock: socket.socket, version: int) -> bool:
        code = self.script.connack(version)
        if code == -2:
            return False
        if code >= 0:
            tail = _varint(len(self.script.properties)) + self.script.properties
            sock.sendall(_packet(0x20, bytes([0, code]) + (tail if version == 5 else b"")))
        return True

    def _packet(
        self, sock: socket.socket, kind: int, flags: int, body: bytes, version: int
    ) -> bool:
        if kind == 3:
            return self._publish(sock, flags, body, version)
        if kind == 4:
            self.pubacks.append(struct.unpack_from("!H", body)[0])
        elif kind == 8:
            codes = bytes(self.script.suback(pattern) for pattern in _filters(body, version))
            sock.sendall(_packet(0x90, body[:2] + (b"\x00" if version == 5 else b"") + codes))
        elif kind == 12:
            sock.sendall(b"\xd0\x00")
        return kind != 14

    def _publish(self, sock: socket.socket, flags: int, body: bytes, version: int) -> bool:
        size = struct.unpack_from("!H", body)[0]
        topic, at = body[2 : 2 + size].decode(), 2 + size
        mid = 0
        if flags & 6:
            mid, at = struct.unpack_from("!H", body, at)[0], at + 2
        if version == 5:
            length, at = _read_varint(body, at)
            at += length
        message = Published(topic, body[at:], flags, mid)
        self.published.append(message)
        self._under_way.add(mid)
        self.largest_under_way = max(self.largest_under_way, len(self._under_way))
        if "/cmd/echo/" in topic and self.script.echo:
            sock.sendall(
                _packet(0x30, _text(topic) + (b"\x00" if version == 5 else b"") + message.payload)
            )
        code = self.script.puback(message) if flags & 6 else -1
        if code == -2:
            return False
        if code >= 0:
            self._acknowledge(sock, mid, code)
        return True

    def acknowledge(self, mid: int, code: int = 0) -> None:
        self._acknowledge(self._sockets[-1], mid, code)

    def _acknowledge(self, sock: socket.socket, mid: int, code: int) -> None:
        self._under_way.discard(mid)
        sock.sendall(_packet(0x40, struct.pack("!H", mid) + (bytes([code, 0]) if code else b"")))


def _packet(head: int, body: bytes) -> bytes:
    return bytes([head]) + _varint(len(body)) + body


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()


def _varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        digit = data[at]
        at += 1
        number |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return number, at


def _read_packet(stream: Any) -> tuple[int, int, bytes] | None:
    head = stream.read(1)
    if not head:
        return None
    length = shift = 0
    while True:
        digit = stream.read(1)[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            break
    return head[0] >> 4, head[0] & 15, stream.read(length)


def _filters(body: bytes, version: int) -> list[str]:
    at, found = 2, []
    if version == 5:
        length, at = _read_varint(body, at)
        at += length
    while at < len(body):
        size = struct.unpack_from("!H", body, at)[0]
        found.append(body[at + 2 : at + 2 + size].decode())
        at += 3 + size
    return found
