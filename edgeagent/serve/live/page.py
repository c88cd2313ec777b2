"""The page for people at ``/``, and what it asks for. One file without anything from elsewhere:
its head forbids the browser to load or send anything beyond this device.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable
from functools import cached_property
from importlib.resources import files
from typing import Any, Protocol

import msgspec

from edgeagent.serve.http.aside import Aside
from edgeagent.serve.http.exchange import Refused, Request, Response, answer, document
from edgeagent.serve.http.router import Route

_DOCTOR_S = 30.0
"""An examination is good for so long: it looks at disks and networks."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KINDS = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"), (b"RIFF", "video/x-msvideo"))


class Looks(Protocol):
    """What the page shows of an agent. Asked on threads of their own."""

    def status(self) -> dict[str, Any]: ...

    def health(self) -> dict[str, Any]: ...

    def doctor(self) -> dict[str, Any]: ...

    def why(self, target: str) -> dict[str, Any]:
        """Why there is an event (by its id), or none of a pipeline. Raises NotFound."""

    def views(self) -> list[dict[str, Any]]:
        """What pipelines look at: names, places, masks."""

    def view(self, pipeline: str, by: str) -> dict[str, Any]:
        """A present picture as a person may see it, and what was found; that ``by`` looks is
        noted. Raises NotFound."""

    def evidence(self, sha256: str, by: str) -> bytes:
        """Likewise. Raises NotFound."""

    def order(self, pipeline: str, action: str) -> dict[str, Any]:
        """Stop or start a pipeline. Raises as a command does."""


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """``{"action": "stop"}``"""

    action: str


class Page:
    """``/`` and ``/api/…``. Belongs to the server's thread."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._aside = Aside("serve:look", 4)
        self._examined: tuple[float, dict[str, Any]] = (0.0, {})
        self._examining = asyncio.Lock()

    def routes(self) -> list[Route]:
        looks = self._looks
        return [
            Route("GET", "/", self.page, "The page for people", "page", public=True,
                  gives=("text/html",)),
            Route("GET", "/api/status", self._asked(looks.status), "As edgeagent status", "page"),
            Route("GET", "/api/health", self._asked(looks.health), "How the device is", "page"),
            Route("GET", "/api/doctor", self.doctor, "What is wrong, and what to do", "page"),
            Route("GET", "/api/why/{target}", self.why,
                  "Why there is an event, or none of a pipeline", "page"),
            Route("GET", "/api/views", self._asked(looks.views), "What pipelines look at", "page"),
            Route("GET", "/api/views/{pipeline}", self.view,
                  "A present picture, redacted, and what was found in it", "page"),
            Route("GET", "/api/evidence/{sha256}", self.evidence, "A picture or clip of an event",
                  "events", gives=tuple(kind for _, kind in _KINDS)),
            Route("POST", "/api/pipelines/{pipeline}", self.order, "Stop or start a pipeline",
                  "page", changes=True, takes=("application/json",), body=Order),
        ]  # fmt: skip

    async def page(self, _request: Request) -> Response:
        body, policy = self._file
        headers = (
            (b"content-security-policy", policy),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-cache"),
        )
        return Response(body, b"text/html; charset=utf-8", 200, headers)

    @cached_property
    def _file(self) -> tuple[bytes, bytes]:
        """The page in one piece, and the policy that lets run just what stands in it."""
        folder = files("edgeagent.serve.live")
        body = folder.joinpath("page.html").read_bytes()
        sums = []
        for name in ("page.css", "page.js"):
            part = folder.joinpath(name).read_bytes()
            body = body.replace(b"/* %b */" % name.encode(), part)
            sums.append(base64.b64encode(hashlib.sha256(part).digest()))
        policy = (
            b"default-src 'none'; connect-src 'self'; img-src blob: data:; base-uri 'none'; "
            b"form-action 'none'; frame-ancestors 'none'; style-src 'sha256-%b'; "
            b"script-src 'sha256-%b'" % tuple(sums)
        )
        return body, policy

    def _asked(self, what: Callable[[], Any]) -> Callable[[Request], Any]:
        async def told(_request: Request) -> Response:
            return answer(await self._aside.run(what))

        return told

    async def doctor(self, _request: Request) -> Response:
        async with self._examining:
            now = asyncio.get_running_loop().time()
            at, told = self._examined
            if not told or now - at > _DOCTOR_S:
                told = await self._aside.run(self._looks.doctor)
                self._examined = (now, told)
        return answer(told)

    async def why(self, request: Request) -> Response:
        target = request.params["target"]
        if not _TARGET.fullmatch(target):
            raise Refused(400, "the id of an event, or the name of a pipeline")
        return answer(await self._aside.run(self._looks.why, target))

    async def view(self, request: Request) -> Response:
        return answer(
            await self._aside.run(self._looks.view, request.params["pipeline"], request.viewer)
        )

    async def evidence(self, request: Request) -> Response:
        sha256 = request.params["sha256"]
        if not _SHA256.fullmatch(sha256):
            raise Refused(400, "evidence is named by its sha256 in hexadecimal")
        data: bytes = await self._aside.run(self._looks.evidence, sha256, request.viewer)
        kind = next((kind for head, kind in _KINDS if data.startswith(head)), "")
        if not kind:
            raise Refused(404, "this is neither a picture nor a clip")
        headers = (
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"private, max-age=3600, immutable"),
        )
        return Response(data, kind.encode(), 200, headers)

    async def order(self, request: Request) -> Response:
        given: Order = document(await request.body(), Order)
        return answer(
            await self._aside.run(self._looks.order, request.params["pipeline"], given.action)
        )

    def close(self) -> None:
        self._aside.close()
