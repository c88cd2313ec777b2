"""Collecting records, beside a bare loop into the same database.

Every part takes the same batches: JSON of 100 detections, zlib, as devices send them, from many
devices in turns. Groups of 50 batches are one durable transaction everywhere (PostgreSQL with
fsync; SQLite in WAL with synchronous=FULL).

    bare copy   rows that are ready beforehand, by COPY (SQLite: executemany) into a table with
                the same columns and primary key, and nothing else
    bare read   the same, but from the batches: inflate, json.loads, one row a record
    ours        `read` + `Archive.write`: account, gaps, evidence, every index, no duplicates
    whole       a collector as a process of its own on a broker, records waiting in its session

    python benchmarks/collect.py [--records 200000] [--devices 40] [--rounds 3] [--only sqlite]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
import psycopg
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.drain import detection
from edgeagent.fleet.archive import Archive, Group
from edgeagent.fleet.audit import audit
from edgeagent.fleet.batches import read
from edgeagent.fleet.database import open_database
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.postgres import PostgresServer

PER_BATCH, PER_GROUP = 100, 50
Batch = tuple[str, bytes]
"""Device and payload."""

_TABLE = """CREATE TABLE bare (
    device text NOT NULL, seq bigint NOT NULL, kind text NOT NULL, pipeline text NOT NULL,
    at {time}, body {json} NOT NULL, PRIMARY KEY (device, seq))"""
_COPY = "COPY bare (device, seq, kind, pipeline, at, body) FROM STDIN"
_INSERT = "INSERT INTO bare VALUES (?, ?, ?, ?, ?, ?)"


def batches(records: int, devices: int) -> list[Batch]:
    """Device after device, each a batch at a time."""
    data = [detection(n) for n in range(500)]
    made: list[Batch] = []
    for turn in range(records // PER_BATCH // devices):
        for number in range(devices):
            first = turn * PER_BATCH + 1
            rows = [
                {"seq": seq, "kind": "result", "pipeline": "belt",
                 "at": f"2026-11-24T18:{seq // 60 % 60:02d}:{seq % 60:02d}.120Z",
                 "clock": "synced", "boot": "9f" * 16, "mono_ms": 812345 + seq,
                 "model": "parts@1.2.0/int8", "config": "c3f1", "source": "cam0", "frame": seq,
                 "data": data[seq % 500]}
                for seq in range(first, first + PER_BATCH)
            ]  # fmt: skip
            envelope = {"v": 1, "device": f"d{number}", "epoch": "01JBENCH", "first": first,
                        "last": first + PER_BATCH - 1, "records": rows}  # fmt: skip
            made.append((f"d{number}", zlib.compress(msgspec.json.encode(envelope))))
    return made


def groups(all_of_them: list[Any]) -> Iterator[list[Any]]:
    for at in range(0, len(all_of_them), PER_GROUP):
        yield all_of_them[at : at + PER_GROUP]


def rows_of(payload: bytes) -> list[tuple[Any, ...]]:
    """What a script would make of a batch."""
    batch = json.loads(zlib.decompress(payload))
    return [
        (batch["device"], r["seq"], r["kind"], r.get("pipeline", ""), r["at"], json.dumps(r))
        for r in batch["records"]
    ]


def bare_postgres(url: str, made: list[Batch], *, ready: bool) -> float:
    """Seconds of a bare COPY loop."""
    prepared = [[row for _, payload in part for row in rows_of(payload)] for part in groups(made)]
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS bare")
        connection.execute(_TABLE.format(time="timestamptz", json="json"))
        connection.commit()
        began = time.perf_counter()
        for number, part in enumerate(groups(made)):
            with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                if ready:
                    for row in prepared[number]:
                        copy.write_row(row)
                else:
                    for _, payload in part:
                        for row in rows_of(payload):
                            copy.write_row(row)
            connection.commit()
        return time.perf_counter() - began


def bare_sqlite(path: str, made: list[Batch], *, ready: bool) -> float:
    """Seconds of a bare executemany loop."""
    prepared = [[row for _, payload in part for row in rows_of(payload)] for part in groups(made)]
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_TABLE.format(time="text", json="text") + " WITHOUT ROWID")
    began = time.perf_counter()
    for number, part in enumerate(groups(made)):
        connection.execute("BEGIN IMMEDIATE")
        if ready:
            connection.executemany(_INSERT, prepared[number])
        else:
            for _, payload in part:
                connection.executemany(_INSERT, rows_of(payload))
        connection.execute("COMMIT")
    took = time.perf_counter() - began
    connection.close()
    return took


def ours(url: str, made: list[Batch]) -> float:
    """Seconds of reading and writing the same batches."""
    database = open_database(url)
    archive = Archive(database)
    began = time.perf_counter()
    for part in groups(made):
        archive.write(Group(arrivals=[read(payload, device) for device, payload in part]))
    took = time.perf_counter() - began
    database.close()
    return took


def whole(url: str, made: list[Batch], folder: Path) -> tuple[float, float]:
    """Seconds, and CPU seconds of the collector, until all that waits is in the database."""
    with Mosquitto(folder, options=["max_queued_messages 0"]) as broker:
        command = [
            sys.executable, "-c", "from edgeagent.cli.fleet import app; app()", "collect",
            "--db", url, "--port", str(broker.port), "--idle", "1 s", "--json",
        ]  # fmt: skip
        root = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "PATH": "/usr/bin"}
        # Once on an empty queue, so that there is a session that the records can wait in.
        subprocess.run(command, env=root, check=True, capture_output=True)
        publish(broker.port, made)
        began = time.perf_counter()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, env=root, stdout=log, stderr=log)
            database = open_database(url)
            expected = len(made) * PER_BATCH
            while count(database) < expected and process.poll() is None:
                time.sleep(0.05)
            took = time.perf_counter() - began
            used = cpu_s(process.pid)
            process.wait(30)
        found = audit(database)
        database.close()
        got = sum(stream.received for stream in found.streams)
        if not found.complete or got != expected:
            raise SystemExit(f"not complete: {got}\n{(folder / 'log').read_text()}")
        return took, used


def count(database: Any) -> int:
    # The account, not count(*): a question that costs the database nothing.
    return int(database.rows("SELECT coalesce(sum(top), 0) FROM stream")[0][0])


def cpu_s(pid: int) -> float:
    try:
        parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(parts[11]) + int(parts[12])) / 100


def publish(port: int, made: list[Batch]) -> None:
    left = [len(made)]
    done = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_inflight_messages_set(100)

    def published(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    client.on_publish = published
    properties = Properties(PacketTypes.CONNECT)
    client.connect("127.0.0.1", port, properties=properties)
    client.loop_start()
    for device, payload in made:
        client.publish(f"edgeagent/{device}/records", payload, 1)
    if not done.wait(300):
        raise SystemExit("the broker did not take the batches")
    client.disconnect()
    client.loop_stop()


def compare(name: str, made: list[Batch], rounds: int, parts: dict[str, Callable[[], Any]]) -> None:
    records = len(made) * PER_BATCH
    rates: dict[str, list[float]] = {part: [] for part in parts}
    for _ in range(rounds):
        for part, run in parts.items():
            took = run()
            rates[part].append(records / (took[0] if isinstance(took, tuple) else took))
            if isinstance(took, tuple):
                print(f"{name} {part}: {took[1] / records * 1e6:.1f} µs CPU of the process each")
    medians = {part: statistics.median(found) for part, found in rates.items()}
    for part, rate in medians.items():
        print(
            f"{name:10} {part:10} {rate:10,.0f} records/s   {rate / medians['bare copy']:.2f} of"
            f" bare copy   {rate / medians['bare read']:.2f} of bare read",
            flush=True,
        )


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--records", type=int, default=200_000)
    options.add_argument("--devices", type=int, default=40)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", choices=["sqlite", "postgres"])
    chosen = options.parse_args()
    made = batches(chosen.records, chosen.devices)
    with tempfile.TemporaryDirectory() as folder:
        fresh = iter(Path(folder) / str(n) for n in range(10_000))
        if chosen.only != "postgres":
            compare(
                "SQLite", made, chosen.rounds,
                {
                    "bare copy": lambda: bare_sqlite(str(next(fresh)), made, ready=True),
                    "bare read": lambda: bare_sqlite(str(next(fresh)), made, ready=False),
                    "ours": lambda: ours(str(next(fresh)), made),
                    "whole": lambda: whole(str(next(fresh)), made, next(fresh)),
                },
            )  # fmt: skip
        if chosen.only != "sqlite":
            with PostgresServer(durable=True) as server:
                compare(
                    "PostgreSQL", made, chosen.rounds,
                    {
                        "bare copy": lambda: bare_postgres(server.database(), made, ready=True),
                        "bare read": lambda: bare_postgres(server.database(), made, ready=False),
                        "ours": lambda: ours(server.database(), made),
                        "whole": lambda: whole(server.database(), made, next(fresh)),
                    },
                )  # fmt: skip


if __name__ == "__main__":
    main()
