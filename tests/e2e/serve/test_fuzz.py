"""Thousands of requests that nobody means well: answered with 4xx, or not at all; never a crash."""

from __future__ import annotations

import gzip
import json
import random
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from asking import TOKEN, Client

_GROWTH_KIB = 12 * 1024
_WORDS = [
    b"-1", b"0", b"9" * 40, b"\xff\xfe", b"\0", b"..", b"%2e%2e%2f", b"%00", b"{", b"[[[[[",
    b"null", b"NaN", b"1e999", b'"', b"\r\n", b"\r\n\r\n", b": ", b"content-length:", b"a" * 3000,
    b"{}", b"inference-header-content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"true",
]  # fmt: skip


def good_requests(repository: Path) -> list[bytes]:
    """One of each kind, whole."""
    head = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32",
                                   "parameters": {"binary_data_size": 16}}]}).encode()  # fmt: skip
    numbers = json.dumps({"instances": [[1, 2, 3, 4]]}).encode()
    picture = (repository / "models/digits/1.0.0/golden/3.png").read_bytes()
    rows = b"\n".join(b"0.5" for _ in range(1024))
    told = [
        ("GET", "/v2", "", b""), ("GET", "/v2/models/echo/config", "", b""),
        ("GET", "/v2/models/echo/versions/1.0.0/stats", "", b""),
        ("GET", "/v1/models/echo/labels/stable/metadata", "", b""),
        ("GET", "/api/events?last=5", "", b""), ("GET", "/ping", "", b""),
        ("POST", "/v2/repository/index", "", b'{"ready":true}'),
        ("POST", "/v2/models/echo/infer",
         f"Inference-Header-Content-Length: {len(head)}\r\n", head + b"\0" * 16),
        ("POST", "/v1/models/echo:predict", "Content-Type: application/json\r\n", numbers),
        ("POST", "/invocations", "Content-Encoding: gzip\r\n", gzip.compress(numbers)),
        ("POST", "/api/models/digits/predict", "Content-Type: image/png\r\n", picture),
        ("POST", "/api/models/bearing/predict", "Content-Type: text/csv\r\n", rows),
        ("POST", "/v2/repository/models/parts/unload", "Authorization: Bearer no\r\n", b"{}"),
    ]  # fmt: skip
    return [
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}"
        f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        for method, path, more, body in told
    ]  # fmt: skip


def spoilt(dice: random.Random, request: bytes) -> bytes:
    """The same with some bytes changed, taken out, doubled or put in."""
    data = bytearray(request)
    end = data.find(b"\r\n\r\n")
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(min(len(data), end) if dice.random() < 0.5 and end > 0 else len(data))
        kind = dice.randrange(5)
        if kind == 0:
            data[at] = dice.randrange(256)
        elif kind == 1:
            del data[at : at + dice.randint(1, 20)]
        elif kind == 2:
            data[at:at] = dice.choice(_WORDS)
        elif kind == 3:
            data[at:at] = data[at : at + dice.randint(1, 60)]
        else:
            del data[at:]
        if not data:
            return b"\0"
    return bytes(data)


def said(port: int, data: bytes, patience_s: float = 20.0) -> int:
    """The status; 0 = no answer in time, or the connection was ended without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as connection:
        try:
            connection.sendall(data)
            reply = connection.recv(64)
        except (ConnectionError, TimeoutError):
            return 0
    return int(reply[9:12]) if reply.startswith(b"HTTP/1.1 ") else 0


def pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_spoilt_requests(served: Client, repository: Path, full: bool) -> None:
    dice = random.Random(20261125)
    good = good_requests(repository)
    assert [said(served.port, data) for data in good] == [200] * (len(good) - 1) + [401]
    count = 10_000 if full else 200

    def rude(data: bytes) -> int:
        # Many wait for more than there is to come.
        status = said(served.port, data, 0.3)
        assert status < 500, (status, data)
        return status

    with ThreadPoolExecutor(16) as clients:
        # What the store, the models and the allocator take once is no growth.
        list(clients.map(rude, [spoilt(dice, dice.choice(good)) for _ in range(50)]))
        before = pss_kib(served.agent.pid)
        statuses = Counter(
            clients.map(rude, (spoilt(dice, dice.choice(good)) for _ in range(count)))
        )
    assert pss_kib(served.agent.pid) - before < _GROWTH_KIB
    assert statuses[400] > count / 20
    assert [said(served.port, data) for data in good] == [200] * (len(good) - 1) + [401]
    reply = served("POST", "/v2/repository/index", Authorization=f"Bearer {TOKEN}").json
    assert not [row for row in reply if row["reason"] == "it was unloaded"]
    assert "Traceback" not in served.agent.log
