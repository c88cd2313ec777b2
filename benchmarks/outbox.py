"""What the outbox costs, beside bare sqlite3 with the same table, pragmas and grouping.

    python benchmarks/outbox.py [--json] [--records N] [--group N]

Three runs in one process, on the same disk: `bare` inserts ready bodies; `bare + JSON` encodes
each body first, as the outbox must; `outbox` appends drafts from the calling thread and waits
until all are on the medium. Bytes are those that the kernel sends to storage (write_bytes of
/proc/self/io).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeagent import clock
from edgeagent.store.database import FILE, schema_steps
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.types import Draft

MAX = 1024 * 1024 * 1024


def draft(number: int) -> Draft:
    """A realistic detection result: 360 bytes as JSON."""
    predictions = [
        {
            "label": "crack",
            "score": 0.9312,
            "box": [0.1034, 0.2011, 0.3192, 0.4427],
            "track": number % 97,
        },
        {
            "label": "scratch",
            "score": 0.7121,
            "box": [0.5034, 0.1011, 0.6192, 0.3427],
            "track": number % 89,
        },
    ]
    return Draft(
        "result", "door", at_ns=clock.wall_ns(), mono_ms=clock.mono_ms(),
        data={"predictions": predictions}, model="parts@1.2.0/int8", config="c3f1",
        source="cam0", frame=number,
    )  # fmt: skip


def body(number: int, made: Draft) -> bytes:
    return msgspec.json.encode(
        {
            "seq": number, "kind": made.kind, "pipeline": made.pipeline,
            "at": clock.rfc3339(made.at_ns), "clock": "synced", "boot": "9f" * 16,
            "mono_ms": int(made.mono_ms), "model": made.model, "config": made.config,
            "source": made.source, "frame": made.frame, "data": made.data,
        }
    )  # fmt: skip


def written() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split(":")[1])
    return 0


def bare_connection(folder: Path) -> sqlite3.Connection:
    db = sqlite3.connect(folder / FILE, isolation_level=None)
    for pragma in (
        "page_size = 4096", "journal_mode = WAL", "synchronous = FULL",
        "wal_autocheckpoint = 381", "journal_size_limit = -1", "cache_size = -1024",
    ):  # fmt: skip
        db.execute(f"PRAGMA {pragma}")
    for statement in schema_steps()[1]:
        db.execute(statement)
    with Path(f"{folder / FILE}-wal").open("r+b") as log:
        os.posix_fallocate(log.fileno(), 0, 4 << 20)
    return db


def bare(folder: Path, drafts: Sequence[Draft], group: int, *, encode: bool) -> dict[str, float]:
    bodies = [] if encode else [body(n, made) for n, made in enumerate(drafts, 1)]
    db = bare_connection(folder)
    before, began, spent = written(), time.perf_counter(), time.process_time()
    for start in range(0, len(drafts), group):
        db.execute("BEGIN")
        part = (
            [body(n, made) for n, made in enumerate(drafts[start : start + group], start + 1)]
            if encode
            else bodies[start : start + group]
        )
        db.executemany(
            "INSERT INTO record VALUES (?, 0, 0, ?)",
            [(start + n, b) for n, b in enumerate(part, 1)],
        )
        db.execute("COMMIT")
    took, spent = time.perf_counter() - began, time.process_time() - spent
    appended = written() - before
    for start in range(0, len(drafts), group):
        db.execute("BEGIN")
        db.execute("INSERT OR REPLACE INTO range VALUES ('settled', 1, ?)", (start + group,))
        db.execute("COMMIT")
    for start in range(0, len(drafts), 1000):
        db.execute("BEGIN")
        db.execute("DELETE FROM record WHERE seq BETWEEN ? AND ?", (start + 1, start + 1000))
        db.execute("COMMIT")
    db.close()
    return {
        "seconds": took, "cpu": spent, "append_bytes": appended, "all_bytes": written() - before,
    }  # fmt: skip


def agent(folder: Path, drafts: Sequence[Draft], group: int) -> dict[str, float]:
    # The queue is as long as the run: what is measured is the writer, not its refusals.
    settings = OutboxSettings(max_bytes=MAX, queue=len(drafts) * 2, results_s=0.001)
    outbox = Outbox.open(folder, device="bench", settings=settings, boot="9f" * 16, machine="m")
    outbox._writer.group = group
    calls: list[float] = []
    before, began, spent = written(), time.perf_counter(), time.process_time()
    for made in drafts:
        call = time.perf_counter()
        outbox.append(made)
        calls.append(time.perf_counter() - call)
    assert outbox.flush(600)
    took, spent = time.perf_counter() - began, time.process_time() - spent
    appended = written() - before
    while (batch := outbox.next_batch(max_bytes=65536)) is not None:
        outbox.delivered(batch)
    assert outbox.flush(60)
    outbox.erase(clock.wall_ns())
    stats = outbox.stats()
    outbox.close()
    assert stats.produced == stats.delivered == len(drafts), stats
    calls.sort()
    return {
        "seconds": took, "cpu": spent, "append_bytes": appended,
        "all_bytes": written() - before, "call_us_median": statistics.median(calls) * 1e6,
        "call_us_p99": calls[len(calls) * 99 // 100] * 1e6,
    }  # fmt: skip


def paced(folder: Path, rate: int, seconds: float, results_s: float) -> dict[str, float]:
    """Results at ``rate`` a second, committed as they come in the field."""
    settings = OutboxSettings(results_s=results_s)
    outbox = Outbox.open(folder, device="bench", settings=settings, boot="9f" * 16, machine="m")
    count = int(rate * seconds)
    calls: list[float] = []
    before, began = written(), time.perf_counter()
    for number in range(count):
        ahead = began + number / rate - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        made = draft(number)
        call = time.perf_counter()
        outbox.append(made)
        calls.append(time.perf_counter() - call)
    outbox.flush(10)
    per_record = (written() - before) / count
    outbox.close()
    return {"bytes_per_record": per_record, "call_us_median": statistics.median(calls) * 1e6}


def in_folder(base: Path, work: Callable[[Path], dict[str, float]]) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(dir=base, prefix="outbox-bench-"))
    try:
        return work(folder)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--group", type=int, default=100, help="records a transaction")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    drafts = [draft(number) for number in range(options.records)]
    # Ready-made drafts are the benchmark's burden, not the outbox's: spare all runs the walks
    # of the garbage collector over them.
    gc.collect()
    gc.freeze()
    works: dict[str, Callable[[Path], dict[str, float]]] = {
        "bare": lambda folder: bare(folder, drafts, options.group, encode=False),
        "bare + JSON": lambda folder: bare(folder, drafts, options.group, encode=True),
        "outbox": lambda folder: agent(folder, drafts, options.group),
    }
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in works}
    for _ in range(options.rounds):
        for name, work in works.items():
            rows[name].append(in_folder(options.dir, work))
    best = {name: min(runs, key=lambda run: run["seconds"]) for name, runs in rows.items()}
    field = in_folder(options.dir, lambda f: paced(f, 30, 10.0, 1.0))
    report(options, best, field)


def report(
    options: argparse.Namespace, best: dict[str, dict[str, float]], field: dict[str, float]
) -> None:
    rates = {name: options.records / run["seconds"] for name, run in best.items()}
    found: dict[str, Any] = {
        "records": options.records, "group": options.group, "rate": rates,
        "cpu_us_per_record": {n: run["cpu"] / options.records * 1e6 for n, run in best.items()},
        "share_of_bare": rates["outbox"] / rates["bare"],
        "share_of_bare_with_json": rates["outbox"] / rates["bare + JSON"],
        "bytes_per_record": {n: run["append_bytes"] / options.records for n, run in best.items()},
        "append_bytes_ratio": best["outbox"]["append_bytes"] / best["bare"]["append_bytes"],
        "all_bytes_ratio": best["outbox"]["all_bytes"] / best["bare"]["append_bytes"],
        "append_call_us": {k[8:]: v for k, v in best["outbox"].items() if k.startswith("call_us")},
        "paced_30_per_s": field,
    }  # fmt: skip
    if options.json:
        json.dump(found, sys.stdout, indent=1)
        print()
        return
    print(f"{options.records} records of 360 B, {options.group} a transaction, WAL, FULL; best run")
    for name, rate in rates.items():
        print(
            f"  {name:12} {rate:9.0f}/s {found['cpu_us_per_record'][name]:5.1f} µs CPU"
            f"  append {found['bytes_per_record'][name]:6.0f} B/record"
            f"  append + ack + delete {best[name]['all_bytes'] / options.records:6.0f} B/record"
        )
    calls = found["append_call_us"]
    print(f"  share of bare {found['share_of_bare']:.0%}, with JSON"
          f" {found['share_of_bare_with_json']:.0%}; append call {calls['median']:.1f} µs median,"
          f" {calls['p99']:.1f} µs p99")  # fmt: skip
    print(f"  bytes: append {found['append_bytes_ratio']:.2f} ×, append + ack + delete"
          f" {found['all_bytes_ratio']:.2f} × bare append")  # fmt: skip
    print(f"  30 results/s for 10 s: {field['bytes_per_record']:.0f} B/record,"
          f" append {field['call_us_median']:.1f} µs")  # fmt: skip


if __name__ == "__main__":
    main()
