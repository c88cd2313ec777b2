"""Families of models, told by the shapes and kinds of their tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

from edgeagent.manifest import InputSpec, OutputSpec, StateSpec
from edgeagent.prove import maps, sounds, texts
from edgeagent.prove.guess import Guess, Picture, Specs, picture_of
from edgeagent.prove.probe import strides_of
from edgeagent.types import TensorSpec


def recognise(inputs: Specs, outputs: Specs) -> Guess:
    """The family that fits first, from the most particular to the most general."""
    published = sounds.heard(inputs, outputs)
    if published:
        return published
    states = _states(inputs, outputs)
    fed = [spec for spec in inputs if spec.name not in {state.input for state in states}]
    made = [spec for spec in outputs if spec.name not in {state.output for state in states}]
    guess = _first_fitting(fed, made)
    guess.states = states
    if states:
        names = ", ".join(f"{state.output} → {state.input}" for state in states)
        guess.reasons.append(f"Carried from sample to sample, judged by the names: {names}.")
    guess.inputs = [_input(spec, guess) for spec in fed]
    return guess


def _first_fitting(inputs: Specs, outputs: Specs) -> Guess:
    families: tuple[Callable[[Specs, Specs], Guess | None], ...] = (
        _ssd, _blazeface, maps.yunet, _yolo, maps.fastestdet, maps.movenet, maps.mask,
        maps.raw_ssd, maps.table, texts.finder, texts.reader, _autoencoder, _classify, _regress,
    )  # fmt: skip
    for family in families:
        guess = family(inputs, outputs)
        if guess:
            return guess
    shapes = ", ".join(_text(spec) for spec in outputs)
    return Guess(
        "none", "guess", "embed", OutputSpec(decoder="none"),
        [f"Outputs {shapes} fit no family that is known: they are passed on as they are."],
    )  # fmt: skip


def _ssd(inputs: Specs, outputs: Specs) -> Guess | None:
    """Boxes, classes, scores and a count, as TFLite_Detection_PostProcess gives them."""
    del inputs
    shapes = [spec.shape for spec in outputs]
    named = any("TFLite_Detection_PostProcess" in spec.name for spec in outputs)
    boxes = [shape for shape in shapes if len(shape) == 3 and shape[-1] == 4]
    single = [shape for shape in shapes if len(shape) < 2 and math.prod(shape) in (1, -1)]
    rows = [shape for shape in shapes if len(shape) == 2]
    if len(outputs) != 4 or len(boxes) != 1 or len(rows) != 2 or len(single) != 1:
        return None
    return Guess(
        "ssd", "sure" if named else "likely", "detect", OutputSpec(decoder="ssd"),
        ["Four outputs: boxes, classes, scores and a count, suppressed in the graph.",
         "Check whether the labels start with a background line (label_offset = 1)."],
    )  # fmt: skip


def _blazeface(inputs: Specs, outputs: Specs) -> Guess | None:
    """896 anchors with 16 values (box and six landmarks) and a score each."""
    if sorted(spec.shape[1:] for spec in outputs) != [(896, 1), (896, 16)]:
        return None
    picture = picture_of(inputs[0]) if inputs else None
    if picture is None or (picture.width, picture.height) not in ((128, 128), (256, 256)):
        return None
    back = picture.width == 256
    anchors = {"strides": [16, 32, 32, 32], "size": 256} if back else {}
    return Guess(
        "blazeface", "sure", "detect",
        OutputSpec(
            decoder="blazeface", activation="sigmoid", nms_iou=0.3, anchors=anchors, threshold=0.6
        ),
        ["896 anchors with 16 values and a score each: MediaPipe's face detector."],
        labels=("face",),
    )  # fmt: skip


def _yolo(inputs: Specs, outputs: Specs) -> Guess | None:
    """One tensor of as many candidates as the strides 8, 16, 32 give for the picture."""
    picture = picture_of(inputs[0]) if len(inputs) == 1 else None
    if picture is None or len(outputs) != 1 or len(outputs[0].shape) != 3:
        return None
    _, first, second = outputs[0].shape
    size = (picture.width, picture.height)
    numbers = outputs[0].dtype.startswith(("int", "uint")) and outputs[0].quantization is None
    if min(size) <= 0 or numbers:
        return None
    for count, values, layout in ((second, first, "columns"), (first, second, "rows")):
        found = strides_of(size, count)
        if found is None or not 5 <= values < count:
            continue
        strides, each = found
        objectness = each == 3
        classes = values - (5 if objectness else 4)
        if classes < 1:
            continue
        return Guess(
            "yolo", "likely", "detect",
            OutputSpec(
                decoder="yolo",
                layout="columns" if layout == "columns" else "rows",
                objectness=objectness,
                units="pixels" if outputs[0].quantization is None else "normalized",
            ),
            [f"{count} candidates are what strides {_and(strides)} give for "
             f"{picture.width} × {picture.height}"
             f"{' with 3 anchors each' if objectness else ''}: a YOLO with {classes} classes.",
             "Check `units` (exports differ) and write the labels in the order of the classes."],
        )  # fmt: skip
    return None


def _autoencoder(inputs: Specs, outputs: Specs) -> Guess | None:
    """The output has the form of the input."""
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].shape != outputs[0].shape:
        return None
    if picture_of(inputs[0]) or _width(inputs[0]) < 4:
        return None
    return Guess(
        "autoencoder", "likely", "anomaly", OutputSpec(decoder="autoencoder", threshold=1.0),
        ["The output has the shape of the input: it repeats what it knows.",
         "Fit `threshold` on samples of normal running; 1.0 is only a placeholder."],
    )  # fmt: skip


def _classify(inputs: Specs, outputs: Specs) -> Guess | None:
    """One row of scores."""
    rows = [spec for spec in outputs if _is_row(spec) and _width(spec) >= 2]
    if not rows or len(outputs) > 2 or not inputs:
        return None
    classes = _width(rows[0])
    quantized = rows[0].quantization is not None
    # Quantized scores with a step of 1/256 are what a softmax or sigmoid in the graph gives.
    settled = quantized and abs(rows[0].quantization.scale - 1 / 256) < 1e-6  # type: ignore[union-attr]
    return Guess(
        "classify", "likely" if len(outputs) == 1 else "guess", "classify",
        OutputSpec(decoder="classify"),
        [f"One row of {classes} values: scores of {classes} classes.",
         "Write labels.txt, one label a line in the order of the classes."
         if settled else
         "Write labels.txt in the order of the classes; set activation = \"softmax\" if the "
         "values are logits."],
    )  # fmt: skip


def _regress(inputs: Specs, outputs: Specs) -> Guess | None:
    """One number."""
    del inputs
    if len(outputs) != 1 or _width(outputs[0]) != 1:
        return None
    return Guess(
        "regress", "guess", "regress", OutputSpec(decoder="regress", name="value"),
        ["One number comes out: a measured quantity, or the score of one class.",
         "Give it a name and a unit."],
    )  # fmt: skip


_BGR = ("yunet", "fastestdet")
_WHOLE = ("ssd", "fastestdet")
"""Trained on stretched pictures."""


# --- inputs --------------------------------------------------------------------------------


def _input(spec: TensorSpec, guess: Guess) -> InputSpec:
    picture = picture_of(spec)
    name = _short(spec.name)
    tensor = spec.name if name != spec.name else ""
    if picture is None:
        constant = 0 if not spec.shape else None
        if constant is not None:
            guess.reasons.append(f"Input {name} is a single value: set `value` for it.")
        return InputSpec(name=name, kind="tensor", tensor=tensor, value=constant)
    mean, scale, why = _scaling(spec, picture, "ultraface" if _ultraface(guess) else guess.family)
    guess.reasons.append(why)
    open_size = -1 in (picture.width, picture.height)
    its = InputSpec(
        name=name,
        kind="image",
        tensor=tensor,
        size=(320, 320) if open_size else (picture.width, picture.height),
        colour="gray" if picture.channels == 1 else "bgr" if guess.family in _BGR else "rgb",
        fit="letterbox"
        if guess.task in ("detect", "pose") and guess.family not in _WHOLE
        else "stretch",
        mean=mean,
        scale=scale,
    )
    for key, value in texts.INPUTS.get(guess.family, {}).items():
        setattr(its, key, value)
    return its


def _ultraface(guess: Guess) -> bool:
    return guess.labels == ("background", "face")


def _scaling(
    spec: TensorSpec, picture: Picture, family: str
) -> tuple[list[float], list[float], str]:
    """mean, scale and why: quantized inputs tell their range, float ones do not."""
    if spec.dtype == "uint8":
        return [], [], "A uint8 input takes the pixels as they are."
    quantization = spec.quantization
    if quantization is not None:
        low = quantization.scale * (-128 - quantization.zero_point)
        high = quantization.scale * (127 - quantization.zero_point)
        if low > -0.01 * high and high > 100:
            return [0.0], [1.0], "The input's quantization spans 0..255: pixels as they are."
        if low > -0.01 * high:
            return [0.0], [255.0], "The input's quantization spans 0..1: pixels / 255."
        return [127.5], [127.5], "The input's quantization spans −1..1: (pixels − 127.5) / 127.5."
    if family == "ultraface":
        return [127.0], [128.0], "UltraFace takes (pixels − 127) / 128."
    if family == "blazeface":
        return [127.5], [127.5], "MediaPipe scales to −1..1."
    if family in ("yolo", "fastestdet"):
        return [0.0], [255.0], "Such exports take pixels / 255."
    if family in ("db", "ctc"):
        return [127.5], [127.5], "PaddleOCR scales to −1..1."
    if family == "yunet":
        return [0.0], [1.0], "OpenCV feeds it BGR pixels as they are, 0..255."
    if picture.planar:
        mean, scale = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
        return mean, scale, "A float input does not tell its scaling: ImageNet's is a guess."
    return [127.5], [127.5], "A float input does not tell its scaling: −1..1 is a guess."


def _states(inputs: Specs, outputs: Specs) -> list[StateSpec]:
    """Tensors that go round: ``state``/``stateN``, ``h``/``hn``, ``x_in``/``x_out``."""
    states = []
    free = {spec.name: spec for spec in outputs}
    for spec in inputs:
        stem = spec.name.lower().removesuffix("_in").removesuffix("0")
        for name, out in free.items():
            other = name.lower().removesuffix("_out").removesuffix("n").removesuffix("_")
            alike = out.dtype == spec.dtype and len(out.shape) == len(spec.shape)
            if stem and stem == other and alike and len(spec.shape) > 1:
                states.append(StateSpec(input=spec.name, output=name))
                del free[name]
                break
    # A model whose only output would be its state is no model with state.
    return states if len(states) < min(len(inputs), len(outputs)) else []


def _short(name: str) -> str:
    """``serving_default_audio:0`` → ``audio``."""
    plain = name.removeprefix("serving_default_").partition(":")[0]
    return plain.rpartition("/")[2] or name


def _and(numbers: tuple[int, ...]) -> str:
    *first, last = (str(number) for number in numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _is_row(spec: TensorSpec) -> bool:
    """(1, n), or (1, …, 1, n) as exporters leave it."""
    return len(spec.shape) >= 1 and all(length in (1, -1) for length in spec.shape[:-1])


def _width(spec: TensorSpec) -> int:
    """Values of one sample; 0 = open."""
    axes = spec.shape[1:] if len(spec.shape) > 1 else spec.shape
    return 0 if -1 in axes else math.prod(axes)


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype}{list(spec.shape)}"
