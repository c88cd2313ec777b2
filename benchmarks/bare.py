"""Bare scripts to compare with: the least that anybody would write for the same job.

Each runs as a process of its own: ``python benchmarks/bare.py KIND …``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any


def interpreter(model: str, threads: int = 1) -> Any:
    """A LiteRT interpreter, ready to run."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_path=model, num_threads=threads)
    made.allocate_tensors()
    return made


def first(arguments: argparse.Namespace) -> None:
    """Import, open the model, read one picture, infer once; then say so."""
    import cv2
    import numpy as np

    model = interpreter(arguments.model)
    spec = model.get_input_details()[0]
    height, width = spec["shape"][1:3]
    picture = cv2.resize(cv2.imread(arguments.picture), (int(width), int(height)))
    tensor = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)[None]
    if spec["dtype"] == np.int8:
        tensor = (tensor ^ 128).view(np.int8)
    model.set_tensor(spec["index"], tensor)
    model.invoke()
    model.get_tensor(model.get_output_details()[0]["index"])
    print("first", flush=True)
    sys.stdin.readline()


def idle(arguments: argparse.Namespace) -> None:
    """What an agent without pipelines needs at least: a connection and a database."""
    import sqlite3

    import msgspec
    import paho.mqtt.client as mqtt

    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (x)")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", arguments.port)
    client.loop_start()
    print(json.dumps(msgspec.to_builtins({"ready": True})), flush=True)
    sys.stdin.readline()


def loop(arguments: argparse.Namespace) -> None:
    """Read, resize, infer, decode, print to a file: the loop of a quick script."""
    import cv2
    import numpy as np

    model = interpreter(arguments.model)
    spec = model.get_input_details()[0]
    out = model.get_output_details()[0]
    scale, zero = out["quantization"]
    height, width = int(spec["shape"][1]), int(spec["shape"][2])
    capture = cv2.VideoCapture(arguments.video)
    began = time.process_time()
    frames = 0
    with Path(arguments.out).open("w") as file:
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            tensor = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)[None]
            if spec["dtype"] == np.int8:
                tensor = (tensor ^ 128).view(np.int8)
            model.set_tensor(spec["index"], tensor)
            model.invoke()
            rows = (model.get_tensor(out["index"])[0].astype(np.float32) - zero) * (scale or 1)
            scores = rows[:, 4:].max(axis=1)
            keep = scores >= 0.5
            boxes = rows[keep, :4]
            kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores[keep].tolist(), 0.5, 0.45)
            file.write(json.dumps([boxes[i].tolist() for i in np.array(kept).ravel()]) + "\n")
            frames += 1
    print(json.dumps({"frames": frames, "cpu_s": time.process_time() - began}), flush=True)


def sensors(arguments: argparse.Namespace) -> None:
    """JSON lines from a FIFO, windows of 1024 every 512 of each channel, spectrum, infer."""
    import numpy as np

    model = interpreter(arguments.model)
    spec, out = model.get_input_details()[0], model.get_output_details()[0]
    (scale, zero), (back, origin) = spec["quantization"], out["quantization"]
    hann = np.hanning(1024).astype(np.float32)
    edges = np.linspace(6, 512, 41).astype(int)
    held: list[list[float]] = []
    print("ready", flush=True)
    with Path(arguments.fifo).open("rb") as stream:
        for line in stream:
            held.append(list(json.loads(line).values()))
            if len(held) < 1024:
                continue
            window = np.array(held, np.float32)
            del held[:512]
            for channel in range(window.shape[1]):
                spectrum = np.abs(np.fft.rfft(window[:, channel] * hann)) ** 2
                bands = np.add.reduceat(spectrum, edges[:-1])
                features = np.log10(bands / 1024 + 1e-7)
                tensor = np.clip(np.round(features / scale + zero), -128, 127).astype(np.int8)
                model.set_tensor(spec["index"], tensor.reshape(spec["shape"]))
                model.invoke()
                told = (model.get_tensor(out["index"]).astype(np.float32) - origin) * back
                float(np.mean((told.ravel() - features) ** 2))


_model: Any = None
"""Of a process of `pool`."""


def _open(model: str) -> None:
    global _model
    _model = interpreter(model)


def _answer(path: str) -> str:
    """Read, resize, infer, decode: a line of JSON."""
    import cv2
    import numpy as np

    spec, out = _model.get_input_details()[0], _model.get_output_details()[0]
    scale, zero = out["quantization"]
    height, width = int(spec["shape"][1]), int(spec["shape"][2])
    picture = cv2.resize(cv2.imread(path), (width, height))
    tensor = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)[None]
    _model.set_tensor(spec["index"], (tensor ^ 128).view(np.int8))
    _model.invoke()
    rows = (_model.get_tensor(out["index"])[0].astype(np.float32) - zero) * scale
    scores = rows[:, 4:].max(axis=1)
    keep = scores >= 0.5
    boxes, scores, classes = rows[keep, :4], scores[keep], rows[keep, 4:].argmax(axis=1)
    kept = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.5, 0.45)).ravel()
    found = [[int(classes[i]), float(scores[i]), boxes[i].tolist()] for i in kept]
    return json.dumps({"input": path, "found": found}) + "\n"


def pool(arguments: argparse.Namespace) -> None:
    """A folder of pictures over as many processes as there are cores, a line each, in order."""
    import multiprocessing
    import os

    import cv2

    cv2.setNumThreads(1)
    files = sorted(str(file) for file in Path(arguments.picture).iterdir())
    cores = len(os.sched_getaffinity(0))
    with (
        multiprocessing.Pool(cores, _open, (arguments.model,)) as workers,
        Path(arguments.out).open("w") as file,
    ):
        file.writelines(workers.imap(_answer, files, chunksize=16))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["first", "idle", "loop", "sensors", "pool"])
    parser.add_argument("--model")
    parser.add_argument("--picture")
    parser.add_argument("--video")
    parser.add_argument("--out")
    parser.add_argument("--port", type=int)
    parser.add_argument("--fifo")
    arguments = parser.parse_args()
    kinds = {"first": first, "idle": idle, "loop": loop, "sensors": sensors, "pool": pool}
    kinds[arguments.kind](arguments)


if __name__ == "__main__":
    main()
