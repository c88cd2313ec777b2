"""What a Python program uses: `edgeagent.Model` and `edgeagent.Agent`."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent import Agent, Model
from edgeagent.capture.synthetic import BeltScene, VibrationScene
from edgeagent.errors import Busy, ConfigError, InputError, NotFound, Unavailable, UsageError
from edgeagent.manifest import load_package
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import first_sample
from edgeagent.types import Anomaly, Detection


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("api")
    scene = BeltScene(5, (320, 240), fault_rate=0.5)
    files = [folder / f"{number}.png" for number in range(6)]
    for number, file in enumerate(files):
        cv2.imwrite(str(file), scene.render(number * 40)[0])
    return files


def newest(repository: Path, name: str) -> Path:
    return sorted((repository / "models" / name).iterdir())[-1]


def test_an_array_is_predicted_in_three_lines_as_a_pipeline_would(
    pictures: list[Path], repository: Path
) -> None:
    package = load_package(newest(repository, "parts"))
    with Predictor(package) as predictor, Model(package.folder) as model:
        for file in pictures:
            said = predictor(first_sample(file, package)).predictions
            picture = cv2.imread(str(file))
            assert model.predict(picture) == said
            assert model(picture[..., ::-1], rgb=True) == said
            assert model(file) == model(str(file)) == said
        assert sum(isinstance(its, Detection) for its in said) > 0
        assert model.name == predictor.model and model.labels == ("whole", "cracked", "missing")
        assert "litert" in repr(model)


def test_any_thread_may_ask(pictures: list[Path]) -> None:
    arrays = [cv2.imread(str(file)) for file in pictures] * 4
    with Model("parts") as model, ThreadPoolExecutor(4) as threads:
        expected = [model.predict(array) for array in arrays]
        assert list(threads.map(model.predict, arrays)) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((1, 4, 4, 3), np.uint8), "(1, 4, 4, 3)"),
        (np.zeros((4, 4, 4), np.uint8), "(4, 4, 4)"),
        (np.zeros((0, 4, 3), np.uint8), "(0, 4, 3)"),
        ({"picture": np.zeros((4, 4, 3), np.uint8)}, "has the inputs image"),
    ],
)
def test_what_is_no_picture_is_refused_and_the_remedy_said(given: Any, said: str) -> None:
    with Model("parts") as model, pytest.raises(InputError) as caught:
        model.predict(given)
    assert said in str(caught.value)


def test_values_of_sensors_and_a_stream(repository: Path, tmp_path: Path) -> None:
    package = load_package(newest(repository, "bearing"))
    spec = package.manifest.input[0]
    values = VibrationScene(3, rate_hz=spec.rate_hz).block(0, spec.length * 3)[:, 0]
    with Model(package.folder) as model:
        (usual,) = model.predict(values[: spec.length])
        assert isinstance(usual, Anomaly) and not usual.alarming
        (noise,) = model.predict(np.random.default_rng(1).normal(0, 9, (spec.length, 1)))
        assert isinstance(noise, Anomaly) and noise.score > usual.score
        name = spec.channels[0] if spec.channels else "x"
        file = tmp_path / "machine.csv"
        file.write_text(f"{name}\n" + "".join(f"{float(value)}\n" for value in values))
        told = [predictions for _, predictions in model.stream(file)]
        assert len(told) >= 3
        assert told[0][0].score == pytest.approx(usual.score, rel=1e-3)  # type: ignore[union-attr]
        with pytest.raises(InputError, match="no numbers"):
            model.predict(["a", "b"])


def test_a_model_that_is_not_there_and_a_name_that_is_not() -> None:
    with pytest.raises(NotFound, match="parts"):
        Model("part")
    import edgeagent

    with pytest.raises(AttributeError, match="Modell"):
        edgeagent.Modell  # noqa: B018


def test_the_names_cost_nothing_before_they_are_used() -> None:
    code = "import edgeagent, sys; print('typing' in sys.modules, 'numpy' in sys.modules)"
    flags = ["-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"]
    done = subprocess.run([sys.executable, *flags], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


CONFIG = """
[sources.belt]
kind = "synthetic"
fps = 20
[pipelines.belt]
source = "belt"
model = "parts"
"""


def test_an_agent_in_this_process_is_started_asked_and_stopped(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG)
    with Agent(file, tmp_path / "data") as agent:
        deadline = time.monotonic() + 30
        while agent.status()["pipelines"]["belt"]["steps"] < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        other = Agent.connect(tmp_path / "data")
        assert other.ask("outbox", action="stats")["produced"] >= 0
        with pytest.raises(UsageError, match="runs already"):
            agent.start()
        with pytest.raises(Busy):
            Agent(file, tmp_path / "data").start()
    assert agent.code == 0
    assert "agent" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(Unavailable):
        agent.status()
    with pytest.raises(Unavailable):
        Agent.connect(tmp_path / "data")


def test_a_wrong_configuration_is_raised_where_it_is_started(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(CONFIG.replace("parts", "parts\nmodell = 1"))
    with pytest.raises(ConfigError):
        Agent(file, tmp_path / "data").start()


def test_a_finite_agent_ends_by_itself(pictures: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        CONFIG.replace('kind = "synthetic"\nfps = 20', f'kind = "images"\npath = "{pictures[0]}"')
    )
    agent = Agent(file, tmp_path / "data", until_done=True)
    agent.start()
    assert agent.wait(30) == 0
