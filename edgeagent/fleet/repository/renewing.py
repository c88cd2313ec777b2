"""What the online key signs anew, by itself: the timestamp each day, the snapshot in time."""

from __future__ import annotations

import logging
from datetime import timedelta

from edgeagent.errors import Busy, EdgeAgentError
from edgeagent.fleet.repository import ceremony, roles
from edgeagent.fleet.repository.home import Home

log = logging.getLogger(__name__)


class Renewal:
    """Called now and then by who serves; tells of what it can't do once."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._told: set[str] = set()
        self.renewed = 0

    def turn(self) -> None:
        """Sign what is due. Never raises: devices are to be served whatever comes."""
        try:
            if self._due():
                with self._home.writing():
                    self._sign()
                self.renewed += 1
            self._warn()
        except Busy:
            return  # Somebody publishes, which renews it too.
        except EdgeAgentError as error:
            self._say(f"the timestamp can't be renewed: {error}")

    def _due(self) -> bool:
        timestamp = self._home.timestamp().signed
        begun = timestamp.expires - timedelta(days=roles.DAYS["timestamp"])
        return roles.now() - begun >= roles.TIMESTAMP_EVERY

    def _sign(self) -> None:
        snapshot = self._home.snapshot()
        life = timedelta(days=roles.DAYS["snapshot"])
        if snapshot.signed.expires - roles.now() < life * roles.RENEW_AT:
            self._home.renew_snapshot(snapshot)
        else:
            self._home.renew_timestamp()

    def _warn(self) -> None:
        for role in ceremony.ending(self._home):
            self._say(
                f"{role} expires soon, and devices will trust nothing then: "
                "bring the safe keys and run: edgeagent fleet key renew"
            )

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.warning("%s", text)
