"""How a simulated device takes commands: the real engine and the real rules of its topics, over a
line of the switchboard and a journal that is a file of lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import Struct

from edgeagent import clock
from edgeagent.fleet.simulate.switchboard import Line
from edgeagent.store.journal import FINAL, Claim, Entry
from edgeagent.sync import command_types as types
from edgeagent.sync.commands import Commands, Registry
from edgeagent.sync.judgement import Rules
from edgeagent.sync.mqtt_commands import MqttCommands
from edgeagent.sync.port import Handler, Incoming
from edgeagent.sync.shelf import Shelf
from edgeagent.sync.topics import Topics, matches
from edgeagent.sync.uplink import Uplink

ALLOWED = frozenset({"ping", "cancel", "pipeline", "restart"})


class _Line(Struct):
    """One line of the journal: the newest of an id counts."""

    id: str
    type: str
    digest: str
    at: str
    by: str
    status: dict[str, Any]
    cleared: bool = False


class FileJournal:
    """What the engine needs of a journal. Nothing is pruned: a simulation does not last."""

    newest_pruned_at = ""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_bytes().splitlines() if file.exists() else []
        self.born_at = lines[0].decode() if lines else clock.rfc3339(clock.wall_ns())
        self._lines: dict[str, _Line] = {}
        if not lines:
            file.write_text(f"{self.born_at}\n")
        for line in lines[1:]:
            known = msgspec.json.decode(line, type=_Line)
            self._lines[known.id] = known

    def claim(
        self, id: str, type: str, digest: str, at: str = "", by: str = "",
        status: Mapping[str, Any] | None = None,
    ) -> Claim:  # fmt: skip
        known = self._lines.get(id)
        if known is not None:
            same = (known.digest, known.type) == (digest, type)
            return Claim("known" if same else "conflict", _entry(known))
        first = dict(status or {"status": "accepted"})
        return Claim("new", _entry(self._write(_Line(id, type, digest, at, by, first))))

    def update(self, id: str, status: Mapping[str, Any]) -> None:
        self._lines[id].status = dict(status)
        self._write(self._lines[id])

    def clear(self, id: str) -> None:
        self._lines[id].cleared = True
        self._write(self._lines[id])

    def get(self, id: str) -> Entry | None:
        known = self._lines.get(id)
        return _entry(known) if known is not None else None

    def open_commands(self) -> list[Entry]:
        return [its for its in map(_entry, self._lines.values()) if not its.final]

    def published(self) -> list[Entry]:
        return [_entry(its) for its in self._lines.values() if not its.cleared]

    def _write(self, line: _Line) -> _Line:
        self._lines[line.id] = line
        with self._file.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
        return line


def _entry(line: _Line) -> Entry:
    final = line.status.get("status") in FINAL
    return Entry(line.id, line.type, line.digest, line.by, line.at, line.status, final)


class _Post:
    """Link and shelf in one, as far as commands use them."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.handlers: dict[str, Handler] = {}
        self._kept: dict[str, bytes] = {}

    def subscribe(self, pattern: str, handler: Handler) -> None:
        self.handlers[pattern] = handler

    def publish(self, topic: str, payload: bytes) -> None:
        self._line.publish(topic, payload)

    def put(self, topic: str, payload: bytes, *, remember: bool = True) -> None:
        del remember  # The journal does.
        if payload:
            self._kept[topic] = payload
        else:
            self._kept.pop(topic, None)
        self._line.publish(topic, payload, retain=True)

    def clear(self, topic: str) -> None:
        self.put(topic, b"")

    def renew(self, topic: str) -> None:
        if topic in self._kept:
            self._line.publish(topic, self._kept[topic], retain=True)

    def forget(self, topic: str) -> None:
        self._kept.pop(topic, None)

    def payload(self, topic: str) -> bytes | None:
        return self._kept.get(topic)

    def again(self) -> None:
        for topic, payload in self._kept.items():
            self._line.publish(topic, payload, retain=True)


class Answers:
    """The commands of one device. All calls come on the switchboard's thread."""

    def __init__(
        self, line: Line, folder: Path, topics: Topics, groups: tuple[str, ...],
        restart: Callable[[], None],
    ) -> None:  # fmt: skip
        self._post = _Post(line)
        self._stopped: set[str] = set()
        registry = Registry()
        registry.register(types.PIPELINE, self._pipeline)
        registry.register(types.RESTART, lambda _nothing, _job: restart())
        journal = FileJournal(folder / "commands.jsonl")
        self._engine = Commands(registry, journal, Rules(ALLOWED), lambda work: work())
        self._engine.resume()
        link, shelf = cast(Uplink, self._post), cast(Shelf, self._post)
        self._commands = MqttCommands(link, shelf, self._engine, topics, groups)

    @property
    def topics(self) -> list[str]:
        """What is to be subscribed."""
        return list(self._post.handlers)

    @property
    def offered(self) -> dict[str, Any]:
        """For the capabilities."""
        return self._engine.capabilities()

    def up(self) -> None:
        """A new connection: the broker may have forgotten."""
        self._post.again()

    def came(self, topic: str, payload: bytes, *, retained: bool) -> bool:
        """Whether it was about commands."""
        message = Incoming(topic, payload, 1, retained, False, lambda: None)
        for pattern, handler in self._post.handlers.items():
            if matches(pattern, topic):
                handler(message)
                return True
        return False

    def turn(self, now: float) -> None:
        self._commands.turn(now)

    def _pipeline(self, arguments: types.PipelineAction, _job: Any) -> dict[str, Any]:
        change = self._stopped.discard if arguments.action == "start" else self._stopped.add
        change(arguments.name)
        paused = arguments.name in self._stopped
        return {"name": arguments.name, "state": "paused" if paused else "ok"}
