"""Train `bearing`: notice from vibration that a bearing no longer sounds like a sound one.

    python models/train/bearing.py [--out DIR] [--check]

An autoencoder learns the log spectra (`edgeagent.prepare.spectrum`) of many healthy machines
(`edgeagent.capture.synthetic.VibrationScene`). What it can't rebuild is unusual: the score is
the mean squared difference between the float features and the dequantised output. The
threshold is fitted to healthy machines that were not trained on; failing machines are only
used to measure, never to fit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import export
import numpy as np
from export import Floats, Run

from edgeagent.capture.synthetic import VibrationScene
from edgeagent.prepare.spectrum import log_spectrum

SEED = 5
RATE, LENGTH, HOP = 8000, 1024, 512
BANDS, FMIN, FMAX, FLOOR = 40, 50.0, 4000.0, 1e-7
HEALTHY_S, FAIL_S = 60.0, 300.0
EPOCHS, BATCH = 60, 128
QUANTILE, MARGIN = 0.999, 1.35
RUN = 3
"""An alarm is counted from this many windows in a row above the threshold."""
SLACK = {
    "auc_litert_int8": 0.02,
    "auc_onnx_int8": 0.02,
    "severity_at_alarm_litert_int8": 0.05,
    "severity_at_alarm_onnx_int8": 0.05,
    "false_alarm_rate_litert_int8": 0.002,
    "false_alarm_rate_onnx_int8": 0.002,
}

HEAD = """
task = "anomaly"
licence = "Apache-2.0"
min_agent = "0.1"
description = "Vibration of a bearing on a 1480 rpm motor: unlike a sound one or not."

[[input]]
name = "spectrum"
kind = "window"
channels = ["x"]
rate_hz = {rate}
length = {length}
hop = {hop}

[input.frontend]
kind = "log-spectrum"
bands = {bands}
fmin_hz = {fmin:g}
fmax_hz = {fmax:g}
floor = {floor:g}
mean = {mean}
std = {std}

