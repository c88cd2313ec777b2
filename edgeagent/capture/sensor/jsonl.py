"""JSON lines and CSV: recordings, or live through a FIFO or standard input."""

from __future__ import annotations

import os
import select
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.capture.replay import ReplaySource
from edgeagent.capture.sensor.fields import Csv, Fields, parse_json
from edgeagent.capture.sensor.lines import LineProbe
from edgeagent.capture.sensor.source import SensorSource
from edgeagent.capture.source import PICTURES, Wanted
from edgeagent.config.channels import Channel
from edgeagent.errors import ConfigError, NotPermitted, SourceEnded, SourceLost

if TYPE_CHECKING:
    from edgeagent.config.model import ReplayConfig

_MOST = 1 << 18


class PipePort:
    """A FIFO, which outlives its writers, or standard input, which does not."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._handle = -1
        self._poll = select.poll()

    def open(self) -> None:
        """Raises SourceLost, NotPermitted."""
        try:
            if self._path == "-":
                self._handle = os.dup(sys.stdin.fileno())
            else:
                # To write as well: without a writer of our own the last one's end would be ours.
                flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
                self._handle = os.open(self._path, flags)
        except PermissionError as error:
            raise NotPermitted(
                f"{self._path}: user {os.geteuid()} may not read and write it",
                remedy=f"sudo chgrp edgeagent {self._path}; sudo chmod g+rw {self._path}",
            ) from error
        except OSError as error:
            raise SourceLost(
                f"{self._path}: {(error.strerror or str(error)).lower()}",
                remedy=f"Make it: mkfifo {self._path}",
            ) from error
        self._poll = select.poll()
        self._poll.register(self._handle, select.POLLIN)

    def read(self, timeout_s: float) -> bytes:
        """What came within the time. Raises SourceEnded at the end of standard input."""
        if not self._poll.poll(timeout_s * 1000):
            return b""
        try:
            data = os.read(self._handle, _MOST)
        except BlockingIOError:
            return b""
        if not data:
            raise SourceEnded
        return data

    def close(self) -> None:
        """Let go of it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def open_jsonl(
    name: str, config: ReplayConfig, wanted: Wanted = PICTURES
) -> ReplaySource | SensorSource:
    """The source of a configuration, not opened yet: a recording, or lines as they happen."""
    if not _is_live(config):
        return ReplaySource(name, config, wanted)
    channels = config.channels
    if not isinstance(channels, dict):
        channels = {channel: Channel() for channel in channels}
    reads = {channel: its.read for channel, its in channels.items()}
    reader: Csv | Fields
    if config.__struct_config__.tag == "csv":
        if not reads:
            raise ConfigError(
                f"sources.{name}.channels: live CSV has no header to take them from",
                remedy='Name the columns in order, e.g. channels = ["x", "y"].',
            )
        reader = Csv(reads, (), config.time)
    else:
        reader = Fields(parse_json, reads, config.time)
    label = "standard input" if config.path == "-" else config.path
    probe = LineProbe(label, PipePort(config.path), reader, joins_in=False, patience=False)
    return SensorSource(name, config, wanted, [probe], channels, streams=True)


def _is_live(config: ReplayConfig) -> bool:
    if config.live is not None:
        return config.live
    try:
        return stat.S_ISFIFO(Path(config.path).stat().st_mode)
    except OSError:
        return False
