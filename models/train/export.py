"""What every training script shares: int8 export in two formats, proof, `model.toml`.

A trained Keras model becomes a full-int8 `.tflite` (int8 in, int8 out) and an int8 QDQ
`.onnx` (float32 in, float32 out, same NHWC shape). Both are then run by four kernels that a
device may use, since correct kernels differ: LiteRT with and without XNNPACK, ONNX Runtime
with and without its optimiser. Only samples on which all four agree become golden.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomllib
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    import onnx

Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]
"""A float32 batch (n, …) in, the dequantised float32 output (n, …) out."""

OPSET = 17
VERSION = "1.0.0"


def fix_seeds(seed: int) -> None:
    """Make training repeatable: seeds of Python, numpy and TensorFlow, ordered kernels."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


# --- int8 ----------------------------------------------------------------------------------


def to_litert(model: Any, samples: Floats) -> bytes:
    """Full-int8 TFLite flatbuffer; ``samples`` (n, …) calibrate the activations."""
    import tensorflow as tf

    def representative() -> Any:
        for sample in samples:
            yield [sample[None]]

    converter = tf.lite.TFLiteConverter.from_keras_model(_one(model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    # It prints every variable of the model.
    with contextlib.redirect_stdout(io.StringIO()):
        return bytes(converter.convert())


def _one(model: Any) -> Any:
    """The same model with a fixed batch of 1: kernels and delegates want static shapes."""
    import keras

    given = model.inputs[0]
    entry = keras.Input(given.shape[1:], batch_size=1, name=given.name)
    return keras.Model(entry, model(entry, training=False))


def to_onnx(model: Any, samples: Floats, output: str) -> bytes:
    """Int8 QDQ ONNX, per-channel weights; float32 input as the model has it, named ``output``."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = model.inputs[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(samples)

        def get_next(self) -> dict[str, Floats] | None:
            sample = next(self.rest, None)
            return None if sample is None else {name: sample[None]}

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{step}.onnx" for step in ("float", "ready", "int8")]
        float_onnx(model, samples.shape[1:], output, paths[0])
        quant_pre_process(paths[0], paths[1], skip_symbolic_shape=True)
        quantize_static(
            paths[1],
            paths[2],
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Unsigned activations: on x86 signed ones stay float where the graph branches.
            # Seven-bit weights: x86 without VNNI adds pairs of products in 16 bits, and
            # eight bits would overflow there, silently.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )
        return paths[2].read_bytes()


def float_onnx(model: Any, shape: Sequence[int], output: str, file: Path) -> None:
    """Float ONNX of a Keras model with batch 1 and tensor names without colons."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    name = model.inputs[0].name
    signature = [tf.TensorSpec((1, *shape), tf.float32, name=name)]
    function = tf.function(_one(model), input_signature=signature, autograph=False)
    proto, _ = tf2onnx.convert.from_function(function, signature, opset=OPSET)
    _rename(proto.graph, proto.graph.input[0].name, name)
    _rename(proto.graph, proto.graph.output[0].name, output)
    onnx.checker.check_model(proto)
    onnx.save(proto, file)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Give a tensor of the graph another name, everywhere."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.name == old:
            value.name = new
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


# --- running -------------------------------------------------------------------------------


def run_litert(model: bytes, xnnpack: bool = True) -> Run:
    """A function that runs the flatbuffer, quantising its input as the agent does."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_content=model, num_threads=1, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    in_scale, in_zero = given["quantization"]
    out_scale, out_zero = made["quantization"]

    def run(batch: Floats) -> Floats:
        outputs = []
        stored = np.clip(np.rint(batch / in_scale + in_zero), -128, 127).astype(np.int8)
        for sample in stored:
            interpreter.set_tensor(given["index"], sample[None])
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(made["index"])[0])
        return np.asarray((np.stack(outputs).astype(np.float32) - out_zero) * out_scale, np.float32)

    return run


def run_onnx(model: bytes, optimise: bool = True) -> Run:
    """A function that runs the ONNX model on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: Floats) -> Floats:
        return np.stack([session.run(None, {name: sample[None]})[0][0] for sample in batch])

    return run


def kernels(litert: bytes, onnx_model: bytes) -> dict[str, Run]:
    """The four ways in which a device may run a package's two files."""
    return {
        "litert-xnnpack": run_litert(litert),
        "litert-builtin": run_litert(litert, xnnpack=False),
        "onnx-optimised": run_onnx(onnx_model),
        "onnx-plain": run_onnx(onnx_model, optimise=False),
    }


def integer_share(model: bytes) -> str:
    """How many convolutions and matrix products ONNX Runtime really runs in int8."""
    import onnx
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimised.onnx"
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(file)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.log_severity_level = 3
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        ops = [node.op_type for node in onnx.load(file).graph.node]
    whole = sum(op in ("QLinearConv", "QLinearMatMul", "QGemm", "MatMulInteger") for op in ops)
    other = sum(op in ("Conv", "FusedConv", "MatMul", "Gemm", "FusedMatMul") for op in ops)
    return f"{whole} of {whole + other}"


# --- the package ---------------------------------------------------------------------------


@dataclass
class Trained:
    """What a training script hands over to become a package."""

    name: str
    head: str
    """TOML of task, inputs and outputs, without [golden], [files] and [provenance]."""
    litert: bytes
    onnx: bytes
    metrics: dict[str, float]
    recipe: dict[str, str | int]
    """Provenance: seed, data, how it was made."""
    tolerance: dict[str, float]
    texts: dict[str, str] = field(default_factory=dict)
    """Further files of the package, by name (labels.txt, LICENCE …)."""
    golden: dict[str, bytes] = field(default_factory=dict)
    """Golden samples by file name, without the folder."""


def write_package(folder: Path, trained: Trained) -> None:
    """Write all files of the package; a stale golden/expected.json is removed."""
    golden = folder / "golden"
    golden.mkdir(parents=True, exist_ok=True)
    for stale in golden.iterdir():
        stale.unlink()
    for name, data in trained.golden.items():
        (golden / name).write_bytes(data)
    for name, text in trained.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / f"{trained.name}-int8.tflite").write_bytes(trained.litert)
    (folder / f"{trained.name}-int8.onnx").write_bytes(trained.onnx)
    (folder / "model.toml").write_text(_manifest(folder, trained), encoding="utf-8")


