"""What came of an order: each device's answer, and all of them counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from edgeagent.sync.schema import FINAL, Command

SILENT = "no answer"
OFFLINE = "offline"
"""No answer, of a device that is not connected: its order waits at the broker."""


class Answer(Struct, frozen=True):
    """How far one device is."""

    device: str
    status: str = SILENT
    reason: str = ""
    detail: str = ""
    step: str = ""
    progress: float | None = None
    result: Any = None

    @property
    def final(self) -> bool:
        return self.status in FINAL


class Tally:
    """Answers by device. A final one stays."""

    def __init__(self, devices: Iterable[str], online: Iterable[str] = ()) -> None:
        self.answers = {name: Answer(name) for name in devices}
        self._online = set(online)
        self.unreadable = 0

    def take(self, device: str, payload: bytes) -> bool:
        """Note what a device said on the order's topic; whether that is news."""
        before = self.answers.get(device)
        if not payload or (before is not None and before.final):
            return False
        try:
            said = msgspec.json.decode(payload, type=_Said)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.unreadable += 1
            return False
        if said.status in ("", "init"):
            return False  # Our own voice.
        answer = Answer(
            device, said.status, said.reason, said.detail, said.step, said.progress, said.result
        )
        self.answers[device] = answer
        return answer != before

    def seen(self, device: str, *, online: bool) -> None:
        """Whether it is connected."""
        (self._online.add if online else self._online.discard)(device)

    @property
    def open(self) -> list[str]:
        """Devices whose end is not known."""
        return [its.device for its in self.answers.values() if not its.final]

    @property
    def silent(self) -> list[str]:
        """Devices that have said nothing at all."""
        return [its.device for its in self.answers.values() if its.status == SILENT]

    @property
    def silent_there(self) -> list[str]:
        """Those of them that are connected."""
        return [device for device in self.silent if device in self._online]

    def state(self, answer: Answer) -> str:
        """For people: a silent one that is not connected is offline."""
        away = answer.status == SILENT and answer.device not in self._online
        return OFFLINE if away else answer.status

    def counts(self) -> dict[str, int]:
        """State → devices, the most first."""
        return dict(Counter(self.state(its) for its in self.answers.values()).most_common())

    def reasons(self) -> dict[tuple[str, str], list[str]]:
        """(status, reason) of those that ended otherwise than well → devices."""
        found: dict[tuple[str, str], list[str]] = {}
        for its in self.answers.values():
            if its.final and its.status != "successful":
                found.setdefault((its.status, its.reason), []).append(its.device)
        return found

    @property
    def sentence(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in self.counts().items())

    @property
    def exit_code(self) -> int:
        """0 = all did it, 1 = one ended otherwise, 75 = one has not ended."""
        if any(its.final and its.status != "successful" for its in self.answers.values()):
            return 1
        return 75 if self.open else 0

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "counts": self.counts(),
            "devices": {
                name: {"status": self.state(its), **_said(its)}
                for name, its in sorted(self.answers.items())
            },
        }


class _Said(Command, kw_only=True):
    """As a device answers, in whatever version."""

    status: str = ""  # type: ignore[assignment]
    progress: Any = None


def _said(answer: Answer) -> dict[str, Any]:
    names = ("reason", "detail", "step", "progress", "result")
    given = {name: getattr(answer, name) for name in names}
    return {name: value for name, value in given.items() if value not in (None, "")}
