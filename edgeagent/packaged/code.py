"""The `handler.py` of one package, running: what it is asked, and what becomes of it when it fails.

A process that dies, answers too late or fills its memory is started again, later each time; after
some deaths it is put aside, because what dies so often dies again. A call that only raises, or
answers with garbage, costs nothing but its sample.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeagent.errors import Busy, CodeFailed, InferenceError, PackageError, in_words
from edgeagent.metrics import Histogram
from edgeagent.packaged import answers, permit
from edgeagent.packaged.fence import CALLS, FILES, NETWORK
from edgeagent.packaged.process import Died, Process

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.decide.rules import Facts
    from edgeagent.manifest import Package
    from edgeagent.types import Placement, Prediction

log = logging.getLogger("edgeagent.handlers")

_SHARED = 64 << 20
"""Bytes of outputs at most. Memory that is not touched is not taken."""
_ALIGNED = 64
_AGAIN_S, _LATEST_S = 0.5, 60.0
TRIES = 5
"""Deaths after which it is put aside …"""
_SETTLED = 500
"""… unless so many calls went well between two of them."""
_WORDS = {CALLS: "few system calls", FILES: "reads its package only", NETWORK: "no network"}


class Code:
    """Belongs to one thread at a time. `close` ends it.

    Raises:
        NotPermitted, Untrusted: it may not run here.
        PackageError: it can't be run at all.
        Busy: no process can be started.
    """

    def __init__(self, package: Package, threshold: float) -> None:
        self._package = package
        self._threshold = threshold
        self._title = f"handler.py of {package.name} {package.version}"
        self._vouched = permit.vouched(package)
        self.took = Histogram()
        """From a question to its answer."""
        self.failed = self.deaths = 0
        self._in_a_row = self._good = 0
        self._why = self._aside = self._said = self._failing = ""
        self._again_at = 0.0
        self._process: Process | None = None
        self._memory = _sealed(_SHARED)
        self._shared = mmap.mmap(self._memory, _SHARED)
        try:
            told = self._start()
        except Died as error:
            raise PackageError(f"{self._title} can't be run: {error}") from error
        finally:
            if self._process is None:
                self.close()
        self.does: tuple[str, ...] = tuple(told["does"])
        self.stand: tuple[str, ...] = tuple(told["stand"])
        self.lacks: dict[str, str] = told["lacks"]

    @property
    def receipt(self) -> str:
        """What keeps it in, and who vouches for it, in one line."""
        kept = ", ".join(_WORDS[its] for its in self.stand)
        lacks = "".join(f"; not fenced: {its} ({why})" for its, why in self.lacks.items())
        return f"handler.py in a process of its own ({kept}{lacks}), by {self._vouched.by}"

    @property
    def pid(self) -> int:
        """Of its process; 0 = there is none now."""
        return self._process.pid if self._process is not None else 0

    def figures(self) -> dict[str, Any]:
        """What it costs and how it does, for status."""
        told = self.took.snapshot()
        return {
            "calls": told["count"], "p50_ms": told["p50_ms"], "p95_ms": told["p95_ms"],
            "failed": self.failed, "deaths": self.deaths, "fences": list(self.stand),
            **({"lacks": self.lacks} if self.lacks else {}),
            **({"aside": self._aside} if self._aside else {}),
            **({"printed": self._said} if self._said else {}),
        }  # fmt: skip

    def loss(self) -> str:
        """Why it gives no answers now; empty = it does."""
        return self._failing

    def close(self) -> None:
        """End it. A second call does nothing."""
        self._end()
        if self._memory >= 0:
            self._shared.close()
            os.close(self._memory)
            self._memory = -1

    # --- asking -------------------------------------------------------------------------------

    def decode(
        self, outputs: Sequence[tuple[str, NDArray[Any]]], placement: Placement
    ) -> list[Prediction]:
        """Predictions of the captured frame, by outputs and their names. Raises CodeFailed."""
        answer = self._ask({"do": "decode", "tensors": self._handed(outputs)})
        try:
            told = answer.get("told")
            return answers.believed(
                told if isinstance(told, list) else [told], self._package, self._threshold,
                placement,
            )  # fmt: skip
        except InferenceError as error:
            raise self._wrong(str(error)) from error

    def rule(self, facts: Facts) -> float:
        """What its rule says of one thing. Raises CodeFailed."""
        seen = {
            "label": facts.label, "score": facts.score, "zones": facts.zones, "age": facts.age,
            "track": facts.track, "count": facts.count, "speed": facts.speed,
            # NaN: it measures nothing.
            "value": None if facts.value != facts.value else facts.value,
            "still": facts.still, "pipeline": facts.pipeline,
        }  # fmt: skip
        answer = self._ask({"do": "rule", "seen": seen})
        try:
            return answers.number(answer.get("value"))
        except InferenceError as error:
            raise self._wrong(str(error)) from error

    def _handed(self, outputs: Sequence[tuple[str, NDArray[Any]]]) -> list[Any]:
        """Put the values where both see them; names, kinds and places."""
        import numpy as np

        placed, at = [], 0
        for name, values in outputs:
            at = -(-at // _ALIGNED) * _ALIGNED
            if values.dtype.hasobject or at + values.nbytes > _SHARED:
                raise self._wrong(
                    f"an output of {values.nbytes >> 20} MiB of {values.dtype} can't be handed over"
                )
            room = np.frombuffer(self._shared, values.dtype, values.size, at)
            room.reshape(values.shape)[...] = values
            placed.append((name, values.dtype.str, values.shape, values.size, at))
            at += values.nbytes
        return placed

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self._process or self._revived()
        began = time.perf_counter()
        try:
            answer = process.ask(question, self._vouched.terms.timeout_s)
        except Died as error:
            raise self._fell(str(error)) from error
        self.took.add(time.perf_counter() - began)
        self._hear(answer)
        if "wrong" in answer:
            raise self._wrong(str(answer["wrong"]))
        self._failing = ""
        self._good += 1
        if self._good >= _SETTLED:
            self._in_a_row = 0
        return answer

    def _hear(self, answer: dict[str, Any]) -> None:
        """What it prints is shown with the figures, and logged once."""
        said = answer.get("said")
        if isinstance(said, str) and said:
            if not self._said:
                log.info("%s prints: %s", self._title, said[-200:].strip())
            self._said = said[-200:]

    def _wrong(self, said: str) -> CodeFailed:
        self.failed += 1
        return self._failed(f"{self._title}: {said}")

    def _failed(self, said: str) -> CodeFailed:
        error = CodeFailed(said, remedy=self._remedy)
        self._failing = in_words(error)
        return error

    @property
    def _remedy(self) -> str:
        return (f"Install a version that is mended, or go back: edgeagent models rollback "
                f"{self._package.name}")  # fmt: skip

    # --- dying and beginning again ------------------------------------------------------------

    def _start(self) -> dict[str, Any]:
        """Have it run; what it said at first. Raises Died, Busy, PackageError."""
        package = self._package
        about = {
            "model": package.name, "version": package.version, "labels": package.labels,
            "threshold": self._threshold, "folder": str(package.folder.resolve()),
        }  # fmt: skip
        hello = {
            "shared": _SHARED, "memory_bytes": self._vouched.terms.memory_bytes,
            "code": self._vouched.code, "about": about,
        }  # fmt: skip
        process = Process(hello, self._memory)
        if "unfit" in process.first:
            process.close()
            raise PackageError(
                f"{self._title} can't be run: {process.first['unfit']}",
                remedy="Its author must mend it: docs/handlers.md.",
            )
        self._process = process
        return process.first

    def _revived(self) -> Process:
        """Its process, started again if it is time for that. Raises CodeFailed."""
        if self._aside:
            raise self._failed(self._aside)
        left = self._again_at - time.monotonic()
        if left > 0:
            raise self._failed(f"{self._title}: {self._why}; it is started again in {left:.1f} s")
        try:
            self._start()
        except (Died, Busy, PackageError) as error:
            raise self._fell(str(error)) from error
        assert self._process is not None
        return self._process

    def _fell(self, why: str) -> CodeFailed:
        self._end()
        self.failed += 1
        self.deaths += 1
        self._in_a_row += 1
        self._good, self._why = 0, why
        if self._in_a_row >= TRIES:
            self._aside = (f"{self._title} is put aside after {TRIES} deaths, until the agent "
                           f"starts anew; the last time {why}")  # fmt: skip
            log.error("%s", self._aside)
            return self._failed(self._aside)
        pause_s = min(_LATEST_S, _AGAIN_S * 2 ** (self._in_a_row - 1))
        self._again_at = time.monotonic() + pause_s
        log.warning("%s: %s; it is started again in %.1f s", self._title, why, pause_s)
        return self._failed(f"{self._title}: {why}")

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()


def _sealed(size: int) -> int:
    """Descriptor of memory that nobody can make smaller under who reads it."""
    memory = os.memfd_create("edgeagent-outputs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, size)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return memory
