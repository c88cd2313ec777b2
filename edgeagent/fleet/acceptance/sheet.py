"""What one device comes to when it is accepted, and why it is not."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

WRONG = ("problem", "failed")


class Sheet(Struct):
    """One device. Empty = nobody has told it."""

    device: str
    name: str = ""
    site: str = ""
    state: str = ""
    reasons: list[str] = []
    profile: str = ""
    version: str = ""
    runs: dict[str, str] = {}
    """Model → its receipt: what its operators run on."""
    rates: dict[str, float] = {}
    """Pipeline → samples per second."""
    doctor: str = ""
    """How the question ended; ``successful`` = there is a report."""
    findings: list[dict[str, Any]] = []
    """Of doctor: what a person should look at."""
    first_seq: int = 0
    """The first number that has arrived here; 0 = none has."""
    first_at: str = ""
    records: int = 0
    clock: str = ""
    """Of the newest record: synced, unsynced, backfilled."""
    picture: bytes = b""
    """The newest that the device has sent, with hidden what it hides."""
    picture_type: str = ""

    @property
    def faults(self) -> list[str]:
        """Why it can't be accepted; nothing = it can."""
        found: list[str] = []
        if not self.state:
            return ["it has never said anything"]
        if self.state != "online":
            found.append(f"it is {self.state}: {'; '.join(self.reasons)}".rstrip(": "))
        if self.doctor != "successful":
            found.append(f"doctor did not answer ({self.doctor or 'not asked'})")
        found += [f"doctor: {its['what']}" for its in self.findings if its["severity"] in WRONG]
        if not self.first_seq:
            found.append("no record of it has arrived")
        elif self.clock == "unsynced":
            found.append("its clock is not set")
        still = [name for name, rate in self.rates.items() if not rate]
        found += [f"pipeline {name} stands still" for name in still]
        return found

    @property
    def accepted(self) -> bool:
        return not self.faults

    def document(self) -> dict[str, Any]:
        """For ``--json``: without the picture itself."""
        return {
            "device": self.device, "accepted": self.accepted, "faults": self.faults,
            "name": self.name, "site": self.site, "state": self.state, "profile": self.profile,
            "version": self.version, "runs": self.runs, "rates": self.rates,
            "first_seq": self.first_seq, "first_at": self.first_at, "records": self.records,
            "clock": self.clock, "picture_bytes": len(self.picture),
        }  # fmt: skip
