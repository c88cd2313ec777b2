"""The HTTP server of a real agent, asked as good and bad clients ask it."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgeagent.prove.predict import Predictor
from edgeagent.testing.agent import AgentProcess
from edgeagent.update.library import Library, default_folders

pytest.importorskip("httptools", reason="pip install 'edgeagent[serve]'")

TOKEN = "0123456789abcdef0123"
INFER = "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "token").write_text(TOKEN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    config = (
        f'[serve]\nlisten = "127.0.0.1:{number}"\ntoken_file = "{folder / "token"}"\n'
        'max_body = "1 MiB"\n'
    )
    with AgentProcess(config, folder) as agent:
        agent.until(lambda status: status["state"] == "online")
        yield number


def ask(
    port: int, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    told = {name.lower(): value for name, value in answer.getheaders()}
    found = answer.status, answer.read(), told
    connection.close()
    return found


def raw(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(65536)


@pytest.fixture(scope="module")
def digit() -> Any:
    return np.random.default_rng(1).integers(-128, 128, (1, 8, 8, 1)).astype(np.int8)


@pytest.fixture(scope="module")
def bare(digit: Any) -> Any:
    with Predictor(Library(default_folders()).find("digits")) as predictor:
        return predictor.session.run([digit])[0]


def binary(digit: Any, **changes: Any) -> tuple[bytes, str]:
    tensor = {
        "name": "serving_default_image:0", "shape": [1, 8, 8, 1], "datatype": "INT8",
        "parameters": {"binary_data_size": digit.nbytes}, **changes,
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + digit.tobytes(), str(len(head))


def test_binary_and_json_answer_as_in_process_to_the_bit(port: int, digit: Any, bare: Any) -> None:
    body, length = binary(digit)
    status, reply, headers = ask(port, "POST", INFER, body, Inference_Header_Content_Length=length)
    assert status == 200
    told = reply[int(headers["inference-header-content-length"]) :]
    assert told == bare.tobytes()
    tensor = {"name": "serving_default_image:0", "shape": [1, 8, 8, 1], "datatype": "INT8",
              "data": digit.tolist()}  # fmt: skip
    status, reply, _ = ask(port, "POST", INFER, json.dumps({"inputs": [tensor]}).encode())
    assert (status, json.loads(reply)["outputs"][0]["data"]) == (200, bare.ravel().tolist())


def test_a_compressed_request_is_the_same_request(port: int, digit: Any, bare: Any) -> None:
    body, length = binary(digit)
    status, reply, headers = ask(
        port, "POST", INFER, gzip.compress(body),
        Inference_Header_Content_Length=length, Content_Encoding="gzip",
    )  # fmt: skip
    assert status == 200
    assert reply[int(headers["inference-header-content-length"]) :] == bare.tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {"binary_data_size": -1}},
        {"parameters": {"binary_data_size": 63}},
        {"parameters": {"binary_data_size": 1 << 63}},
        {"parameters": {"binary_data_size": True}},
        {"shape": [1, 8, 8, -1]},
        {"shape": [1, 1 << 62, 1 << 62, 1]},
        {"shape": [1, 8, 8]},
        {"datatype": "FP32"},
        {"name": "other"},
        {"data": [1]},
    ],
)
def test_sizes_that_are_no_sizes_are_refused(port: int, digit: Any, changes: Any) -> None:
    body, length = binary(digit, **changes)
    status, reply, _ = ask(port, "POST", INFER, body, Inference_Header_Content_Length=length)
    assert status == 400
    assert json.loads(reply)["error"]


@pytest.mark.parametrize("length", ["-1", "99999999", "1e3", "9" * 30, "0x10", "\xb2"])
def test_a_header_length_that_lies_is_refused(port: int, digit: Any, length: str) -> None:
    body, _ = binary(digit)
    status, _, _ = ask(port, "POST", INFER, body, Inference_Header_Content_Length=length)
    assert status == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/..%2f..%2fetc/config", 404),
        ("/v2/models/%2e%2e/config", 404),
        ("/../../etc/passwd", 404),
        ("/v2/models/digits/versions/9.9.9", 404),
        ("/v2/models/nothing", 404),
        (INFER, 405),
    ],
)
def test_paths_lead_nowhere_else(port: int, path: str, status: int) -> None:
    assert ask(port, "GET", path)[0] == status


def test_heads_and_bodies_have_an_end(port: int) -> None:
    assert b" 431 " in raw(port, b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000)[:40]
    many = b"".join(b"x%d: 1\r\n" % n for n in range(200))
    assert b" 400 " in raw(port, b"GET /v2 HTTP/1.1\r\n" + many + b"\r\n")[:40]
    assert b" 400 " in raw(port, b"no http at all\r\n\r\n")[:40]
    large = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"
    assert b" 413 " in raw(port, large % INFER.encode())[:40]
    bomb = gzip.compress(b"0" * 50_000_000)
    assert ask(port, "POST", INFER, bomb, Content_Encoding="gzip")[0] == 413
    assert ask(port, "GET", "/v2/health/ready")[0] == 200


def test_other_names_and_other_pages_stay_outside(port: int) -> None:
    assert ask(port, "GET", "/v2", Host="evil.example")[0] == 421
    assert ask(port, "GET", "/v2", Host=f"127.0.0.1:{port}")[0] == 200
    assert ask(port, "POST", "/v2/repository/index", Origin="http://evil.example")[0] == 403
    assert ask(port, "POST", "/v2/repository/index", Sec_Fetch_Site="cross-site")[0] == 403
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "POST", "/v2/repository/index", Origin=own)[0] == 200


def test_without_the_token_nothing_changes(port: int) -> None:
    unload = "/v2/repository/models/bearing/unload"
    assert ask(port, "GET", "/v2/models/bearing/ready")[0] == 200
    assert ask(port, "POST", unload)[0] == 401
    assert ask(port, "POST", unload, Authorization="Bearer wrong-wrong-wrong")[0] == 401
    assert ask(port, "GET", "/v2/models/bearing/ready")[0] == 200
    assert ask(port, "POST", unload, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(port, "GET", "/v2/models/bearing/ready")[0] == 404
    load = "/v2/repository/models/bearing/load"
    assert ask(port, "POST", load, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert ask(port, "GET", "/v2/models/bearing/ready")[0] == 200


def test_statistics_count_what_was_done(port: int, digit: Any) -> None:
    def stats() -> Any:
        return json.loads(ask(port, "GET", "/v2/models/digits/stats")[1])["model_stats"][0]

    before = stats()
    body, length = binary(digit)
    for _ in range(5):
        ask(port, "POST", INFER, body, Inference_Header_Content_Length=length)
    after = stats()
    assert after["inference_count"] - before["inference_count"] == 5
    spans = after["inference_stats"]
    assert spans["success"]["count"] - before["inference_stats"]["success"]["count"] == 5
    assert spans["success"]["ns"] > spans["compute_infer"]["ns"] > 0
