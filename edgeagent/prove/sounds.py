"""Families that hear or feel: told by names and by the exact sizes that their makers publish."""

from __future__ import annotations

from edgeagent.manifest import InputSpec, OutputSpec, StateSpec
from edgeagent.prove.guess import Guess, Specs
from edgeagent.types import TensorSpec

_RATE = 16000.0
_MLPERF = (
    "down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown",
)  # fmt: skip


def heard(inputs: Specs, outputs: Specs) -> Guess | None:
    """The first of the published models that fits, or None."""
    for family in (_voice, _pitch, _events, _keywords, _marvin, _yes_no, _streaming, _machine):
        guess = family(inputs, outputs)
        if guess:
            return guess
    return None


def _voice(inputs: Specs, outputs: Specs) -> Guess | None:
    """Silero VAD: sound, state and a sample rate."""
    names = {spec.name for spec in inputs}
    if names != {"input", "state", "sr"} or {spec.name for spec in outputs} != {"output", "stateN"}:
        return None
    return Guess(
        "classify", "sure", "classify", OutputSpec(decoder="classify"),
        ["Sound, a state and a sample rate by their names: Silero's voice detector (v5, v6).",
         "576 values at 16 kHz: 64 of the window before, and 512 new ones."],
        inputs=[_sound("input", 576, 512), InputSpec(name="sr", kind="tensor", value=16000)],
        states=[StateSpec(input="state", output="stateN")],
        labels=("speech",),
    )  # fmt: skip


def _pitch(inputs: Specs, outputs: Specs) -> Guess | None:
    """SwiftF0: sound and the range to look in."""
    names = [spec.name for spec in inputs]
    if not {"fmin", "fmax"} < set(names) or "pitch" not in {spec.name for spec in outputs}:
        return None
    limits = {"fmin": 50, "fmax": 1000}
    return Guess(
        "regress", "likely", "regress",
        OutputSpec(
            decoder="regress", tensors={"values": "pitch"}, reduce="median", name="pitch", unit="Hz"
        ),
        ["Sound, fmin, fmax and a pitch by their names: SwiftF0. The median over a window.",
         "Set `value` of fmin and fmax to the range in Hz that occurs."],
        inputs=[
            InputSpec(name=name, kind="tensor", value=limits[name])
            if name in limits
            else _sound(name, 16000, 8000)
            for name in names
        ],
    )  # fmt: skip


def _events(inputs: Specs, outputs: Specs) -> Guess | None:
    """YAMNet: 0.975 s of sound, 521 classes."""
    if len(inputs) != 1 or _count(inputs[0]) != 15600:
        return None
    if not any(spec.shape[-1:] == (521,) for spec in outputs):
        return None
    return Guess(
        "classify", "sure", "classify", OutputSpec(decoder="classify", threshold=0.3),
        ["15,600 values and 521 scores: YAMNet, sound events in 0.975 s at 16 kHz.",
         "Write labels.txt from its class map, third column, 521 lines."],
        inputs=[_sound(inputs[0].name, 15600, 7800)],
    )  # fmt: skip


def _keywords(inputs: Specs, outputs: Specs) -> Guess | None:
    """MLPerf Tiny keyword spotting: 49 frames of 10 cepstral values."""
    if not _one(inputs, outputs, (49, 10, 1)):
        return None
    known = _count(outputs[0]) == len(_MLPERF)
    return Guess(
        "classify", "likely", "keyword", OutputSpec(decoder="classify"),
        ["49 frames of 10 values: the MFCC of MLPerf Tiny's keywords, 1 s at 16 kHz.",
         "12 scores: labels are written in MLPerf's order." if known else
         "Write labels.txt in the order of the classes."],
        inputs=[
            InputSpec(
                name="sound", kind="audio", tensor=inputs[0].name, rate_hz=_RATE, window_ms=1000,
                hop_ms=250, frontend="mfcc",
            )
        ],
        labels=_MLPERF if known else (),
    )  # fmt: skip


