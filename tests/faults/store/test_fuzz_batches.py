"""Bytes of batches changed at random, as a broken device or a stranger might send them: the
reader takes them or says InputError; in bounded time and memory."""

from __future__ import annotations

import json
import random
import resource
import time
import zlib

import msgspec
import pytest

from edgeagent.errors import InputError
from edgeagent.fleet.batches import read

TOKENS = (
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\u0000", b"\\ud800", b"\xff", b"\x00", b"1e999",
    b"-0", b"9" * 40, b"null", b'"kind":"gap"', b'"seq":', b'"from":', b'"dropped":"',
    b"\xdd\xff\xff\xff\xff", b"\xc7", b"\xdf\x00\x01\x00\x00",
)  # fmt: skip


def seeds() -> list[bytes]:
    """Every kind of record in every encoding, and a bomb."""
    blob = {"sha256": "b" * 64, "bytes": 3, "type": "image/jpeg"}
    records = [
        {"seq": seq, "kind": kind, "pipeline": "p", "at": "2026-11-24T18:29:49.120Z",
         "data": {"sha256": "a" * 64, "n": seq, "x": [1.5, None, True, "é\\"]}, "blobs": [blob],
         "was": {"epoch": "E0", "seq": 3}}
        for seq, kind in enumerate(["event", "result", "blob"], 1)
    ]  # fmt: skip
    records.append({"seq": 4, "kind": "gap", "from": 1, "to": 9, "count": 2, "reason": "r",
                    "dropped": "BQA="})  # fmt: skip
    records.append({"seq": 5, "kind": "gap", "from": 1, "to": None, "count": None, "reason": "r",
                    "epoch": "E0"})  # fmt: skip
    batch = {"v": 1, "device": "d1", "epoch": "E1", "first": 1, "last": 5, "records": records}
    plain = [msgspec.json.encode(batch), msgspec.msgpack.encode(batch)]
    return [*plain, *map(zlib.compress, plain), zlib.compress(b"\0" * 30_000_000)]


def changed(payload: bytes, chance: random.Random) -> bytes:
    data = bytearray(payload)
    for _ in range(chance.choice((1, 1, 2, 3, 8, 30))):
        at, how = chance.randrange(len(data) + 1), chance.random()
        if how < 0.3 and data:
            data[at % len(data)] = chance.randrange(256)
        elif how < 0.45 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif how < 0.6:
            data[at:at] = chance.choice(TOKENS)
        elif how < 0.7:
            del data[at : at + chance.randrange(1, 40)]
        elif how < 0.8:
            other = chance.randrange(len(data) + 1)
            data[at:at] = data[other : other + chance.randrange(1, 60)]
        elif how < 0.85:
            del data[at:]
        elif how < 0.95:
            data[at:at] = chance.randbytes(chance.randrange(1, 12))
        else:
            deep = chance.choice((b"[", b"\x91", b'{"a":'))
            data[at:at] = deep * chance.choice((10, 1000, 100_000))
    return bytes(data)


def unpacked(payload: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(payload, 1 << 20)
    except zlib.error:
        return payload


@pytest.mark.timeout(3600)
def test_changed_batches(full: bool) -> None:
    chance = random.Random("batches")
    corpus = seeds()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = worst = 0.0
    for _ in range(1_000_000 if full else 4000):
        payload = chance.choice(corpus)
        packed = payload[:1] == b"\x78"
        if packed and chance.random() < 0.7:
            payload = zlib.compress(changed(unpacked(payload), chance), 1)
        else:
            payload = changed(payload, chance)
        began = time.perf_counter()
        try:
            arrival = read(payload, "d1")
        except InputError:
            arrival = None
        worst = max(worst, time.perf_counter() - began)
        if arrival is None:
            continue
        taken += 1
        assert arrival.seqs == sorted(set(arrival.seqs))
        for row in arrival.rows:
            json.loads(row.body)
            row.body.encode()
            assert 0 < row.seq < 1 << 53
        if len(corpus) < 3000 and chance.random() < 0.05 and len(payload) < 20_000:
            corpus.append(payload)
    assert taken > 100 and worst < 5.0
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, f"{grown} KiB"
