"""Asks each device and the collector's database what an acceptance sheet tells."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from edgeagent.fleet.acceptance.sheet import WRONG, Sheet
from edgeagent.fleet.census import Census
from edgeagent.fleet.database import Database
from edgeagent.fleet.meeting import meet
from edgeagent.fleet.orders.order import order
from edgeagent.fleet.orders.sending import Sending
from edgeagent.fleet.orders.targets import Targets
from edgeagent.fleet.roster import Device
from edgeagent.fleet.sharing import own_topics
from edgeagent.fleet.sight.look import look
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.port import Incoming

_UP_S = 30.0


class _Proven(msgspec.Struct, frozen=True):
    proven: dict[str, str] = {}


class _Capabilities(msgspec.Struct, frozen=True):
    delegates: _Proven = _Proven()


class _Figures(msgspec.Struct, frozen=True):
    fps: float = 0.0


class _Metrics(msgspec.Struct, frozen=True):
    pipelines: dict[str, _Figures] = {}


class _Record(msgspec.Struct, frozen=True):
    clock: str = ""


def gather(
    link: LinkSettings, prefix: str, devices: Sequence[str], database: Database, *, by: str,
    wait_s: float,
) -> list[Sheet]:  # fmt: skip
    """A sheet for each device, in the order given.

    Args:
        link: to the broker.
        prefix: mqtt.prefix.
        devices: ids.
        database: the collector's.
        by: who asks, for the journals of the devices.
        wait_s: for answers and figures, at most.

    Raises:
        LinkDown: no broker.
    """
    roster, _ = look(link, prefix, known=devices)
    sheets = {its: _known(roster.devices[its]) for its in devices if its in roster.devices}
    with _Listening(link, prefix, sheets) as figures:
        began = time.monotonic()
        _receipts(link, prefix, sheets)
        asked = [roster.devices[name] for name, its in sheets.items() if its.state == "online"
                 or its.state == "degraded"]  # fmt: skip
        if asked:
            _doctor(link, prefix, asked, sheets, by, wait_s)
        figures.wait({its.id for its in asked}, wait_s - (time.monotonic() - began))
    for sheet in sheets.values():
        _arrived(database, sheet)
    return [sheets.get(its, Sheet(its)) for its in devices]


def _known(device: Device) -> Sheet:
    return Sheet(
        device.id, device.name, device.site, device.state, list(device.reasons), device.profile,
        device.version,
    )  # fmt: skip


def _receipts(link: LinkSettings, prefix: str, sheets: dict[str, Sheet]) -> None:
    own = own_topics(prefix, link)
    topics = {f"{prefix}/{device}/capabilities": its for device, its in sheets.items()}

    def take(topic: str, payload: bytes) -> None:
        try:
            told = msgspec.json.decode(payload, type=_Capabilities)
        except msgspec.MsgspecError:
            return  # The sheet shows that nothing is known.
        topics[topic].runs = told.delegates.proven

    with Census(replace(link, client_id=f"{own.client_id}-{os.getpid()}"), own) as census:
        census.read(topics, take)


def _doctor(
    link: LinkSettings, prefix: str, asked: list[Device], sheets: dict[str, Sheet], by: str,
    wait_s: float,
) -> None:  # fmt: skip
    with Sending(link, prefix, order("doctor", {}, by, expires_s=600.0), Targets(asked)) as sent:
        sent.publish()
        tally = sent.follow(wait_s)
        sent.clear()
    for device, answer in tally.answers.items():
        sheet = sheets[device]
        sheet.doctor = answer.status
        if isinstance(answer.result, dict):
            findings = answer.result.get("findings", ())
            sheet.findings = [its for its in findings if its.get("severity") in (*WRONG, "note")]


class _Listening:
    """What devices publish about their pipelines meanwhile."""

    def __init__(self, link: LinkSettings, prefix: str, sheets: dict[str, Sheet]) -> None:
        own = own_topics(prefix, link)
        known = replace(link, client_id=f"{own.client_id}-figures-{os.getpid()}",
                        session_expiry_s=0.0)  # fmt: skip
        self._link = Link(known, own.echo)
        self._pattern = f"{prefix}/+/metrics"
        self._sheets = sheets
        self._came = threading.Condition()
        self._heard: set[str] = set()

    def __enter__(self) -> _Listening:
        self._link.subscribe(self._pattern, self._take)
        meet(self._link, _UP_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._link.stop()

    def wait(self, devices: set[str], timeout_s: float) -> None:
        """Until all of them have told their figures, or time is up."""
        with self._came:
            self._came.wait_for(lambda: devices <= self._heard, max(0.0, timeout_s))

    def _take(self, message: Incoming) -> bool:
        device = message.topic.split("/")[-2]
        sheet = self._sheets.get(device)
        if sheet is None:
            return True
        try:
            told = msgspec.json.decode(message.payload, type=_Metrics)
        except msgspec.MsgspecError:
            return True
        with self._came:
            sheet.rates = {name: its.fps for name, its in told.pipelines.items()}
            self._heard.add(device)
            self._came.notify_all()
        return True


_FIRST = """SELECT r.seq, r.at FROM record r JOIN stream s ON r.stream = s.id WHERE s.device = ?
ORDER BY r.received, r.seq LIMIT 1"""
_NEWEST = """SELECT r.body FROM record r JOIN stream s ON r.stream = s.id WHERE s.device = ?
ORDER BY r.received DESC, r.seq DESC LIMIT 1"""
_COUNT = "SELECT count(*) FROM record r JOIN stream s ON r.stream = s.id WHERE s.device = ?"
_PICTURE = """SELECT b.data, b.type FROM blob b JOIN evidence e ON e.sha256 = b.sha256
JOIN stream s ON e.stream = s.id
WHERE s.device = ? AND b.state = 1 AND b.type IN ('image/jpeg', 'image/png')
ORDER BY b.received DESC LIMIT 1"""


def _arrived(database: Database, sheet: Sheet) -> None:
    first: list[Any] = list(database.rows(_FIRST, (sheet.device,)))
    if not first:
        return
    sheet.first_seq, at = int(first[0][0]), first[0][1]
    sheet.first_at = str(at or "")
    sheet.records = int(database.rows(_COUNT, (sheet.device,))[0][0])
    body = database.rows(_NEWEST, (sheet.device,))[0][0]
    sheet.clock = msgspec.json.decode(body, type=_Record).clock
    for data, type_ in database.rows(_PICTURE, (sheet.device,)):
        sheet.picture, sheet.picture_type = bytes(data), str(type_)
