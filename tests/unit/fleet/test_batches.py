"""Whatever arrives: a batch or an InputError, quickly, in bounded memory."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import InputError
from edgeagent.fleet.batches import UNPACKED_MAX_BYTES, Gap, read, time_of
from edgeagent.store.batch import Batch
from edgeagent.store.ranges import bits_of
from edgeagent.sync.envelope import Encoding

FORMS = [(form, packed) for form in ("json", "msgpack") for packed in ("zlib", "none")]


@pytest.mark.parametrize(("form", "packed"), FORMS)
def test_every_encoding_of_a_device(form: Any, packed: Any, made: Any) -> None:
    bodies = tuple(json.dumps(made.record(seq)).encode() for seq in (3, 4, 9))
    payload = Encoding(form, packed).encode(Batch("E1", "live", (3, 4, 9), bodies), "d1")
    arrival = read(payload, "d1")
    assert (arrival.device, arrival.epoch, arrival.seqs) == ("d1", "E1", [3, 4, 9])
    assert [json.loads(row.body) for row in arrival.rows] == [json.loads(body) for body in bodies]
    assert arrival.rows[0][:4] == (3, "result", "belt", "2026-11-24T18:29:49.120Z")


def test_zstd_is_read_where_python_can_or_refused_with_the_remedy(made: Any) -> None:
    text = zlib.decompress(made.payload([made.record(1)]))
    try:
        import zstandard
    except ImportError:
        frame = b"\x28\xb5\x2f\xfd" + text
        with pytest.raises(InputError, match="zstd"):
            read(frame)
    else:
        assert read(zstandard.compress(text)).seqs == [1]
        with pytest.raises(InputError):
            read(zstandard.compress(b"{" * (UNPACKED_MAX_BYTES + 1)))


def test_records_come_in_order_and_once(made: Any) -> None:
    arrival = made.arrival([made.record(7), made.record(5), made.record(7, kind="event")])
    assert arrival.seqs == [5, 7]
    assert arrival.rows[1].kind == "result"


def test_a_bad_record_does_not_cost_its_neighbours(made: Any) -> None:
    bad = [
        {"seq": 0, "kind": "result"}, {"seq": 2**60, "kind": "result"}, {"seq": "2"}, 17, None,
        {"seq": 5, "kind": 3}, made.gap(6, 5, 1), made.gap(7, 1, 5000), made.gap(8, 1, None),
        made.gap(9, 1, 4, dropped="A"), made.gap(10, 1, 4, epoch="a b"),
        made.record(11, blobs=[{"sha256": "../../x", "bytes": 1, "type": ""}]),
        made.record(12, blobs=[{"sha256": "a" * 64, "bytes": -1, "type": ""}]),
        made.record(13, was={"epoch": "", "seq": 4}), made.record(14, was={"epoch": "E0"}),
    ]  # fmt: skip
    arrival = made.arrival([*bad, made.record(4)])
    assert arrival.seqs == [4]
    assert len(arrival.refused) == len(bad)
    assert not arrival.gaps
    assert not arrival.copies
    assert not arrival.refs


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"{", b"x", b"{}", b"[]", b'{"device":"d1","epoch":"E1"}', b"\x78\x9c",
        b"\x28\xb5\x2f\xfd",
        b'{"device":"a/b","epoch":"E1","records":[]}',
        b'{"device":"group","epoch":"E1","records":[]}',
        b'{"device":"d1","epoch":"","records":[]}',
        b'{"device":"d2","epoch":"E1","records":[]}',
        b'{"device":"d1","epoch":"E1","records":[{"seq":1,"kind":"r","x":"\xff"}]}',
        b'{"device":"d1","epoch":"E1","records":' + b"[" * 100_000,
        b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, zlib.compress(b"{}")[:-3],
        zlib.compress(b" " * (UNPACKED_MAX_BYTES + 1)),
    ],
)  # fmt: skip
def test_what_is_no_batch_of_this_device_is_refused(payload: bytes) -> None:
    with pytest.raises(InputError):
        read(payload, "d1")


def test_gaps_copies_and_evidence_are_read(made: Any) -> None:
    sha = "a" * 64
    bitmap = base64.b64encode(bytes([0b101])).decode()
    arrival = made.arrival(
        [
            made.gap(1, 10, 14, dropped=bitmap), made.gap(2, 4, None, epoch="E0", reason="lost"),
            made.record(3, was={"epoch": "E0", "seq": 9}),
            made.record(4, blobs=[{"sha256": sha, "bytes": 5, "type": "image/jpeg"}]),
            made.record(5, kind="blob", data={"sha256": sha, "reason": "quota of blobs"}),
        ]
    )  # fmt: skip
    assert arrival.gaps == [
        Gap(1, "", 10, 14, bits_of((10, 12), 10), "outbox full"),
        Gap(2, "E0", 4, None, None, "lost"),
    ]
    assert [tuple(copy) for copy in arrival.copies] == [(3, "E0", 9)]
    assert (arrival.refs[0].seq, arrival.refs[0].blob.bytes) == (4, 5)
    assert arrival.lost[0] == (sha, "quota of blobs")
    assert not arrival.refused


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2026-11-24T18:29:49.120Z", "2026-11-24T18:29:49.120Z"),
        ("2026-11-24T19:29:49.120+01:00", "2026-11-24T18:29:49.120Z"),
        ("2026-02-30T18:29:49.120Z", ""), ("2026-13-01T18:29:49.120Z", ""),
        ("2026-11-24T18:29:49.120", ""), ("2026-11-24T18:29:60.120Z", ""), ("now", ""), ("", ""),
        ("0001-01-01T00:00:00.000Z", ""), ("9999-12-31T23:59:59.999-01:00", ""),
        ("2026-11-24T18:29:49.12\N{SUPERSCRIPT TWO}Z", ""),
    ],
)  # fmt: skip
def test_times_that_a_database_would_not_take_are_left_out(text: str, stored: str) -> None:
    assert time_of(text) == stored


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["seq", "kind", "from", "to", "dropped", "blobs", "was", "at", "data", "epoch", "test",
     "device", "records", "pipeline", "reason"]
)  # fmt: skip
RECORD = st.dictionaries(KEYS, VALUES | st.integers(1, 9000) | st.sampled_from(["gap", "blob"]))
BATCH = st.fixed_dictionaries(
    {"device": st.just("d1") | VALUES, "epoch": st.just("E1") | VALUES,
     "records": st.lists(RECORD | VALUES, max_size=6) | VALUES}
)  # fmt: skip


def settled(payload: bytes) -> None:
    try:
        arrival = read(payload, "d1")
    except InputError:
        return
    assert arrival.seqs == sorted(set(arrival.seqs))
    for row in arrival.rows:
        json.loads(row.body)
        assert "\0" not in row.kind + row.pipeline + row.at
    for found in arrival.gaps:
        assert found.last is None or found.bits is None or found.bits.bit_length() <= 4096


@settings(max_examples=150, deadline=None)
@given(BATCH, st.sampled_from(["json", "msgpack"]), st.booleans())
def test_fuzz_of_shapes(batch: Any, form: str, packed: bool) -> None:
    encode = msgspec.json.encode if form == "json" else msgspec.msgpack.encode
    text = encode(batch)
    settled(zlib.compress(text) if packed else text)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FORMS),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=8),
    st.integers(0, 5000),
)  # fmt: skip
def test_fuzz_of_bytes(form: Any, changes: list[tuple[int, int]], length: int) -> None:
    body = b'{"seq":4,"kind":"gap","from":1,"to":3,"count":2,"reason":"r","dropped":"BQ=="}'
    batch = Batch("E1", "live", (4,), (body,))
    payload = bytearray(Encoding(*form).encode(batch, "d1"))
    for at, value in changes:
        payload[at % len(payload)] = value
    settled(bytes(payload[: max(1, length % (len(payload) + 1))]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_fuzz_of_nonsense(payload: bytes) -> None:
    settled(payload)
