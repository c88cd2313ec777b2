"""No configuration from afar locks a device out: it is refused, or it returns by itself.

Twelve named ways and random patches that load, on an agent whose `trust.require_signature` is
``never``: nothing but the trial stands between the desk and the device. Reduced by default; whole
with EDGEAGENT_TESTS=full.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from lockout import ACL, LIMIT_S, ROOMS, USERS, Patches, Room

from edgeagent.testing.broker import Mosquitto, free_port, make_certificates


@pytest.fixture
def room(tmp_path: Path, mosquitto_installed: None) -> Iterator[Room]:
    with Mosquitto(tmp_path / "broker", users=USERS, acl=ACL) as broker:
        made = Room(tmp_path, broker)
        yield made
        made.close()


def ways(room: Room, strange: Mosquitto) -> dict[str, tuple[dict[str, Any], str, str]]:
    """Name → patch, how it must end, and a word of what is told."""
    other = make_certificates(room.folder / "other")
    wrong_ca = {"host": "localhost", "port": strange.port, "tls": {"ca": str(other.ca)}}
    belt = {"when": "label = 'cracked'", "do": ["event"]}
    return {
        "id": ({"device": {"id": "line-2"}}, "rejected", "device.id"),
        "prefix": ({"mqtt": {"prefix": "elsewhere"}}, "rejected", "mqtt.prefix"),
        "rule": ({"pipelines": {"belt": {"rules": [belt]}}}, "rejected", "=="),
        "profile": ({"device": {"profile": "toaster"}}, "rejected", "toaster"),
        "disk": ({"outbox": {"max": "0 B"}}, "rejected", "outbox.max"),
        "acl": ({"mqtt": {"username": "starved"}}, "rolled-back", "not proven"),
        "source": (
            {"sources": {"cam0": {"kind": "camera", "device": "/dev/video99"}}},
            "rolled-back", "source cam0 is down",
        ),
        "host": ({"mqtt": {"host": "nowhere.invalid"}}, "rolled-back", "nowhere.invalid"),
        "port": ({"mqtt": {"port": free_port()}}, "rolled-back", "refused"),
        "ca": ({"mqtt": wrong_ca}, "rolled-back", "certificate"),
        "password": (
            {"mqtt": {"password_file": str(room.folder / "wrong")}}, "rolled-back", "password",
        ),
        "model": ({"pipelines": {"belt": {"model": "nothing"}}}, "rolled-back", "nothing"),
    }  # fmt: skip


SHORT = ("id", "prefix", "rule", "profile", "disk", "source")


@pytest.mark.usefixtures("in_full")
def test_twelve_ways_to_lock_a_device_out(room: Room, full: bool) -> None:
    strange = Mosquitto(room.folder / "strange", tls=True)
    with strange:
        table = ways(room, strange)
        assert len(table) == 12
        for name, (patch, state, word) in table.items():
            if not full and name not in SHORT:
                continue
            ended = room.wish(patch)
            print(f"| {name} | {ended.state} | {ended.took_s:.1f} | {ended.detail} |")
            assert ended.state == state, (name, ended)
            assert word in ended.detail, (name, ended)
            assert ended.took_s < LIMIT_S
            room.until(room.well, 30)
            room.agent.until(lambda status: status["config"] == room.base)
    assert room.starts == 0, "it never died of it"


@contextmanager
def rooms(folder: Path, count: int) -> Iterator[list[Room]]:
    """Devices, each with a broker of its own: what one is wished must not reach another."""
    with ExitStack() as stack:
        made = []
        for number in range(count):
            place = folder / str(number)
            broker = Mosquitto(place / "broker", users=USERS, acl=ACL)
            made.append(Room(place, stack.enter_context(broker)))
            stack.callback(made[-1].close)
        yield made


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("mosquitto_installed", "in_full")
@pytest.mark.parametrize("seed", range(8))
def test_random_patches_that_load(tmp_path: Path, seed: int) -> None:
    """25 for each seed."""
    with rooms(tmp_path, ROOMS) as devices, ThreadPoolExecutor(ROOMS) as hands:
        found = iter(Patches(random.Random(seed), devices[0]))
        patches = [next(found) for _ in range(25)]
        shares = [
            hands.submit(lambda room, its: [room.hold(patch) for patch in its], *share)
            for share in zip(devices, (patches[n::ROOMS] for n in range(ROOMS)), strict=True)
        ]
        ended = [outcome for share in shares for outcome in share.result()]
    states = Counter(its.state for its in ended)
    crashes = sum(room.starts for room in devices)
    print(f"| {seed} | {len(ended)} | {dict(states)} | "
          f"{max(its.took_s for its in ended):.1f} | {crashes} |")  # fmt: skip
    assert len(ended) == 25 and crashes == 0