def _manifest(folder: Path, trained: Trained) -> str:
    name = trained.name
    lines = [
        f'name = "{name}"',
        f'version = "{VERSION}"',
        trained.head.strip(),
        "",
        "[[variant]]",
        f'file = "{name}-int8.tflite"',
        'runtime = "litert"',
        'precision = "int8"',
        "",
        "[[variant]]",
        f'file = "{name}-int8.onnx"',
        'runtime = "onnx"',
        'precision = "int8"',
        "",
        "[golden]",
        'expected = "golden/expected.json"',
        f"tolerance = {inline(trained.tolerance)}",
        'reference = "litert-xnnpack"',
        "",
        "[files]",
        *_file_lines(folder),
        "",
        "[provenance]",
        f'trained_by = "models/train/{name}.py"',
        *(f"{key} = {json.dumps(value)}" for key, value in trained.recipe.items()),
        "",
        "[provenance.metrics]",
        *(f"{key} = {value:g}" for key, value in trained.metrics.items()),
    ]
    return "\n".join(lines) + "\n"


def _file_lines(folder: Path) -> list[str]:
    lines = []
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != "model.toml":
            data = file.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            key = file.relative_to(folder).as_posix()
            lines.append(f'"{key}" = {{ bytes = {len(data)}, sha256 = "{digest}" }}')
    return lines


def inline(table: Mapping[str, float]) -> str:
    """A TOML inline table of numbers."""
    return "{ " + ", ".join(f"{key} = {value:g}" for key, value in table.items()) + " }"


def options(doc: str, name: str) -> argparse.ArgumentParser:
    """The command line that every training script has."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    home = Path(__file__).parents[1] / name / VERSION
    parser.add_argument("--out", type=Path, default=home, help="the package's folder")
    parser.add_argument("--check", action="store_true", help="compare metrics, write nothing")
    return parser


def check_package(folder: Path, metrics: Mapping[str, float], slack: Mapping[str, float]) -> int:
    """Compare freshly measured metrics with the committed ones; 0 = within ``slack``.

    ``slack`` gives the permitted absolute difference by metric; other metrics are shown only.
    """
    committed = tomllib.loads((folder / "model.toml").read_text(encoding="utf-8"))
    known = committed["provenance"]["metrics"]
    worst = 0
    for key, value in metrics.items():
        before = known.get(key)
        limit = slack.get(key)
        good = before is not None and (limit is None or abs(value - before) <= limit)
        worst |= not good
        allowed = "-" if limit is None else f"{limit:g}"
        print(f"{'ok  ' if good else 'FAIL'} {key}: {before} -> {value:g} (may differ {allowed})")
    return worst


def finish(trained: Trained, out: Path, check: bool, slack: Mapping[str, float]) -> int:
    """Write the package, or with ``check`` only compare; prints what was measured."""
    print(json.dumps(trained.metrics, indent=1))
    print("int8 in ONNX Runtime:", integer_share(trained.onnx))
    print(f"bytes: litert {len(trained.litert)}, onnx {len(trained.onnx)}")
    if check:
        return check_package(out, trained.metrics, slack)
    write_package(out, trained)
    print("wrote", out)
    return 0
