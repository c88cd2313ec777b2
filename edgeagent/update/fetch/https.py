"""The repository on a web server: plain files, by range where something of them is here."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from edgeagent.errors import NotFound, Unavailable, Untrusted
from edgeagent.update.fetch.pieces import UNIT
from edgeagent.update.fetch.port import Sink, checked, stop

_BLOCK = 64 * UNIT
_TIMEOUT_S = 20.0
_TRIES = 3
"""In a row that bring nothing."""
_PAUSE_S = 1.0


class HttpCarrier:
    """A `Carrier` by HTTP(S) GET. TLS by the system's authorities."""

    def __init__(self, url: str, *, targets: str = "") -> None:
        """``url`` is the folder that holds ``metadata`` and ``targets``; another one for the
        latter can be named."""
        self.name = url
        self._url = url.rstrip("/")
        self._targets = targets.rstrip("/")

    def read(self, path: str, most: int, stopped: Event) -> bytes | None:
        stop(stopped)
        try:
            with self._get(path) as answer:
                # Not by its announced length: who wants to send without end does not announce it.
                data: bytes = answer.read(most + 1)
        except NotFound:
            return None
        if len(data) > most:
            raise Untrusted(f"{path}: more than {most} bytes are sent")
        return data

    def bring(self, path: str, sink: Sink, stopped: Event) -> None:
        failures = 0
        while not sink.pieces.complete:
            before = sink.pieces.missing
            try:
                first, end = next(sink.pieces.gaps())
                self._range(path, sink, first, end, stopped)
            except Unavailable:
                failures = failures + 1 if sink.pieces.missing == before else 0
                if failures >= _TRIES or stopped.wait(_PAUSE_S):
                    raise

    def close(self) -> None:
        """Each file has a connection of its own."""

    def _range(self, path: str, sink: Sink, first: int, end: int, stopped: Event) -> None:
        with self._get(path, (first, end)) as answer:
            place = first if answer.status == http.client.PARTIAL_CONTENT else 0
            if place and not self._begins_at(answer, place):
                raise Untrusted(f"{path}: another range came than the one that was asked for")
            while place < end:
                stop(stopped)
                wanted = min(_BLOCK, end - place)
                data = answer.read(wanted)
                # What is not a whole number of units is asked for again.
                usable = len(data) if len(data) == wanted else len(data) // UNIT * UNIT
                if usable and place + usable > first:
                    sink.put(place, data[:usable])
                place += usable
                if usable < wanted:
                    raise Unavailable(f"{self.name}: the connection ended within {path}")

    @staticmethod
    def _begins_at(answer: http.client.HTTPResponse, place: int) -> bool:
        return (answer.headers.get("Content-Range") or "").startswith(f"bytes {place}-")

    @contextmanager
    def _get(
        self, path: str, span: tuple[int, int] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Raises NotFound, Unavailable."""
        request = urllib.request.Request(self._address(path), headers={"User-Agent": "edgeagent"})
        if span is not None and span[0]:
            request.add_header("Range", f"bytes={span[0]}-{span[1] - 1}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                yield answer
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (403, 404, 410):
                raise NotFound(f"{self.name} has no file {path}") from error
            raise Unavailable(f"{self.name} answers {error.code} for {path}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"{self.name} can't be reached: {error}") from error

    def _address(self, path: str) -> str:
        top, _, rest = checked(path).partition("/")
        if self._targets and top == "targets":
            return f"{self._targets}/{rest}"
        return f"{self._url}/{path}"