[output]
decoder = "autoencoder"
threshold = {threshold}
"""


# --- data ----------------------------------------------------------------------------------


def features(scene: VibrationScene, starts: Iterable[int]) -> Floats:
    """Features (n, bands) of windows that begin at these samples, not yet normalised."""
    rows = [
        log_spectrum(
            scene.block(int(start), LENGTH), RATE, bands=BANDS, fmin_hz=FMIN, fmax_hz=FMAX,
            floor=FLOOR,
        )
        for start in starts
    ]  # fmt: skip
    return np.stack(rows)


def healthy(seeds: Sequence[int], each: int) -> Floats:
    """Windows of sound machines at random times of a working day."""
    rows = []
    for seed in seeds:
        scene = VibrationScene(seed, rate_hz=RATE, healthy_s=1e9, fail_s=2e9)
        starts = np.random.default_rng((SEED, seed)).integers(0, 8 * 3600 * RATE, each)
        rows.append(features(scene, np.sort(starts)))
    return np.concatenate(rows)


def failing(seed: int) -> tuple[Floats, Floats]:
    """One machine from sound to failed: features and severity of every fifth of a second."""
    scene = VibrationScene(seed, rate_hz=RATE, healthy_s=HEALTHY_S, fail_s=FAIL_S)
    starts = np.arange(0, int(FAIL_S * RATE), 3 * HOP)
    severity = [scene.severity((start + LENGTH) / RATE) for start in starts]
    return features(scene, starts), np.array(severity, np.float32)


# --- network -------------------------------------------------------------------------------


def train(inputs: Floats) -> Any:
    """Autoencoder of normalised features, (bands,) → (bands,)."""
    import keras
    from keras import layers

    spectrum = keras.Input((BANDS,), name="spectrum")
    x = layers.Dense(32, "relu")(spectrum)
    x = layers.Dense(4)(x)
    x = layers.Dense(32, "relu")(x)
    model = keras.Model(spectrum, layers.Dense(BANDS, name="rebuilt")(x))
    steps = EPOCHS * len(inputs) // BATCH
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps, alpha=0.02)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="mse")
    model.fit(inputs, inputs, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    return model


# --- measuring -----------------------------------------------------------------------------


def scores(run: Run, inputs: Floats) -> Floats:
    """Mean squared difference between float features and what the model rebuilds."""
    return np.asarray(np.mean((inputs - run(inputs)) ** 2, axis=1), np.float32)


def auc(sound: Floats, damaged: Floats) -> float:
    """Chance that a damaged window scores higher than a sound one."""
    from sklearn.metrics import roc_auc_score

    truth = np.concatenate([np.zeros(len(sound)), np.ones(len(damaged))])
    return float(roc_auc_score(truth, np.concatenate([sound, damaged])))


def first_alarm(above: Sequence[bool]) -> int | None:
    """Index of the window that makes the first run of RUN above the threshold."""
    run = 0
    for index, high in enumerate(above):
        run = run + 1 if high else 0
        if run == RUN:
            return index
    return None


def measure(
    run: Run, sound: Floats, machines: list[tuple[Floats, Floats]], threshold: float
) -> dict[str, float]:
    """AUC, false alarms per window, and how bad the damage is when it is first told."""
    of_sound = scores(run, sound)
    damaged, alarms = [], []
    for inputs, severity in machines:
        of_machine = scores(run, inputs)
        damaged.append(of_machine[severity >= 0.1])
        index = first_alarm((of_machine > threshold).tolist())
        alarms.append(1.0 if index is None else float(severity[index]))
    return {
        "auc": auc(of_sound, np.concatenate(damaged)),
        "false_alarm_rate": float(np.mean(of_sound > threshold)),
        "severity_at_alarm": float(np.median(alarms)),
        "severity_at_alarm_worst": float(np.max(alarms)),
    }


def golden(runs: dict[str, Run], mean: Floats, std: Floats, threshold: float) -> dict[str, bytes]:
    """Three sound and three damaged windows that no kernel is in doubt about, as CSV.

    Scores grow without bound and kernels differ by a share of them, so the damaged windows
    come from early damage: clearly alarming, yet within 0.05 of one another.
    """
    scene = VibrationScene(950, rate_hz=RATE, healthy_s=HEALTHY_S, fail_s=FAIL_S)
    chosen: dict[str, bytes] = {}
    for kind, begin, end in (("sound", 20, 60), ("damaged", 130, 220)):
        for start in range(begin * RATE, end * RATE, 8 * HOP):
            # What the CSV holds is what the device will read: rounded first, then judged.
            window = np.round(scene.block(start, LENGTH), 4)
            row = log_spectrum(
                window, RATE, bands=BANDS, fmin_hz=FMIN, fmax_hz=FMAX, floor=FLOOR,
                mean=mean, std=std,
            )  # fmt: skip
            told = [float(scores(run, row[None])[0]) for run in runs.values()]
            clear = max(told) < 0.6 * threshold if kind == "sound" else min(told) > 1.5 * threshold
            if clear and max(told) - min(told) < 0.04:
                number = sum(name.startswith(kind) for name in chosen) + 1
                text = "x\n" + "\n".join(f"{value:.4f}" for value in window[:, 0]) + "\n"
                chosen[f"{kind}-{number}.csv"] = text.encode()
                if number == 3:
                    break
        else:
            raise SystemExit(f"too few {kind} windows on which all kernels agree")
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    given = export.options(__doc__, "bearing").parse_args(argv)

    export.fix_seeds(SEED)
    raw = healthy(range(100, 220), 100)
    # Rounded as the manifest tells them, so that training and device agree to the digit.
    mean, std = np.round(raw.mean(axis=0), 3), np.round(np.maximum(raw.std(axis=0), 0.05), 3)
    inputs = (raw - mean) / std
    model = train(inputs)
    samples = inputs[np.random.default_rng(SEED).choice(len(inputs), 500, replace=False)]
    litert, onnx = export.to_litert(model, samples), export.to_onnx(model, samples, "rebuilt")
    runs = export.kernels(litert, onnx)
    variants = {
        "float": lambda batch: np.asarray(model.predict(batch, verbose=0)),
        "litert_int8": runs["litert-xnnpack"],
        "onnx_int8": runs["onnx-optimised"],
    }

    fit_on = (healthy(range(700, 740), 100) - mean) / std
    level = max(np.quantile(scores(runs[k], fit_on), QUANTILE) for k in runs)
    threshold = round(float(level) * MARGIN, 2)
    sound = (healthy(range(800, 840), 250) - mean) / std
    machines = [((x - mean) / std, s) for x, s in map(failing, range(900, 920))]
    metrics: dict[str, float] = {"parameters": model.count_params()}
    for variant, run in variants.items():
        measured = measure(run, sound, machines, threshold)
        metrics |= {f"{key}_{variant}": round(value, 4) for key, value in measured.items()}
    trained = export.Trained(
        name="bearing",
        head=HEAD.format(
            rate=RATE, length=LENGTH, hop=HOP, bands=BANDS, fmin=FMIN, fmax=FMAX, floor=FLOOR,
            threshold=threshold, mean=[round(float(v), 3) for v in mean],
            std=[round(float(v), 3) for v in std],
        ),
        litert=litert,
        onnx=onnx,
        metrics=metrics,
        recipe={
            "seed": SEED,
            "data": "VibrationScene, windows at random times: trained on sound machines 100 to "
            "219, threshold from 700 to 739, measured on sound 800 to 839, failing 900 to 919",
            "threshold_from": f"{QUANTILE:g} quantile of sound windows x {MARGIN:g}",
        },
        tolerance={"score": 0.1},
        golden={} if given.check else golden(runs, mean, std, threshold),
    )  # fmt: skip
    return export.finish(trained, given.out, given.check, SLACK)


if __name__ == "__main__":
    sys.exit(main())
