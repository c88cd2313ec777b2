"""The search finds what was planted, and says why the others lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgeagent.config.model import Runtime
from edgeagent.errors import ProofFailed
from edgeagent.manifest import Golden, Package, Variant, load_package
from edgeagent.prove.bench.labelled import labelled_files
from edgeagent.prove.bench.measure import bench
from edgeagent.prove.bench.plan import Candidate, Plan
from edgeagent.prove.golden import read_expected
from edgeagent.prove.init import propose, write_package
from edgeagent.prove.tomltext import table_text
from edgeagent.prove.tune.choice import Choice, Row
from edgeagent.prove.tune.search import Bars, tune

pytest.importorskip("ai_edge_litert")
QUICK = Bars(seconds=4.0, timeout_s=20.0)


@pytest.fixture
def digits(repository: Path) -> Package:
    return load_package(repository / "models" / "digits" / "1.0.0")


def on_toy(package: Package, toy: Path, **options: str) -> Candidate:
    return Candidate(package.folder, Runtime(variant="litert", delegate=str(toy), options=options))


def row_of(choice: Choice, part: str) -> Row:
    (row,) = [row for row in choice.rows if part in row.settings]
    return row


def test_a_planted_optimum_is_found(digits: Package, toy: Path) -> None:
    """Of configurations that were made slow to different degrees the one that was not wins."""
    delays = ["3000", "1500", "0", "800", "2500"]
    default, *others = [on_toy(digits, toy, slow=delay) for delay in delays]
    choice = tune(digits, [replace(default, title="defaults"), *others], QUICK)
    assert choice.runtime.options == {"slow": "0"}
    assert choice.ratio < 0.3
    assert choice.took_s < 60
    chosen, *lost = choice.rows
    assert chosen.state == "chosen" and "× the time of the defaults" in chosen.why
    assert [row.state for row in lost] == ["lost"] * len(lost)
    assert all("× the time" in row.why for row in lost)
    # Who was far behind is not measured on and on.
    assert row_of(choice, "slow=2500").rounds == 1


def test_int8_that_is_slow_here_loses_to_fp32_and_it_is_said(
    assets: Path, slow_toy: Path, tmp_path: Path
) -> None:
    package = write_package(propose(assets / "models" / "kws_ref_model.tflite", "kws"), tmp_path)
    shutil.copy(assets / "models" / "kws_ref_model_float32.tflite", package.folder / "fp32.tflite")
    int8 = package.manifest.variant[0]
    int8.requires = {"delegate": str(slow_toy)}
    package.manifest.variant.append(Variant("fp32.tflite", "litert", "fp32"))
    package.manifest.files = {}
    (package.folder / "model.toml").write_text(table_text(package.manifest))
    candidates = [Candidate(package.folder, title="defaults")]
    candidates += [
        Candidate(package.folder, Runtime(variant=file)) for file in (int8.file, "fp32.tflite")
    ]
    choice = tune(load_package(package.folder), candidates, QUICK)
    assert choice.runtime.variant == "fp32.tflite"
    assert "int8 is slower than fp32 on this device (" in choice.why


def test_wrong_answers_are_out_however_fast(digits: Package, toy: Path) -> None:
    candidates = [
        on_toy(digits, toy, slow="1500"), on_toy(digits, toy, add="90"),
        on_toy(digits, toy, fail="crash"), on_toy(digits, toy, take="-1"),
    ]  # fmt: skip
    choice = tune(digits, candidates, QUICK)
    assert choice.runtime.options == {"slow": "1500"}
    wrong, crashed, idle = (row_of(choice, part) for part in ("add=90", "crash", "take=-1"))
    assert wrong.state == "wrong" and wrong.why.startswith("golden samples: ")
    assert crashed.state == "failed" and "SIGABRT" in crashed.why
    assert idle.state == "failed" and "takes none of the model's 6 operators" in idle.why


@pytest.mark.usefixtures("in_full")
def test_without_samples_answers_are_compared_with_plain_kernels(
    assets: Path, toy: Path, tmp_path: Path
) -> None:
    package = write_package(propose(assets / "models" / "kws_ref_model.tflite", "kws"), tmp_path)
    slow, wrong = on_toy(package, toy, slow="500"), on_toy(package, toy, add="90")
    choice = tune(package, [slow, wrong], QUICK)
    assert choice.runtime.options == {"slow": "500"}
    row = row_of(choice, "add=90")
    assert row.state == "wrong" and row.why.startswith("NOT like litert")


@pytest.mark.usefixtures("in_full")
def test_labelled_samples_set_a_floor(digits: Package, toy: Path, tmp_path: Path) -> None:
    """Without golden samples, pictures that a person has sorted tell right from wrong."""
    expected = read_expected(digits)
    folder = tmp_path / "digits"
    shutil.copytree(digits.folder, folder)
    for sample in expected.samples:
        label = max(sample.predictions, key=lambda its: its["score"])["label"]
        (tmp_path / "sorted" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "golden" / sample.file, tmp_path / "sorted" / label / sample.file)
    manifest = digits.manifest
    manifest.golden, manifest.files = Golden(expected="none.json"), {}
    (folder / "model.toml").write_text(table_text(manifest))
    package = load_package(folder)
    bars = replace(QUICK, labelled=labelled_files(tmp_path / "sorted"))
    slow = replace(on_toy(package, toy, slow="1000"), title="defaults")
    choice = tune(package, [slow, on_toy(package, toy, add="90")], bars)
    assert choice.rows[0].right == choice.rows[0].samples == len(expected.samples)
    wrong = row_of(choice, "add=90")
    assert wrong.state == "wrong" and "of the labelled samples, below 99.0%" in wrong.why


@pytest.mark.usefixtures("in_full")
def test_bars_are_kept(digits: Package, toy: Path) -> None:
    slow = on_toy(digits, toy, slow="1500")
    with pytest.raises(ProofFailed, match=r"takes .* ms, the bar is 0\.5 ms"):
        tune(digits, [slow], replace(QUICK, p95_ms=0.5))
    with pytest.raises(ProofFailed, match=r"needs .* MB, the bar is 3 MB"):
        tune(digits, [slow], replace(QUICK, pss_mb=3.0))


@pytest.mark.usefixtures("in_full")
def test_nothing_replaces_the_defaults_that_is_not_surely_faster(
    digits: Package, toy: Path
) -> None:
    same = [on_toy(digits, toy, slow="500", seed=str(n)) for n in range(3)]
    choice = tune(digits, same, QUICK)
    assert choice.runtime.options["seed"] == "0"
    assert choice.why == "nothing is surely faster than the defaults"


@pytest.mark.usefixtures("in_full")
def test_what_is_chosen_is_never_slower_than_the_defaults(assets: Path, tmp_path: Path) -> None:
    """Measured again, afterwards: beyond the noise it is not slower."""
    import os

    from edgeagent.device.profile import detect
    from edgeagent.prove.tune.space import space

    names = ["kws_ref_model.tflite", "ic_resnet8_int8.tflite", "vww_96_int8.tflite",
             "yunet_n_320_320.onnx"]  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    for name in names:
        package = write_package(propose(assets / "models" / name), tmp_path)
        candidates = space(package, detect().profile, cores)
        choice = tune(package, candidates, Bars())
        assert choice.took_s < 60
        again = bench(
            [candidates[0], Candidate(package.folder, choice.runtime)],
            Plan(seconds=3.0),
        )
        assert not again.versus["single"].slower or again.versus["single"].ratio < 1.05
