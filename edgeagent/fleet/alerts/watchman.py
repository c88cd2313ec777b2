"""The process that looks, writes down and tells (``fleet alerts``)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from edgeagent.errors import Busy, EdgeAgentError, Unavailable
from edgeagent.fleet.alerts.incident import Alert, Book
from edgeagent.fleet.alerts.judge import Limits, Presence, Records
from edgeagent.fleet.alerts.receivers import Receiver
from edgeagent.fleet.database import Database
from edgeagent.fleet.roster import known
from edgeagent.fleet.sight.watch import Watch
from edgeagent.sync.endpoint import LinkSettings

log = logging.getLogger(__name__)

SEAT = "alerts"
_TURN_S = 1.0
_RECORDS_S = 60.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class Watchman:
    """One process; `run` blocks until `stop`."""

    def __init__(
        self, link: LinkSettings, prefix: str, db: Database, limits: Limits,
        receivers: Sequence[Receiver], *, records_every_s: float = _RECORDS_S,
    ) -> None:  # fmt: skip
        """Raises Busy: another process tells the alerts of this database."""
        self.book = Book(db)
        self._link, self._prefix, self._db = link, prefix, db
        self._receivers = receivers
        self._presence, self._records = Presence(limits), Records(db, limits)
        self._records_every_s = records_every_s
        self._records_at = 0.0
        self._tell_at = 0.0
        self._pause_s = 0.0
        self._taken: dict[tuple[tuple[str, str], float, bool], set[int]] = {}
        """Alert → the receivers that have it, while others refuse."""
        self._stopping = threading.Event()
        if not db.sit(SEAT, 0, keep=True):
            raise Busy(f"another process tells the alerts of {db.name}")

    def stop(self) -> None:
        """Any thread, or a signal's handler."""
        self._stopping.set()

    def run(self) -> None:
        """Raises what waiting does not cure: StoreError and its kinds, Busy."""
        with self._watching() as watch:
            while not self._stopping.is_set():
                watch.turn(_TURN_S)
                try:
                    self._look(watch, time.time())
                    self._tell()
                except EdgeAgentError as error:
                    if error.retry != "backoff" or isinstance(error, Busy):
                        raise
                    log.error("%s. %s", error, error.remedy)
                    self._stopping.wait(_FIRST_PAUSE_S)

    def _watching(self) -> Watch:
        return Watch(self._link, self._prefix, known=known(self._db), patient=True)

    def _look(self, watch: Watch, now: float) -> None:
        rows = watch.view.rows
        found, kinds = self._presence.judge(rows, linked=watch.view.linked, now=now)
        if now >= self._records_at and watch.view.linked:
            self._records_at = now + self._records_every_s
            more, further = self._records.judge(rows, now)
            found, kinds = [*found, *more], kinds | further
        self.book.reconcile(found, kinds, now)

    def _tell(self) -> None:
        """Each alert to all, in order; who does not take one is asked again later, and the others
        are not kept waiting."""
        if time.monotonic() < self._tell_at:
            return
        refusing: set[int] = set()
        for alert in self.book.due():
            name = (alert.incident.key, alert.incident.since, bool(alert.ended))
            taken = self._taken.setdefault(name, set())
            for number, receiver in enumerate(self._receivers):
                if number not in taken | refusing and not self._told(receiver, alert):
                    refusing.add(number)
                elif number not in refusing:
                    taken.add(number)
            if len(taken) == len(self._receivers):
                self.book.told(alert)
                del self._taken[name]
            elif taken and not alert.ended:
                self.book.begun(alert)
        if refusing:
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s or _FIRST_PAUSE_S)
            self._tell_at = time.monotonic() + self._pause_s
        else:
            self._pause_s = 0.0

    def _told(self, receiver: Receiver, alert: Alert) -> bool:
        try:
            receiver.tell(alert)
        except Unavailable as error:
            log.warning("%s", error)
            return False
        return True
