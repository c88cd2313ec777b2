"""OpenVINO Model Server's own client, unchanged: `python ovms.py PORT`. In a venv of its own."""

import sys

import numpy as np
from ovmsclient import make_http_client

client = make_http_client(f"127.0.0.1:{sys.argv[1]}")
status = client.get_model_status("echo")
assert status[1001000]["state"] == "AVAILABLE", status
# Of TensorFlow Serving's answer it makes nothing of its own: it hands it on.
told = client.get_model_metadata("echo")["metadata"]["signature_def"]["signature_def"]
assert told["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT", told
sent = np.random.default_rng(5).random((2, 4)).astype(np.float32)
for version in (0, 1000000):
    got = client.predict({"x": sent}, "echo", version)
    assert np.asarray(got, np.float32).tobytes() == sent.tobytes()
print("ok")
