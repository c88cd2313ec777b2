"""The routes of a server as an OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from edgeagent import __version__
from edgeagent.serve.http.exchange import Request, Response, answer
from edgeagent.serve.http.router import Route

_JSON = "application/json"


class Fault(msgspec.Struct, frozen=True):
    error: str
    """What is wrong, and what to do."""


class Description:
    """``GET /openapi.json`` about itself and other routes."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = (*routes, *self.routes())

    def routes(self) -> list[Route]:
        return [Route("GET", "/openapi.json", self.told, "This document", "server")]

    async def told(self, _request: Request) -> Response:
        return answer(document(self._routes))


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """The OpenAPI document."""
    routes = list(routes)
    known = list(dict.fromkeys(
        [Fault, *(its for route in routes for its in (route.body, route.holds) if its)]
    ))  # fmt: skip
    schemas, components = msgspec.json.schema_components(
        known, ref_template="#/components/schemas/{name}"
    )
    named: dict[Any, Any] = dict(zip(known, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, named)
    return {
        "openapi": "3.1.0",
        "info": {"title": "edgeagent", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, named: dict[type[Any], Any]) -> dict[str, Any]:
    params = re.findall(r"{(\w+)}", route.path)
    fault = {"content": {_JSON: {"schema": named[Fault]}}}
    told: dict[str, Any] = {
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            {"name": name, "in": "path", "required": True,
             "schema": {"type": "string", "minLength": 1}}
            for name in params
        ],
        "responses": {
            "200": {
                "description": "the answer",
                "content": {
                    kind: {"schema": named[route.holds] if route.holds and kind == _JSON else {}}
                    for kind in route.gives
                },
            },
            "4XX": {"description": "what is wrong with the request", **fault},
            "503": {"description": "not now; Retry-After says when", **fault},
        },
    }  # fmt: skip
    if route.takes:
        told["requestBody"] = {
            "content": {
                kind: {"schema": named[route.body] if route.body and kind == _JSON else {}}
                for kind in route.takes
            }
        }
    if route.changes:
        told["security"] = [{"token": []}]
    return told
