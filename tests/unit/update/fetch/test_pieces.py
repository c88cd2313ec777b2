"""The account of what is here, against a plain set; what survives a stop; the pace."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import StoreFull, Untrusted
from edgeagent.update.fetch.pace import AHEAD_S, LARGEST, SMALLEST, Pace
from edgeagent.update.fetch.part import Part
from edgeagent.update.fetch.pieces import UNIT, Pieces

CHUNKS = (1, 2, 4, 16, 64)


@given(
    size=st.integers(0, 200 * UNIT),
    steps=st.lists(st.tuples(st.sampled_from(CHUNKS), st.integers(0, 200)), max_size=30),
    ask=st.sampled_from(CHUNKS),
    first=st.integers(0, 40),
)
def test_the_account_is_that_of_a_set(
    size: int, steps: list[tuple[int, int]], ask: int, first: int
) -> None:
    pieces, here = Pieces(size), set[int]()
    for per, index in steps:
        length = pieces.length(index, per * UNIT)
        if not length:
            continue
        new = set(range(index * per, index * per + -(-length // UNIT)))
        assert pieces.add(index * per * UNIT, length) == len(new - here)
        here |= new
        assert pieces.has(index, per * UNIT)
    units = -(-size // UNIT)
    assert pieces.missing == units - len(here)
    assert pieces.complete == (len(here) == units)
    lacking = sorted({unit // ask for unit in range(units) if unit not in here})
    assert list(pieces.lacking(ask * UNIT, first)) == [i for i in lacking if i >= first]
    gaps = {unit for a, b in pieces.gaps() for unit in range(a // UNIT, -(-b // UNIT))}
    assert gaps == set(range(units)) - here
    again = Pieces(size, pieces.ranges())
    assert list(again.gaps()) == list(pieces.gaps())


@pytest.mark.parametrize(("offset", "length"), [(1, UNIT), (0, 100), (0, 0), (9 * UNIT, UNIT + 5)])
def test_what_is_no_unit_is_refused(offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="are no units"):
        Pieces(10 * UNIT - 24).add(offset, length)


def test_a_part_goes_on_and_ends_whole(tmp_path: Path) -> None:
    data = os.urandom(5 * UNIT + 7)
    sha256 = hashlib.sha256(data).hexdigest()
    part = Part(tmp_path / "m", len(data), sha256)
    part.put(2 * UNIT, data[2 * UNIT : 4 * UNIT])
    part.note()
    part.put(0, data[:UNIT])  # Not noted: after a power cut it is not counted upon.
    part.close()
    part = Part(tmp_path / "m", len(data), sha256)
    assert list(part.pieces.gaps()) == [(0, 2 * UNIT), (4 * UNIT, len(data))]
    part.put(0, data[: 2 * UNIT])
    part.put(4 * UNIT, data[4 * UNIT :])
    part.finish()
    assert (tmp_path / "m").read_bytes() == data


@pytest.mark.parametrize("spoil", ["size", "sha256", "map", "part"])
def test_a_part_of_another_file_begins_anew(tmp_path: Path, spoil: str) -> None:
    part = Part(tmp_path / "m", 4 * UNIT, "a" * 64)
    part.put(0, b"x" * UNIT)
    part.note()
    part.close()
    if spoil == "map":
        (tmp_path / "m.map").write_bytes(b"\x00" * 30)
    if spoil == "part":
        (tmp_path / "m.part").write_bytes(b"")
    size = 5 * UNIT if spoil == "size" else 4 * UNIT
    assert Part(tmp_path / "m", size, ("b" if spoil == "sha256" else "a") * 64).pieces.done == 0


def test_what_is_not_what_was_signed_leaves_nothing(tmp_path: Path) -> None:
    part = Part(tmp_path / "m", UNIT, "0" * 64)
    part.put(0, b"x" * UNIT)
    with pytest.raises(Untrusted, match="not what was signed"):
        part.finish()
    assert list(tmp_path.iterdir()) == []


def test_room_is_wanted_at_the_start(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    with pytest.raises(StoreFull):
        Part(tmp_path / "m", free.f_bavail * free.f_frsize + (1 << 36), "0" * 64)
    assert list(tmp_path.iterdir()) == []


@given(
    rate=st.floats(1e3, 1e8), jitter=st.lists(st.floats(0.5, 1.5), min_size=40, max_size=40),
)  # fmt: skip
def test_the_rate_is_that_of_the_link(rate: float, jitter: list[float]) -> None:
    """Chunks that follow one another tell it, however long the round trip."""
    pace = Pace()
    now = 100.0
    for number, wobble in enumerate(jitter):
        now += pace.chunk / rate * wobble + (7.0 if number % 4 == 0 else 0.0)
        pace.arrived(now, pace.chunk, 1.0 + number // 4)
    assert 0.4 * rate < pace.rate < 2.1 * rate
    assert SMALLEST <= pace.chunk <= LARGEST
    assert pace.window <= max(AHEAD_S * pace.rate, 2 * SMALLEST)
    assert pace.window <= 16 * LARGEST
    assert pace.chunk & (pace.chunk - 1) == 0


def test_an_idle_link_says_nothing_of_its_rate() -> None:
    pace = Pace()
    for step in range(20):
        pace.arrived(100.0 + 5 * step, 4096, 100.0 + 5 * step - 2)
    assert pace.rate == 0


def test_patience_grows_with_what_is_ahead_and_with_failures() -> None:
    pace = Pace()
    assert pace.patience(0) == 5.0
    pace.answered(2.0)
    assert pace.patience(0) == 6.0
    assert pace.patience(0, 1) == 12.0
    assert pace.patience(0, 50) == 60.0
    pace.rate = 1000.0
    assert pace.patience(4000) == 10.0


def test_a_limit_is_kept_over_time() -> None:
    pace = Pace(limit=10_000)
    taken, now = 0, 50.0
    while now < 110.0:
        if (room := min(pace.allowance(now), 8192)) >= 1024:
            pace.took(room)
            taken += room
        now += 0.05
    assert 0.9 * 600_000 < taken < 1.1 * 600_000
