"""The log as journald's own records: a stable code and the pipeline are fields, not words.

``journalctl -u edgeagent EDGEAGENT_CODE=link-denied -o verbose`` finds what a search in the text
would guess at. Format: systemd's "Native Journal Protocol", datagrams of ``FIELD=value``
lines, values with line breaks by their length; what is too large for one goes as a sealed memfd.
"""

from __future__ import annotations

import array
import errno
import fcntl
import hashlib
import logging
import os
import socket
import struct
import sys
from pathlib import Path

from edgeagent.errors import EdgeAgentError

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "edgeagentd"
_PRIORITIES = (
    (logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6),
)  # fmt: skip
_FIELDS = ("code", "pipeline", "unit", "state")
"""What a log call may say besides its words, by ``extra``."""
_PIPELINES = "edgeagent.pipeline"
"""Of this logger the first argument is the pipeline's name."""


def wanted() -> bool:
    """Whether our standard error is what journald reads (``JOURNAL_STREAM``, systemd.exec(5))."""
    try:
        its = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{its.st_dev}:{its.st_ino}"


def message_id(code: str) -> str:
    """The 128 bits by which journald's catalogue and filters know a code."""
    return hashlib.sha256(f"edgeagent:{code}".encode()).hexdigest()[:32]


class Journal(logging.Handler):
    """Sends records to journald; where that does not take one, it is a line on standard error."""

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record)
            try:
                self._send(encoded(fields_of(record, message)))
            except OSError:
                sys.stderr.write(f"{record.name}: {message}\n")
        except (TypeError, ValueError, LookupError):
            self.handleError(record)  # As logging's own: who logs must not fail by it.

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_large(datagram)

    def _send_large(self, datagram: bytes) -> None:
        fd = os.memfd_create("edgeagent-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(fd, datagram)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            handles = array.array("i", [fd])
            self._socket.sendmsg(
                [], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handles)], 0, self._path
            )
        finally:
            os.close(fd)


def fields_of(record: logging.LogRecord, message: str) -> dict[str, str]:
    """What journald is told of a record."""
    found = {
        "MESSAGE": message,
        "PRIORITY": str(next((its for level, its in _PRIORITIES if record.levelno >= level), 7)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "EDGEAGENT_LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
    }
    arguments = record.args if isinstance(record.args, tuple) else ()
    said = {name: str(getattr(record, name)) for name in _FIELDS if getattr(record, name, "")}
    error = next((its for its in arguments if isinstance(its, EdgeAgentError)), None)
    if error is not None:
        said.setdefault("code", error.code)
        if error.remedy:
            said["remedy"] = error.remedy
    if record.name == _PIPELINES and arguments:
        said.setdefault("pipeline", str(arguments[0]))
    found |= {f"EDGEAGENT_{name.upper()}": value for name, value in said.items()}
    if "code" in said:
        found["MESSAGE_ID"] = message_id(said["code"])
    return found


def encoded(fields: dict[str, str]) -> bytes:
    """One datagram."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)
