"""Which wheels come, and what of them stays."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import vendor


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_every_library_of_a_package_is_in_the_lock_for_its_python(release: str, arch: str) -> None:
    table = vendor.plan()
    lines = vendor.locked(table["release"][release]["python"], arch)
    for flavour in table["flavour"].values():
        for name in flavour["distributions"]:
            assert lines[name].startswith(f"{name}==")
            assert "--hash=" not in lines[name].split()[0]
            assert lines[name].count("--hash=sha256:") >= 1


def test_markers_are_those_of_the_target_not_of_this_python() -> None:
    assert vendor.version("numpy", "3.11", "amd64") != vendor.version("numpy", "3.13", "amd64")
    assert "exceptiongroup" in vendor.locked("3.10", "amd64")
    assert "exceptiongroup" not in vendor.locked("3.13", "amd64")


def test_tags_are_named_one_by_one_down_from_the_releases_own_glibc() -> None:
    tags = vendor.platforms(36, "arm64")
    assert tags[0] == "manylinux_2_36_aarch64"
    assert tags[-1] == "manylinux2014_aarch64"
    assert "manylinux_2_17_aarch64" in tags and "manylinux_2_39_aarch64" not in tags


def test_trimming_takes_what_it_names_and_evens_out_modes(tmp_path: Path) -> None:
    (tmp_path / "big" / "tools").mkdir(parents=True)
    (tmp_path / "big" / "tools" / "convert.py").write_text("")
    (tmp_path / "big" / "script.py").write_text("")
    (tmp_path / "big" / "script.py").chmod(0o775)
    (tmp_path / "big" / "stubs.pyi").write_text("")
    vendor.trim(tmp_path, ["big/tools"], ["**/*.pyi", "**/nothing-like-it"])
    left = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*"))
    assert left == ["big", "big/script.py"]
    assert (tmp_path / "big" / "script.py").stat().st_mode & 0o777 == 0o644


def test_a_pattern_that_matches_nothing_any_more_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"big/tools matches nothing any more"):
        vendor.trim(tmp_path, ["big/tools"], [])


def _imported(tree: ast.Module) -> Iterator[str]:
    """Modules that a module imports as soon as it is imported itself."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (its.name for its in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{its.name}" for its in node.names)


def test_what_is_taken_out_of_the_packages_is_not_imported(repository: Path) -> None:
    """Else a device's agent would not even start. What only a desk needs is not looked at."""
    removed = {
        pattern.removesuffix(".py").replace("/", ".")
        for flavour in vendor.plan()["flavour"].values()
        for pattern in flavour["remove"]
        if "*" not in pattern and not pattern.endswith(".so")
    }
    assert {"numpy.typing", "onnxruntime.quantization"} <= removed
    found = {
        f"{file.relative_to(repository)}: {name}"
        for file in (repository / "edgeagent").rglob("*.py")
        if file.relative_to(repository / "edgeagent").parts[0] not in ("demo", "testing")
        for name in _imported(ast.parse(file.read_text()))
        if name in removed
    }
    assert found == set()
