"""Who is told: a webhook, a topic, a terminal."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec.structs import replace

from edgeagent import __version__
from edgeagent.errors import Busy, Unavailable, UsageError
from edgeagent.fleet.alerts.incident import Alert
from edgeagent.fleet.sharing import own_topics
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.reasons import Reason

_ANSWER_S = 10.0


class Receiver(Protocol):
    def tell(self, alert: Alert) -> None:
        """Return once it is taken. Raises Unavailable: try again later."""


class Said:
    """Prints."""

    def __init__(self, say: Callable[[Alert], None]) -> None:
        self._say = say

    def tell(self, alert: Alert) -> None:
        self._say(alert)


class Webhook:
    """POSTs the document; 2xx = taken. Raises UsageError for what is no such address."""

    def __init__(self, url: str, token: str = "") -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--webhook {url!r} is no http:// or https:// address")
        self._url, self._token = url, token

    def tell(self, alert: Alert) -> None:
        headers = {"content-type": "application/json", "user-agent": f"edgeagent/{__version__}"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        body = msgspec.json.encode(alert.document())
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_S):
                return  # Anything but 2xx raises.
        except (OSError, ValueError) as error:
            raise Unavailable(f"the webhook did not take an alert: {error}") from error


class Topic:
    """Publishes under ``{prefix}/alerts``, retained while it goes on: whoever comes later sees what
    is open. That it is over is said once, not retained, and then the topic is cleared."""

    def __init__(self, link: LinkSettings, prefix: str) -> None:
        self._prefix = prefix
        own = own_topics(prefix, link)
        self._link = Link(
            replace(link, client_id=f"{own.client_id}-alerts-{os.getpid()}", session_expiry_s=0.0),
            own.echo,
        )
        self._link.start()
        self._link.wait_up(_ANSWER_S)

    def topic(self, alert: Alert) -> str:
        its = alert.incident
        subject = its.subject.replace("/", "_") or "all"
        return f"{self._prefix}/alerts/{its.kind}/{subject}"

    def tell(self, alert: Alert) -> None:
        body = msgspec.json.encode(alert.document())
        if not alert.ended:
            self._publish(self.topic(alert), body, retain=True)
            return
        self._publish(self.topic(alert), body, retain=False)
        self._publish(self.topic(alert), b"", retain=True)

    def close(self) -> None:
        self._link.stop()

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> None:
        done, failed = threading.Event(), list[Reason | None]()

        def told(reason: Reason | None) -> None:
            failed.append(reason)
            done.set()

        if self._link.state != "up":
            raise Unavailable(f"no broker to tell an alert: {self._link.last_error}")
        try:
            self._link.publish(topic, payload, retain=retain, on_done=told)
        except Busy as error:
            raise Unavailable(str(error)) from error
        if not done.wait(_ANSWER_S) or failed[0] is not None:
            why = failed[0].sentence if failed and failed[0] else "no answer"
            raise Unavailable(f"{topic} was not taken: {why}")
