"""What can be seen of an agent on a machine: by its broker, its service manager and itself."""

from __future__ import annotations

import itertools
import json
import re
import time
import zlib
from datetime import datetime, timezone
from typing import Any

from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener
from machine import Failed, Machine, until

DEVICE = "boot-1"
UNIT = "edgeagent.service"


class Observer:
    """One machine, its broker, and what is seen of them."""

    def __init__(
        self, box: Machine, broker: Mosquitto, heard: Listener, release: str, prefix: str = "/usr"
    ) -> None:
        self.box, self.broker, self.heard, self.release = box, broker, heard, release
        self.prefix, self.command = prefix, f"{prefix}/bin/edgeagent"
        self.python = f"{prefix}/lib/edgeagent/bin/python3"
        self.apt = ("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", "--yes")

    def records(self, last: int = 0) -> list[dict[str, Any]]:
        """Records that have come, in the order of arrival; of the ``last`` batches, or all."""
        found: list[dict[str, Any]] = []
        for body in self.heard.on(f"edgeagent/{DEVICE}/records")[-last:]:
            batch = json.loads(zlib.decompress(body) if body[:1] == b"\x78" else body)
            found += [{**record, "epoch": batch["epoch"]} for record in batch["records"]]
        return found

    def next_event(self, timeout_s: float = 60) -> float:
        """Seconds until an event comes that was decided after now: both have the same clock."""
        began = time.monotonic()
        now = self.now()

        def fresh() -> bool:
            return any(r["kind"] == "event" and r["at"][:23] > now for r in self.records(24))

        until("an event that was decided after now", fresh, timeout_s)
        return time.monotonic() - began

    def pid(self) -> int:
        return int(self.box.unit(UNIT, "MainPID"))

    def status(self) -> dict[str, Any]:
        """What the agent itself says."""
        told: dict[str, Any] = json.loads(
            self.box.run(self.command, "status", "--json", check=False) or "{}"
        )
        return told

    def restarted(self, old: int, what: str, timeout_s: float = 40) -> tuple[int, float]:
        """Wait for another process that is ready; its pid, and the seconds it took."""
        began = time.monotonic()

        def up() -> int:
            pid = self.pid()
            ready = self.box.unit(UNIT, "ActiveState") == "active"
            return pid if pid not in (0, old) and ready else 0

        pid = int(until(f"a new process after {what}", up, timeout_s))
        return pid, time.monotonic() - began

    def nothing_lost(self) -> str:
        """Every number up to the highest that came is here, or covered by a gap that is here.

        Raises:
            Failed: a number is neither.
        """
        epochs: dict[str, set[int]] = {}
        highest: dict[str, int] = {}
        for record in self.records():
            have = epochs.setdefault(record["epoch"], set())
            have.add(record["seq"])
            highest[record["epoch"]] = max(highest.get(record["epoch"], 0), record["seq"])
            if record["kind"] == "gap" and record.get("to"):
                have.update(range(record["from"], record["to"] + 1))
        missing = {
            epoch: sorted(set(range(1, highest[epoch] + 1)) - have)
            for epoch, have in epochs.items()
        }
        # The listener's session is a clean one: what is told while nobody waits comes later.
        if any(missing.values()):
            raise Failed(f"neither here nor told as lost: {missing}")
        return f"{sum(highest.values())} numbers, all here or told as lost"

    def audited(self) -> dict[str, Any]:
        """What the operator's side says about numbers."""
        told: dict[str, Any] = json.loads(self.box.run(
            self.command, "fleet", "audit", "--json", "--db", "/var/lib/edgeagent-fleet/fleet.db",
            check=False) or "{}")  # fmt: skip
        return told

    def _another(self, old: int) -> int:
        pid = self.pid()
        return pid if pid not in (0, old) else 0

    def _level(self, unit: str) -> float:
        """How exposed systemd finds a unit. Raises Failed above 2.0."""
        told = self.box.run("systemd-analyze", "security", "--no-pager", unit)
        found = re.search(r"exposure level for \S+: ([\d.]+)", told)
        if found is None or float(found.group(1)) > 2.0:
            raise Failed(told)
        return float(found.group(1))

    def longest_silence(self, since: str) -> float:
        """Seconds between two records that follow one another, made after a time."""
        made = [record["at"][:23] for record in self.records() if record["at"][:23] >= since]
        stamps = sorted(datetime.fromisoformat(at).timestamp() for at in made)
        return max((b - a for a, b in itertools.pairwise(stamps)), default=0.0)

    @staticmethod
    def now() -> str:
        """The time, as records tell it."""
        return datetime.now(timezone.utc).isoformat()[:23]

    def _nothing_left(self) -> str:
        """Raises Failed when a file or a process is."""
        box = self.box
        elsewhere = ("/proc/*", "/srv/*", "/var/lib/apt/lists/*", "/var/cache/apt/*",
                     "/var/lib/edgeagent-fleet")  # fmt: skip
        spared = [word for path in elsewhere for word in ("-not", "-path", path)]

        def left() -> str:
            return box.run("find", "/", "-xdev", "-iname", "*edgeagent*", *spared)

        # systemd removes private folders of units that have ended in its own time.
        try:
            until("nothing left", lambda: not left(), 15)
        except Failed as error:
            raise Failed(f"left: {left()}") from error
        running = box.run("pgrep", "-fl", f"^{self.python}", check=False)
        if running:
            raise Failed(f"still running: {running}")
        return "no process and no file is left but the operator's database"
