"""Measurements of real models in child processes, good ones and bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.config.model import Runtime
from edgeagent.prove.bench.measure import bench
from edgeagent.prove.bench.plan import SCENARIOS, Candidate, Plan
from edgeagent.prove.bench.result import Measured, Result

pytest.importorskip("ai_edge_litert")

QUICK = Plan(seconds=0.3, turns=8, starts=2, warm_s=0.02, timeout_s=30.0)


@pytest.fixture
def digits(repository: Path) -> Path:
    return repository / "models" / "digits" / "1.0.0"


def with_toy(folder: Path, toy: Path, **options: str) -> Candidate:
    return Candidate(folder, Runtime(variant="litert", delegate=str(toy), options=options))


def only(result: Result) -> Measured:
    (measured,) = result.candidates
    return measured


def test_a_package_is_measured_with_all_that_a_pipeline_does(digits: Path) -> None:
    its = only(bench([Candidate(digits, Runtime(variant="litert"))], QUICK))
    assert not its.failed
    assert its.model == "digits@1.0.0/int8"
    assert its.golden is not None and its.golden.samples == 8 and not its.golden.faults
    assert its.parity is not None and its.parity.holds and its.parity.samples == 8
    assert its.parity.reference.endswith("builtin")
    assert 5 < its.pss_mb < 200
    single = its.of("single")
    assert single is not None
    assert single.queries == single.samples >= 64
    assert single.promised_ms is not None and single.p50_ms <= single.promised_ms
    assert set(single.stages) == {"prepare", "infer", "interpret"}
    assert sum(single.stages.values()) == pytest.approx(single.p50_ms, rel=0.5)
    assert single.joules is None or single.joules > 0


@pytest.mark.usefixtures("in_full")
def test_all_scenarios(digits: Path) -> None:
    from msgspec.structs import replace

    result = bench(
        [Candidate(digits)], replace(QUICK, scenarios=SCENARIOS, seconds=0.1, most_s=2.0)
    )
    its = only(result)
    assert [one.scenario for one in its.figures] == list(SCENARIOS)
    single, multi, server, offline = its.figures
    assert multi.samples == 8 * multi.queries
    assert multi.queries >= 662 or multi.promised_ms is None
    assert 4 * single.p50_ms < multi.p50_ms < 40 * single.p50_ms
    assert server.rate is not None and server.bound_ms is not None and server.kept is not None
    assert offline.throughput > 0 and offline.promised_ms is None


@pytest.mark.usefixtures("in_full")
def test_too_few_queries_promise_nothing(digits: Path) -> None:
    plan = Plan(scenarios=("multi",), seconds=0.05, most_s=0.05, turns=8, warm_s=0.0)
    figures = only(bench([Candidate(digits)], plan)).of("multi")
    assert figures is not None
    assert figures.queries < 662
    assert figures.promised_ms is None


def test_what_is_slow_is_called_slower(digits: Path, toy: Path) -> None:
    plain = Candidate(digits, Runtime(variant="litert"))
    result = bench([plain, with_toy(digits, toy, slow="400")], QUICK)
    ratio = result.versus["single"]
    assert ratio.slower and ratio.low > 2
    assert result.sound
    assert result.candidates[1].placement["libtoy.so"] == 1


@pytest.mark.usefixtures("in_full")
def test_a_server_that_is_asked_too_often_does_not_keep_its_bound(digits: Path, toy: Path) -> None:
    from msgspec.structs import replace

    slow = with_toy(digits, toy, slow="2000")
    plan = replace(QUICK, scenarios=("server",), rate=2000.0, bound_ms=5.0, most_s=1.0)
    figures = only(bench([slow], plan)).of("server")
    assert figures is not None and figures.kept is False
    assert figures.p99_ms > 5


def test_wrong_answers_are_told_beside_the_speed(digits: Path, toy: Path) -> None:
    result = bench([with_toy(digits, toy, add="90")], QUICK)
    its = only(result)
    assert not result.sound
    assert its.of("single") is not None
    assert its.golden is not None and its.golden.faults
    assert its.wrong.startswith("golden samples: ")


def test_a_delegate_that_crashes_takes_only_its_child_down(digits: Path, toy: Path) -> None:
    plain = Candidate(digits, Runtime(variant="litert"))
    result = bench([with_toy(digits, toy, fail="crash"), plain], QUICK)
    crashed, good = result.candidates
    assert "took its process down, with SIGABRT, while it was run for the first time" in (
        crashed.failed
    )
    assert good.of("single") is not None and not good.failed
    assert not result.sound and not result.versus


@pytest.mark.usefixtures("in_full")
def test_a_delegate_that_hangs_is_given_up(digits: Path, toy: Path) -> None:
    from msgspec.structs import replace

    result = bench([with_toy(digits, toy, fail="hang")], replace(QUICK, timeout_s=1.0))
    assert "gave no answer within 1" in only(result).failed


@pytest.mark.usefixtures("in_full")
def test_a_delegate_that_loses_its_device_is_a_sentence(digits: Path, toy: Path) -> None:
    result = bench([with_toy(digits, toy, fail="invoke")], QUICK)
    assert "device lost" in only(result).failed


def test_operators_of_litert_have_time_and_place(digits: Path) -> None:
    plan = Plan(seconds=0.1, turns=8, warm_s=0.0, operators=True)
    told = only(bench([Candidate(digits, Runtime(variant="litert"))], plan)).operators
    assert told is not None and told.estimated
    kinds = [one.operator for one in told.each]
    assert kinds == ["CONV_2D"] * 3 + ["RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    assert [one.place for one in told.each] == ["XNNPACK"] * 5 + ["builtin"]
    assert sum(one.ms for one in told.each) == pytest.approx(told.total_ms, rel=0.01, abs=1e-4)
    assert all(one.ms >= 0 for one in told.each)


@pytest.mark.usefixtures("in_full")
def test_operators_of_onnx_come_from_its_profile(digits: Path) -> None:
    pytest.importorskip("onnxruntime")
    plan = Plan(seconds=0.1, turns=8, warm_s=0.0, operators=True)
    told = only(bench([Candidate(digits, Runtime(variant="onnx"))], plan)).operators
    assert told is not None and not told.estimated
    assert {one.place for one in told.each} == {"CPUExecutionProvider"}
    assert 0 < sum(one.ms for one in told.each) < 5 * told.total_ms + 1


@pytest.mark.parametrize("name", ["kws_ref_model.tflite", "okay_nabu.tflite", "swift_f0.onnx"])
@pytest.mark.usefixtures("in_full")
def test_a_bare_file_is_timed_alone(assets: Path, name: str) -> None:
    plan = Plan(seconds=0.1, turns=8, warm_s=0.0, most_s=0.5)
    its = only(bench([Candidate(assets / "models" / name)], plan))
    assert not its.failed and its.noise and its.golden is None
    figures = its.of("single")
    assert figures is not None and figures.stages["prepare"] == 0.0 < figures.stages["infer"]


def test_a_broken_file_is_a_sentence(tmp_path: Path, assets: Path) -> None:
    whole = (assets / "models" / "kws_ref_model.tflite").read_bytes()
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(whole[: len(whole) // 2])
    its = only(bench([Candidate(broken)], QUICK))
    assert "broken.tflite" in its.failed and its.remedy


@pytest.mark.usefixtures("in_full")
def test_energy_is_told_where_a_meter_is(digits: Path, tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("1000\n")
    (zone / "max_energy_range_uj").write_text("5000000\n")
    result = bench([Candidate(digits)], QUICK, root=tmp_path)
    single = only(result).of("single")
    assert result.machine.meters == ["package-0"]
    assert single is not None and single.joules == 0.0  # its counter stands still