def _marvin(inputs: Specs, outputs: Specs) -> Guess | None:
    """MLPerf Tiny streaming wake word: 30 frames of 40 log energies."""
    if not _one(inputs, outputs, (30, 1, 40)) or _count(outputs[0]) != 3:
        return None
    length = 1024 + 29 * 512
    return Guess(
        "classify", "likely", "keyword", OutputSpec(decoder="classify", top=3),
        ["30 frames of 40 values and 3 scores: MLPerf Tiny's streaming wake word at 16 kHz.",
         "Its first class is the word: call it by its name in labels.txt."],
        inputs=[
            InputSpec(
                name="sound", kind="audio", tensor=inputs[0].name, rate_hz=_RATE, length=length,
                hop=512, frontend="lfbe",
            )
        ],
        labels=("wake-word", "silence", "unknown"),
    )  # fmt: skip


def _yes_no(inputs: Specs, outputs: Specs) -> Guess | None:
    """micro_speech: 49 frames of 40 features, flat."""
    if not _one(inputs, outputs, (1960,)) or _count(outputs[0]) != 4:
        return None
    return Guess(
        "classify", "likely", "keyword", OutputSpec(decoder="classify"),
        ["1,960 values and 4 scores: TensorFlow's micro_speech, 49 frames of 40 features.",
         "Its front end (the microfrontend) is none of ours: feed it features, not sound."],
        inputs=[InputSpec(name="features", kind="window", tensor=inputs[0].name, length=49)],
        labels=("silence", "unknown", "yes", "no"),
    )  # fmt: skip


def _streaming(inputs: Specs, outputs: Specs) -> Guess | None:
    """microWakeWord: three frames of 40 features, one probability, state inside."""
    if not _one(inputs, outputs, (3, 40)) or _count(outputs[0]) != 1:
        return None
    return Guess(
        "classify", "likely", "keyword", OutputSpec(decoder="classify", smooth=5, threshold=0.85),
        ["3 frames of 40 values and one score: a microWakeWord, which keeps its state inside.",
         "Its front end (the microfrontend) is none of ours: feed it features, not sound.",
         "Take `smooth` and `threshold` from the JSON file that came with it."],
        inputs=[InputSpec(name="features", kind="window", tensor=inputs[0].name, length=3)],
        labels=("wake-word",),
    )  # fmt: skip


def _machine(inputs: Specs, outputs: Specs) -> Guess | None:
    """MLPerf Tiny anomaly detection: five frames of 128 log mel values, repeated."""
    if not _one(inputs, outputs, (640,)) or _count(outputs[0]) != 640:
        return None
    return Guess(
        "autoencoder", "likely", "anomaly", OutputSpec(decoder="autoencoder", threshold=1.0),
        ["640 values in and out: MLPerf Tiny's machine sounds, 5 frames of 128 log mel values.",
         "Fit `threshold` on samples of normal running; 1.0 is only a placeholder."],
        inputs=[InputSpec(name="mel", kind="window", tensor=inputs[0].name, length=5)],
    )  # fmt: skip


def _sound(tensor: str, length: int, hop: int) -> InputSpec:
    name = "sound" if ":" in tensor or "/" in tensor else tensor
    other = tensor if name != tensor else ""
    return InputSpec(
        name=name, kind="audio", tensor=other, rate_hz=_RATE, length=length, hop=hop
    )  # fmt: skip


def _one(inputs: Specs, outputs: Specs, shape: tuple[int, ...]) -> bool:
    """One input of this shape behind the batch, one row of answers."""
    if len(inputs) != 1 or len(outputs) != 1:
        return False
    return inputs[0].shape[1:] == shape and inputs[0].shape[:1] in ((1,), (-1,))


def _count(spec: TensorSpec) -> int:
    """Values of one sample; 0 = open."""
    axes = [axis for axis in spec.shape if axis not in (1, -1)]
    return axes[0] if len(axes) == 1 else 0 if axes else 1
