"""A month without a link, and the way back.

    python benchmarks/month.py [--days 30] [--max 64] [--plot docs/images/month.svg] [--no-drain]

Days at 5 results a second are played into an outbox as fast as it takes them, on a clock that
begins in 1970, untrusted, and jumps to the present half way; an event begins and ends every ten
minutes. Then it is seen whether the cap held, whether the account closes, what is left of each
day, and how it drains over MQTT beside a bare paho script that holds the same records in memory
(`drain.py`), while live records go on at 5 a second.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeagent import clock as system_clock
from edgeagent.store import epochs
from edgeagent.store.batch import Batch
from edgeagent.store.commit import Committer, Group
from edgeagent.store.export import records
from edgeagent.store.outbox import Outbox, Ticket
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.verify import VerifyReport, verify
from edgeagent.types import Draft

MIB = 1 << 20
FPS = 5.0
EVENT_EVERY = 3000
PARTS = 30
WHO = epochs.Identity("bench", "m", "b" * 32)
_PRESENT_NS = 1_795_000_000 * 10**9


class Played:
    """A clock that goes as the month is played; it comes up in 1970."""

    def __init__(self) -> None:
        self.wall, self.mono, self.trust = 10**9, 1e6, False

    def wall_ns(self) -> int:
        return self.wall

    def mono_ms(self) -> float:
        return self.mono

    def synced(self) -> bool:
        return self.trust

    def go(self, seconds: float) -> None:
        self.mono += seconds * 1000
        self.wall += int(seconds * 1e9)


@dataclass
class Month:
    """What is left of it."""

    appended: int
    events: int
    seconds: float
    cap: int
    peak: int
    report: VerifyReport
    per_part: list[int] = field(default_factory=list)
    """Results that are left of each thirtieth of the time."""
    events_left: int = 0
    clocks: Counter[str] = field(default_factory=Counter)

    @property
    def evenness(self) -> float:
        """The poorest thirtieth beside the median one."""
        return min(self.per_part) / statistics.median(self.per_part)


def drafts(number: int, mono_ms: float) -> list[Draft]:
    """What a detector on a belt would say of frame ``number``."""
    score = (number * 7919 % 1000) / 1000
    label = "part" if number % 5000 else "rare"
    box = [(number * step % 9973) / 9973 for step in (17, 4099, 7841, 2659)]
    box = [round(place, 4) for place in box]
    data = {"predictions": [{"label": label, "score": score, "box": box, "track": number // 60}]}
    made = [Draft("result", "belt", data=data, model="parts@1.2.0/int8", source="cam0",
                  frame=number)]  # fmt: skip
    if number % EVENT_EVERY == 0:
        for phase in ("new", "end"):
            made.append(Draft("event", "belt", event=f"k{number}",
                              data={"phase": phase, "label": "crack", "score": score}))  # fmt: skip
    for draft in made:
        draft.mono_ms = mono_ms
    return made


def play(folder: Path, days: float, max_bytes: int) -> Month:
    """Play it into ``folder``; the outbox is closed afterwards."""
    clock = Played()
    start = clock.mono
    committer = Committer(folder, WHO, OutboxSettings(max_bytes=max_bytes), clock)
    count, peak, events = int(days * 86_400 * FPS), 0, 0
    began = time.perf_counter()
    for first in range(0, count, 1000):
        todo: list[Draft] = []
        for number in range(first, min(first + 1000, count)):
            clock.go(1 / FPS)
            todo += drafts(number, clock.mono)
        events += sum(draft.kind == "event" for draft in todo)
        while todo:
            group = Group(todo)
            committer.commit(group)
            todo = todo[len(group.results) :]
        peak = max(peak, committer.space.used_bytes())
        if first % 20_000 == 0:
            committer.maintain()
        if not clock.trust and first >= count // 2:
            clock.wall, clock.trust = _PRESENT_NS, True
            committer.clock_synced(clock.wall, clock.mono)
    while committer.maintain():
        peak = max(peak, committer.space.used_bytes())
    committer.close()
    took = time.perf_counter() - began
    month = Month(count, events, took, max_bytes, peak, verify(folder, deep=True))
    parts: Counter[int] = Counter()
    for record, _ in records(folder):
        if record["kind"] == "result":
            parts[
                min(PARTS - 1, int((record["mono_ms"] - start) * PARTS / (clock.mono - start)))
            ] += 1
            month.clocks[record["clock"]] += 1
        month.events_left += record["kind"] == "event"
    month.per_part = [parts[part] for part in range(PARTS)]
    return month


@contextmanager
def living(outbox: Outbox, waits: list[float]) -> Iterator[None]:
    """Live records at 5 a second; ``waits`` gets the seconds from append to PUBACK."""
    appended: list[tuple[Ticket, float]] = []
    settled: dict[int, float] = {}
    stop = threading.Event()
    settle = outbox.delivered

    def delivered(batch: Batch) -> None:
        now = time.perf_counter()
        settle(batch)
        if batch.lane == "live":
            settled.update(dict.fromkeys(batch.seqs, now))

    def produce() -> None:
        number = 0
        while not stop.wait(1 / FPS):
            number += 1
            began = time.perf_counter()
            appended.append((outbox.append(drafts(number, system_clock.mono_ms())[0]), began))

    outbox.delivered = delivered  # type: ignore[method-assign]
    producer = threading.Thread(target=produce)
    producer.start()
    try:
        yield
    finally:
        stop.set()
        producer.join()
        outbox.delivered = settle  # type: ignore[method-assign]
        # The number is known once it is committed; from append on it waits.
        for ticket, began in appended:
            seq = ticket.wait(5.0)
            if seq in settled:
                waits.append(settled[seq] - began)


def drained(folder: Path, place: Path, max_bytes: int, rounds: int = 5) -> dict[str, float]:
    """Drain copies of it over MQTT, in turns with the bare script, at full speed."""
    from benchmarks.drain import bare, ours
    from edgeagent.sync.endpoint import Endpoint
    from edgeagent.testing.broker import Mosquitto

    same = [record for record, _ in records(folder)]
    pairs: list[tuple[float, float]] = []
    for turn in range(rounds):
        copy = place / f"copy-{turn}"
        shutil.copytree(folder, copy)
        with Mosquitto(place / f"broker-{turn}") as broker:
            endpoint = Endpoint("localhost", broker.port)
            outbox = _opened(copy, max_bytes)
            with living(outbox, []):
                seconds, _, messages = ours(outbox, endpoint)
            outbox.close()
            pairs.append((seconds, bare(same, -(-len(same) // messages), endpoint)[0]))
        shutil.rmtree(copy)
    ratios = sorted(bare_s / seconds for seconds, bare_s in pairs)
    seconds, bare_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "records": len(same), "seconds": seconds, "rate": len(same) / seconds,
        "bare_rate": len(same) / bare_s, "ratio": statistics.median(ratios),
        "ratio_least": ratios[0], "ratio_most": ratios[-1],
    }  # fmt: skip


def waited(folder: Path, place: Path, max_bytes: int, seconds: float = 30.0) -> dict[str, float]:
    """Drain it over a line so narrow that it takes ``seconds``: how long live records wait."""
    from benchmarks.drain import ours, wire
    from edgeagent.sync.endpoint import Endpoint
    from edgeagent.testing.broker import Mosquitto
    from edgeagent.testing.proxy import Proxy

    copy = place / "copy"
    shutil.copytree(folder, copy)
    waits: list[float] = []
    outbox = _opened(copy, max_bytes)
    outbox.connected()
    rate = wire(outbox) * outbox.stats().pending / seconds
    with Mosquitto(place / "broker") as broker, Proxy(broker.port, rate=rate) as proxy:
        with living(outbox, waits):
            took, _, _ = ours(outbox, Endpoint("localhost", proxy.port))
        outbox.close()
    return {
        "bytes_per_s": rate, "seconds": took, "live": len(waits),
        "live_median_s": statistics.median(waits), "live_worst_s": max(waits),
    }  # fmt: skip


def _opened(folder: Path, max_bytes: int) -> Outbox:
    return Outbox.open(
        folder, device=WHO.device, machine=WHO.machine, boot=WHO.boot,
        settings=OutboxSettings(max_bytes=max_bytes),
    )  # fmt: skip


def plot(month: Month, days: float, path: Path) -> None:
    """Results that are left of each thirtieth, as bars."""
    width, height, left, base = 720, 260, 60, 220
    most = max(month.per_part)
    step = (width - left - 20) / PARTS
    bars = "".join(
        f'<rect x="{left + part * step + 1:.1f}" y="{base - 180 * count / most:.1f}"'
        f' width="{step - 2:.1f}" height="{180 * count / most:.1f}" fill="#2b6cb0"/>'
        for part, count in enumerate(month.per_part)
    )
    ticks = "".join(
        f'<text x="{left + part * step:.0f}" y="{base + 16}">{days * part / PARTS:g}</text>'
        for part in range(0, PARTS + 1, 5)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        f' font-family="sans-serif" font-size="12"><rect width="{width}" height="{height}"'
        f' fill="#fff"/><text x="{left}" y="20">Results left of {days:g} days at 5 a second in'
        f" {month.cap // MIB} MiB: {sum(month.per_part):,} of {month.appended:,}; all"
        f' {month.events_left:,} of {month.events:,} event records</text>{bars}<line x1="{left}"'
        f' y1="{base}" x2="{width - 20}" y2="{base}" stroke="#333"/>{ticks}<text x="{left}"'
        f' y="{base + 34}">day</text><text x="6" y="46">{most:,}</text><text x="6" y="{base}">'
        f'0</text></svg>\n',
        encoding="utf-8",
    )  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--days", type=float, default=30.0)
    options.add_argument("--max", type=int, default=64, help="outbox.max in MiB")
    options.add_argument("--plot", type=Path)
    options.add_argument("--no-drain", action="store_true")
    options.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    chosen = options.parse_args()
    place = Path(tempfile.mkdtemp(dir=chosen.dir, prefix="month-"))
    try:
        month = play(place / "outbox", chosen.days, chosen.max * MIB)
        found: dict[str, Any] = {
            "appended": month.appended, "seconds": round(month.seconds), "peak": month.peak,
            "cap": month.cap, "ok": month.report.ok, "problems": month.report.problems,
            "pending": month.report.pending, "dropped": month.report.dropped,
            "events": f"{month.events_left} of {month.events}", "clocks": dict(month.clocks),
            "results per thirtieth": month.per_part, "evenness": round(month.evenness, 2),
        }  # fmt: skip
        for name, value in found.items():
            print(f"{name}: {value}", flush=True)
        if chosen.plot:
            plot(month, chosen.days, chosen.plot)
        if not chosen.no_drain:
            for title, figures in (("drain", drained), ("narrow line", waited)):
                found = figures(place / "outbox", place / title, chosen.max * MIB)
                for name, value in found.items():
                    print(f"{title} {name}: {value:.3f}", flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
