"""Pictures, sounds and rows of values in the body of a request, and what a model says to them,
by the package's own preparation and decoding: exactly as a pipeline would."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent import clock, plugins
from edgeagent.capture.pictures import decode_picture
from edgeagent.config.model import AudioConfig
from edgeagent.decide.data import as_data
from edgeagent.errors import InputError, SourceEnded
from edgeagent.prove.samples import wanted_by
from edgeagent.serve.http.exchange import Refused, Request, Response, answer
from edgeagent.serve.http.router import Route
from edgeagent.serve.inference.repository import Repository
from edgeagent.serve.inference.served import Served
from edgeagent.types import Frame, Window

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.prove.predict import Answer, Predictor
    from edgeagent.types import Sample

MOST_PIXELS = 25_000_000
"""75 MB once decoded: what comes from outside gets less than a person's own file."""
MOST_WINDOWS = 1000
_SOUNDS = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave", "audio/flac")
TAKES = ("image/jpeg", "image/png", "image/bmp", "image/webp", "audio/wav", "audio/flac",
         "text/csv")  # fmt: skip


class Predictions:
    """``POST /api/models/{model}/predict``."""

    def __init__(self, models: Repository) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/api/models/{model}/predict", self.predict,
                  "What a model says to a picture, a sound or rows of values", "predictions",
                  takes=TAKES),
        ]  # fmt: skip

    async def predict(self, request: Request) -> Response:
        served = await self._models.get(request.params["model"], request.query().get("version", ""))
        return answer(await self.said(served, request))

    async def said(self, served: Served, request: Request) -> dict[str, Any]:
        """The answer to a body by its media type. Raises Refused (400, 413, 415, 429, 503)."""
        kind = request.header(b"content-type").partition(";")[0].strip().lower()
        if kind not in TAKES and kind not in _SOUNDS:
            raise Refused(415, f"Content-Type: one of {', '.join(TAKES)}; got {kind[:64]!r}")
        began = time.perf_counter_ns()
        try:
            served.admit()
            run = _reading(kind, await request.body())
            told, queued = await served.ask(run, gone=request.gone)
        except BaseException:
            served.tally.failed(began)
            raise
        spans = {stage: round(ms * 1e6) for stage, ms in told["ms"].items()}
        served.tally.executed(len(told.get("windows", "1")), 1, spans["infer"])
        served.tally.answered(began, queued, spans["prepare"], spans["interpret"])
        return dict(told)


def _reading(kind: str, body: bytes) -> Callable[[Predictor], dict[str, Any]]:
    """What the model's thread is to do with the body."""

    def run(predictor: Predictor) -> dict[str, Any]:
        package = predictor.package
        if kind.startswith("image/"):
            pixels = decode_picture(body, "the body", most_pixels=MOST_PIXELS)
            frame = Frame("request", 1, pixels, clock.wall_ns(), clock.mono_ms())
            said = predictor(frame)
            return {"model": predictor.model, **_told(said), "ms": _took([said])}
        samples = _sound(body, package) if kind in _SOUNDS else iter([_rows(body, package)])
        windows, answers = [], []
        for number, sample in enumerate(samples):
            if number >= MOST_WINDOWS:
                raise Refused(413, f"more than {MOST_WINDOWS} windows")
            said = predictor(sample)
            answers.append(said)
            windows.append({"window": number, **_told(said)})
        return {"model": predictor.model, "windows": windows, "ms": _took(answers)}

    return run


def _told(said: Answer) -> dict[str, Any]:
    return {"predictions": [as_data(prediction) for prediction in said.predictions]}


def _took(answers: list[Answer]) -> dict[str, float]:
    return {
        stage: round(sum(getattr(said, f"{stage}_ms") for said in answers), 3)
        for stage in ("prepare", "infer", "interpret")
    }


def _sound(body: bytes, package: Package) -> Iterator[Sample]:
    """The windows of a WAV or FLAC file. Raises InputError."""
    handle = os.memfd_create("sound", os.MFD_CLOEXEC)
    path = f"/proc/self/fd/{handle}"
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(body)
        source = plugins.find("source", "audio")("request", AudioConfig(path=path),
                                                 wanted_by(package))  # fmt: skip
        source.open()
        try:
            while True:
                yield source.read()
        except SourceEnded:
            return
        finally:
            source.close()
    except InputError as error:
        raise InputError(str(error).replace(path, "the body"), remedy=error.remedy) from error
    finally:
        os.close(handle)


def _rows(body: bytes, package: Package) -> Window:
    """One window of comma-separated values, a row an instant. Raises InputError."""
    wanted = wanted_by(package)
    try:
        lines = body.decode("ascii").split()
        values = np.array([[float(cell) for cell in line.split(",")] for line in lines], np.float32)
    except (UnicodeDecodeError, ValueError) as error:
        raise InputError(f"the body is no table of numbers: {error}") from error
    if values.ndim != 2 or not np.isfinite(values).all():
        raise InputError("the body is no table of finite numbers")
    names = wanted.channels or tuple(f"channel {n}" for n in range(values.shape[1]))
    if len(names) != values.shape[1]:
        raise InputError(
            f"the body has {values.shape[1]} columns, the model takes {len(names)}: "
            f"{', '.join(names)}"
        )
    return Window("request", 1, values, wanted.rate_hz or 1.0, names, clock.wall_ns(),
                  clock.mono_ms())  # fmt: skip
