"""KServe's own client, unchanged: `python kserve_rest.py PORT`. Runs in a venv of its own."""

import asyncio
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


async def main(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=20))
    assert await client.is_server_ready(url)
    assert await client.is_server_live(url)
    assert await client.is_model_ready(url, "echo")
    sent = np.random.default_rng(5).random((2, 4), np.float32)
    for binary in (True, False):
        tensor = InferInput("x", [2, 4], "FP32")
        tensor.set_data_from_numpy(sent, binary_data=binary)
        request = InferRequest("echo", [tensor], request_id="7")
        reply = await client.infer(url, request, model_name="echo")
        assert reply.outputs[0].as_numpy().tobytes() == sent.tobytes()
    await client.close()


asyncio.run(main(f"http://127.0.0.1:{sys.argv[1]}"))
print("ok")
