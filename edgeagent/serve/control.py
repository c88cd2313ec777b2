"""The control socket: how a person's shell talks to the running agent.

A unix stream socket, 0660, at ``{run dir}/control.sock``. A request is one line of JSON with a
``type``; the answer is one or more lines, the last of which has ``"final": true`` or a final
command ``status``. There is no TCP here: who may open the socket is decided by file
permissions.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeagent.errors import Busy, EdgeAgentError, NotPermitted, unwritable

log = logging.getLogger("edgeagent.control")

Answer = Callable[[dict[str, Any]], Iterator[dict[str, Any]]]
"""Gives the lines that answer a request."""

_REQUEST_LIMIT_BYTES = 256 * 1024
_CONNECTIONS = 8
_REQUEST_TIMEOUT_S = 10.0
_CREDENTIALS = struct.Struct("3i")
"""pid, uid, gid."""


class ControlSocket:
    """Listens, and hands each request to ``answer`` on a thread of its own (at most 8)."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = path
        self._answer = answer
        self._slots = threading.BoundedSemaphore(_CONNECTIONS)
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = self._bind(path)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    @staticmethod
    def _bind(path: Path) -> socket.socket:
        """Raises Busy where another daemon listens; as `unwritable` where the folder refuses."""
        if len(os.fsencode(path)) > 107:
            raise NotPermitted(
                f"{path}: the path of the control socket is longer than 107 bytes",
                remedy="Use a shorter --data-dir or set RUNTIME_DIRECTORY.",
            )
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
                _refuse_living(path)
                path.unlink()
            listener.bind(str(path))
            path.chmod(0o660)
            listener.listen(_CONNECTIONS)
        except OSError as error:
            listener.close()
            raise unwritable(path, error) from error
        except Busy:
            listener.close()
            raise
        return listener

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            with self._lock:
                self._open.add(connection)
            threading.Thread(
                target=self._serve, args=(connection,), name="control:client", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_REQUEST_TIMEOUT_S)
            request = _read_request(connection)
            if request is not None:
                request["peer"] = _peer(connection)  # whatever it says of itself
                for line in self._lines(request):
                    connection.sendall(json.dumps(line).encode() + b"\n")
        except OSError:
            return  # the client went away; nothing of ours depends on it
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
            self._slots.release()

    def _lines(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "error" in request:
            yield {"final": True, **request}
            return
        try:
            yield from self._answer(request)
        except EdgeAgentError as error:
            yield {
                "final": True,
                "error": str(error),
                "code": error.code,
                "exit_code": error.exit_code,
                "remedy": error.remedy,
            }
        except Exception as error:
            log.exception("request %r failed", request.get("type"))
            yield {"final": True, "error": repr(error), "code": "internal", "exit_code": 70}

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._closing.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
        self._thread.join(1.0)
        self.path.unlink(missing_ok=True)


def _refuse_living(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return  # left over from a crash
    raise Busy(
        f"{path}: an agent is already running here",
        remedy="Ask it with: edgeagent status. Or give this one another --data-dir.",
    )


def _peer(connection: socket.socket) -> str:
    """The user who has connected, as the kernel knows it (unix(7), SO_PEERCRED)."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _read_request(connection: socket.socket) -> dict[str, Any] | None:
    """The request of a client, an object with ``error`` for a bad one, None for none."""
    received = bytearray()
    while not received.endswith(b"\n"):
        part = connection.recv(65536)
        if not part:
            break
        received += part
        if len(received) > _REQUEST_LIMIT_BYTES:
            return {"error": "the request is larger than 256 KiB", "code": "too-large"}
    if not received.strip():
        return None
    try:
        request = json.loads(received)
    except (ValueError, RecursionError) as error:
        return {"error": f"the request is not JSON: {error}", "code": "bad-request"}
    if not isinstance(request, dict) or not isinstance(request.get("type"), str):
        return {"error": 'the request is no object with a "type"', "code": "bad-request"}
    return request
