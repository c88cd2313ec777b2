"""A good package has no findings; each way of spoiling it has its own."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from edgeagent.errors import NotFound, NotPermitted
from edgeagent.manifest import Package, load_package
from edgeagent.prove.lint import Finding, lint, list_files


def edit(package: Package, *changes: tuple[str, str]) -> Path:
    file = package.folder / "model.toml"
    text = file.read_text()
    for old, new in changes:
        assert re.search(old, text, re.M), old
        text = re.sub(old, new, text, count=1, flags=re.M)
    file.write_text(text)
    return package.folder


def only(findings: list[Finding], level: str, words: str) -> Finding:
    assert len(findings) == 1, [str(one) for one in findings]
    assert findings[0].level == level
    assert words in str(findings[0])
    return findings[0]


def test_a_good_package(package: Package) -> None:
    assert lint(package.folder) == []


@pytest.mark.parametrize(
    ("old", "new", "level", "words"),
    [
        (r"^version = .*", 'version = "1.0"', "error", "'1.0' is no version"),
        (r"^name = .*", 'name = "Digits_1"', "error", "is not [a-z0-9-]{1,64}"),
        (r"^min_agent = .*", 'min_agent = "99.1"', "error", "needs edgeagent 99.1"),
        (r"^licence = .*\n", "", "error", "under which licence"),
        (r"^labels = .*", 'labels = ["a", "b"]', "error", "2 labels for a model with 10 classes"),
        (r"^labels = .*\n", "", "warning", "called by their numbers"),
        (r"^colour = .*", 'colour = "rgb"', "error", "colour"),
        (r"^size = .*", "size = [9, 8]", "error", "size"),
        (
            r"^kind = .*",
            'kind = "window"\nchannels = ["x"]\nlength = 3',
            "error",
            "do not fill a tensor",
        ),
        (r"^decoder = .*", 'decoder = "ssd"', "error", "ssd reads 4 outputs"),
        (r"^decoder = .*", 'decoder = "plugin"\nplugin = "x"', "error", "no postprocessor 'x'"),
        (r"^\[golden\]\n(.+\n)+", "", "warning", "[golden] is missing"),
        (r"top1 = 1 ", "top2 = 1 ", "error", "golden.tolerance.top2 is unknown"),
        (r"^\[golden\]", "[budget.default]\np95_ms = 0\n[golden]", "error", "never be kept"),
        (r"^\[golden\]", "[budget.default]\np99_ms = 5\n[golden]", "warning", "p95_ms, pss_mb"),
        (r'^file = "digits-int8.onnx"', 'file = "../x.onnx"', "error", "lies outside"),
    ],
)
def test_one_fault_one_finding(
    package: Package, old: str, new: str, level: str, words: str
) -> None:
    findings = lint(edit(package, (old, new)))
    # A changed name or version also no longer fits the folder, and a file that is named no
    # more has its own say; inputs, outputs and labels are held against both variants.
    told = [one for one in findings if words in str(one)]
    assert 1 <= len(told) <= 2, [str(one) for one in findings]
    assert {one.level for one in told} == {level}
    assert all(str(package.folder) in one.place for one in findings)
    beside = {one.problem for one in findings} - {one.problem for one in told}
    assert all("lies in digits/1.0.0" in problem for problem in beside), beside


def test_errors_come_first(package: Package) -> None:
    findings = lint(edit(package, (r"^labels = .*\n", ""), (r"^licence = .*\n", "")))
    assert [one.level for one in findings] == ["error", "warning"]


def test_all_faults_of_the_manifest_at_once(package: Package) -> None:
    findings = lint(edit(package, (r"^task = .*", 'task = "juggle"'), (r"^top = .*", "tip = 3")))
    assert len(findings) == 2
    assert all(one.level == "error" for one in findings)
    assert any("model.toml:3" in one.problem for one in findings)


def test_files_are_held_against_their_list(package: Package) -> None:
    folder = package.folder
    (folder / "labels.txt").write_text((folder / "labels.txt").read_text() + "\n")
    (folder / "extra.txt").write_text("?")
    (folder / "LICENCE").unlink()
    (folder / ".hidden").write_text("ignored")
    (folder / "notes~").write_text("ignored")
    data = bytearray((folder / "golden" / "0.png").read_bytes())
    data[-1] ^= 1
    (folder / "golden" / "0.png").write_bytes(data)
    problems = {one.problem for one in lint(folder)}
    assert problems == {
        "labels.txt has 21 bytes, listed are 20",
        "extra.txt is not listed",
        "LICENCE is listed and missing",
        "golden/0.png has another sha256",
    }


def test_fix_writes_the_list_and_nothing_else(package: Package) -> None:
    folder = edit(package, (r"^\[files\]\n(.+\n)+", ""))
    before = (folder / "model.toml").read_text()
    only(lint(folder), "error", "[files] is missing")
    assert lint(folder, fix=True) == []
    after = (folder / "model.toml").read_text()
    assert after.startswith(before.rstrip("\n"))
    assert set(load_package(folder).manifest.files) == set(list_files(folder))
    assert lint(folder, fix=True) == []
    assert (folder / "model.toml").read_text() == after
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []


def test_fix_keeps_comments_and_the_tables_around(package: Package) -> None:
    folder = edit(
        package,
        (r"^\[files\]", "# what is in it\n[files]"),
        (r"^\[provenance\]", "# how it was made\n[provenance]"),
    )
    (folder / "extra.txt").write_text("?")
    assert lint(folder, fix=True) == []
    text = (folder / "model.toml").read_text()
    assert text.index("# what is in it") < text.index("[files]") < text.index("extra.txt")
    assert text.index("extra.txt") < text.index("[provenance]")
    assert "trained_by" in text


def test_a_damaged_model_is_no_match_for_its_hash(package: Package) -> None:
    path = package.path("digits-int8.tflite")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    problems = [one.problem for one in lint(package.folder)]
    assert "digits-int8.tflite has another sha256" in problems
    assert any("not the file that model.toml describes" in problem for problem in problems)


def test_a_variant_that_is_missing(package: Package) -> None:
    package.path("digits-int8.onnx").unlink()
    findings = lint(package.folder)
    assert {one.problem for one in findings} == {
        "the file is missing",
        "digits-int8.onnx is listed and missing",
    }


def test_golden_answers_that_are_missing(package: Package) -> None:
    (package.folder / "golden" / "expected.json").unlink()
    assert lint(package.folder, fix=True)[0].problem == "there are no golden answers"
    shutil.rmtree(package.folder / "golden")
    only(lint(package.folder, fix=True), "error", "there are no golden answers")


def test_golden_samples_that_are_missing(package: Package) -> None:
    (package.folder / "golden" / "3.png").unlink()
    only(lint(package.folder, fix=True), "error", "the sample 3.png is missing")


def test_a_runtime_that_is_not_here_is_no_fault_of_the_package(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "onnxruntime"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    only(lint(package.folder), "warning", "not checked here: digits@1.0.0: ONNX models can't run")


def test_a_requirement_that_this_machine_lacks_is_no_fault(package: Package) -> None:
    folder = edit(
        package,
        (r'^file = "digits-int8.onnx"', 'requires = {arch = "vax"}\nfile = "digits-int8.onnx"'),
    )
    only(lint(folder), "warning", "not checked here")


def test_a_large_file(package: Package) -> None:
    with package.path("digits-int8.onnx").open("r+b") as stream:
        stream.truncate(25_000_000)
    large = [one for one in lint(package.folder) if "Mbit" in one.problem]
    only(large, "warning", "25 MB are 200 s at 1 Mbit/s")


def test_labels_twice(package: Package) -> None:
    (package.folder / "labels.txt").write_text("0\n1\n1\n3\n4\n5\n6\n7\n8\n9\n")
    only(lint(package.folder, fix=True), "warning", "1 more than once")


def test_no_package(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        lint(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_fix_where_nothing_may_be_written(package: Package) -> None:
    package.folder.chmod(0o555)
    try:
        with pytest.raises(NotPermitted):
            lint(package.folder, fix=True)
    finally:
        package.folder.chmod(0o755)


@pytest.mark.parametrize("name", ["parts", "digits", "bearing"])
def test_our_own_packages_fit_their_models(repository: Path, name: str) -> None:
    folder = max((repository / "models" / name).iterdir())
    assert [str(one) for one in lint(folder)] == []
