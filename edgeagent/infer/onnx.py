"""ONNX Runtime sessions.

Spin-waiting is off (two waiting threads cost up to 30 % of a core at five frames a second),
so is the fallback that prints to standard output, and providers that are not in the installed
wheel are found out before ONNX Runtime ignores them with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from edgeagent.errors import InferenceError, ModelError, RuntimeMissing
from edgeagent.infer import receipt
from edgeagent.infer.delegates import CPU_PROVIDER as CPU
from edgeagent.infer.modelfile import ONNX, damaged, first_line, read_head
from edgeagent.infer.providers import Place, installed_providers, place_of
from edgeagent.infer.session import Options, Receipt
from edgeagent.infer.tensors import mismatch
from edgeagent.plugins import to_install
from edgeagent.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bool": "bool",
    "string": "object",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
}  # fmt: skip
_PLACE = re.compile(r"^\s*(\[ONNXRuntimeError\]|/|Exception from|Check '|While )|\.(cc|cpp|h):\d+")
_LONGEST = 200
_UNKNOWN = re.compile(r"([\w.:]+)\((-?\d+)\) is not a registered function/op")
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : (?:Load model from .*? failed:)?")


def open_onnx(path: Path, options: Options) -> OnnxSession:
    """Open an .onnx file.

    A provider that is not there or takes no operator leaves the model on the CPU and the
    reason in the receipt, unless ``options.require``.

    Raises:
        RuntimeMissing: onnxruntime is not installed.
        ModelError: the file can't be used; the text names it, the reason and a remedy.
    """
    ort = _library()
    read_head(path, ONNX)
    place = Place(CPU, {})
    if options.provider:
        place = place_of(ort, options.provider, options.extra, options.threads)
    if place.missing and options.require:
        raise ModelError(
            f"{path}: {place.missing}",
            remedy="Install what brings the provider, or drop `require`.",
        )
    try:
        session = OnnxSession(path, ort, options, Place(CPU, {}) if place.missing else place)
    except ModelError as error:
        if place.missing or place.name == CPU or options.require:
            raise
        # Whether the provider or the file is at fault shows when the CPU opens it.
        session = OnnxSession(path, ort, options, Place(CPU, {}))
        why = _why_not(error.__cause__ or error)
        place = replace(place, missing=f"{place.name} can't open this model: {why}")
    if place.missing:
        session.receipt = replace(session.receipt, fallback=place.missing)
    if options.require and session.receipt.fallback:
        session.close()
        raise ModelError(
            f"{path}: {session.receipt.fallback}",
            remedy="Choose a variant that the provider supports, or drop `require`.",
        )
    return session


class OnnxSession:
    """One InferenceSession. Its `run` is thread-safe; nothing is kept between calls."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    receipt: Receipt
    stateless = True

    def __init__(self, path: Path, ort: Any, options: Options, place: Place) -> None:
        self._path = path
        settings = _session_options(ort, options)
        wanted: dict[str, Any] = {"providers": [CPU]}
        try:
            if place.devices:
                settings.add_provider_for_devices(list(place.devices), place.options)
                wanted = {}
            elif place.name != CPU:
                wanted = {
                    "providers": [place.name, CPU], "provider_options": [place.options, {}],
                }  # fmt: skip
            session = ort.InferenceSession(str(path), settings, enable_fallback=0, **wanted)
        except Exception as error:
            # Its exceptions have no base of their own: InvalidProtobuf and the like are plain
            # Exceptions, beside RuntimeError, ValueError and UnicodeDecodeError.
            raise _unusable(path, error) from error
        self.inputs = tuple(_spec(path, "input", node) for node in session.get_inputs())
        self.outputs = tuple(_spec(path, "output", node) for node in session.get_outputs())
        self._names = [spec.name for spec in self.inputs]
        self._scalars = [index for index, spec in enumerate(self.inputs) if not spec.shape]
        self._results = [spec.name for spec in self.outputs]
        self._session = session
        self._run = session.run
        tally = receipt.tally_onnx(_assigned(session), place.name)
        self.receipt = Receipt(
            runtime=f"onnxruntime {ort.__version__}",
            asked=options.provider or CPU,
            placement=tally.placement,
            threads=options.threads,
            fallback=receipt.shortfall(tally, place.name),
            left=tally.left,
        )

    def run(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """See `Session.run`. Numbers without dimensions are taken as 0-d arrays."""
        try:
            feed = dict(zip(self._names, tensors, strict=True))
            for index in self._scalars:
                feed[self._names[index]] = _zero_d(self.inputs[index], tensors[index])
            outputs: list[NDArray[Any]] = self._run(self._results, feed)
            return outputs
        except Exception as error:
            # See __init__: no common base.
            wrong = mismatch(self.inputs, tensors)
            raise InferenceError(
                f"{self._path}: {wrong or _words(error)}",
                remedy="Make [[input]] in model.toml agree with the model." if wrong else "",
            ) from error

    def reset(self) -> None:
        """Nothing is kept inside ONNX Runtime; `state.Carrying` carries what must be."""

    def hand_over(self) -> None:
        """Any thread may run it."""

    def close(self) -> None:
        """Free the session; a second call does nothing."""
        self._session = None
        self._run = _closed


def _closed(*call: Any) -> Any:
    del call
    raise RuntimeError("the session is closed")


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        detail = "" if isinstance(error, ModuleNotFoundError) else f" ({error})"
        raise RuntimeMissing(
            f"ONNX models can't run here: onnxruntime is not installed or does not work{detail}",
            remedy=f"Install it: {to_install('onnx')}",
        ) from error
    # All that it logs is also raised; standard error is not its place to say it twice.
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


def _session_options(ort: Any, options: Options) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    for pool in ("intra", "inter"):
        settings.add_session_config_entry(f"session.{pool}_op.allow_spinning", "0")
    settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if options.profile:
        settings.enable_profiling = True
        settings.profile_file_prefix = options.profile
    return settings


def providers() -> list[str]:
    """Providers that are installed besides the CPU's. Raises RuntimeMissing."""
    return installed_providers(_library())


def _assigned(session: Any) -> list[tuple[str, list[str]]]:
    """(provider, operators) per subgraph; empty where this version does not record it."""
    tell = getattr(session, "get_provider_graph_assignment_info", None)
    if tell is None:
        return []
    return [(part.ep_name, [node.op_type for node in part.get_nodes()]) for part in tell()]


def _unusable(path: Path, error: Exception) -> ModelError:
    kind, text = type(error).__name__, _words(error)
    if kind == "NotImplemented" or _UNKNOWN.search(text):
        return ModelError(
            f"{path}: this onnxruntime lacks an operator of the model: {text}",
            remedy="Install a newer onnxruntime, or export the model with an older opset.",
        )
    if kind in ("InvalidProtobuf", "UnicodeDecodeError") or "No graph was found" in text:
        return damaged(path, ONNX, text)
    return ModelError(
        f"{path}: onnxruntime can't open it: {text}",
        remedy="Compare the file's sha256 with its source; if it is whole, export it anew.",
    )


def _why_not(error: BaseException) -> str:
    """A provider's complaint without the places in its sources where it was passed on."""
    told = [line for line in str(error).splitlines() if line.strip() and not _PLACE.search(line)]
    last = told[-1] if told else str(error)
    return first_line(_PREFIX.sub("", last.strip())).removesuffix(".")[:_LONGEST]


def _words(error: Exception) -> str:
    return first_line(_PREFIX.sub("", str(error)))


def _spec(path: Path, role: str, node: Any) -> TensorSpec:
    kind = re.fullmatch(r"tensor\((\w+)\)", node.type)
    dtype = _DTYPES.get(kind[1]) if kind else None
    if dtype is None:
        raise ModelError(
            f"{path}: {role} {node.name!r} is {node.type}, not a tensor of numbers",
            remedy="Export the model with plain tensors (scikit-learn: options={'zipmap': False})"
            if not kind
            else "Convert the model to plain number types.",
        )
    return TensorSpec(
        name=node.name,
        shape=tuple(dim if isinstance(dim, int) and dim >= 0 else -1 for dim in node.shape),
        dtype=dtype,
    )


def _zero_d(spec: TensorSpec, value: Any) -> Any:
    import numpy as np

    # ONNX Runtime refuses numpy scalars, which indexing and arithmetic make of 0-d arrays.
    return np.asarray(value, spec.dtype) if isinstance(value, (np.generic, int, float)) else value
