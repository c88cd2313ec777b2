"""Bare scripts to compare with: the least that anybody would write for the same job.

Each runs as a process of its own: ``python benchmarks/bare.py KIND …``.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from collections.abc import Callable
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


def camera(arguments: argparse.Namespace) -> None:
    """Look at a clip at a pace and sleep between the frames; without a clip at nothing at all.
    Connected, if there is a port."""
    import sqlite3

    import numpy as np

    look = (_look_onnx if arguments.model.endswith(".onnx") else _look_litert)(arguments.model)
    if arguments.port:
        import paho.mqtt.client as mqtt

        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", arguments.port)
        client.loop_start()
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (x)")
    read = _reader(arguments.video, arguments.fps) if arguments.video else lambda: np.zeros(1)
    due = time.monotonic()
    look(read())
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        look(read())
        due += 1 / arguments.fps


def _reader(video: str, fps: float) -> Callable[[], Any]:
    """Frames of a clip, over and over, so many a second of its own time."""
    import cv2

    capture = cv2.VideoCapture(video)
    skipped = max(1, round((capture.get(cv2.CAP_PROP_FPS) or fps) / fps)) - 1

    def read() -> Any:
        for _ in range(skipped):
            capture.grab()
        fine, frame = capture.read()
        if fine:
            return frame
        capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        return capture.read()[1]

    return read


def _look_litert(model: str) -> Callable[[Any], None]:
    net = interpreter(model)
    spec, outs = net.get_input_details()[0], net.get_output_details()

    def look(frame: Any) -> None:
        net.set_tensor(spec["index"], _fitted(frame, spec["shape"], spec["dtype"]))
        net.invoke()
        for out in outs:
            net.get_tensor(out["index"])

    return look


def _look_onnx(model: str) -> Callable[[Any], None]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in entry.shape]
    kinds = {"tensor(float)": "float32", "tensor(int8)": "int8", "tensor(uint8)": "uint8"}

    def look(frame: Any) -> None:
        session.run(None, {entry.name: _fitted(frame, shape, kinds[entry.type])})

    return look


def _fitted(frame: Any, shape: Any, dtype: Any) -> Any:
    """A picture in the form that a model takes; zeros for one that takes none."""
    import numpy as np

    if frame.ndim != 3 or len(shape) != 4:
        return np.zeros(shape, dtype)
    import cv2

    planar = shape[1] == 3
    height, width = (int(its) for its in (shape[2:] if planar else shape[1:3]))
    picture = cv2.cvtColor(cv2.resize(frame, (width, height)), cv2.COLOR_BGR2RGB)
    if shape[3 if not planar else 1] == 1:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None]
    if np.dtype(dtype) == np.int8:
        picture = (picture ^ 128).view(np.int8)
    tensor = picture.transpose(2, 0, 1)[None] if planar else picture[None]
    return np.ascontiguousarray(tensor, dtype)


def idle(arguments: argparse.Namespace) -> None:
    """What an agent without pipelines needs at least: a database, and a connection if there is a
    port."""
    import sqlite3

    import msgspec

    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (x)")
    if arguments.port:
        import paho.mqtt.client as mqtt

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
    parser.add_argument("kind", choices=["camera", "first", "idle", "loop", "sensors", "pool"])
    parser.add_argument("--model")
    parser.add_argument("--picture")
    parser.add_argument("--video")
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--out")
    parser.add_argument("--port", type=int)
    parser.add_argument("--fifo")
    arguments = parser.parse_args()
    kinds = {
        "camera": camera,
        "first": first,
        "idle": idle,
        "loop": loop,
        "sensors": sensors,
        "pool": pool,
    }
    kinds[arguments.kind](arguments)


if __name__ == "__main__":
    main()
