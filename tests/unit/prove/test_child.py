"""Proof in a child process: bad models made here are stopped with a reason and a sentence."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.capture.synthetic import BeltScene
from edgeagent.config.model import Runtime
from edgeagent.errors import Busy, ProofFailed
from edgeagent.manifest import Package, load_package
from edgeagent.prove import process
from edgeagent.prove.child import Limits, prove_in_child
from edgeagent.prove.process import Child, memory_limit
from edgeagent.testing import spoil
from edgeagent.types import Frame

pytest.importorskip("onnxruntime")

FEW = Limits(calls=60)


@pytest.fixture(scope="module")
def good(repository: Path) -> Package:
    return load_package(repository / "models" / "parts" / "1.0.0")


def refused(package: Package, good: Package, limits: Limits = FEW) -> tuple[str, str]:
    with pytest.raises(ProofFailed) as caught:
        prove_in_child(package.folder, against=good.folder, limits=limits)
    return caught.value.reason, str(caught.value)


def test_a_good_version_proves_itself(good: Package, tmp_path: Path) -> None:
    copy = spoil.version(good, tmp_path / "parts" / "1.0.1")
    proof = prove_in_child(copy.folder, against=good.folder, limits=FEW)
    assert proof.model.startswith("parts@1.0.1/")
    assert (proof.golden, proof.compared, proof.agreed, proof.runs) == (5, 5, 5, 60)
    assert proof.before["p95_ms"] > 0
    assert 5 < proof.pss_mb < 200
    assert "agrees on 5 of 5" in proof.sentence()


@pytest.mark.parametrize(
    ("spoilt", "reason", "said"),
    [
        (spoil.labels_permuted, "parity", "what 1.0.0 calls whole it calls missing 6 times"),
        (spoil.blind, "parity", "it misses whole 6 times"),
        (lambda g, f: spoil.biased(g, f, "cracked"), "parity", "calls cracked"),
        (spoil.wrong_shape, "crash", "can't be opened"),
        (lambda g, f: spoil.label_renamed(g, f, "whole", "part"), "parity", "it calls part"),
    ],
    ids=["permuted", "blind", "biased", "wrong shape", "renamed"],
)
def test_what_answers_otherwise_is_stopped(
    good: Package,
    tmp_path: Path,
    spoilt: Callable[[Package, Path], Package],
    reason: str,
    said: str,
) -> None:
    got, sentence = refused(spoilt(good, tmp_path / "parts" / "1.1.0"), good)
    assert got == reason
    assert said in sentence


def test_a_crash_in_the_runtime_is_a_sentence(good: Package, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="its schema is what writes the model")
    reason, said = refused(spoil.crashing(good, tmp_path / "parts" / "1.1.0"), good)
    assert reason == "crash"
    assert said.startswith("it took its process down, with SIGSEGV, while it was being opened")


def test_one_slow_run_in_five_hundred_is_found(good: Package, tmp_path: Path) -> None:
    slow = spoil.slow_at(good, tmp_path / "parts" / "1.1.0", 500, turns=800_000)
    reason, said = refused(slow, good, Limits())
    assert reason == "budget"
    assert said.startswith("run 500 takes ")
    assert "twice in a row" in said


def test_memory_that_grows_is_found(good: Package, tmp_path: Path) -> None:
    leaking = spoil.leaking(good, tmp_path / "parts" / "1.1.0")
    reason, said = refused(leaking, good, Limits(calls=150))
    assert reason == "budget"
    assert "its memory grows with every run" in said


def test_what_is_slower_than_the_running_version_is_stopped(good: Package, tmp_path: Path) -> None:
    slow = spoil.slow(good, tmp_path / "parts" / "1.1.0", turns=4_000)
    reason, said = refused(slow, good, Limits(calls=20))
    assert reason == "budget"
    assert "of 1.0.0, which runs here, it is" in said
    # With a budget of its own only that counts.
    limits = Limits(p95_ms=1000.0, pss_mb=500.0, calls=20)
    assert prove_in_child(slow.folder, against=good.folder, limits=limits).p95_ms > 1.5


def test_a_budget_that_is_exceeded_is_told_with_both_numbers(good: Package) -> None:
    with pytest.raises(ProofFailed, match=r"needs .* MB; its budget here is 3 MB") as caught:
        prove_in_child(good.folder, limits=Limits(pss_mb=3.0, calls=20))
    assert caught.value.reason == "budget"


def test_what_fills_the_memory_is_ended_before_the_device_runs_short(
    good: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "free_memory", lambda: 400 << 20)
    greedy = spoil.leaking(good, tmp_path / "parts" / "1.1.0", each=8 << 20)
    reason, said = refused(greedy, good, Limits())
    assert (reason, said) == (
        "budget", "it needs more memory than a model may have here (300 MB)"
    )  # fmt: skip


def test_a_delegate_that_must_take_part_and_does_not(good: Package) -> None:
    with pytest.raises(ProofFailed) as caught:
        prove_in_child(good.folder, require=["edgetpu"], limits=FEW)
    assert caught.value.reason == "delegate"
    assert "edgetpu must run it and does not" in str(caught.value)
    pytest.importorskip("ai_edge_litert", reason="XNNPACK of tflite-runtime takes no int8")
    runtime = Runtime(variant="litert")
    assert prove_in_child(good.folder, require=["xnnpack"], runtime=runtime, limits=FEW).golden


def test_golden_answers_of_another_model_are_a_fault(good: Package, tmp_path: Path) -> None:
    folder = tmp_path / "parts" / "1.1.0"
    bad = spoil.labels_permuted(good, folder)
    shutil.copy(good.folder / "golden" / "expected.json", folder / "golden" / "expected.json")
    reason, said = refused(bad, good)
    assert reason == "golden"
    assert "does not answer its own golden samples here as it was published" in said


def test_what_takes_too_long_is_ended(good: Package, tmp_path: Path) -> None:
    slow = spoil.slow_at(good, tmp_path / "parts" / "1.1.0", 3, turns=2_000_000_000)
    limits = Limits(timeout_s=2.5)
    began = time.monotonic()
    with pytest.raises(ProofFailed) as caught:
        prove_in_child(slow.folder, limits=limits)
    assert caught.value.reason == "timeout"
    assert time.monotonic() - began < 15


def test_a_stop_ends_the_child_at_once(good: Package) -> None:
    before = set(_children())
    stopped = threading.Event()
    threading.Timer(0.3, stopped.set).start()
    began = time.monotonic()
    with pytest.raises(Busy):
        prove_in_child(good.folder, limits=Limits(calls=10**9, seconds=1e9), stopped=stopped)
    assert time.monotonic() - began < 3
    assert set(_children()) <= before


def test_a_child_ends_with_its_parent(good: Package) -> None:
    """What is left when a daemon is killed: the pipe closes, whatever the child is doing."""
    ask = {
        "runtime": {}, "require": [], "compare": [], "golden": False, "live": [], "calls": 10**9,
        "seconds": 1e9, "memory_bytes": memory_limit(), "cpu_s": 60, "folder": str(good.folder),
    }  # fmt: skip
    with Child(ask) as proving:
        while proving.doing != "was run again and again":
            next(proving._heard())
        assert proving._process.stdin is not None
        proving._process.stdin.close()
        assert proving._process.wait(10) == -signal.SIGIO


def _children() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid():
                found.append(int(entry.name))
    return found


def test_live_samples_are_compared_in_memory(good: Package, tmp_path: Path) -> None:
    """A version that is right on the samples that it was trained on, and wrong at this place."""
    scene = BeltScene(5, (320, 240))
    live = [
        Frame("cam", n, scene.render(40 * n)[0], 0, 0.0) for n in range(12)
    ]  # fmt: skip
    copy = spoil.version(good, tmp_path / "parts" / "1.0.1")
    proof = prove_in_child(copy.folder, against=good.folder, live=live, limits=FEW)
    assert (proof.compared, proof.agreed) == (17, 17)
    shutil.rmtree(tmp_path / "parts" / "1.0.0", ignore_errors=True)
    bare = spoil.version(good, tmp_path / "parts" / "1.0.0")
    shutil.rmtree(bare.folder / "golden")
    blind = spoil.blind(good, tmp_path / "parts" / "1.1.0")
    with pytest.raises(ProofFailed) as caught:
        prove_in_child(blind.folder, against=bare.folder, live=live, limits=FEW)
    assert caught.value.reason == "parity"
    assert "on 12 stored samples" in str(caught.value)
