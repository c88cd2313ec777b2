"""Who gets in: by name, by origin, by token."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.serve.http.door import Door
from edgeagent.serve.http.exchange import Refused, Request

TOKEN = "0123456789abcdef"
HERE = "door-7:8000"


async def nothing() -> dict[str, Any]:
    raise AssertionError("the body is not read at the door")


def asked(method: str = "GET", host: str = HERE, **headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": method, "path": "/", "query_string": b"",
             "headers": [(b"host", host.encode()), *named]}  # fmt: skip
    return Request(scope, nothing, 0)


def status(door: Door, request: Request, *, changes: bool = False, public: bool = False) -> int:
    try:
        door.admit(request, changes=changes, public=public)
    except Refused as error:
        return error.status
    return 200


LOCAL = Door(TOKEN, ["door-7"], exposed=False)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (HERE, 200), ("localhost", 200), ("LOCALHOST:1", 200), ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200), ("192.168.1.7", 200), ("DOOR-7", 200),
        ("evil.example", 421), ("door-7.evil.example", 421), ("", 421), ("127.0.0.1.evil", 421),
        ("localhost.", 421), ("[::1", 200), ("2130706433", 421), ("\xb2", 421),
    ],
)  # fmt: skip
def test_only_names_of_its_own(host: str, expected: int) -> None:
    for _ in range(2):  # what was found good is remembered, what was not is not
        assert status(LOCAL, asked(host=host)) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"origin": f"http://{HERE}"}, 200),
        ({"origin": f"https://{HERE}"}, 200),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://door-7:8001"}, 403),
        ({"origin": f"http://evil.example://{HERE}"}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 200),
    ],
)
def test_pages_of_others_stay_outside(headers: dict[str, str], expected: int) -> None:
    assert status(LOCAL, asked(**headers)) == expected


def test_a_form_of_another_page_is_no_link() -> None:
    form = asked("POST", sec_fetch_site="cross-site", sec_fetch_mode="navigate")
    assert status(LOCAL, form) == 403


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, 401), (f"Bearer {TOKEN}", 200), (f"bearer  {TOKEN} ", 200), (TOKEN, 401),
        (f"Basic {TOKEN}", 401), (f"Bearer {TOKEN}x", 401), ("Bearer", 401), ("Bearer ", 401),
    ],
)  # fmt: skip
def test_changes_need_the_token(given: str | None, expected: int) -> None:
    headers = {} if given is None else {"authorization": given}
    assert status(LOCAL, asked("POST", **headers), changes=True) == expected
    assert status(LOCAL, asked(**headers)) == 200


def test_without_a_token_nothing_can_be_changed() -> None:
    door = Door("", [], exposed=False)
    for given in ("", "Bearer", "Bearer "):
        request = asked("POST", host="localhost", authorization=given)
        assert status(door, request, changes=True) == 403


def test_beyond_this_machine_all_but_health_needs_the_token() -> None:
    door = Door(TOKEN, ["door-7"], exposed=True)
    assert status(door, asked()) == 401
    assert status(door, asked(), public=True) == 200
    assert status(door, asked("POST"), public=True, changes=True) == 401
    assert status(door, asked(authorization=f"Bearer {TOKEN}")) == 200
