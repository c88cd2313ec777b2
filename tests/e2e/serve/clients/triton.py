"""Triton's own client, unchanged: `python triton.py PORT TOKEN`. Runs in a venv of its own."""

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

port, token = sys.argv[1:]
client = triton.InferenceServerClient(f"127.0.0.1:{port}", concurrency=4)
assert client.is_server_live() and client.is_server_ready()
assert client.get_server_metadata()["name"] == "edgeagent"
assert client.is_model_ready("echo") and not client.is_model_ready("nothing")
assert client.get_model_metadata("echo", "1.0.0")["inputs"][0]["shape"] == [-1, 4]
assert client.get_model_config("echo")["max_batch_size"] == 8

rng = np.random.default_rng(5)
for dtype in ("uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32",
              "float64", "uint32", "uint64"):  # fmt: skip
    bits = rng.integers(0, 256, (3, 4 * np.dtype(dtype).itemsize)).astype(np.uint8)
    sent = np.nan_to_num(bits.view(dtype), nan=1, posinf=2, neginf=3)
    for binary in (True, False):
        if dtype == "float16" and not binary:
            continue  # this client refuses it itself
        for coding in (None, "gzip", "deflate"):
            tensor = triton.InferInput("x", [3, 4], np_to_triton_dtype(np.dtype(dtype)))
            tensor.set_data_from_numpy(sent, binary_data=binary)
            wanted = [triton.InferRequestedOutput("y", binary_data=binary)]
            for outputs in (wanted, None) if binary else (wanted,):
                got = client.infer(
                    f"echo-{dtype}", [tensor], outputs=outputs, request_id="7",
                    request_compression_algorithm=coding, response_compression_algorithm=coding,
                )  # fmt: skip
                array = got.as_numpy("y")
                assert got.get_response()["id"] == "7"
                assert (array.dtype, array.tobytes()) == (sent.dtype, sent.tobytes()), dtype

texts = [["", "crack", "ä€🙂", "0" * 300], ["a", "b", "c", "d"]]
for dtype, datatype, sent in (
    ("bool", "BOOL", np.array([[True, False, True, True], [False] * 4])),
    ("object", "BYTES", np.array(texts, object)),
    ("object", "BYTES", np.array([[its.encode() for its in row] for row in texts], object)),
):
    for binary in (True, False):
        for coding in (None, "gzip"):
            tensor = triton.InferInput("x", [2, 4], datatype)
            tensor.set_data_from_numpy(sent, binary_data=binary)
            got = client.infer(
                f"echo-{dtype}", [tensor], request_compression_algorithm=coding,
                outputs=[triton.InferRequestedOutput("y", binary_data=binary)],
            ).as_numpy("y")  # fmt: skip
            told = [[its.decode() if isinstance(its, bytes) else its for its in row]
                    for row in got.tolist()]  # fmt: skip
            assert told == (texts if dtype == "object" else sent.tolist()), (dtype, binary, told)
half = triton.InferInput("x", [1, 4], "BF16")
half._raw_data, half._parameters = bytes(8), {"binary_data_size": 8}  # else it wants ml_dtypes
try:
    client.infer("echo", [half])
except InferenceServerException as error:
    assert "inputs.x.datatype: FP32, got 'BF16'" in error.message(), error.message()
else:
    raise AssertionError("BF16 was taken for FP32")

tensor = triton.InferInput("x", [1, 4], "FP32")
tensor.set_data_from_numpy(np.ones((1, 4), np.float32))
asked = [client.async_infer("echo", [tensor], priority=1, timeout=1_000_000) for _ in range(16)]
assert all(its.get_result().as_numpy("y").tolist() == [[1, 1, 1, 1]] for its in asked)
stats = client.get_inference_statistics("echo")["model_stats"][0]
assert stats["inference_stats"]["success"]["count"] >= 16

for call in (lambda: client.infer("echo", []), lambda: client.get_model_metadata("nothing"),
             lambda: client.unload_model("echo")):  # fmt: skip
    try:
        call()
    except InferenceServerException as error:
        assert error.message()
    else:
        raise AssertionError("it was not refused")
bearer = {"Authorization": f"Bearer {token}"}
client.unload_model("echo-int8", headers=bearer)
assert not client.is_model_ready("echo-int8")
client.load_model("echo-int8", headers=bearer)
assert client.is_model_ready("echo-int8")
assert "echo" in {row["name"] for row in client.get_model_repository_index()}
print("ok")
