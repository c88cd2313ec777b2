"""The account against plain sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.fleet.account import (
    ALL,
    BLOCK,
    RANGES_MAX,
    Account,
    Settled,
    bit_runs,
    pieces,
    stored,
)

SEQS = st.one_of(
    st.integers(1, 60), st.integers(BLOCK - 30, BLOCK + 30), st.integers(4 * BLOCK, 4 * BLOCK + 99)
)
TAKE = st.tuples(st.just("take"), st.sets(SEQS, min_size=1, max_size=40))
RUN = st.tuples(st.just("run"), st.tuples(SEQS, st.integers(1, 2 * BLOCK)))
TELL = st.tuples(
    st.just("tell"), st.tuples(SEQS, st.integers(1, BLOCK), st.none() | st.integers(0, 2**70))
)
KEEP = st.tuples(st.just("keep"), st.none())


class Kept:
    """An account that goes through its stored form, as between two transactions."""

    def __init__(self) -> None:
        self.account = Account()
        self.rows: dict[int, tuple[bytes | None, bytes | None]] = {}

    def need(self, blocks: set[int]) -> None:
        for number in self.account.absent(blocks):
            if number in self.rows:
                self.account.load(number, *self.rows[number])

    def keep(self) -> None:
        for number, block in self.account.changed():
            self.rows[number] = stored(block)
        again = Account()
        again.top, again.floor = self.account.top, self.account.floor
        for number, row in self.rows.items():
            if number >= again.floor:
                again.load(number, *row)
        again.prune()
        self.account = again


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(TAKE, RUN, TELL, KEEP), max_size=25))
def test_missing_is_what_neither_came_nor_is_told(steps: list) -> None:
    kept, have, told, top = Kept(), set(), set(), 0
    for step, what in steps:
        if step == "keep":
            kept.keep()
            continue
        if step == "tell":
            first, width, shown = what
            width = min(width, BLOCK)
            bits = (1 << width) - 1 if shown is None else shown & ((1 << width) - 1)
            covered = {first + k for k in range(width) if bits >> k & 1}
            kept.need({seq >> 12 for seq in covered})
            for number, part in pieces(first, first + width - 1, shown):
                kept.account.tell(number, part)
            told |= covered
            top = max([top, *covered])
            continue
        seqs = what if step == "take" else set(range(what[0], what[0] + what[1]))
        kept.need({seq >> 12 for seq in seqs})
        known = kept.account.take(sorted(seqs))
        assert known == seqs & have
        have |= seqs
        top = max([top, *seqs])
    account = kept.account
    assert account.top == top
    expected = set(range(1, top + 1)) - have - told
    ranges = list(account.missing())
    assert {seq for a, b in ranges for seq in range(a, b + 1)} == expected
    assert all(a[1] + 1 < b[0] for a, b in pairwise(ranges))
    settled = account.settled()
    assert len(settled.missing) <= RANGES_MAX
    held = {seq for a, b in settled.missing for seq in range(a, b + 1)}
    assert held == {seq for seq in expected if seq <= settled.upto}
    assert settled.upto == top or len(settled.missing) == RANGES_MAX


def test_too_many_ranges_lower_what_is_confirmed() -> None:
    account = Account()
    account.take(list(range(2, 2000, 2)))
    settled = account.settled()
    assert len(settled.missing) == RANGES_MAX
    assert settled.missing[-1] == (511, 511)
    # The 257th hole is 513, so all is well up to 512.
    assert settled.upto == 512


def test_a_hole_of_a_million_blocks_is_one_range_and_no_memory() -> None:
    account = Account()
    account.take([1])
    account.take([2**40])
    assert list(account.missing()) == [(2, 2**40 - 1)]
    assert len(account.blocks) == 2


def test_whole_blocks_are_closed_and_forgotten() -> None:
    account = Account()
    for first in range(1, 5 * BLOCK, 100):
        account.take(list(range(first, first + 100)))
    account.prune()
    assert account.floor == 5
    assert len(account.blocks) == 1
    assert not list(account.missing())


@given(st.integers(0, ALL), st.integers(0, 100))
def test_runs_of_bits(bits: int, base: int) -> None:
    found = list(bit_runs(bits, base))
    back = 0
    for first, last in found:
        back |= ((1 << (last - first + 1)) - 1) << (first - base)
    assert back == bits
    assert all(a[1] + 1 < b[0] for a, b in pairwise(found))


def test_a_device_that_has_told_nothing_misses_nothing() -> None:
    assert list(Account().missing()) == []
    assert Account().settled() == Settled(0, ())
