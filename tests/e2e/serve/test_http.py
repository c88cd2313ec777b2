"""The HTTP server of a real agent, asked as good and bad clients ask it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest
from asking import TOKEN, Client

from edgeagent.prove.predict import Predictor
from edgeagent.update.library import Library, default_folders

INFER = "/v2/models/digits/infer"


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


def test_binary_and_json_answer_as_in_process_to_the_bit(
    served: Client, digit: Any, bare: Any
) -> None:
    body, length = binary(digit)
    status, reply, headers = served("POST", INFER, body, Inference_Header_Content_Length=length)
    assert status == 200
    told = reply[int(headers["inference-header-content-length"]) :]
    assert told == bare.tobytes()
    tensor = {"name": "serving_default_image:0", "shape": [1, 8, 8, 1], "datatype": "INT8",
              "data": digit.tolist()}  # fmt: skip
    status, reply, _ = served("POST", INFER, json.dumps({"inputs": [tensor]}).encode())
    assert (status, json.loads(reply)["outputs"][0]["data"]) == (200, bare.ravel().tolist())


def test_a_compressed_request_is_the_same_request(served: Client, digit: Any, bare: Any) -> None:
    body, length = binary(digit)
    status, reply, headers = served("POST", INFER, gzip.compress(body),
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
def test_sizes_that_are_no_sizes_are_refused(served: Client, digit: Any, changes: Any) -> None:
    body, length = binary(digit, **changes)
    status, reply, _ = served("POST", INFER, body, Inference_Header_Content_Length=length)
    assert status == 400
    assert json.loads(reply)["error"]


@pytest.mark.parametrize("length", ["-1", "99999999", "1e3", "9" * 30, "0x10", "\xb2"])
def test_a_header_length_that_lies_is_refused(served: Client, digit: Any, length: str) -> None:
    body, _ = binary(digit)
    status, _, _ = served("POST", INFER, body, Inference_Header_Content_Length=length)
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
def test_paths_lead_nowhere_else(served: Client, path: str, status: int) -> None:
    assert served("GET", path)[0] == status


def test_heads_and_bodies_have_an_end(served: Client) -> None:
    assert (
        b" 431 " in served.raw(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000)[:40]
    )
    many = b"".join(b"x%d: 1\r\n" % n for n in range(200))
    assert b" 400 " in served.raw(b"GET /v2 HTTP/1.1\r\n" + many + b"\r\n")[:40]
    assert b" 400 " in served.raw(b"no http at all\r\n\r\n")[:40]
    large = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"
    assert b" 413 " in served.raw(large % INFER.encode())[:40]
    bomb = gzip.compress(b"0" * 50_000_000)
    assert served("POST", INFER, bomb, Content_Encoding="gzip")[0] == 413
    assert served("GET", "/v2/health/ready")[0] == 200


def test_other_names_and_other_pages_stay_outside(served: Client) -> None:
    assert served("GET", "/v2", Host="evil.example")[0] == 421
    assert served("GET", "/v2", Host=f"127.0.0.1:{served.port}")[0] == 200
    assert served("POST", "/v2/repository/index", Origin="http://evil.example")[0] == 403
    assert served("POST", "/v2/repository/index", Sec_Fetch_Site="cross-site")[0] == 403
    own = f"http://127.0.0.1:{served.port}"
    assert served("POST", "/v2/repository/index", Origin=own)[0] == 200


def test_without_the_token_nothing_changes(served: Client) -> None:
    unload = "/v2/repository/models/bearing/unload"
    assert served("GET", "/v2/models/bearing/ready")[0] == 200
    assert served("POST", unload)[0] == 401
    assert served("POST", unload, Authorization="Bearer wrong-wrong-wrong")[0] == 401
    assert served("GET", "/v2/models/bearing/ready")[0] == 200
    assert served("POST", unload, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert served("GET", "/v2/models/bearing/ready")[0] == 404
    load = "/v2/repository/models/bearing/load"
    assert served("POST", load, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert served("GET", "/v2/models/bearing/ready")[0] == 200


def test_statistics_count_what_was_done(served: Client, digit: Any) -> None:
    def stats() -> Any:
        return json.loads(served("GET", "/v2/models/digits/stats")[1])["model_stats"][0]

    before = stats()
    body, length = binary(digit)
    for _ in range(5):
        served("POST", INFER, body, Inference_Header_Content_Length=length)
    after = stats()
    assert after["inference_count"] - before["inference_count"] == 5
    spans = after["inference_stats"]
    assert spans["success"]["count"] - before["inference_stats"]["success"]["count"] == 5
    assert spans["success"]["ns"] > spans["compute_infer"]["ns"] > 0
