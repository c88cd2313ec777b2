"""What clients of each protocol get from a real agent."""

from __future__ import annotations

import csv
import json
import math
import threading
import time
import wave
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import Client

from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import first_sample
from edgeagent.update.library import Library, default_folders

ROW = [1.5, -2.0, 0.1, 3e38]


def test_every_kind_of_prediction_is_the_pipelines_own(served: Client, repository: Path) -> None:
    """Pictures and rows of values, by the package's own preparation and decoding."""
    golden = repository / "models" / "digits" / "1.0.0" / "golden" / "3.png"
    said = served("POST", "/api/models/digits/predict", golden.read_bytes(),
                  Content_Type="image/png").json  # fmt: skip
    with Predictor(Library(default_folders()).find("digits")) as digits:
        its = digits(first_sample(golden, digits.package)).predictions[0]
    assert (said["predictions"][0]["label"], said["model"]) == (its.label, digits.model)
    assert math.isclose(said["predictions"][0]["score"], its.score, abs_tol=1e-4)
    for name, unlike in (("sound-1", False), ("damaged-1", True)):
        file = repository / "models" / "bearing" / "1.0.0" / "golden" / f"{name}.csv"
        rows = [row[-1] for row in csv.reader(file.open()) if row[-1][-1].isdigit()][:1024]
        said = served("POST", "/api/models/bearing/predict", "\n".join(rows).encode(),
                      Content_Type="text/csv").json  # fmt: skip
        score = said["windows"][0]["predictions"][0]["score"]
        assert (score > 1.8) == unlike


@pytest.mark.assets
def test_sounds_window_by_window(served: Client, assets: Path, tmp_path: Path) -> None:
    from edgeagent.prove.init import propose, write_package

    models = served.agent.data / "models"
    write_package(propose(assets / "models" / "kws_ref_model.tflite", "keywords", licence="x"),
                  models)  # fmt: skip
    yes = (assets / "audio" / "yes_1000ms.wav").read_bytes()
    said = served("POST", "/api/models/keywords/predict", yes, Content_Type="audio/wav").json
    best = max(said["windows"][0]["predictions"], key=lambda its: its["score"])
    assert best["label"] == "yes"
    with wave.open(str(tmp_path / "none.wav"), "wb") as empty:
        empty.setparams((1, 2, 16000, 0, "NONE", ""))
    for bad in (b"RIFF", yes[:40], (tmp_path / "none.wav").read_bytes(), b""):
        reply = served("POST", "/api/models/keywords/predict", bad, Content_Type="audio/wav")
        assert reply.status == 400, reply
        assert "/proc" not in reply.json["error"]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("image/jpeg", b"", 400), ("image/jpeg", b"\xff\xd8\xff", 400),
        ("image/png", b"\x89PNG\r\n\x1a\n" + b"\0" * 99, 400),
        ("application/x-python", b"1", 415), ("", b"1", 415),
        ("text/csv", b"1,2\n3", 400), ("text/csv", b"nan", 400), ("text/csv", b"\xff", 400),
        ("text/csv", b"", 400),
    ],
)  # fmt: skip
def test_what_is_no_picture_and_no_table_is_refused(
    served: Client, kind: str, body: bytes, status: int
) -> None:
    model = "bearing" if kind == "text/csv" else "digits"
    reply = served("POST", f"/api/models/{model}/predict", body, Content_Type=kind)
    assert reply.status == status, reply
    assert reply.json["error"]


def test_a_picture_that_unpacks_to_gigabytes_is_refused(served: Client) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(
        b"IDAT", zlib.compress(b"\0" * 5_000_000)) + chunk(b"IEND", b"")  # fmt: skip
    reply = served("POST", "/api/models/digits/predict", bomb, Content_Type="image/png")
    assert reply.status == 400


