"""Commands under torture: each id is done at most once, and at the end journal and topics agree.

Duplicates, reordering, redelivery, two requesters that share ids, crashes at each state, brokers
that forget, replays a month later, a journal that is lost, and payloads that are no commands.
Reduced by default; whole with EDGEAGENT_TESTS=full.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import clock
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.testing.broker import Mosquitto, free_port
from edgeagent.testing.device import Listener

SCRIPT = Path(__file__).with_name("tortured.py")
FINAL = {"successful", "failed", "rejected", "expired", "cancelled"}
STATES = ("accepted", "executing", "working", "successful")
OWN = "edgeagent/d1/cmd/"


class Bench:
    """The device, its broker and what is known from outside."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.broker = Mosquitto(folder / "broker", port=free_port())
        self.broker.start()
        self.marks = folder / "marks"
        self.process: subprocess.Popen[bytes] | None = None
        self.desks = [Listener(self.broker.port, f"{OWN}#") for _ in range(2)]
        self.orders: dict[str, bytes] = {}
        """Topic → what was asked first."""

    def start(self, *doom: object, days: float = 0.0) -> None:
        with (self.folder / "device.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(self.folder / "data"), str(self.broker.port),
                 str(self.marks), str(days), *map(str, doom)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.process.stdout.readline()  # It is up, or has met its doom already.

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            self.process.wait(20)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    @property
    def log(self) -> str:
        """Of the device."""
        return (self.folder / "device.log").read_text()

    def close(self) -> None:
        self.end(signal.SIGKILL)
        for desk in self.desks:
            desk.close()
        self.broker.kill()

    # --- requesters

    def make(self, count: int, first: int) -> dict[str, bytes]:
        """Orders, a tenth of them with an id that another one has as well."""
        made = {}
        for number in range(first, first + count):
            type = "show" if number % 5 == 0 else "work"
            body = {"status": "init", "by": "desk", "at": now(), "model": f"m{number}"}
            made[f"{OWN}{type}/id-{number}"] = json.dumps(body).encode()
        self.orders |= made
        return made

    def publish(self, orders: dict[str, bytes], *, rivals: bool = True) -> None:
        """One to three times each, by both requesters, in any order; some through the group."""
        sent = []
        for topic, payload in orders.items():
            sent += [(topic, payload)] * self.random.randint(1, 3)
            if rivals and self.random.random() < 0.1:
                other = {**json.loads(payload), "model": "other"}
                sent.append((topic, json.dumps(other).encode()))
            if self.random.random() < 0.1:
                group = topic.replace("/d1/", "/group/canary/")
                sent.append((group, payload))
        self.random.shuffle(sent)
        for topic, payload in sent:
            desk = self.random.choice(self.desks)
            desk.client.publish(topic, payload, 1, retain=True)

    def answered(self, topics: Any) -> bool:
        return all(self.last(topic) in FINAL for topic in topics)

    def last(self, topic: str) -> str:
        """The status that was told last."""
        told = [p for p in self.desks[0].on(topic) if p]
        return str(json.loads(told[-1])["status"]) if told else ""

    def pursue(self, orders: dict[str, bytes], limit_s: float = 90.0) -> None:
        """Ask until each is answered, as a requester does; the device is started anew when it
        has died, with no doom any more."""
        deadline, again = time.monotonic() + limit_s, 0.0
        while not self.answered(orders):
            if self.process is None or self.process.poll() is not None:
                self.end()
                self.start()
            left = {t: p for t, p in orders.items() if self.last(t) in ("", "init")}
            if time.monotonic() > again and left:
                self.publish(left, rivals=False)
                again = time.monotonic() + 1.0
            open_ = [(t, self.last(t)) for t in orders if self.last(t) not in FINAL]
            assert time.monotonic() < deadline, (open_, self.log[-3000:])
            time.sleep(0.02)

    # --- what must hold

    def done(self) -> Counter[str]:
        lines = self.marks.read_text().splitlines() if self.marks.exists() else []
        return Counter(line for line in lines if line.startswith("work"))

    def check(self) -> None:
        """At most once; and the journal and the retained topics tell the same."""
        assert max(self.done().values(), default=0) <= 1, self.done().most_common(3)
        self.settle()
        self.end()
        journal = self.journal()
        retained = self.retained()
        assert journal.keys() <= retained.keys(), journal.keys() - retained.keys()
        for topic, payload in retained.items():
            document = json.loads(payload)
            assert document == journal[topic], topic
            assert document["status"] in FINAL, topic

    def settle(self) -> None:
        """Until what is under way has come: a ping is answered after all before it."""
        topic = f"{OWN}ping/end-{time.monotonic_ns()}"
        order = json.dumps({"status": "init"}).encode()
        self.orders[topic] = order
        self.pursue({topic: order})
        time.sleep(0.1)  # Answers behind the ping's own; the comparison afterwards is exact.

    def journal(self) -> dict[str, Any]:
        box = Outbox.open(self.folder / "data" / "d1", device="d1", settings=OutboxSettings(),
                          boot="b" * 32, machine="m")  # fmt: skip
        try:
            found = {f"{OWN}{its.type}/{its.id}": its.status for its in box.journal.published()}
        finally:
            box.close()
        return found

    def retained(self) -> dict[str, bytes]:
        fresh = Listener(self.broker.port, f"{OWN}#")
        try:
            fresh.publish(f"{OWN}echo/last", b"1")
            fresh.until(lambda: fresh.on(f"{OWN}echo/last"))
            return {topic: its for topic, its, kept in fresh.got if kept and its}
        finally:
            fresh.close()


def now() -> str:
    return clock.rfc3339(clock.wall_ns())


@pytest.fixture
def bench(tmp_path: Path, mosquitto_installed: None, full: bool) -> Iterator[Bench]:
    seed = int(os.environ.get("EDGEAGENT_SEED", random.randrange(1 << 30) if full else 7))
    print(f"seed {seed}")
    made = Bench(tmp_path, seed)
    made.start()  # Its journal begins before anything is asked.
    made.end()
    yield made
    made.close()


def test_at_most_once_whatever_happens(bench: Bench, full: bool) -> None:
    rounds, each = (40, 40) if full else (4, 10)
    for number in range(rounds):
        orders = bench.make(each, number * each)
        state = STATES[number % len(STATES)]
        bench.start(state, bench.random.randint(1, each // 2))
        bench.publish(orders)
        if number % 3 == 2:
            bench.broker.kill()
            bench.broker.start()  # It has forgotten everything.
        if number % 4 == 3:
            bench.end(signal.SIGKILL)
        bench.pursue(orders)
        bench.end()
    bench.start()
    # What was answered long ago is asked once more, by both.
    bench.publish(bench.orders)
    bench.settle()
    bench.check()
    done = bench.done()
    work = [topic for topic in bench.orders if "/work/" in topic]
    assert len(work) * 0.5 < len(done) <= len(work)
    # A crash in the middle is told, and never tried again.
    journal = bench.journal()
    interrupted = [its for its in journal.values() if its.get("reason") == "interrupted"]
    assert interrupted and all(its["status"] == "failed" for its in interrupted)


def test_replays_a_month_and_a_season_later(bench: Bench) -> None:
    orders = {t: p for t, p in bench.make(10, 1).items() if "/work/" in t}
    bench.start()
    bench.publish(orders, rivals=False)
    bench.pursue(orders)
    assert len(bench.done()) == len(orders)
    never = {f"{OWN}work/late-{n}": p for n, p in enumerate(list(orders.values())[:2])}
    for days in (31, 91):
        bench.end()
        bench.start(days=days)
        bench.publish({**orders, **never}, rivals=False)
        bench.desks[0].until(lambda: bench.answered(never))
        # Journaled now, so that what is older is pruned.
        fresh = {f"{OWN}ping/p{days}": b'{"status":"init"}'}
        bench.publish(fresh)
        bench.desks[0].until(lambda fresh=fresh: bench.answered(fresh))
    assert len(bench.done()) == len(orders)
    said = [json.loads(its) for topic in never for its in bench.desks[0].on(topic)]
    reasons = {its.get("reason") for its in said if its["status"] in FINAL}
    assert reasons <= {"stale", "id in use"}


def test_a_lost_journal_does_nothing_twice(bench: Bench) -> None:
    orders = {t: p for t, p in bench.make(10, 1).items() if "/work/" in t}
    bench.start()
    bench.publish(orders, rivals=False)
    bench.pursue(orders)
    bench.end()
    shutil.rmtree(bench.folder / "data")
    # A broker that kept an old state of things: asked, and in the middle of it.
    kept = list(orders)
    half = json.dumps({**json.loads(orders[kept[0]]), "status": "executing"}).encode()
    bench.desks[0].publish(kept[0], half, retain=True)
    for topic in kept[1:4]:
        bench.desks[0].publish(topic, orders[topic], retain=True)
    bench.start()
    bench.pursue({**{topic: orders[topic] for topic in kept[:4]}})
    first = json.loads(bench.desks[0].on(kept[0])[-1])
    assert (first["status"], first["reason"]) == ("failed", "journal lost")
    others = [json.loads(bench.desks[0].on(topic)[-1]) for topic in kept[1:4]]
    assert {its["reason"] for its in others} == {"stale"}
    assert bench.done() == Counter({f"work {t.rpartition('/')[2]}": 1 for t in orders})
    # And a new one is done.
    new = bench.make(2, 101)
    bench.publish(new, rivals=False)
    bench.pursue(new)
    assert bench.done()["work id-101"] == 1


def malformed(dice: random.Random) -> bytes:
    """Something that is no command, or nearly one."""
    good = json.dumps({"status": "init", "at": now(), "model": "parts", "by": "x"}).encode()
    match dice.randrange(9):
        case 0:
            return dice.randbytes(dice.randrange(1, 200))
        case 1:
            return good[: dice.randrange(1, len(good))]
        case 2:
            return b"[" * dice.randrange(1, 3000)
        case 3:
            return b'{"a":' * dice.randrange(17, 400) + b"1" + b"}" * 400
        case 4:
            return json.dumps(dice.choice([1, None, [], "init", True, 1e308])).encode()
        case 5:
            odd = dice.choice([7, None, [], {}, "x" * 300, "9" * 40, -1, 1e999])
            key = dice.choice(["status", "at", "expires", "model", "by"])
            return json.dumps({**json.loads(good), key: odd}).encode()
        case 6:
            place = dice.randrange(len(good))
            return good[:place] + dice.randbytes(1) + good[place + 1 :]
        case 7:
            return json.dumps({"payload": "eA==", "payloadType": "x", "signatures": [{}]}).encode()
        case _:
            return good + b"\0" * dice.randrange(1, 9)


def test_ten_thousand_payloads_that_are_no_commands(bench: Bench, full: bool) -> None:
    count = 10_000 if full else 200
    dice, desk = bench.random, bench.desks[0]
    bench.start()
    process = bench.process
    types = ("work", "show", "cancel", "ping", "nothing", "ech o", "w" * 70)
    for number in range(count):
        type = dice.choice(types)
        where = dice.choice([f"{OWN}{type}/bad-{number}", f"edgeagent/d1/do/{type}",
                             f"edgeagent/group/canary/cmd/{type}/bad-{number}",
                             f"{OWN}{type}", f"{OWN}{type}/a/b/{number}"])  # fmt: skip
        desk.client.publish(where, malformed(dice), 1, retain=dice.random() < 0.3)
    if full:
        desk.client.publish(f"{OWN}work/huge", b" " * 300_000, 1)
    good = bench.make(2, 1)
    bench.publish(good, rivals=False)
    bench.pursue(good, 240.0)
    assert bench.process is process and process is not None and process.poll() is None
    assert max(bench.done().values()) == 1
    assert "Traceback" not in bench.log, bench.log[-3000:]
