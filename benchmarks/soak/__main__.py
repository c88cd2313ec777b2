"""Run it: ``python -m benchmarks.soak --minutes 100 --out build/soak``.

Three pipelines (a network camera, a sensor, a video stream), records through a broker into a
collector, a fault each two minutes. Exit code 1 where something grows, is missing or was not got
over. Needs mosquitto and GStreamer's RTSP server for the system's Python; as root the device's disk
is filled up as well (its data folder is then a file system of its own).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from itertools import cycle
from pathlib import Path

from benchmarks.soak import report
from benchmarks.soak.faults import TURNS
from benchmarks.soak.rig import Rig, Wrong, missing
from benchmarks.soak.samples import Sampler
from edgeagent.errors import EdgeAgentError, in_words
from edgeagent.fleet.audit import audit
from edgeagent.fleet.database import open_database
from edgeagent.store.verify import verify

SAMPLE_S = 10.0
_WELL_S = 90.0
"""From the end of a fault until everything runs again: a camera is tried each 30 s at most."""
_LONGEST_WARM_UP_S = 20 * 60.0
"""One round of all faults."""


def befall(
    rig: Rig, sampler: Sampler, ended: threading.Event, turns: list[str], every_s: float,
    until_s: float,
) -> list[report.Happened]:  # fmt: skip
    """Faults in turn until the time is up."""
    happened: list[report.Happened] = []
    for number, name in enumerate(cycle(turns)):
        due = (number + 1) * every_s
        if due > until_s or ended.wait(max(0.0, sampler.began + due - time.monotonic())):
            return happened
        began = time.monotonic() - sampler.began
        one = report.Happened(name, began, began, -1.0, "")
        try:
            one.said = TURNS[name](rig, number // len(turns) + 1, ended)
            one.ended_s = time.monotonic() - sampler.began
            one.well_s = rig.well(_WELL_S)
        except (EdgeAgentError, Wrong) as error:
            one.ended_s = max(one.ended_s, time.monotonic() - sampler.began)
            one.wrong = in_words(error) if isinstance(error, EdgeAgentError) else str(error)
        happened.append(one)
        well = f"; well after {one.well_s:.1f} s" if one.well_s >= 0 else ""
        print(f"{began / 60:6.1f} min  {name}: {one.wrong or one.said}{well}", flush=True)
    return happened


def soak(told: argparse.Namespace, folder: Path, ended: threading.Event) -> report.Soak:
    """The whole; ``ended`` ends it early."""
    minutes, every_s, out = told.minutes, told.every, told.out
    turns = [name for name in TURNS if not told.only or name in told.only]
    with Rig(folder) as rig:
        rig.well(60.0)
        wall = time.time()
        with Sampler(rig, out / "samples.jsonl", SAMPLE_S) as sampler:
            # The last fault leaves time to be got over.
            happened = befall(rig, sampler, ended, turns, every_s, minutes * 60 - every_s)
            ended.wait(max(0.0, sampler.began + minutes * 60 - time.monotonic()))
            lasted = (time.monotonic() - sampler.began) / 60
        wrong = [f"{one.name}: {one.wrong}" for one in happened if one.wrong]
        try:
            rig.until("records still wait on the device", lambda s: s["outbox"]["pending"] == 0, 60)
        except Wrong as error:
            wrong.append(str(error))
        stop_s = rig.agent.stop()
        assert rig.agent.process is not None
        rig.collector.stop(signal.SIGTERM)
        account = verify(rig.agent.data)
        database = open_database(str(rig.database))
        try:
            streams = audit(database).streams
            rows = database.rows("SELECT received, body FROM record WHERE kind = 'event'")
        finally:
            database.close()
        (out / "agent.log").write_text(rig.agent.log)
        began = [received - wall for received, body in rows
                 if json.loads(body)["data"]["phase"] == "new"]  # fmt: skip
        return report.Soak(
            minutes=round(lasted, 1), warm_up_s=min(lasted * 12, _LONGEST_WARM_UP_S),
            rows=sampler.rows, faults=happened, arrived=sorted(began),
            streams=streams, produced=account.produced, closes=account.ok,
            wrong=wrong, stop_s=stop_s, exit_code=rig.agent.process.returncode,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=120.0, help="seconds between faults")
    parser.add_argument("--only", action="append", choices=list(TURNS), help="of the faults")
    parser.add_argument("--out", type=Path, default=Path("build/soak"))
    arguments = parser.parse_args()
    if absent := missing():
        raise SystemExit(f"A soak needs what is not here: {absent}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="edgeagent-soak-") as made:
        its = soak(arguments, Path(made), ended)
    slopes = its.slopes(round(2 * arguments.every / SAMPLE_S))
    report.write(its, slopes, arguments.out)
    print((arguments.out / "soak.md").read_text())
    sys.exit(1 if its.complaints(slopes) else 0)


if __name__ == "__main__":
    main()
