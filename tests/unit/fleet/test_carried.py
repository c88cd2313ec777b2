"""The data mule, with real outboxes on both ends of the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from edgeagent.errors import LinkDown, NotFound
from edgeagent.fleet.archive import Archive, Group
from edgeagent.fleet.audit import audit
from edgeagent.fleet.carried import (
    CarriedConfirm,
    import_carried,
    publish_confirms,
    write_confirms,
)
from edgeagent.store.export import carry
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.verify import verify
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.types import Draft, Evidence


def outbox(folder: Path) -> Outbox:
    settings = OutboxSettings(confirm="collector", blobs_bytes=1 << 20)
    return Outbox.open(folder, device="d1", settings=settings, boot="b" * 32, machine="m")


def fill(box: Outbox, count: int) -> None:
    for n in range(count):
        evidence = (Evidence("image/jpeg", b"p%d" % n * 3000),) if n % 50 == 0 else ()
        kind = "event" if evidence else "result"
        data = {"phase": "new", "n": n} if evidence else {"n": n}
        box.append(Draft(kind, "belt", data=data, evidence=evidence, event=f"k{n}"))
    assert box.flush(20)


def settle(box: Outbox, files: list[Path]) -> None:
    """What a device does with a confirm that was carried back."""
    for file in files:
        confirm = json.loads(file.read_bytes())
        missing = [tuple(part) for part in confirm["missing"]]
        assert box.confirmed(confirm["epoch"], confirm["upto"], missing, confirm["by"])
    assert box.flush(20)


def test_there_and_back_settles_the_account_without_duplicates(
    archive: Archive, tmp_path: Path, made: Any
) -> None:
    box = outbox(tmp_path / "box")
    fill(box, 300)
    assert len(carry(tmp_path / "box", tmp_path / "stick", batch_bytes=10_000)) > 6
    imported = import_carried(archive, tmp_path / "stick")
    assert (imported.records, imported.duplicates, imported.evidence) == (300, 0, 6)
    assert not imported.refused
    again = import_carried(archive, tmp_path / "stick")
    assert (again.records, again.duplicates, again.evidence) == (0, 300, 0)
    # More is decided meanwhile; a confirm of the earlier part leaves it pending.
    fill(box, 10)
    settle(box, write_confirms(imported.confirms, tmp_path / "back"))
    made.eventually(lambda: box.stats().delivered == 300)
    assert box.stats().pending == 10
    box.close()
    assert verify(tmp_path / "box").ok
    (stream,) = audit(archive.db).streams
    assert (stream.state, stream.received, stream.evidence.here) == ("complete", 300, 6)
    assert stream.evidence.missing == 0


def test_a_damaged_stick_costs_only_what_is_damaged(
    archive: Archive, tmp_path: Path, made: Any
) -> None:
    box = outbox(tmp_path / "box")
    fill(box, 200)
    files = carry(tmp_path / "box", tmp_path / "stick", batch_bytes=10_000)
    batches = [file for file in files if file.suffix == ".batch"]
    blobs = [file for file in files if file.suffix == ".blob"]
    batches[1].write_bytes(batches[1].read_bytes()[:-9])
    blobs[0].write_bytes(b"another picture")
    imported = import_carried(archive, tmp_path / "stick")
    assert len(imported.refused) == 2
    assert all(name in " ".join(imported.refused) for name in (batches[1].name, blobs[0].name))
    (stream,) = audit(archive.db).streams
    assert len(stream.missing) == 1
    assert stream.evidence.missing == 1
    settle(box, write_confirms(imported.confirms, tmp_path / "back"))
    low, high = stream.missing[0]
    made.eventually(lambda: box.stats().pending == high - low + 1)
    # The second try brings the rest: only that is still in the outbox.
    files = carry(tmp_path / "box", tmp_path / "again", batch_bytes=10_000)
    assert import_carried(archive, tmp_path / "again").records == high - low + 1
    assert audit(archive.db).complete
    box.close()


def test_confirms_by_mqtt_are_retained_for_the_device(
    archive: Archive, tmp_path: Path, broker: Any, made: Any
) -> None:
    archive.write(Group(arrivals=[made.results(1, 5)]))
    (tmp_path / "d1.E1.6-7.batch").write_bytes(made.payload([made.record(7)]))
    imported = import_carried(archive, tmp_path)
    link = LinkSettings("import", (Endpoint("127.0.0.1", broker.port),))
    publish_confirms(imported.confirms, link, "edgeagent", "main")
    heard: list[Any] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, *_: c.subscribe("edgeagent/+/confirm/+")
    client.on_message = lambda _c, _u, m: heard.append((m.topic, m.retain, json.loads(m.payload)))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    made.eventually(lambda: heard)
    client.loop_stop()
    confirm = {"epoch": "E1", "upto": 7, "missing": [[6, 6]], "by": "main"}
    assert heard == [("edgeagent/d1/confirm/main", True, confirm)]


def test_a_broker_that_is_not_there_is_said(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.fleet.carried._ANSWER_S", 0.2)
    link = LinkSettings("import", (Endpoint("127.0.0.1", 9),))
    with pytest.raises(LinkDown, match="refused"):
        publish_confirms([CarriedConfirm("d1", "E1", b"{}")], link, "edgeagent", "main")


def test_a_folder_that_holds_nothing(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no carried export"):
        import_carried(archive, tmp_path)
    with pytest.raises(NotFound):
        import_carried(archive, tmp_path / "none")
