"""Records for journald, taken by a real datagram socket; and by journald itself where it is."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.device import journal
from edgeagent.errors import ModelError


def decoded(datagram: bytes) -> dict[str, str]:
    """As journald reads it."""
    found, left = {}, datagram
    while left:
        line, _, rest = left.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            found[name.decode()], left = value.decode(), rest
            continue
        (length,) = struct.unpack("<Q", rest[:8])
        found[name.decode()], left = rest[8 : 8 + length].decode(), rest[9 + length :]
    return found


class Journald:
    """Its end of the socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(5)

    def take(self) -> dict[str, str]:
        data, ancillary, *_ = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if not data and ancillary:
            (fd,) = struct.unpack("i", ancillary[0][2][:4])
            with os.fdopen(fd, "rb") as file:
                file.seek(0)
                data = file.read()
        return decoded(data)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "socket")
    yield made
    made.close()


@pytest.fixture
def log(journald: Journald) -> Iterator[logging.Logger]:
    its, handler = logging.getLogger("edgeagent.pipeline"), journal.Journal(journald.path)
    its.addHandler(handler)
    yield its
    its.removeHandler(handler)
    handler.close()


def test_code_and_pipeline_are_fields(journald: Journald, log: logging.Logger) -> None:
    error = ModelError("the model refuses", remedy="Take another one.")
    log.error("%s: a sample can't be used: %s", "door", error)
    got = journald.take()
    assert got["MESSAGE"] == "door: a sample can't be used: the model refuses"
    assert got["PRIORITY"] == "3" and got["SYSLOG_IDENTIFIER"] == "edgeagentd"
    assert got["EDGEAGENT_CODE"] == ModelError.code and got["EDGEAGENT_PIPELINE"] == "door"
    assert got["EDGEAGENT_REMEDY"] == "Take another one."
    assert got["MESSAGE_ID"] == journal.message_id(ModelError.code) and len(got["MESSAGE_ID"]) == 32
    log.warning("degraded\n  belt: is covered", extra={"state": "degraded"})
    got = journald.take()
    assert got["MESSAGE"] == "degraded\n  belt: is covered" and got["EDGEAGENT_STATE"] == "degraded"
    assert "MESSAGE_ID" not in got


def test_a_call_whose_words_do_not_fit_fails_nobody(
    journald: Journald, log: logging.Logger, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(log, "propagate", False)  # pytest's own handler raises.
    log.error("%d parts", "many")
    assert "Message: '%d parts'" in capsys.readouterr().err
    log.error("the next one")
    assert journald.take()["MESSAGE"] == "the next one"


def test_what_is_too_large_for_a_datagram(journald: Journald, log: logging.Logger) -> None:
    log.warning("%s", "x" * 2_000_000)
    assert len(journald.take()["MESSAGE"]) == 2_000_000


def test_without_journald_nothing_is_lost(
    journald: Journald, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    journald.close()
    journald.path.unlink()
    log.error("%s: it hurts", "door")
    assert "edgeagent.pipeline: door: it hurts" in capsys.readouterr().err


def test_only_where_standard_error_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, sys; from edgeagent.device.journal import wanted; print(wanted())"
    for given, expected in (("8:1", "False"), ("", "True")):
        start = "" if given else (
            "import os; i = os.fstat(2); os.environ['JOURNAL_STREAM'] = f'{i.st_dev}:{i.st_ino}';"
        )  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", start + code], capture_output=True, text=True, check=True,
            env={**os.environ, "JOURNAL_STREAM": given},
        )  # fmt: skip
        assert done.stdout.strip() == expected


@pytest.mark.usefixtures("in_full")
def test_journald_itself_finds_them_by_field(tmp_path: Path) -> None:
    """A journald of a namespace of its own, as ``LogNamespace=`` makes it."""
    program, name = Path("/lib/systemd/systemd-journald"), f"ea{os.getpid()}"
    if not program.exists() or os.geteuid() != 0:
        pytest.skip("needs systemd-journald, and root")
    run, kept = Path(f"/run/systemd/journal.{name}"), Path("/run/log/journal")
    daemon = subprocess.Popen([program, name], stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 10
        while not (run / "socket").exists():
            if daemon.poll() is not None or time.monotonic() > deadline:
                pytest.skip(
                    f"journald does not run here: {daemon.stderr and daemon.stderr.read1()!r}"
                )
            time.sleep(0.05)
        handler = journal.Journal(run / "socket")
        record = logging.LogRecord(
            "edgeagent.pipeline", logging.ERROR, __file__, 1, "%s: %s", ("door", ModelError("no")),
            None,
        )  # fmt: skip
        handler.emit(record)
        handler.close()

        def asked(field: str) -> list[dict[str, Any]]:
            done = subprocess.run(
                ["journalctl", f"--namespace={name}", "-o", "json", "--no-pager", field],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

        while not (found := asked("EDGEAGENT_PIPELINE=door")) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert [its["MESSAGE"] for its in found] == ["door: no"]
        assert asked(f"MESSAGE_ID={journal.message_id(ModelError.code)}") == found
        assert not asked("EDGEAGENT_PIPELINE=belt")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(10)
        shutil.rmtree(run, ignore_errors=True)
        for folder in kept.glob(f"*.{name}"):
            shutil.rmtree(folder, ignore_errors=True)
