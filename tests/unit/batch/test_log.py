"""The log after any end: what is torn is cut off, what is whole counts once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.batch.block import Block, Parser, Torn, make
from edgeagent.batch.log import VERSION, Header, open_log
from edgeagent.errors import Busy, UsageError

HEADER = Header(VERSION, "m@1", 5, {"model": "a", "settings": "b", "inputs": "c"})


def blocks() -> list[Block]:
    """Five inputs, out of order; number 3 is a recording in three blocks."""
    row = [json.dumps({"input": str(n), "text": "é" * n}).encode() for n in range(5)]
    return [
        make(1, 0, [row[1]], end=True),
        make(3, 0, [row[3]] * 2, end=False),
        make(0, 0, [row[0]], end=True),
        make(3, 2, [row[3]], end=False),
        make(4, 0, [b'{"skipped":"bad","input":"4"}'], end=True, skipped=True),
        make(3, 3, [row[3]], end=True),
        make(2, 0, [row[2]], end=True),
    ]


def write(path: Path, given: list[Block]) -> bytes:
    path.unlink(missing_ok=True)
    with open_log(path, HEADER) as log:
        for block in given:
            log.append(block)
        return b"".join(log.rows())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.binary(max_size=40))
def test_cut_anywhere_and_followed_by_garbage_it_loses_only_the_torn_end(
    tmp_path_factory: pytest.TempPathFactory, cut: int, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("log") / "a.part"
    expected = write(path, blocks())
    whole = path.read_bytes()
    cut %= len(whole)
    path.write_bytes(whole[:cut] + (garbage if cut > whole.index(b"\n") else b""))
    with open_log(path, HEADER) as log:
        known = len(log.done)
        # What a run does next: everything that is not done, from where each was.
        added = [log.append(block) for block in blocks()]
        assert b"".join(log.rows()) == expected
        assert log.done == set(range(5)) and not log.started
        assert log.samples == 7 and log.skipped == 1
    assert sum(added) >= 5 - known


def test_a_damaged_byte_in_the_middle_ends_what_can_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    write(path, blocks())
    data = bytearray(path.read_bytes())
    data[data.index(b'"text"') + 2] ^= 1
    path.write_bytes(data)
    with open_log(path, HEADER) as log:
        assert not log.done


def test_a_second_answer_for_the_same_samples_is_not_kept(tmp_path: Path) -> None:
    with open_log(tmp_path / "a.part", HEADER) as log:
        one, other = make(0, 0, [b"{}"], end=False), make(0, 1, [b"{}"], end=True)
        assert [log.append(block) for block in (one, one, other, other, one)] == [
            True, False, True, False, False,
        ]  # fmt: skip
        assert log.samples == 2


@pytest.mark.parametrize("key", ["model", "settings", "inputs"])
def test_the_log_of_other_work_is_refused_and_says_what_differs(tmp_path: Path, key: str) -> None:
    path = tmp_path / "a.part"
    write(path, blocks()[:1])
    other = Header(VERSION, "m@1", 5, {**HEADER.identity, key: "other"})
    with pytest.raises(UsageError, match=f"different: {key}") as caught:
        open_log(path, other)
    assert "--restart" in caught.value.remedy
    with open_log(path, other, restart=True) as log:
        assert not log.done


def test_two_batches_do_not_write_to_one_log(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    with open_log(path, HEADER), pytest.raises(Busy):
        open_log(path, HEADER)


def test_any_other_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    path.write_text("mine\n")
    with pytest.raises(UsageError, match="not the log of a batch"):
        open_log(path, HEADER)
    assert path.read_text() == "mine\n"


@given(st.lists(st.integers(1, 50), max_size=40))
def test_blocks_come_whole_out_of_a_stream_that_is_cut_anyhow(cuts: list[int]) -> None:
    given, parser, got = blocks(), Parser(), []
    stream = b"".join(block.encoded() for block in given)
    for length in cuts:
        got += parser.feed(stream[:length])
        stream = stream[length:]
    got += parser.feed(stream)
    assert got == given and not parser.rest


def test_what_is_no_block_is_torn() -> None:
    with pytest.raises(Torn):
        list(Parser().feed(b'{"input":1}\n'))
    with pytest.raises(Torn):
        list(Parser().feed(b"x" * 5000))
