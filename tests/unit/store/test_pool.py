"""The pool: never above its quota, the least useful goes first, whole after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import NotFound, StoreCorrupt, StoreFull
from edgeagent.store.allotment import Allotment, Shares
from edgeagent.store.pool import Pool, read, tally

KIB = 1024
META: dict[str, Any] = {"type": "image/jpeg", "predictions": []}
KEPT = st.lists(
    st.tuples(
        st.sampled_from(["door", "gate"]), st.sampled_from(["uncertain", "random"]),
        st.integers(0, 100), st.integers(1, 30_000), st.booleans(),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(KEPT, st.integers(1, 5))
def test_whatever_comes_the_quotas_hold(
    samples: list[tuple[str, str, int, int, bool]], each: int
) -> None:
    with TemporaryDirectory() as folder:
        pool = Pool(Path(folder), 64 * KIB)
        ids: set[str] = set()
        for pipeline, reason, useful, size, sent in samples:
            before = pool.samples()
            id_ = pool.keep(pipeline, reason, useful, META, bytes(size), each)
            here = pool.samples()
            assert sum(its.bytes for its in here) <= 64 * KIB
            assert max((n for own in tally(here).values() for n in own.values()), default=0) <= each
            if id_:
                assert id_ not in ids
                ids.add(id_)
                (own,) = pool.find([id_])
                assert read(own)[1] == bytes(size)
                if sent:
                    pool.sent(own)
            else:
                assert here == before
        assert pool.kept - pool.gone == len(pool.samples())


def keep(pool: Pool, useful: int, reason: str = "uncertain", size: int = 100) -> str:
    return pool.keep("door", reason, useful, META, bytes(size), 3)


def test_the_least_useful_makes_room_and_what_was_sent_before_it(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 1024 * KIB)
    a, b, c = (keep(pool, useful) for useful in (80, 60, 70))
    assert keep(pool, 50) == ""
    d = keep(pool, 65)
    assert {its.id for its in pool.samples()} == {a, c, d}
    (best,) = pool.find([a])
    pool.sent(best)
    e = keep(pool, 10)
    assert {its.id for its in pool.samples()} == {c, d, e}
    assert b != e


def test_of_equals_the_oldest_goes(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 1024 * KIB)
    first, *rest = [keep(pool, 0, "random") for _ in range(4)]
    assert [its.id for its in pool.samples()] == rest
    assert first not in rest


def test_a_talkative_reason_does_not_drive_out_the_others(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 16 * KIB)
    rare = keep(pool, 0, "random")
    for _ in range(10):
        keep(pool, 90)
    assert rare in {its.id for its in pool.samples()}


def test_storage_max_is_asked_first(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 1024 * KIB, lambda: Allotment(tmp_path, 8 * KIB, Shares(0, 0, 8 * KIB)))
    keep(pool, 50)
    with pytest.raises(StoreFull, match="the pool"):
        keep(pool, 60, size=20_000)
    assert len(pool.samples()) == 1


def test_a_damaged_sample_is_named_and_the_rest_stays(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 1024 * KIB)
    bad, good = keep(pool, 50), keep(pool, 60)
    (its,) = pool.find([bad])
    its.file.write_bytes(its.file.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreCorrupt) as caught:
        read(its)
    assert caught.value.remedy == f"edgeagent pool rm {bad}"
    assert read(pool.find([good])[0])[0]["id"] == good
    with pytest.raises(NotFound, match="no sample 'p000009ffff'"):
        pool.find(["p000009ffff"])


WRITER = """
import sys
from pathlib import Path
from edgeagent.store.pool import Pool
pool = Pool(Path(sys.argv[1]), 1 << 20)
print("ready", flush=True)
while True:
    pool.keep("door", "random", 0, {"type": "image/jpeg"}, bytes(60_000), 8)
"""


def test_a_kill_in_the_middle_of_a_write_leaves_a_readable_pool(tmp_path: Path) -> None:
    for turn in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        pool = Pool(tmp_path, 1 << 20)
        deadline = time.monotonic() + 20
        seen = {its.id for its in pool.samples()}
        while len({its.id for its in pool.samples()} - seen) < 3 + turn:
            assert time.monotonic() < deadline
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        here = pool.samples()
        assert 0 < len(here) <= 9  # one comes before another goes, at most
        for its in here:
            assert read(its)[1] == bytes(60_000)
    pool.sweep()
    assert not list(tmp_path.rglob("*~"))


def test_what_is_old_or_damaged_is_purged(tmp_path: Path) -> None:
    pool = Pool(tmp_path, 64 * KIB)
    old = pool.keep("door", "random", 50, {**META, "at": "old"}, b"1", 9)
    new = pool.keep("door", "random", 50, {**META, "at": "new"}, b"2", 9)
    spoilt = pool.keep("door", "random", 50, {**META, "at": "new"}, b"3", 9)
    pool.find([spoilt])[0].file.write_bytes(b"EAP1 no more")
    assert pool.purge(lambda meta: meta["at"] == "old", dry=True) == 2
    assert {its.id for its in pool.samples()} == {old, new, spoilt}
    assert pool.purge(lambda meta: meta["at"] == "old", dry=False) == 2
    assert {its.id for its in pool.samples()} == {new}
