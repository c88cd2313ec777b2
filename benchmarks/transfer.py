"""Files over the broker to one device: rate, the time of a request, patches, the trust child.

Three processes: mosquitto as Debian has it (``default``) or with TCP_NODELAY (``nodelay``), a
server (`edgeagent fleet serve`), and the device's link with its carrier here. The rate is from
the first request until the file is checked and on the medium (``whole``), and without that end
(``wire``). A request is a small file; 44 or 88 ms in it would be Nagle's.

    python benchmarks/transfer.py [--megabytes 100] [--rounds 3]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgeagent.fleet.repository import ceremony  # noqa: E402
from edgeagent.sync.budget import Budget  # noqa: E402
from edgeagent.sync.endpoint import Endpoint, LinkSettings  # noqa: E402
from edgeagent.sync.fetching import Fetching  # noqa: E402
from edgeagent.sync.link import Link  # noqa: E402
from edgeagent.sync.topics import Topics  # noqa: E402
from edgeagent.testing.broker import Mosquitto  # noqa: E402
from edgeagent.update.fetch.mqtt import MqttCarrier  # noqa: E402
from edgeagent.update.fetch.pace import Pace  # noqa: E402
from edgeagent.update.fetch.part import Part  # noqa: E402
from edgeagent.update.trust.repository import TrustedRepository  # noqa: E402

GO = threading.Event()


@contextmanager
def served(folder: Path, *, nodelay: bool) -> Iterator[tuple[Fetching, ceremony.Home]]:
    """A device's exchange with a repository that a process of its own serves."""
    home = ceremony.begin(folder / "fleet").home
    options = () if nodelay else ("set_tcp_nodelay false",)
    with Mosquitto(folder / "broker", options=options) as broker:
        command = [sys.executable, "-m", "edgeagent.cli", "fleet", "serve", "-r", str(home.folder),
                   "--port", str(broker.port)]  # fmt: skip
        server = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        assert server.stderr is not None
        while "serving" not in server.stderr.readline():
            assert server.poll() is None
        topics = Topics("edgeagent", "d1")
        link = Link(
            LinkSettings(topics.client_id, (Endpoint("127.0.0.1", broker.port),)), topics.echo
        )
        exchange = Fetching(link, topics, Budget())
        link.board(exchange)
        link.start()
        assert link.wait_up(20)
        try:
            yield exchange, home
        finally:
            link.stop()
            server.terminate()
            server.communicate()


def rates(exchange: Fetching, home: ceremony.Home, size: int, chunks: int) -> tuple[float, float]:
    """MB/s on the wire, and until the file is on the medium."""
    data = os.urandom(size)
    (home.targets / "big").write_bytes(data)
    timestamp = home.metadata / "timestamp.json"
    timestamp.touch()
    sha256 = hashlib.sha256(data).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        part = Part(Path(folder, "big"), size, sha256)
        carrier = MqttCarrier(exchange, Pace(chunks=chunks))
        began = time.perf_counter()
        carrier.bring("targets/big", part, GO)
        wire = time.perf_counter() - began
        part.finish()
        whole = time.perf_counter() - began
    return size / wire / 1e6, size / whole / 1e6


def requests(exchange: Fetching, count: int = 200) -> list[float]:
    """Milliseconds of each of many small requests, one after the other."""
    carrier = MqttCarrier(exchange)
    found = []
    for _ in range(count):
        began = time.perf_counter()
        assert carrier.read("metadata/timestamp.json", 16384, GO)
        found.append((time.perf_counter() - began) * 1000)
    return found


def refresh(exchange: Fetching, home: ceremony.Home) -> tuple[float, float, float]:
    """Seconds of the first refresh and of one without news (with the child's start), and the
    child's PSS in MB."""
    with tempfile.TemporaryDirectory() as folder:
        carriers = [MqttCarrier(exchange)]
        repository = TrustedRepository(Path(folder), home.first_root, carriers)
        took = []
        for _ in range(2):
            began = time.perf_counter()
            repository.refresh(GO)
            took.append(time.perf_counter() - began)
        rollup = Path(f"/proc/{repository.pid}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line[:4] == "Pss:")
        repository.close()
    return took[0], took[1], pss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print("| broker | window of 64 KiB | wire MB/s | whole MB/s | request ms p50 / p99 |")
    print("|---|---|---|---|---|")
    for nodelay in (False, True):
        with (
            tempfile.TemporaryDirectory() as folder,
            served(Path(folder), nodelay=nodelay) as (exchange, home),
        ):
            times = sorted(requests(exchange))
            for chunks in (1, 4, 16):
                runs = [
                    rates(exchange, home, asked.megabytes * 1_000_000, chunks)
                    for _ in range(asked.rounds)
                ]
                wire, whole = (statistics.median(column) for column in zip(*runs, strict=True))
                name = "nodelay" if nodelay else "default"
                print(
                    f"| {name} | {chunks} | {wire:.0f} | {whole:.0f} "
                    f"| {times[len(times) // 2]:.1f} / {times[int(len(times) * 0.99)]:.1f} |"
                )
            first, again, pss = refresh(exchange, home)
    print(f"\nTUF refresh over MQTT: first {first:.2f} s, without news {again:.2f} s "
          f"(a child is started for each); the child takes {pss:.1f} MB PSS")  # fmt: skip


if __name__ == "__main__":
    main()
