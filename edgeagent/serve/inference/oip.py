"""Open Inference Protocol v2, with Triton's extensions: binary tensors, model configuration,
statistics, model repository. What Triton's and KServe's clients send, they get answered."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from msgspec import Struct, field

from edgeagent import __version__
from edgeagent.errors import EdgeAgentError
from edgeagent.serve.http.exchange import (
    Refused,
    Request,
    Response,
    answer,
    document,
    parameters_of,
)
from edgeagent.serve.http.router import Route
from edgeagent.serve.inference.repository import Mirror, Repository, number_of
from edgeagent.serve.inference.served import Outputs, Served
from edgeagent.serve.inference.tensors import (
    BINARY,
    DATATYPES,
    Asked,
    InferRequest,
    InferResponse,
    express,
    understand,
)
from edgeagent.types import TensorSpec

EXTENSIONS = [
    "binary_tensor_data", "model_configuration", "model_repository", "statistics",
    "model_repository(unload_dependents)", "schedule_policy",
]  # fmt: skip


class Server(Struct, frozen=True):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Struct, frozen=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    """−1 = any length."""


class ModelMetadata(Struct, frozen=True):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class IndexRequest(Struct):
    """``{"ready": true}`` = only what is loaded."""

    ready: bool = False


class RepositoryRequest(Struct):
    parameters: dict[str, Any] = field(default_factory=dict)


class OpenInference:
    """The protocol over a repository."""

    def __init__(self, models: Repository) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """All paths of the protocol, with and without a version."""
        fixed = [
            Route("GET", "/v2", self.server, "The server and its extensions", "inference",
                  holds=Server),
            Route("GET", "/v2/health/live", self.live, "Whether the server runs", "health",
                  public=True),
            Route("GET", "/v2/health/ready", self.live_and_ready, "Whether it can infer",
                  "health", public=True),
            Route("GET", "/v2/models/stats", self.all_stats, "Statistics of all loaded models",
                  "inference"),
            Route("POST", "/v2/repository/index", self.index, "All models and their states",
                  "repository", takes=("application/json",), body=IndexRequest),
            Route("POST", "/v2/repository/models/{model}/load", self.load, "Load a model",
                  "repository", changes=True, takes=("application/json",),
                  body=RepositoryRequest),
            Route("POST", "/v2/repository/models/{model}/unload", self.unload, "Unload a model",
                  "repository", changes=True, takes=("application/json",),
                  body=RepositoryRequest),
        ]  # fmt: skip
        for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            fixed += [
                Route("GET", base, self.metadata, "Inputs and outputs", "inference",
                      holds=ModelMetadata),
                Route("GET", base + "/ready", self.model_ready, "Whether it answers", "health"),
                Route("GET", base + "/config", self.config, "Triton's model configuration",
                      "inference"),
                Route("GET", base + "/stats", self.stats, "Counts and times", "inference"),
                Route("POST", base + "/infer", self.infer, "Run the model", "inference",
                      takes=("application/json", "application/octet-stream"),
                      body=InferRequest, holds=InferResponse,
                      gives=("application/json", BINARY.decode())),
            ]  # fmt: skip
        return fixed

    # --- the server -----------------------------------------------------------------------------

    async def server(self, _request: Request) -> Response:
        return answer(Server("edgeagent", __version__, EXTENSIONS))

    async def live(self, _request: Request) -> Response:
        return answer({"live": True})

    async def live_and_ready(self, _request: Request) -> Response:
        ready = not self._models.starting
        return answer({"ready": ready}, 200 if ready else 503)

    async def index(self, request: Request) -> Response:
        body = await request.body()
        only_ready = document(body, IndexRequest).ready if body.strip() else False
        rows = await self._models.index()
        return answer([row for row in rows if not only_ready or row["state"] == "READY"])

    async def load(self, request: Request) -> Response:
        await self._order(request)
        await self._models.load(request.params["model"])
        return answer({})

    async def unload(self, request: Request) -> Response:
        await self._order(request)
        await self._models.unload(request.params["model"])
        return answer({})

    async def _order(self, request: Request) -> None:
        """Models come to the device by deployments only: files and configurations of a request
        are refused."""
        body = await request.body()
        given = document(body, RepositoryRequest).parameters if body.strip() else {}
        refused = [name for name in given if name != "unload_dependents"]
        if refused:
            raise Refused(400, f"parameters.{refused[0][:64]}: models are not sent this way")

    # --- one model ------------------------------------------------------------------------------

    async def _model(self, request: Request) -> Served:
        params = request.params
        version = params.get("version", "")
        return self._models.ready(params["model"], version) or await self._models.get(
            params["model"], version
        )

    async def model_ready(self, request: Request) -> Response:
        """A model that can't be opened is not ready, and says why."""
        try:
            served = await self._model(request)
        except EdgeAgentError as error:
            return answer({"name": request.params["model"], "ready": False, "error": str(error)},
                          404 if error.code == "not-found" else 503)  # fmt: skip
        return answer({"name": served.name, "ready": True})

    async def metadata(self, request: Request) -> Response:
        served = await self._model(request)
        return answer(ModelMetadata(
            served.name, await self._models.versions(served.name), served.platform,
            [_told(spec) for spec in served.inputs], [_told(spec) for spec in served.outputs],
        ))  # fmt: skip

    async def config(self, request: Request) -> Response:
        served = await self._model(request)
        batch = served.max_batch
        described: dict[str, Any] = {
            "name": served.name,
            "platform": served.platform,
            "backend": served.platform.partition("_")[0],
            "version_policy": {"specific": {"versions": await self._models.versions(served.name)}},
            "max_batch_size": batch,
            "input": [_described(spec, batch) for spec in served.inputs],
            "output": [_described(spec, batch) for spec in served.outputs],
        }
        described["parameters"] = {"receipt": {"string_value": served.receipt}}
        if batch:
            delay_us = round(served.terms.max_delay_s * 1e6)
            described["dynamic_batching"] = {"max_queue_delay_microseconds": delay_us}
        return answer(described)

    async def stats(self, request: Request) -> Response:
        served = await self._model(request)
        return answer({"model_stats": [self._told_of(served)]})

    async def all_stats(self, _request: Request) -> Response:
        return answer({"model_stats": [self._told_of(its) for its in self._models.open_now()]})

    def _told_of(self, served: Served) -> dict[str, Any]:
        # Triton's versions are whole numbers, and perf_analyzer reads them as such.
        told = served.tally.document(served.name, number_of(served.version))
        mirror = self._models.mirrors.get(served.name)
        if mirror is not None and mirror.shadow != served.version:
            told["shadow"] = mirror.document()
        return told

    async def infer(self, request: Request) -> Response:
        served = await self._model(request)
        began = time.perf_counter_ns()
        try:
            served.admit()
            body = await request.body()
            asked = understand(
                body, request.header(b"inference-header-content-length"),
                served.inputs, served.outputs,
            )  # fmt: skip
            read = time.perf_counter_ns()
            timeout_us = parameters_of(asked.parameters, "timeout")
            outputs, queued = await served.infer(
                asked.tensors,
                priority=parameters_of(asked.parameters, "priority") or 0,
                timeout_s=timeout_us / 1e6 if timeout_us else None,
                gone=request.gone,
            )
            ran = time.perf_counter_ns()
            response = express(asked, served.name, served.version, served.outputs, outputs)
        except BaseException:
            served.tally.failed(began)
            raise
        served.tally.answered(began, queued, read - began, time.perf_counter_ns() - ran)
        if self._models.choice(served.name).shadow is not None:
            await self._mirror(served, asked, outputs)
        return response

    async def _mirror(self, served: Served, asked: Asked, outputs: Outputs) -> None:
        """Ask the shadow as well, if it has time; what it says is counted only."""
        shadow = self._models.shadow(served)
        if shadow is None:
            return
        mirror = self._models.mirrors.setdefault(served.name, Mirror(shadow.version))
        try:
            other = await asyncio.wait_for(self._models.get(served.name, shadow.version), 0.001)
        except (EdgeAgentError, Refused, asyncio.TimeoutError):
            mirror.skipped += 1
            return

        def seen(said: Outputs) -> None:
            import numpy as np

            same = len(said) == len(outputs) and all(map(np.array_equal, said, outputs))
            mirror.same += same
            mirror.other += not same

        mirror.skipped += not other.offer(asked.tensors, seen)


def _told(spec: TensorSpec) -> TensorMetadata:
    return TensorMetadata(spec.name, DATATYPES[spec.dtype], spec.shape)


def _described(spec: TensorSpec, batch: int) -> dict[str, Any]:
    """With max_batch_size 0 the dims include the batch."""
    dims = spec.shape[1:] if batch else spec.shape
    return {"name": spec.name, "data_type": "TYPE_" + DATATYPES[spec.dtype], "dims": dims}
