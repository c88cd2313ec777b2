"""A choice holds as long as what it depends on stays the same, and no longer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config.model import Runtime
from edgeagent.manifest import Package, load_package
from edgeagent.prove.lint import write_files
from edgeagent.prove.tune import choice as choices
from edgeagent.prove.tune.choice import Choice, Choices, chosen, circumstances, outdated

TWO = Runtime(variant="digits-int8.tflite", threads=2)


@pytest.fixture
def package(repository: Path, tmp_path: Path) -> Package:
    folder = tmp_path / "digits" / "1.0.0"
    shutil.copytree(repository / "models" / "digits" / "1.0.0", folder)
    return load_package(folder)


@pytest.fixture
def kept(package: Package, tmp_path: Path) -> Choice:
    made = Choice(1, "digits@1.0.0", choices.stamp(), circumstances(package, TWO), TWO)
    Choices(tmp_path).keep(package, made)
    return made


@pytest.fixture
def one_core() -> Iterator[None]:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("there is one core only")
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def test_it_is_used_where_nobody_says_otherwise(
    package: Package, kept: Choice, tmp_path: Path
) -> None:
    wanted = chosen(tmp_path, package, Runtime())
    assert wanted.tuned and wanted.runtime == TWO and wanted.said == "tuned"
    assert chosen(tmp_path, package, Runtime(require=True)).runtime.require
    configured = Runtime(threads=1)
    assert chosen(tmp_path, package, configured).runtime is configured


def test_nothing_is_chosen_at_first(package: Package, tmp_path: Path) -> None:
    wanted = chosen(tmp_path, package, Runtime())
    assert (wanted.runtime, wanted.said, wanted.tuned) == (Runtime(), "", False)


@pytest.mark.usefixtures("one_core")
def test_other_cores_end_it(package: Package, tmp_path: Path) -> None:
    here = circumstances(package, TWO)
    made = Choice(1, "digits@1.0.0", "", {**here, "cores": "0-3"}, TWO)
    Choices(tmp_path).keep(package, made)
    wanted = chosen(tmp_path, package, Runtime())
    assert wanted.runtime == Runtime() and not wanted.tuned
    core = here["cores"]
    assert core.isdigit()
    assert f"the cores that may be used were 0-3 and are {core}" in wanted.said
    assert "edgeagent tune digits" in wanted.said


def test_another_model_file_ends_it(package: Package, kept: Choice) -> None:
    assert outdated(kept, package) == ""
    file = package.path("digits-int8.onnx")
    file.write_bytes(file.read_bytes() + b"\0")
    write_files(package)
    assert outdated(kept, load_package(package.folder)) == "the model's files are others"


def test_other_runtimes_end_it(
    package: Package, kept: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "runtimes", lambda: {"litert": "ai_edge_litert 9.0"})
    assert outdated(kept, package).endswith("and are ai_edge_litert 9.0")


def test_another_device_ends_it(
    package: Package, kept: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "machine_hash", lambda: "other")
    assert outdated(kept, package) == "it is another device"


def test_another_driver_library_ends_it(package: Package, tmp_path: Path) -> None:
    library = tmp_path / "libnpu.so"
    library.write_bytes(b"1")
    runtime = Runtime(delegate=str(library))
    made = Choice(1, "digits@1.0.0", "", circumstances(package, runtime), runtime)
    assert outdated(made, package) == ""
    library.write_bytes(b"22")
    assert outdated(made, package) == "the delegate's library is another one"


@pytest.mark.parametrize("content", [b"", b"{", b'{"v": 1}', b"\xff"])
def test_a_damaged_file_is_no_choice(
    package: Package, kept: Choice, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "tuned" / "digits@1.0.0.json").write_bytes(content)
    assert chosen(tmp_path, package, Runtime()).said == ""


def test_it_can_be_forgotten(package: Package, kept: Choice, tmp_path: Path) -> None:
    known: Any = Choices(tmp_path)
    known.forget(package)
    assert known.of(package) is None
    known.forget(package)


def test_less_processor_time_ends_it(
    package: Package, kept: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices.health, "quota", lambda: 0.5)
    said = "the processor time that may be used was none and is 0.5 processors"
    assert outdated(kept, package) == said


def test_another_kernel_or_driver_ends_it(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_npu = Runtime(delegate="/usr/lib/libvx_delegate.so")
    versions = {"galcore": "6.4.3"}
    monkeypatch.setattr(choices.drivers, "drivers", lambda: versions)
    made = Choice(1, "digits@1.0.0", "", circumstances(package, on_npu), on_npu)
    plain = Choice(1, "digits@1.0.0", "", circumstances(package, TWO), TWO)
    versions["galcore"] = "6.4.11"
    assert outdated(made, package) == (
        "the accelerator's driver was galcore 6.4.3 and is galcore 6.4.11"
    )
    assert outdated(plain, package) == ""
    monkeypatch.setattr(choices.drivers, "kernel", lambda: "7.0")
    assert "and is 7.0" in outdated(plain, package)


def test_what_an_earlier_agent_did_not_write_down_has_not_changed(
    package: Package, kept: Choice
) -> None:
    for key in ("quota", "kernel", "drivers"):
        del kept.circumstances[key]
    assert outdated(kept, package) == ""


def test_to_forget_is_to_forget_all_versions(
    package: Package, kept: Choice, tmp_path: Path
) -> None:
    its = Choices(tmp_path)
    (its.folder / "digits@0.9.0.json").write_bytes((its.folder / "digits@1.0.0.json").read_bytes())
    (its.folder / "other@1.0.0.json").write_bytes((its.folder / "digits@1.0.0.json").read_bytes())
    assert its.of_another_version(package) == kept
    its.forget(package)
    assert [file.name for file in its.folder.iterdir()] == ["other@1.0.0.json"]
    assert its.of_another_version(package) is None