def test_tensorflow_serving(served: Client) -> None:
    one = {"instances": [ROW]}
    exact = np.float32(ROW).tolist()
    for path in ("echo", "echo/versions/1.1.0", "echo/versions/1001000", "echo/labels/stable",
                 "echo/versions/0"):  # fmt: skip
        reply = served("POST", f"/v1/models/{path}:predict", one)
        assert (reply.status, reply.json) == (200, {"predictions": [exact]}), path
    many = served("POST", "/v1/models/echo:predict", {"inputs": {"x": [ROW] * 3}})
    assert many.json == {"outputs": [exact] * 3}
    status = served("GET", "/v1/models/echo").json["model_version_status"]
    assert {(its["version"], its["state"]) for its in status} == {
        ("1001000", "AVAILABLE"), ("1000000", "AVAILABLE"),
    }  # fmt: skip
    told = served("GET", "/v1/models/echo/labels/stable/metadata").json
    assert told["model_spec"]["version"] == "1000000"
    signature = told["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [its["size"] for its in signature["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "4"]
    for bad in ({}, {"instances": []}, {"instances": [ROW], "inputs": [ROW]}, {"inputs": {}},
                {"instances": [[1, 2]]}, {"instances": [{"y": 1}]}, {"instances": "x"},
                {"inputs": {"x": {}}}, {"instances": [[[1, 2, 3, 4]]]}, []):  # fmt: skip
        assert served("POST", "/v1/models/echo:predict", bad).status == 400, bad
    assert served("POST", "/v1/models/echo/versions/7:predict", one).status == 404


def test_rows_run_one_by_one_where_the_model_takes_one(served: Client) -> None:
    rows = np.random.default_rng(3).integers(-128, 128, (5, 8, 8, 1))
    reply = served("POST", "/v1/models/digits:predict", {"instances": rows.tolist()})
    with Predictor(Library(default_folders()).find("digits")) as digits:
        bare = [digits.session.run([row[None].astype(np.int8)])[0][0].tolist() for row in rows]
    assert reply.json == {"predictions": bare}


def test_sagemaker(served: Client, repository: Path) -> None:
    assert served("GET", "/ping").status == 200
    exact = np.float32(ROW).tolist()
    body = {"instances": [ROW]}
    assert served("POST", "/invocations", body).json == {"predictions": [exact]}
    picture = (repository / "models/digits/1.0.0/golden/3.png").read_bytes()
    target = {"X_Amzn_SageMaker_Target_Model": "digits.tar.gz"}
    said = served("POST", "/invocations", picture, Content_Type="image/png", **target).json
    assert said["model"] == "digits@1.0.0/int8"
    assert served("POST", "/invocations", b"x", Content_Type="x/y").status == 415
    none = {"X_Amzn_SageMaker_Target_Model": "../../etc/passwd"}
    assert served("POST", "/invocations", body, **none).status == 404


def test_versions_labels_and_configuration(served: Client) -> None:
    for version, means in (("", "1.1.0"), ("/versions/1.0.0", "1.0.0"),
                           ("/versions/stable", "1.0.0")):  # fmt: skip
        reply = served.infer(f"echo{version}", ROW, [1, 4], id="7")
        assert (reply.json["model_version"], reply.json["id"]) == (means, "7")
    told = served("GET", "/v2/models/echo").json
    assert (told["versions"], told["platform"]) == (["1.1.0", "1.0.0"], "onnxruntime_onnx")
    config = served("GET", "/v2/models/echo/config").json
    assert config["max_batch_size"] == 8
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}]
    assert "onnxruntime" in config["parameters"]["receipt"]["string_value"]
    assert config["dynamic_batching"] == {"max_queue_delay_microseconds": 5000}
    assert served("GET", "/v2/models/digits/config").json["max_batch_size"] == 0


def test_requests_of_many_clients_are_put_together(served: Client) -> None:
    def stats() -> Any:
        return served("GET", "/v2/models/echo/stats").json["model_stats"][0]

    before, wrong = stats(), []

    def client(number: int) -> None:
        for turn in range(10):
            row = np.float32([number, turn, number * turn, 1]).tolist()
            if served.infer("echo", row, [1, 4]).json["outputs"][0]["data"] != row:
                wrong.append((number, turn))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    after = stats()
    assert after["inference_count"] - before["inference_count"] == 80
    assert after["execution_count"] - before["execution_count"] < 60
    assert max(its["batch_size"] for its in after["batch_stats"]) > 1
    assert after["inference_stats"]["queue"]["ns"] > 0


