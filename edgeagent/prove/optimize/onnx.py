"""ONNX: onnxsim simplifies, ONNX Runtime's own tool quantizes; and what became of the graph."""

from __future__ import annotations

import logging
import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.errors import ModelError, RuntimeMissing
from edgeagent.prove.optimize.kinds import Kept, Kind

if TYPE_CHECKING:
    from edgeagent.prove.optimize.calibration import Feed

_PER_CHANNEL = 13
"""The first opset whose DequantizeLinear knows an axis."""
_WHOLE = ("QLinearConv", "QLinearMatMul", "QGemm")
_AT_RUN_TIME = ("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")
_FLOAT = ("Conv", "FusedConv", "NhwcFusedConv", "MatMul", "Gemm", "FusedMatMul", "FusedGemm",
          "ConvTranspose")  # fmt: skip


def quantized(file: Path, kind: Kind, feeds: Sequence[Feed]) -> bytes:
    """The model, simplified and quantized.

    Raises:
        RuntimeMissing: the tools are not installed.
        ModelError: they can't quantize this model so.
    """
    try:
        import onnx
        from onnxruntime import quantization
    except ImportError as error:
        raise _missing(error) from error
    with tempfile.TemporaryDirectory(prefix="edgeagent-optimize-") as folder:
        ready, out = Path(folder) / "ready.onnx", Path(folder) / "out.onnx"
        try:
            onnx.save(_simplified(file), ready)
            _make(quantization, kind, ready, out, feeds)
        except Exception as error:
            said = str(error).strip().partition("\n")[0][:240]
            raise ModelError(f"{file.name}: can't be made {kind.name}: {said}") from error
        return out.read_bytes()


def kept(file: Path) -> Kept:
    """How ONNX Runtime runs the heavy operators after it has optimised the graph for this
    processor. Raises ModelError, RuntimeMissing."""
    try:
        import onnx
        import onnxruntime as ort
    except ImportError as error:
        raise _missing(error) from error
    with tempfile.TemporaryDirectory(prefix="edgeagent-optimize-") as folder:
        optimised = Path(folder) / "optimised.onnx"
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(optimised)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 4
        try:
            ort.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            kinds = [node.op_type for node in onnx.load(optimised).graph.node]
        except Exception as error:
            raise ModelError(f"{file}: onnxruntime can't open it: {error}") from error
    return Kept(
        sum(kind in _WHOLE for kind in kinds),
        sum(kind in _AT_RUN_TIME for kind in kinds),
        sum(kind in _FLOAT for kind in kinds),
    )


def _simplified(file: Path) -> Any:
    """The graph without what can be computed beforehand, of an opset that can be quantized."""
    import onnx
    from onnx import version_converter

    model = onnx.load(file)
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < _PER_CHANNEL:
        model = version_converter.convert_version(model, _PER_CHANNEL)
    import onnxsim

    simpler, same = onnxsim.simplify(model)
    return simpler if same else model


def _make(tools: Any, kind: Kind, ready: Path, out: Path, feeds: Sequence[Feed]) -> None:
    if kind.name == "fp16":
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(ready), keep_io_types=True), out)
        return
    logging.getLogger().addFilter(_unprepared)
    try:
        if kind.name == "dynamic":
            tools.quantize_dynamic(ready, out, per_channel=True, weight_type=tools.QuantType.QInt8)
            return
        wide = kind.name == "int16x8"
        tools.quantize_static(
            ready, out, _Reader(feeds), quant_format=tools.QuantFormat.QDQ, per_channel=True,
            # Unsigned activations: on x86 signed ones stay float where the graph branches.
            activation_type=tools.QuantType.QInt16 if wide else tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            # Seven-bit weights: x86 without VNNI adds pairs of products in 16 bits, and eight
            # bits would overflow there, silently.
            reduce_range=not wide and platform.machine() == "x86_64",
            extra_options={"UseQDQContribOps": True} if wide else {},
        )  # fmt: skip
    finally:
        logging.getLogger().removeFilter(_unprepared)


def _unprepared(record: logging.LogRecord) -> bool:
    """It advises its own preparation, which the simplifier has done, and tells of an opset."""
    return not any(word in record.getMessage() for word in ("pre-processing", "opset"))


class _Reader:
    """`CalibrationDataReader`, which is only asked for this."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._rest: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._rest, None)


def _missing(error: ImportError) -> RuntimeMissing:
    return RuntimeMissing(
        f"ONNX models can't be quantized here: {error}",
        remedy='Install it, on a workstation: pip install "edgeagent[optimize]"',
    )
