"""TensorFlow Serving's REST API over the same models: predict, status, metadata.

Its versions are whole numbers: ``1.2.3`` is ``1002003``, and 0 means the newest.
Format: tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from msgspec import Struct

from edgeagent.serve.http.exchange import Refused, Request, Response, answer, document
from edgeagent.serve.http.router import Route
from edgeagent.serve.inference.repository import Repository, number_of
from edgeagent.serve.inference.served import Outputs, Served
from edgeagent.serve.inference.tensors import of_json
from edgeagent.types import TensorSpec

_DTYPES = {
    "bool": "DT_BOOL", "uint8": "DT_UINT8", "uint16": "DT_UINT16", "uint32": "DT_UINT32",
    "uint64": "DT_UINT64", "int8": "DT_INT8", "int16": "DT_INT16", "int32": "DT_INT32",
    "int64": "DT_INT64", "float16": "DT_HALF", "float32": "DT_FLOAT", "float64": "DT_DOUBLE",
    "object": "DT_STRING",
}  # fmt: skip
_SIGNATURE = "serving_default"


class PredictRequest(Struct):
    """``instances`` is a row of inputs for each, ``inputs`` the whole tensors."""

    signature_name: str = ""
    instances: list[Any] | None = None
    inputs: Any = None


class TensorFlowServing:
    """The protocol over a repository."""

    def __init__(self, models: Repository) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        found = []
        base = "/v1/models/{model}"
        for where in ("", "/versions/{version}", "/labels/{version}"):
            found += [
                Route("GET", base + where, self.status, "State of the versions",
                      "tensorflow serving"),
                Route("GET", base + where + "/metadata", self.metadata, "Inputs and outputs",
                      "tensorflow serving"),
                Route("POST", base + where + ":predict", self.predict, "Run the model",
                      "tensorflow serving", takes=("application/json",), body=PredictRequest),
            ]  # fmt: skip
        return found

    async def _model(self, request: Request) -> Served:
        version = request.params.get("version", "")
        # To ovmsclient the newest version is number 0.
        return await self._models.get(request.params["model"], "" if version == "0" else version)

    async def status(self, request: Request) -> Response:
        name, version = request.params["model"], request.params.get("version", "")
        if version and version != "0":
            versions = [await self._models.resolve(name, version)]
        else:
            versions = await self._models.versions(name)
        await self._models.get(name, versions[0])
        return answer({
            "model_version_status": [
                {"version": number_of(its), "state": "AVAILABLE",
                 "status": {"error_code": "OK", "error_message": ""}}
                for its in versions
            ]
        })  # fmt: skip

    async def metadata(self, request: Request) -> Response:
        served = await self._model(request)
        signature = {
            "inputs": {spec.name: _told(spec) for spec in served.inputs},
            "outputs": {spec.name: _told(spec) for spec in served.outputs},
            "method_name": "tensorflow/serving/predict",
        }
        return answer({
            "model_spec": {"name": served.name, "signature_name": "",
                           "version": number_of(served.version)},
            "metadata": {"signature_def": {"signature_def": {_SIGNATURE: signature}}},
        })  # fmt: skip

    async def predict(self, request: Request) -> Response:
        served = await self._model(request)
        served.admit()
        return answer(await predicted(served, await request.body(), request))


async def predicted(served: Served, body: bytes, request: Request) -> dict[str, Any]:
    """The answer to a predict request. Raises Refused (400, 429, 503), InferenceError."""
    began = time.perf_counter_ns()
    asked = document(body, PredictRequest)
    if (asked.instances is None) == (asked.inputs is None):
        raise Refused(400, "either instances or inputs")
    try:
        rows = asked.instances is not None
        given = _columns(asked.instances, served) if rows else _named(asked.inputs, served)
        runs = _runs([_array(given[spec.name], spec) for spec in served.inputs], served.inputs)
        read = time.perf_counter_ns()
        waited, parts = 0, []
        for tensors in runs:
            outputs, queued = await served.infer(tensors, gone=request.gone)
            parts.append(outputs)
            waited += queued
        ran = time.perf_counter_ns()
        told = _answered(parts, served, rows=rows)
    except BaseException:
        served.tally.failed(began)
        raise
    served.tally.answered(began, waited, read - began, time.perf_counter_ns() - ran)
    return told


def _columns(instances: list[Any] | None, served: Served) -> dict[str, list[Any]]:
    """Rows of inputs as a list for each input. Raises Refused (400)."""
    if not instances:
        raise Refused(400, "instances: at least one")
    names = {spec.name for spec in served.inputs}
    if not all(isinstance(row, dict) for row in instances):
        if len(names) > 1:
            raise Refused(400, f"instances: objects with {', '.join(sorted(names))}")
        return {names.pop(): instances}
    if any(set(row) != names for row in instances):
        raise Refused(400, f"instances: each has exactly {', '.join(sorted(names))}")
    return {name: [row[name] for row in instances] for name in names}


def _named(inputs: Any, served: Served) -> dict[str, Any]:
    names = {spec.name for spec in served.inputs}
    if not isinstance(inputs, dict):
        if len(names) > 1:
            raise Refused(400, f"inputs: an object with {', '.join(sorted(names))}")
        return {names.pop(): inputs}
    if set(inputs) != names:
        raise Refused(400, f"inputs: the model takes {', '.join(sorted(names))}")
    return inputs


def _array(data: Any, spec: TensorSpec) -> Any:
    array = of_json(data if isinstance(data, list) else [data], spec.dtype, None,
                    f"inputs.{spec.name}")  # fmt: skip
    rank = len(spec.shape)
    if rank == 0 and array.size == 1:
        return array.reshape(())
    inner = spec.shape[1:]
    if array.ndim != rank or any(
        w not in (-1, g) for w, g in zip(inner, array.shape[1:], strict=True)
    ):
        raise Refused(
            400, f"inputs.{spec.name}: shape {list(spec.shape)} (-1 = any), got {list(array.shape)}"
        )
    return array


def _runs(arrays: list[Any], specs: tuple[TensorSpec, ...]) -> list[list[Any]]:
    """One run where the model leaves its batch open or it fits; else a run for each row."""
    fixed = {spec.shape[0] for spec in specs if spec.shape} - {-1}
    counts = {array.shape[0] for array in arrays if array.ndim}
    if not fixed or fixed == counts:
        return [arrays]
    if fixed != {1} or len(counts) != 1:
        raise Refused(400, f"the model takes {sorted(fixed)} rows, got {sorted(counts)}")
    return [[array[row : row + 1] for array in arrays] for row in range(counts.pop())]


def _answered(parts: list[Outputs], served: Served, *, rows: bool) -> dict[str, Any]:
    joined = (
        parts[0] if len(parts) == 1 else [np.concatenate(many) for many in zip(*parts, strict=True)]
    )
    named = {spec.name: array.tolist() for spec, array in zip(served.outputs, joined, strict=True)}
    if not rows:
        return {"outputs": named if len(named) > 1 else next(iter(named.values()))}
    if len(named) == 1:
        return {"predictions": next(iter(named.values()))}
    lengths = {len(values) if isinstance(values, list) else -1 for values in named.values()}
    if len(lengths) != 1:
        raise Refused(400, "the outputs have no common rows: ask with inputs, not instances")
    return {
        "predictions": [
            dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)
        ]
    }


def _told(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "dtype": _DTYPES[spec.dtype],
        "tensor_shape": {
            "dim": [{"size": str(side), "name": ""} for side in spec.shape],
            "unknown_rank": False,
        },
    }
