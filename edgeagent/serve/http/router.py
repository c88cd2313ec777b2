"""From a request to the function that answers it: a table of routes, asked as an ASGI app."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from edgeagent.errors import (
    Busy,
    CommandRejected,
    EdgeAgentError,
    InputError,
    NotFound,
    NotPermitted,
    Unavailable,
    UsageError,
    in_words,
)
from edgeagent.serve.http.door import Door
from edgeagent.serve.http.exchange import (
    Receive,
    Refused,
    Request,
    Response,
    Scope,
    Send,
    failure,
)

log = logging.getLogger("edgeagent.serve")

Answers = Callable[[Request], Awaitable[Response]]

_STATUS: tuple[tuple[type[EdgeAgentError], int], ...] = (
    (CommandRejected, 409), (NotFound, 404), (InputError, 400), (UsageError, 400),
    (NotPermitted, 403), (Busy, 503), (Unavailable, 503),
)  # fmt: skip
_MOST_REMEMBERED = 256


class Route(Struct, frozen=True):
    """One path and method. ``{name}`` in the path is one segment."""

    method: str
    path: str
    answer: Answers
    summary: str
    tag: str
    changes: bool = False
    """It needs the token."""
    public: bool = False
    """It needs no token wherever the server listens."""
    takes: tuple[str, ...] = ()
    """Media types of the body."""
    body: type[Any] | None = None
    """What a body in JSON holds."""
    gives: tuple[str, ...] = ("application/json",)
    """Media types of the answer."""
    holds: type[Any] | None = None
    """What an answer in JSON holds."""


class Router:
    """All routes of a server.

    Args:
        limit: bytes that a body may have.
        give_way: called before each request; may hold it up for a moment.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        door: Door,
        limit: int,
        give_way: Callable[[], None] = lambda: None,
    ) -> None:
        self._give_way = give_way
        self.routes = tuple(routes)
        self._door = door
        self._limit = limit
        self._paths: dict[int, list[tuple[list[str], dict[str, Route]]]] = {}
        self._known: dict[str, tuple[dict[str, Route], dict[str, str]]] = {}
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            by_path.setdefault(route.path, {})[route.method] = route
        for path, methods in by_path.items():
            segments = path.split("/")
            self._paths.setdefault(len(segments), []).append((segments, methods))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever goes wrong becomes an answer."""
        if scope["type"] != "http":
            return
        self._give_way()
        request = Request(scope, receive, self._limit)
        close = False
        try:
            route = self._find(request, scope["raw_path"].decode("latin-1"))
            self._door.admit(request, changes=route.changes, public=route.public)
            response = await route.answer(request)
        except Refused as error:
            response, close = failure(error), error.close
        except EdgeAgentError as error:
            response = failure(_refusal(error))
        except Exception:
            # A fault of ours must not show its insides to whoever asks.
            log.exception("%s %s failed", request.method, request.path)
            response = failure(Refused(500, "internal error; the agent's log has the details"))
        await response.send(request, send, close=close)

    def _find(self, request: Request, path: str) -> Route:
        found = self._known.get(path)
        if found is None:
            found = self._search(path)
            if len(self._known) < _MOST_REMEMBERED:
                self._known[path] = found
        methods, request.params = found
        method = "GET" if request.method == "HEAD" else request.method
        route = methods.get(method)
        if route is None:
            allowed = [*methods, *(["HEAD"] if "GET" in methods else [])]
            raise Refused(
                405, f"{request.method} is not possible here",
                headers=((b"allow", ", ".join(allowed).encode()),),
            )  # fmt: skip
        return route

    def _search(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        segments = path.split("/")
        if len(segments) > 3 and segments[-1] == "":
            segments.pop()
        for wanted, methods in self._paths.get(len(segments), ()):
            params = _match(wanted, segments)
            if params is not None:
                return methods, params
        raise Refused(404, "there is nothing at this path")


def _match(wanted: list[str], segments: list[str]) -> dict[str, str] | None:
    """``{name}`` takes a whole segment; ``{name}:word`` one that ends so."""
    params = {}
    for want, got in zip(wanted, segments, strict=True):
        if not want.startswith("{"):
            if want != got:
                return None
            continue
        name, _, ending = want[1:].partition("}")
        if ending and not got.endswith(ending):
            return None
        value = unquote(got[: len(got) - len(ending)])
        if not value or (not ending and ":" in value):
            return None
        params[name] = value
    return params


def _refusal(error: EdgeAgentError) -> Refused:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    text = in_words(error)
    headers: Any = ((b"retry-after", b"1"),) if status == 503 else ()
    return Refused(status, text, headers=headers)
