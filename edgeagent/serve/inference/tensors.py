"""Tensors on the wire: JSON numbers, or their bytes behind the JSON (Triton's binary data).

Formats: Open Inference Protocol v2, and Triton's extension_binary_data. A request may not make
the server set aside more than it has sent: sizes are checked before any array is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct, field

from edgeagent.infer.tensors import fits
from edgeagent.serve.http.exchange import Headers, Refused, Response, document
from edgeagent.serve.inference.texts import bytes_of_texts, texts_of, texts_of_json
from edgeagent.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER_LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "object": "BYTES",
}  # fmt: skip
"""numpy name → the protocol's."""
_ENCODE = msgspec.json.Encoder()
_MOST_DIMENSIONS = 16


class InputTensor(Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = field(default_factory=dict)
    data: Any = None


class WantedOutput(Struct):
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


class InferRequest(Struct):
    """The JSON part of a request."""

    inputs: list[InputTensor]
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    outputs: list[WantedOutput] = field(default_factory=list)


class OutputTensor(Struct, omit_defaults=True):
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | None = None
    """The numbers in row-major order; absent where they follow in binary."""
    parameters: dict[str, Any] | None = None


class InferResponse(Struct, omit_defaults=True):
    """The JSON part of an answer."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


class Asked(Struct, frozen=True):
    """A request, understood."""

    id: str
    tensors: list[NDArray[Any]]
    """In the order of the model's inputs."""
    wanted: list[tuple[int, bool]]
    """Number of each wanted output, and whether in binary."""
    parameters: dict[str, Any]


def understand(
    body: bytes, length: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Asked:
    """The body of an inference request; ``length`` is Inference-Header-Content-Length, or empty.

    Raises Refused (400): it says what is wrong with which tensor.
    """
    head, rest = _split(body, length)
    request = document(head, InferRequest)
    given = {tensor.name: tensor for tensor in request.inputs}
    if len(given) != len(request.inputs) or set(given) != {spec.name for spec in inputs}:
        known = ", ".join(spec.name for spec in inputs)
        got = ", ".join(tensor.name[:64] for tensor in request.inputs[:16]) or "none"
        raise Refused(400, f"inputs: the model takes {known}, once each; got {got}")
    specs = {spec.name: spec for spec in inputs}
    arrays: dict[str, NDArray[Any]] = {}
    at = 0
    for tensor in request.inputs:
        arrays[tensor.name], at = _tensor(tensor, specs[tensor.name], rest, at)
    if at != len(rest):
        raise Refused(400, f"{len(rest) - at} bytes follow the last tensor")
    return Asked(
        request.id,
        [arrays[spec.name] for spec in inputs],
        _wanted(request, outputs),
        request.parameters,
    )


def _split(body: bytes, length: str) -> tuple[bytes, memoryview]:
    view = memoryview(body)
    if not length:
        return body, view[len(body) :]
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise Refused(400, f"Inference-Header-Content-Length: a whole number, got {length[:32]!r}")
    size = int(length)
    if size > len(body):
        raise Refused(400, f"Inference-Header-Content-Length is {size}, the body {len(body)} bytes")
    return body[:size], view[size:]


def _tensor(
    tensor: InputTensor, spec: TensorSpec, rest: memoryview, at: int
) -> tuple[NDArray[Any], int]:
    """The array, and where the next one's bytes begin."""
    where = f"inputs.{spec.name}"
    if tensor.datatype != DATATYPES[spec.dtype]:
        raise Refused(
            400, f"{where}.datatype: {DATATYPES[spec.dtype]}, got {tensor.datatype[:32]!r}"
        )
    shape = tensor.shape
    if len(shape) > _MOST_DIMENSIONS or any(not 0 <= side < 1 << 40 for side in shape):
        raise Refused(400, f"{where}.shape: lengths from 0 on, got {shape[:20]}")
    if not fits(spec, shape):
        raise Refused(400, f"{where}.shape: {list(spec.shape)} (-1 = any), got {shape}")
    count = math.prod(shape)
    if spec.dtype == "object" or "binary_data_size" not in tensor.parameters:
        return _told(tensor, spec, count, rest, at)
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    size = _announced(tensor, rest, at)
    if size != count * dtype.itemsize:
        raise Refused(
            400,
            f"{where}.parameters.binary_data_size: {count * dtype.itemsize} for "
            f"{tensor.datatype} {shape}, got {size}",
        )
    if dtype.kind == "b":
        return (np.frombuffer(rest, np.uint8, count, at) != 0).reshape(shape), at + size
    flat = np.frombuffer(rest, dtype, count, at)
    return flat.astype(spec.dtype, copy=False).reshape(shape), at + size


def _told(
    tensor: InputTensor, spec: TensorSpec, count: int, rest: memoryview, at: int
) -> tuple[NDArray[Any], int]:
    """As `_tensor`, of texts and of what stands in the JSON."""
    where = f"inputs.{spec.name}"
    if "binary_data_size" in tensor.parameters:
        size = _announced(tensor, rest, at)
        texts = texts_of(rest[at : at + size], count, where)
        return texts.reshape(tensor.shape), at + size
    return of_json(tensor.data, spec.dtype, count, where).reshape(tensor.shape), at


def _announced(tensor: InputTensor, rest: memoryview, at: int) -> int:
    """How many bytes of a tensor follow. Raises Refused (400)."""
    where, size = f"inputs.{tensor.name}", tensor.parameters["binary_data_size"]
    if tensor.data is not None:
        raise Refused(400, f"{where}: both data and binary_data_size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise Refused(400, f"{where}.parameters.binary_data_size: a whole number, got {size!r:.40}")
    if size > len(rest) - at:
        raise Refused(400, f"{where}: {size} bytes announced, {len(rest) - at} follow")
    return size


def of_json(data: Any, dtype: str, count: int | None, where: str) -> NDArray[Any]:
    """Numbers, flat or nested as they come; ``count`` = how many there must be. Raises Refused
    (400)."""
    if not isinstance(data, list):
        raise Refused(400, f"{where}.data: a list of {DATATYPES[dtype]} is missing")
    if dtype == "object":
        return texts_of_json(data, count, where)
    try:
        raw = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise Refused(400, f"{where}.data: {error}") from error
    if count is not None and raw.size != count:
        raise Refused(400, f"{where}.data: {count} numbers, got {raw.size}")
    if not raw.size:
        return np.zeros(raw.shape, dtype)
    target = np.dtype(dtype)
    if target == np.uint64 and raw.dtype == np.float64:
        raw = _whole(data, raw)
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[target.kind]
    if raw.dtype.kind not in kinds:
        raise Refused(400, f"{where}.data: values of {DATATYPES[dtype]} only")
    if target.kind in "iu":
        bounds = np.iinfo(target)
        if int(raw.min()) < bounds.min or int(raw.max()) > bounds.max:
            raise Refused(400, f"{where}.data: {bounds.min} to {bounds.max} for {DATATYPES[dtype]}")
    with np.errstate(over="ignore"):  # larger than float16 is infinite, as with any client
        return raw.astype(target)


def _whole(data: list[Any], raw: NDArray[Any]) -> NDArray[Any]:
    """What numpy takes for float64, because some of it lies beyond int64 and some does not."""
    exact = np.asarray(data, object)
    if all(type(value) is int and 0 <= value < 1 << 64 for value in exact.flat):
        return exact.astype(np.uint64)
    return raw


def _wanted(request: InferRequest, outputs: Sequence[TensorSpec]) -> list[tuple[int, bool]]:
    names = {spec.name: number for number, spec in enumerate(outputs)}
    usual = request.parameters.get("binary_data_output") is True
    if not request.outputs:
        return [(number, usual) for number in range(len(outputs))]
    wanted = []
    for output in request.outputs:
        if output.name not in names:
            raise Refused(
                400, f"outputs: the model gives {', '.join(names)}; got {output.name[:64]!r}"
            )
        if output.parameters.get("classification"):
            raise Refused(
                400, f"outputs.{output.name}: classification is not offered; see /predict"
            )
        binary = output.parameters.get("binary_data", usual)
        wanted.append((names[output.name], binary is True))
    if len({number for number, _ in wanted}) != len(wanted):
        raise Refused(400, "outputs: one is asked for twice")
    return wanted


def _bytes_of(array: NDArray[Any]) -> bytes:
    """Its elements as they go over the wire, in row-major order."""
    if array.dtype.hasobject:
        return bytes_of_texts(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def express(
    asked: Asked, model: str, version: str, specs: Sequence[TensorSpec], arrays: list[NDArray[Any]]
) -> Response:
    """The answer to an inference request."""
    outputs: list[OutputTensor] = []
    parts: list[bytes] = []
    for number, binary in asked.wanted:
        spec, array = specs[number], arrays[number]
        output = OutputTensor(spec.name, DATATYPES[spec.dtype], array.shape)
        if binary:
            parts.append(_bytes_of(array))
            output.parameters = {"binary_data_size": len(parts[-1])}
        else:
            # A Python float holds every float32 exactly, so JSON loses nothing but NaN.
            output.data = array.ravel().tolist()
        outputs.append(output)
    head = _ENCODE.encode(InferResponse(model, version, outputs, asked.id))
    if not parts:
        return Response(head)
    headers: Headers = ((HEADER_LENGTH, b"%d" % len(head)),)
    return Response(b"".join((head, *parts)), BINARY, 200, headers)
