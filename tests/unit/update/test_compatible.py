"""A version that does not fit this device's use is told with key and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from edgeagent.config.check import Fault
from edgeagent.config.model import Config
from edgeagent.config.toml import parse_toml
from edgeagent.errors import NotFound
from edgeagent.manifest import Package, load_package
from edgeagent.update.compatible import Use, incompatible

TOML = """\
[sources.cam]
kind = "synthetic"

[pipelines.door]
source = "cam"
model = "parts"
threshold = 0.6
[[pipelines.door.rules]]
when = "label == 'cracked' and zone == 'belt'"
[pipelines.door.zones.belt]
polygon = [[0,0],[1,0],[1,1]]
[pipelines.door.redact]
labels = ["missing"]
[pipelines.door.refine.kind]
model = "digits"
labels = ["whole"]
"""


@pytest.fixture
def parts(repository: Path) -> Package:
    return load_package(repository / "models" / "parts" / "1.0.0")


def use(tmp_path: Path, text: str, *others: Package) -> Use:
    file = tmp_path / "agent.toml"
    file.write_text(text, encoding="utf-8")
    table, places = parse_toml(file)

    def find(model: str, version: str) -> Package:
        for package in others:
            if package.name == model:
                return package
        raise NotFound(f"there is no model {model}")

    return Use(msgspec.convert(table, Config), places, find)


def changed(package: Package, **manifest: Any) -> Package:
    labels = manifest.pop("labels", package.labels)
    made = replace(package.manifest, version="1.1.0", **manifest)
    return Package(package.folder, made, labels)


def faults(package: Package, its: Use) -> list[str]:
    return [f"{fault.line} {fault.key}: {fault.problem}" for fault in incompatible(package, its)]


def test_a_version_with_the_same_labels_fits(parts: Package, tmp_path: Path) -> None:
    assert faults(changed(parts), use(tmp_path, TOML)) == []
    assert faults(changed(parts, labels=(*parts.labels, "new")), use(tmp_path, TOML)) == []


def test_a_renamed_label_of_a_rule(parts: Package, tmp_path: Path) -> None:
    new = changed(parts, labels=("whole", "crack", "missing"))
    (fault,) = incompatible(new, use(tmp_path, TOML))
    assert isinstance(fault, Fault)
    assert (fault.line, fault.key) == (9, "pipelines.door.rules[0].when")
    assert fault.problem == "the rule names 'cracked', and parts 1.1.0 has no such label"
    assert fault.remedy == 'did you mean "crack"?'
    assert str(fault).startswith(f"{tmp_path}/agent.toml:9: pipelines.door.rules[0].when: ")


def test_a_label_that_must_be_hidden_is_gone(parts: Package, tmp_path: Path) -> None:
    new = changed(parts, labels=("whole", "cracked", "gap"))
    assert faults(new, use(tmp_path, TOML)) == [
        "13 pipelines.door.redact.labels[0]: pictures may only leave with this hidden: 'missing', "
        "and parts 1.1.0 has no such label"
    ]
    # Another model that looks for it makes up for it.
    other = TOML.replace('labels = ["missing"]', 'labels = ["missing"]\nmodel = "people"')
    people = Package(parts.folder, replace(parts.manifest, name="people"), ("missing",))
    assert faults(new, use(tmp_path, other, people)) == []


def test_the_model_that_finds_what_must_be_hidden(parts: Package, tmp_path: Path) -> None:
    text = TOML.replace('labels = ["missing"]', 'labels = ["person"]\nmodel = "people"')
    people = Package(parts.folder, replace(parts.manifest, name="people"), ("person",))
    its = use(tmp_path, text, parts, people)
    assert faults(people, its) == []
    (said,) = faults(changed(people, labels=("human",)), its)
    assert "'person', and people 1.1.0 has no such label" in said


def test_labels_about_which_second_models_are_asked(parts: Package, tmp_path: Path) -> None:
    new = changed(parts, labels=("good", "cracked", "missing"))
    assert faults(new, use(tmp_path, TOML)) == [
        "16 pipelines.door.refine.kind.labels[0]: a second model is asked about 'whole', and "
        "parts 1.1.0 has no such label"
    ]


def test_places_sources_thresholds_and_variants(
    parts: Package, repository: Path, tmp_path: Path
) -> None:
    flat = changed(parts, task="classify")
    (said,) = faults(flat, use(tmp_path, TOML))
    assert "the rule asks for zone, and parts 1.1.0 does not tell where things are" in said

    bearing = load_package(repository / "models" / "bearing" / "1.0.0")
    windows = changed(parts, input=bearing.manifest.input)
    (said,) = faults(windows, use(tmp_path, TOML))
    assert said.startswith("5 pipelines.door.source: parts 1.1.0 takes windows of values")

    text = TOML.replace("threshold = 0.6", 'threshold = 3.0\nruntime = { variant = "parts.onnx" }')
    said = "\n".join(faults(changed(parts), use(tmp_path, text)))
    assert "3 is above every score of parts 1.1.0" in said
    assert "has no variant 'parts.onnx'; it has: parts-int8.tflite (litert)" in said


def test_a_pipeline_that_insists_on_a_version(parts: Package, tmp_path: Path) -> None:
    text = TOML.replace('model = "parts"', 'model = "parts"\nversion = "1.0.0"')
    (said,) = faults(changed(parts), use(tmp_path, text))
    assert said == "7 pipelines.door.version: the pipeline insists on version 1.0.0"
    assert faults(parts, use(tmp_path, text)) == []


def test_what_is_off_or_uses_another_model_says_nothing(parts: Package, tmp_path: Path) -> None:
    new = changed(parts, labels=("a", "b", "c"))
    text = TOML.replace("threshold = 0.6", "enabled = false")
    assert faults(new, use(tmp_path, text)) == []
    assert faults(new, use(tmp_path, TOML.replace('"parts"', '"other"'))) == []
    assert faults(changed(parts, labels=()), use(tmp_path, TOML)) == []  # nobody knows its labels


def test_windows_that_a_shared_source_can_not_cut(repository: Path, tmp_path: Path) -> None:
    bearing = load_package(repository / "models" / "bearing" / "1.0.0")
    text = """
[sources.imu]
kind = "synthetic"
scene = "vibration"
[pipelines.a]
source = "imu"
model = "bearing"
[pipelines.b]
source = "imu"
model = "twin"
"""
    twin = Package(bearing.folder, replace(bearing.manifest, name="twin"), ())
    its = use(tmp_path, text, bearing, twin)
    assert faults(changed(bearing), its) == []
    (spec,) = bearing.manifest.input
    longer = changed(bearing, input=[replace(spec, length=2 * spec.rows)])
    (said,) = faults(longer, its)
    assert "its pipelines want different windows" in said
