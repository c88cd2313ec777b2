"""Three pipelines for minutes: memory, threads and file descriptors, and how the agent stops.

    python benchmarks/soak.py --minutes 10

Growth is a straight line fitted after the warm-up to the anonymous memory of all processes: PSS
also rises when some other program that shared our libraries ends.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.process import memory_mb
from edgeagent.store.verify import verify
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

CONFIG = """
[mqtt]
host = "127.0.0.1"
port = {port}
[sources.belt]
kind = "synthetic"
fps = 10
[sources.motor]
kind = "synthetic"
scene = "vibration"
healthy_s = 60
failing_s = 60
[sources.digits]
kind = "images"
path = "{root}/models/digits/1.0.0/golden/*.png"
loop = true
fps = 5
[pipelines.belt]
source = "belt"
model = "parts"
record = {{ every = 10 }}
snapshot = true
[pipelines.bearing]
source = "motor"
model = "bearing"
record = {{ every = 10 }}
[pipelines.digits]
source = "digits"
model = "digits"
record = {{ every = 5 }}
"""


def slope(points: list[tuple[float, float]]) -> float:
    """Least-squares slope of y over x."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    over = sum((x - mean_x) * (y - mean_y) for x, y in points)
    under = sum((x - mean_x) ** 2 for x, _ in points)
    return over / under if under else 0.0


def soak(minutes: float, warm_up_s: float, folder: Path) -> dict[str, object]:
    """Run, sample each second, stop; the figures."""
    root = Path(__file__).resolve().parent.parent
    points: list[tuple[float, float]] = []
    with Mosquitto(folder / "broker") as broker:
        agent = AgentProcess(CONFIG.format(port=broker.port, root=root), folder / "agent").start()
        agent.until(lambda s: all(p["steps"] > 10 for p in s["pipelines"].values()))
        began = time.monotonic()
        descriptors, threads, shared = [], [], []
        while (passed := time.monotonic() - began) < minutes * 60:
            time.sleep(1.0)
            if passed > warm_up_s:
                points.append((passed, memory_mb(agent.pid, "Anonymous")))
                shared.append(memory_mb(agent.pid))
                descriptors.append(len(list(Path(f"/proc/{agent.pid}/fd").iterdir())))
                threads.append(len(list(Path(f"/proc/{agent.pid}/task").iterdir())))
        status = agent.client.status()
        stop_s = agent.stop()
    report = verify(agent.data)
    return {
        "minutes": minutes,
        "anonymous_mb": {"first": round(points[0][1], 2), "last": round(points[-1][1], 2)},
        "pss_mb": {"first": round(shared[0], 2), "last": round(shared[-1], 2)},
        "growth_mb": round(slope(points) * (points[-1][0] - points[0][0]), 2),
        "descriptors": [min(descriptors), max(descriptors)],
        "threads": [min(threads), max(threads)],
        "stop_s": round(stop_s, 2),
        "exit_code": agent.process.returncode if agent.process else None,
        "account_closes": report.ok,
        "produced": report.produced,
        "steps": {name: its["steps"] for name, its in status["pipelines"].items()},
        "reasons": status["reasons"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=60.0, help="seconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeagent-soak-") as made:
        print(json.dumps(soak(arguments.minutes, arguments.warm_up, Path(made)), indent=1))


if __name__ == "__main__":
    main()
