"""A process under load, to be killed: appends, publishes, and says on standard output what it
was promised.

    python loaded.py FOLDER CONFIRM LINK

Lines: ``epoch E``, ``first S`` (seconds from the start to the first record on the medium),
``have N SEQ`` (record N is on the medium), ``sent JSON`` (a batch that left the device, before
it was acknowledged here). Standard input is the collector: ``confirm JSON``.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from pathlib import Path

STARTED = time.monotonic()

from edgeagent.store.outbox import Outbox  # noqa: E402
from edgeagent.store.settings import OutboxSettings  # noqa: E402
from edgeagent.types import Draft, Evidence  # noqa: E402

SAY = threading.Lock()


def say(line: str) -> None:
    with SAY:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def produce(outbox: Outbox, offset: int) -> None:
    for number in range(offset, offset + 10_000_000):
        phase = ("new", "update", "end")[number % 3]
        draft = Draft("event", "door", data={"n": number, "phase": phase}, event="k")
        if number % 50 == 0:
            draft.evidence = (Evidence("image/jpeg", b"%d" % number * 300),)
        ticket = outbox.append(draft)
        for index in range(20):
            outbox.append(Draft("result", "door", data={"n": number, "i": index, "x": "y" * 200}))
        if ticket.wait(5.0) is not None:
            say(f"have {number} {ticket.seq}")


def publish(outbox: Outbox, link: str) -> None:
    chance = random.Random()
    while True:
        if link == "down" or (link == "flapping" and chance.random() < 0.3):
            outbox.wait_pending(0.02)
            outbox.connected()
            continue
        batch = outbox.next_batch(max_bytes=16_384)
        if batch is None:
            outbox.wait_pending(0.05)
            continue
        say("sent " + batch.envelope("d1").decode())
        if link == "flapping" and chance.random() < 0.2:
            outbox.release(batch)
        else:
            outbox.delivered(batch)


def main() -> None:
    folder, confirm, link = sys.argv[1:4]
    offset = int(sys.argv[4])
    outbox = Outbox.open(
        Path(folder), device="d1", boot="b1", machine="m1",
        settings=OutboxSettings(
            max_bytes=4 << 20, events_s=0.01, results_s=0.05, keep_sent_s=0.5,
            resend_after_s=0.2, blobs_bytes=100_000, confirm=confirm,  # type: ignore[arg-type]
        ),
    )  # fmt: skip
    assert outbox.append(Draft("event", data={"phase": "new", "n": -1})).wait(10)
    say(f"first {time.monotonic() - STARTED:.3f}")
    say(f"epoch {outbox.epoch}")
    outbox.close_open_events()
    for work in ((produce, outbox, offset), (publish, outbox, link)):
        threading.Thread(target=work[0], args=work[1:], daemon=True).start()  # type: ignore[arg-type]
    for line in sys.stdin:
        said = json.loads(line)
        outbox.confirmed(said["epoch"], said["upto"], said["missing"], "main")


if __name__ == "__main__":
    main()
