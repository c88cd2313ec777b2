"""A worker process of a batch: opens the model, then does one input after the other.

Standard input brings what to do (the order, then lists of jobs, a line of JSON each), the channel
takes blocks back, each at once: what a process that dies was busy with is the first input that it
did not tell. It ends with its parent, whatever it is doing.
"""

from __future__ import annotations

import os
import sys
from typing import Any, BinaryIO

import msgspec

from edgeagent.batch.order import Job, Order, open_order
from edgeagent.capture.child import tie
from edgeagent.errors import EdgeAgentError


class Opened(msgspec.Struct, frozen=True):
    """The first line on the channel: how it went."""

    receipt: str = ""
    failed: str = ""
    """Name of the error's class; empty = the model is open."""
    text: str = ""
    remedy: str = ""


def main(channel: int, lifeline: int) -> None:
    """Entry point; both are inherited descriptors."""
    tie(lifeline)
    inlet = sys.stdin.buffer
    with os.fdopen(channel, "wb", buffering=0) as out:
        try:
            predictor = open_order(msgspec.json.decode(inlet.readline(), type=Order))
        except EdgeAgentError as error:
            _tell(out, Opened(failed=type(error).__name__, text=str(error), remedy=error.remedy))
            return
        with predictor:
            _tell(out, Opened(predictor.receipt.sentence()))
            _serve(inlet, out, predictor)


def _serve(inlet: BinaryIO, out: Any, predictor: Any) -> None:
    from edgeagent.batch.piece import Piece

    piece = Piece(predictor)
    for line in inlet:
        for job in msgspec.json.decode(line, type=list[Job]):
            for block in piece(job):
                _write(out, block.encoded())


def _tell(out: Any, opened: Opened) -> None:
    _write(out, msgspec.json.encode(opened) + b"\n")


def _write(out: Any, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[out.write(left) :]