def test_a_canary_answers_half_and_a_shadow_only_compares(served: Client) -> None:
    deadline = time.monotonic() + 20.0
    told: dict[str, Any] = {}
    said: Counter[str] = Counter()
    while sum(said.values()) < 60 or not told.get("same"):
        assert time.monotonic() < deadline, told
        said[served.infer("mixed", ROW, [1, 4]).json["model_version"]] += 1
        stats = served("GET", "/v2/models/mixed/versions/1.1.0/stats").json["model_stats"][0]
        told = stats.get("shadow", {})
    assert set(said) == {"1.0.0", "1.1.0"}  # all alike: once in 2⁵⁹
    assert (told["version"], told["other"]) == ("1.0.0", 0)
    stats = served("GET", "/v2/models/mixed/versions/1.0.0/stats").json["model_stats"][0]
    answered = stats["inference_stats"]["success"]["count"]
    assert answered == said["1.0.0"]
    assert stats["execution_count"] >= answered + told["same"]


def test_the_repository_index(served: Client) -> None:
    rows = {
        (row["name"], row["version"]): row for row in served("POST", "/v2/repository/index").json
    }
    assert rows["mixed", "1.1.0"]["state"] == "READY"
    assert ("parts", "1.0.0") in rows
    ready = served("POST", "/v2/repository/index", {"ready": True}).json
    assert {row["state"] for row in ready} == {"READY"}
    for bad in (b"{", b"[]", b'{"ready":3}'):
        assert served("POST", "/v2/repository/index", bad).status == 400


def test_models_are_not_sent_this_way(served: Client) -> None:
    from asking import TOKEN

    load = {"parameters": {"config": "{}", "file:1/model.onnx": "AAAA"}}
    reply = served("POST", "/v2/repository/models/digits/load", load,
                   Authorization=f"Bearer {TOKEN}")  # fmt: skip
    assert reply.status == 400


def test_events_as_they_happen_none_lost_over_a_break(served: Client) -> None:
    def stream(count: int, last: str = "") -> list[tuple[str, dict[str, Any]]]:
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        connection.request("GET", "/api/events/stream",
                           headers={"Last-Event-ID": last} if last else {})  # fmt: skip
        reply = connection.getresponse()
        assert reply.getheader("content-type") == "text/event-stream"
        found, name = [], ""
        while len(found) < count:
            line = reply.readline().decode().rstrip("\n")
            if line.startswith("id: "):
                name = line[4:]
            elif line.startswith("data: "):
                found.append((name, json.loads(line[6:])))
        connection.close()
        return found

    first = stream(3)
    again = stream(4, first[0][0])
    assert [name for name, _ in again[:2]] == [name for name, _ in first[1:]]
    seqs = [record["seq"] for _, record in again]
    assert seqs == sorted(set(seqs))
    assert {record["kind"] for _, record in again} == {"event"}
    listed = served("GET", "/api/events?last=1000").json
    assert {record["seq"] for record in listed["events"]} >= set(seqs[:2])
    for bad in ("x", "-7", "1-"):
        assert served("GET", "/api/events/stream", Last_Event_ID=bad).status == 400
    for bad in ("0", "-1", "x", "1001", "9" * 99):
        assert served("GET", f"/api/events?last={bad}").status == 400


def test_the_openapi_document_names_what_there_is(served: Client) -> None:
    told = served("GET", "/openapi.json").json
    assert told["openapi"] == "3.1.0"
    infer = told["paths"]["/v2/models/{model}/infer"]["post"]
    assert "$ref" in infer["requestBody"]["content"]["application/json"]["schema"]
    assert told["paths"]["/v2/repository/models/{model}/load"]["post"]["security"]
    assert "InferRequest" in told["components"]["schemas"]
