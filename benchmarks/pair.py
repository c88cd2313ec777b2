"""A detector process behind a queue, as camera recorders of today are built; to compare with.

The layout follows what Frigate documents of itself (docs.frigate.video, "video pipeline" and
"object detectors"): a process for each camera decodes and resizes, the picture lies in shared
memory, the camera's name goes through a queue to one detector process, and the result comes back
through shared memory and an event. The code is our own; nothing is left out that it needs and
nothing is added.

``python -m benchmarks.pair --model M --video V --cameras N --fps F --frames K`` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import statistics
import sys
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

SIDE = 300
ROWS = 20


def detector(model: str, names: list[str], asked: Any, done: dict[str, Any], ready: Any) -> None:
    """Take a camera's name, infer on its picture, write [label, score, box] rows, say so."""
    import numpy as np

    from benchmarks.bare import interpreter

    net = interpreter(model)
    entry = net.get_input_details()[0]["index"]
    boxes, labels, scores, _ = (out["index"] for out in net.get_output_details())
    held = {name: (SharedMemory(f"in-{name}"), SharedMemory(f"out-{name}")) for name in names}
    pictures = {
        name: np.ndarray((1, SIDE, SIDE, 3), np.uint8, buffer=its[0].buf)
        for name, its in held.items()
    }
    answers = {
        name: np.ndarray((ROWS, 6), np.float32, buffer=its[1].buf) for name, its in held.items()
    }
    ready.set()
    while (name := asked.get()) is not None:
        net.set_tensor(entry, pictures[name])
        net.invoke()
        told = answers[name]
        told[:] = 0
        count = min(ROWS, net.get_tensor(scores).shape[1])
        told[:count, 0] = net.get_tensor(labels)[0][:count]
        told[:count, 1] = net.get_tensor(scores)[0][:count]
        told[:count, 2:] = net.get_tensor(boxes)[0][:count]
        done[name].set()
    del pictures, answers


def camera(
    name: str, video: str, fps: float, frames: int, asked: Any, done: Any, figures: Any, looked: Any
) -> None:
    """Decode at a pace, resize, have it looked at; latency from the decoded frame to its boxes."""
    import cv2
    import numpy as np

    held, told = SharedMemory(f"in-{name}"), SharedMemory(f"out-{name}")
    picture = np.ndarray((SIDE, SIDE, 3), np.uint8, buffer=held.buf)
    rows = np.ndarray((ROWS, 6), np.float32, buffer=told.buf)
    capture = cv2.VideoCapture(video)
    skip = max(1, round((capture.get(cv2.CAP_PROP_FPS) or fps) / fps))
    latencies, seen, due = [], 0, time.monotonic()
    while len(latencies) < frames:
        for _ in range(skip - 1):
            capture.grab()
        fine, frame = capture.read()
        if not fine:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue
        due += 1 / fps
        time.sleep(max(0.0, due - time.monotonic()))
        began = time.perf_counter()
        cv2.cvtColor(cv2.resize(frame, (SIDE, SIDE)), cv2.COLOR_BGR2RGB, dst=picture)
        done.clear()
        asked.put(name)
        done.wait()
        seen += int((rows[:, 1] > 0.5).sum())
        latencies.append(time.perf_counter() - began)
        with looked.get_lock():
            looked.value += 1
    figures.put((name, latencies, seen))
    del picture, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--video", required=True)
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--fps", type=float, default=5)
    parser.add_argument("--frames", type=int, default=100)
    arguments = parser.parse_args()
    from benchmarks.process import cpu_s, memory_mb

    context = mp.get_context("spawn")
    names = [f"cam{n}-{os.getpid()}" for n in range(arguments.cameras)]
    memory = [
        SharedMemory(f"{way}-{name}", create=True, size=size)
        for name in names
        for way, size in (("in", SIDE * SIDE * 3), ("out", ROWS * 6 * 4))
    ]
    asked, figures, ready = context.Queue(), context.Queue(), context.Event()
    looked = context.Value("i", 0)
    done = {name: context.Event() for name in names}
    try:
        server = context.Process(target=detector, args=(arguments.model, names, asked, done, ready))
        server.start()
        ready.wait()
        feeds = [
            context.Process(
                target=camera,
                args=(name, arguments.video, arguments.fps, arguments.frames + 10, asked,
                      done[name], figures, looked),
            ) for name in names
        ]  # fmt: skip
        for feed in feeds:
            feed.start()
        # Measured over the second half, when everything is loaded: the first ten are warm-up.
        time.sleep((arguments.frames / 2 + 10) / arguments.fps)
        pss = memory_mb(os.getpid())
        before, first = cpu_s(os.getpid()), looked.value
        time.sleep(arguments.frames / 4 / arguments.fps)
        spent, seen_frames = cpu_s(os.getpid()) - before, looked.value - first
        found = [figures.get() for _ in names]
        for feed in feeds:
            feed.join()
        asked.put(None)
        server.join()
    finally:
        for held in memory:
            held.close()
            held.unlink()
    late = [one for _, latencies, _ in found for one in latencies[10:]]
    print(json.dumps({
        "latency_p50_ms": round(statistics.median(late) * 1e3, 2),
        "latency_p95_ms": round(statistics.quantiles(late, n=20)[-1] * 1e3, 2),
        "cpu_per_frame_ms": round(spent * 1e3 / max(seen_frames, 1), 2),
        "pss_mb": round(pss, 1), "objects": sum(seen for *_, seen in found),
    }))  # fmt: skip


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
