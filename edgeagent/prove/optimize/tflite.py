"""TFLite: Google's ai-edge-quantizer, and what became of the graph.

The quantizer addresses inputs by a signature; files of older converters have none, so one is put
in first. Format: tensorflow/lite/schema/schema.fbs, through the classes that ai-edge-litert
generates of it.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.errors import ModelError, RuntimeMissing
from edgeagent.prove.optimize.kinds import Kept, Kind

if TYPE_CHECKING:
    from edgeagent.prove.optimize.calibration import Feed

_HEAVY = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL",
          "CONV_3D")  # fmt: skip
_SIGNATURE = b"serving_default"
_INTEGERS = ("INT8", "UINT8", "INT16")


def quantized(file: Path, kind: Kind, feeds: Sequence[Feed]) -> bytes:
    """The model, quantized.

    Raises:
        RuntimeMissing: the quantizer is not installed.
        ModelError: it can't quantize this model so.
    """
    try:
        from ai_edge_quantizer import quantizer
    except ImportError as error:
        raise _missing(error) from error
    said = io.StringIO()
    try:
        # It prints progress, and warns that it keeps all tensors, which is what calibration is.
        with (
            contextlib.redirect_stdout(said), contextlib.redirect_stderr(said),
            warnings.catch_warnings(),
        ):  # fmt: skip
            warnings.simplefilter("ignore")
            model = _with_signature(file)
            made = quantizer.Quantizer(bytearray(model), _recipe(kind))
            ranges = made.calibrate({_SIGNATURE.decode(): list(feeds)}) if kind.calibrated else None
            result = made.quantize(ranges, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(f"{file.name}: can't be made {kind.name}: {error}") from error
    return bytes(result.quantized_model)


def kept(file: Path) -> Kept:
    """How the heavy operators of a file's main graph are run. Raises ModelError."""
    model = _read(file)
    graph = model.subgraphs[0]
    types, operators = _names("TensorType"), _names("BuiltinOperator")
    whole = weights = floats = 0
    for node in graph.operators:
        code = model.operatorCodes[node.opcodeIndex]
        name = operators[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if name not in _HEAVY:
            continue
        # The last two inputs that are tensors are data and weights; a bias comes after them.
        kinds = [types[graph.tensors[at].type] for at in node.inputs if at >= 0]
        weight, data = (kinds[1], kinds[2]) if name == "TRANSPOSE_CONV" else (kinds[1], kinds[0])
        if weight in _INTEGERS and data in _INTEGERS:
            whole += 1
        elif weight in (*_INTEGERS, "INT4"):
            weights += 1
        else:
            floats += 1
    return Kept(whole, weights, floats)


def _recipe(kind: Kind) -> Any:
    from ai_edge_quantizer import algorithm_manager, qtyping, recipe, recipe_manager

    if kind.name == "dynamic":
        return recipe.dynamic_wi8_afp32()
    if kind.name == "int8":
        return recipe.static_wi8_ai8()
    if kind.name == "int16x8":
        return recipe.static_wi8_ai16()
    manager = recipe_manager.RecipeManager()
    manager.add_quantization_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
        ),
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    return manager.get_quantization_recipe()


def _with_signature(file: Path) -> bytes:
    """The file with one signature whose names are those of its tensors, as a session has them."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = _read(file)
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = _SIGNATURE, 0
    signature.inputs, signature.outputs = (
        [_named(schema, graph.tensors[place].name, place) for place in places]
        for places in (graph.inputs, graph.outputs)
    )
    model.signatureDefs = [signature]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _named(schema: Any, name: bytes, place: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(place)
    return entry


def _read(file: Path) -> Any:
    from edgeagent.infer.flatbuffer import read_graph

    read_graph(file)  # the generated classes follow offsets blindly
    try:
        from ai_edge_litert.tools import flatbuffer_utils
    except ImportError as error:
        raise _missing(error) from error
    return flatbuffer_utils.read_model(str(file))


def _names(enum: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {
        value: name for name, value in vars(getattr(schema, enum)).items()
        if isinstance(value, int)
    }  # fmt: skip


def _missing(error: ImportError) -> RuntimeMissing:
    return RuntimeMissing(
        f"TFLite models can't be quantized here: {error}",
        remedy='Install it, on a workstation: pip install "edgeagent[optimize]"',
    )
