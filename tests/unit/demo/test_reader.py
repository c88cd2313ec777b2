"""The independent reader's ledger, against the account that the contract describes."""

from __future__ import annotations

import ast
import base64
import json
import sys
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.demo.reader import Ledger, decode, gap_numbers, ranges


def bitmap(first: int, dropped: set[int]) -> str:
    bits = bytearray((max(dropped) - first) // 8 + 1)
    for seq in dropped:
        bits[(seq - first) // 8] |= 1 << (seq - first) % 8
    return base64.b64encode(bits).decode()


def gap(seq: int, dropped: set[int], **more: object) -> dict[str, object]:
    first = min(dropped)
    return {
        "seq": seq, "kind": "gap", "from": first, "to": max(dropped), "count": len(dropped),
        "reason": "outbox full: thinned", "dropped": bitmap(first, dropped), **more,
    }  # fmt: skip


@given(st.integers(2, 200).flatmap(
    lambda last: st.tuples(st.just(last), st.sets(st.integers(1, last - 1)),
                           st.sets(st.integers(1, last - 1)), st.randoms())
))  # fmt: skip
def test_every_number_has_arrived_or_is_told_or_is_a_hole(
    case: tuple[int, set[int], set[int], object],
) -> None:
    last, told, silent, random = case
    silent = silent - told
    records = [{"seq": seq, "kind": "result"} for seq in range(1, last) if seq not in told | silent]
    records.append(gap(last, told) if told else {"seq": last, "kind": "result"})
    random.shuffle(records)  # type: ignore[attr-defined]
    ledger = Ledger()
    for record in records:
        ledger.add(record)
    account = ledger.account()
    assert account["holes"] == sorted(silent)
    assert sum(account["told_lost"].values()) == len(told)
    assert account["arrived"] + len(told) + len(silent) == last == account["last"]


def test_what_arrives_after_all_is_not_lost() -> None:
    ledger = Ledger()
    ledger.add(gap(3, {1, 2}))
    ledger.add({"seq": 2, "kind": "event"})
    assert ledger.account()["told_lost"] == {"outbox full: thinned": 1}
    assert ledger.account()["holes"] == []


def test_a_gap_without_a_bitmap_covers_its_range() -> None:
    assert list(gap_numbers({"from": 4, "to": 6})) == [4, 5, 6]


def test_a_gap_of_an_older_epoch_hides_no_hole_of_this_one() -> None:
    ledger = Ledger()
    ledger.add({"seq": 1, "kind": "gap", "epoch": "old", "from": 2, "to": 900})
    ledger.add({"seq": 3, "kind": "result"})
    assert ledger.account()["holes"] == [2]


@given(st.sets(st.integers(1, 400)))
def test_ranges_name_every_number_once_and_never_touch(numbers: set[int]) -> None:
    found = ranges(sorted(numbers))
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(numbers)
    assert all(a[1] + 1 < b[0] for a, b in pairwise(found))


def test_doubles_are_counted_once_each() -> None:
    ledger = Ledger()
    for _ in range(3):
        ledger.add({"seq": 1, "kind": "result"})
    assert ledger.account()["doubles"] == 2
    assert ledger.account()["arrived"] == 1


@pytest.mark.parametrize("pack", [bytes, zlib.compress])
def test_batches_are_read_plain_and_compressed(pack: object) -> None:
    batch = {"v": 1, "records": []}
    assert decode(pack(json.dumps(batch).encode())) == batch  # type: ignore[operator]


@pytest.mark.parametrize("payload", [b"", b"\x78broken", b"[1]", b"\xff\xfe", b"{"])
def test_what_is_no_batch_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        decode(payload)


def test_it_shares_no_code_with_the_agent(repository: Path) -> None:
    tree = ast.parse((repository / "edgeagent" / "demo" / "reader.py").read_text())
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").split(".")[0])
    assert {root for root in roots if root not in sys.stdlib_module_names} == {"paho"}
