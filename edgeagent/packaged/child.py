"""The process in which a `handler.py` runs. It puts up its own fences, then runs the code.

Messages both ways are MessagePack with their length (4 bytes, big endian) before them. The parent
asks ``{"do": "decode", "tensors": […]}``, whose values lie in memory that both see, or ``{"do":
"rule", "seen": {…}}``; the answer is ``{"told": […]}``, ``{"value": number}`` or ``{"wrong":
sentence}``. The first answer says which fences stand, or why the code can't be run.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from typing import Any

LENGTH = struct.Struct(">I")
LONGEST = 1 << 20
"""Bytes of an answer."""
MOST = 1000
"""Predictions in an answer."""
_SAID = 2000
"""Characters of what it printed that are told with an answer."""
_FILES = 32


def main(asked: int, answers: int, lifeline: int, memory: int) -> None:
    """Entry point; the arguments are inherited descriptors."""
    from edgeagent.capture.child import tie

    tie(lifeline)
    hello = _receive(asked)
    sys.path[:] = hello["path"]
    shared = mmap.mmap(memory, hello["shared"], access=mmap.ACCESS_READ)
    os.close(memory)
    stand, lacks = _fenced(hello)
    sys.stdout = sys.stderr = said = _Said()
    try:
        its = _module(hello)
    except BaseException as error:  # noqa: BLE001 - whatever it is, its author must hear of it
        _send(answers, {"unfit": _words(error)})
        return
    does = [name for name in ("decode", "rule") if callable(its.get(name))]
    _send(answers, {"does": does, "stand": stand, "lacks": lacks, "said": said.taken()})
    ask = _Ask(its, hello["about"], shared)
    while True:
        try:
            answer = ask(_receive(asked))
        except BaseException as error:  # noqa: BLE001
            answer = {"wrong": _words(error)}
        _send(answers, {**answer, "said": said.taken()})


def _fenced(hello: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Which fences stand now, and why others do not."""
    from edgeagent.packaged import fence

    lacks = {}
    if why := fence.leave_network():
        lacks[fence.NETWORK] = why
    # Loaded while that can still be done without asking anybody.
    import numpy  # noqa: F401

    import edgeagent.handler  # noqa: F401

    fence.limit(hello["memory_bytes"], hello["cpu_s"], _FILES)
    fence.renounce()
    if why := fence.close_files([hello["about"]["folder"]]):
        lacks[fence.FILES] = why
    if why := fence.close_calls():
        lacks[fence.CALLS] = why
    stand = [its for its in (fence.CALLS, fence.FILES, fence.NETWORK) if its not in lacks]
    if not fence.enough(stand):
        raise SystemExit("; ".join(lacks.values()))
    return stand, lacks


def _module(hello: dict[str, Any]) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "handler", "__file__": "handler.py"}
    exec(compile(hello["code"], "handler.py", "exec"), space)
    return space


class _Ask:
    """Questions to the code of a package."""

    def __init__(self, its: dict[str, Any], about: dict[str, Any], shared: mmap.mmap) -> None:
        import msgspec

        from edgeagent import handler

        self._its = its
        self._about = msgspec.convert(about, handler.About)
        self._shared = shared
        self._seen = handler.Seen

    def __call__(self, ask: dict[str, Any]) -> dict[str, Any]:
        if ask["do"] == "rule":
            import msgspec

            seen = msgspec.convert(ask["seen"], self._seen)
            return {"value": float(self._its["rule"](seen, self._about))}
        found = list(self._its["decode"](self._outputs(ask["tensors"]), self._about))
        if len(found) > MOST:
            raise ValueError(f"{len(found)} predictions; {MOST} at most are told")
        return {"told": [_plain(one) for one in found]}

    def _outputs(self, tensors: list[Any]) -> dict[str, Any]:
        import numpy as np

        return {
            name: np.frombuffer(self._shared, dtype, count, at).reshape(shape)
            for name, dtype, shape, count, at in tensors
        }


def _plain(prediction: Any) -> dict[str, Any]:
    import msgspec

    if not isinstance(prediction, msgspec.Struct):
        raise TypeError(f"{type(prediction).__name__} is no prediction of edgeagent.handler")
    fields: dict[str, Any] = msgspec.to_builtins(prediction, enc_hook=_number)
    return {**fields, "is": type(prediction).__name__}


def _number(value: Any) -> Any:
    """numpy's numbers as Python's."""
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(f"a prediction holds {type(value).__name__}")
    return item()


class _Said:
    """What the code prints: the last of it, and never more than a little."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._text = ""

    def write(self, text: str) -> int:
        self._text = (self._text + text[-_SAID:])[-_SAID:]
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> str:
        text, self._text = self._text, ""
        return text


def _words(error: BaseException) -> str:
    """What it raised, and where in the author's file."""
    line = getattr(error, "lineno", 0) or 0
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == "handler.py":
            line = step.tb_lineno
        step = step.tb_next
    where = f" (handler.py, line {line})" if line else ""
    return f"{type(error).__name__}: {str(error)[:300]}{where}"


def _receive(asked: int) -> dict[str, Any]:
    import msgspec.msgpack

    (length,) = LENGTH.unpack(_exactly(asked, LENGTH.size))
    found: dict[str, Any] = msgspec.msgpack.decode(_exactly(asked, length))
    return found


def _exactly(asked: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = os.read(asked, count - len(data))
        if not part:
            os._exit(0)
        data += part
    return data


def _send(answers: int, message: dict[str, Any]) -> None:
    import msgspec.msgpack

    data = msgspec.msgpack.encode(message)
    if len(data) > LONGEST:
        data = msgspec.msgpack.encode({"wrong": f"an answer of {len(data):,} bytes is too long"})
    data = LENGTH.pack(len(data)) + data
    while data:
        data = data[os.write(answers, data) :]
