"""An independent reader of what an agent delivers: ``python reader.py HOST PORT PREFIX FILE``.

It shares no code with the agent (an MQTT client, JSON and zlib are all it uses), so its account
is a second opinion: every number of an epoch has either arrived or is told as lost by a record
that arrived. Batches go to FILE, one a line, with the time of their arrival. As a collector
does it confirms what it has and names what it misses, so that the agent gives that again. A line
``nap`` on standard input sends it away from the broker, ``wake`` brings it back. It runs until
its standard input closes; the last line on standard output is its account.
"""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

REPORT_EVERY_S = 0.5
CONFIRM_EVERY_S = 2.0
"""At most so often for a device (contract)."""
RANGES_MAX = 256


class Ledger:
    """The numbers of one device's epoch: arrived, told as lost, missing."""

    def __init__(self) -> None:
        self.arrived: set[int] = set()
        self.told: dict[int, str] = {}
        self.doubles = 0

    def add(self, record: dict[str, Any]) -> None:
        """Book one record of a batch."""
        seq = int(record["seq"])
        if seq in self.arrived:
            self.doubles += 1
        self.arrived.add(seq)
        # A gap that names an epoch is about an older one; without an end it counts nothing.
        mine = record["kind"] == "gap" and not record.get("epoch")
        if mine and isinstance(record.get("to"), int):
            for lost in gap_numbers(record):
                self.told[lost] = str(record.get("reason", ""))

    def account(self) -> dict[str, Any]:
        """What is known, and every number that nothing is known of."""
        last = max(self.arrived, default=0)
        told = {seq: why for seq, why in self.told.items() if seq not in self.arrived}
        holes = [s for s in range(1, last + 1) if s not in self.arrived and s not in told]
        reasons: dict[str, int] = {}
        for why in told.values():
            reasons[why] = reasons.get(why, 0) + 1
        return {
            "arrived": len(self.arrived),
            "last": last,
            "told_lost": reasons,
            "doubles": self.doubles,
            "holes": holes,
        }


def ranges(numbers: list[int]) -> list[list[int]]:
    """Ascending numbers as [first, last] each."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def gap_numbers(gap: dict[str, Any]) -> Iterator[int]:
    """The numbers that a gap tells as lost: its bitmap, or its whole range without one."""
    first, last = int(gap["from"]), int(gap["to"])
    if "dropped" not in gap or gap["dropped"] is None:
        yield from range(first, last + 1)
        return
    bits = base64.b64decode(gap["dropped"])
    for place in range(last - first + 1):
        if place // 8 < len(bits) and bits[place // 8] >> (place % 8) & 1:
            yield first + place


def decode(payload: bytes) -> dict[str, Any]:
    """A batch: JSON, plain or zlib; the first byte tells which. Raises ValueError."""
    if payload[:1] == b"\x78":
        try:
            payload = zlib.decompress(payload)
        except zlib.error as error:
            raise ValueError(f"not zlib: {error}") from error
    batch = json.loads(payload)
    if not isinstance(batch, dict):
        raise ValueError("a batch is an object")
    return batch


class Reader:
    """Writes down what arrives and keeps a ledger for every (device, epoch)."""

    def __init__(self, host: str, port: int, prefix: str, file: Any) -> None:
        self.ledgers: dict[tuple[str, str], Ledger] = {}
        self.unreadable = 0
        self.batches = 0
        self._file = file
        self._lock = threading.Lock()
        self._prefix = prefix
        # 3.1.1 is what every broker speaks, the embedded one included.
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"independent-reader-{time.time_ns()}",
            protocol=mqtt.MQTTv311,
            clean_session=False,
        )
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._where = (host, port)
        self._confirmed: dict[str, tuple[float, bytes]] = {}
        self.wake()

    def wake(self) -> None:
        """Connect; the broker has kept what came meanwhile, or should have."""
        self._client.connect(*self._where, keepalive=20)
        self._client.loop_start()

    def nap(self) -> None:
        """Leave the broker for a while; its session stays."""
        self._client.disconnect()
        self._client.loop_stop()

    def confirm(self) -> None:
        """Tell each device what is here of its present epoch and what is missing."""
        if not self._client.is_connected():
            return
        for epoch in {its["device"]: its for its in self.account()["epochs"]}.values():
            missing = ranges(epoch["holes"])
            upto = missing[RANGES_MAX][0] - 1 if len(missing) > RANGES_MAX else epoch["last"]
            document = {"epoch": epoch["epoch"], "upto": upto, "missing": missing[:RANGES_MAX],
                        "by": "main"}  # fmt: skip
            payload, device, now = json.dumps(document).encode(), epoch["device"], time.monotonic()
            said_at, said = self._confirmed.get(device, (-CONFIRM_EVERY_S, b""))
            if now - said_at >= CONFIRM_EVERY_S and (missing or payload != said):
                self._confirmed[device] = (now, payload)
                topic = f"{self._prefix}/{device}/confirm/main"
                self._client.publish(topic, payload, 1, retain=True)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(f"{self._prefix}/+/records", 1), (f"{self._prefix}/+/status", 1)])

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        at_ns = time.time_ns()
        kind = message.topic.rsplit("/", 1)[-1]
        with self._lock:
            try:
                content = decode(bytes(message.payload))
                if kind == "records":
                    self._book(content)
            except (ValueError, KeyError, TypeError):
                self.unreadable += 1
                return
            line = {"arrived_ns": at_ns, "bytes": len(message.payload), kind: content}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _book(self, batch: dict[str, Any]) -> None:
        ledger = self.ledgers.setdefault((batch["device"], batch["epoch"]), Ledger())
        for record in batch["records"]:
            ledger.add(record)
        self.batches += 1

    def account(self) -> dict[str, Any]:
        with self._lock:
            return {
                "batches": self.batches,
                "unreadable": self.unreadable,
                "epochs": [
                    {"device": device, "epoch": epoch, **ledger.account()}
                    for (device, epoch), ledger in self.ledgers.items()
                ],
            }


def main(host: str, port: int, prefix: str, path: str) -> None:
    """Read until standard input closes, telling how far it is."""
    ended = threading.Event()
    with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - a script on its own
        reader = Reader(host, port, prefix, file)

        def obey() -> None:
            for line in sys.stdin:
                {"nap": reader.nap, "wake": reader.wake}[line.strip()]()
            ended.set()

        threading.Thread(target=obey, daemon=True).start()
        while not ended.wait(REPORT_EVERY_S):
            reader.confirm()
            sys.stdout.write(json.dumps(reader.account()) + "\n")
            sys.stdout.flush()
        reader.nap()
        sys.stdout.write(json.dumps(reader.account()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
