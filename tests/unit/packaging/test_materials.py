"""The SBOM and the report of licences tell what is in the tree."""

import email.parser
import hashlib
import json
from pathlib import Path

import pytest

import materials

WHEEL = "tiny_lib-1.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


def _tree(folder: Path, licence: str = "License-Expression: MIT") -> tuple[Path, Path]:
    tree, wheels = folder / "tree", folder / "wheels"
    info = tree / "tiny_lib-1.2.dist-info"
    (info / "licenses").mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: Tiny_Lib\nVersion: 1.2\n{licence}\n"
    )
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_17_x86_64\n")
    (info / "licenses" / "LICENSE").write_text("as is")
    (tree / "tiny_lib.libs").mkdir()
    (tree / "tiny_lib.libs" / "libfast-12ab.so.3").write_bytes(b"\x7fELF")
    wheels.mkdir()
    (wheels / WHEEL).write_bytes(b"wheel")
    # The same version for another machine must not be taken for it.
    (wheels / WHEEL.replace("x86_64", "aarch64")).write_bytes(b"another")
    return tree, wheels


def test_each_distribution_has_its_wheels_hash_and_each_native_library_its_own(
    tmp_path: Path,
) -> None:
    tree, wheels = _tree(tmp_path)
    materials.write("pack", tree, tmp_path / "doc", 1_700_000_000, wheels)
    document = json.loads((tmp_path / "doc" / "sbom.cdx.json").read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    library, native = document["components"]
    assert library["purl"] == "pkg:pypi/tiny-lib@1.2"
    assert library["licenses"] == [{"expression": "MIT"}]
    assert library["hashes"][0]["content"] == hashlib.sha256(b"wheel").hexdigest()
    assert native["hashes"][0]["content"] == hashlib.sha256(b"\x7fELF").hexdigest()
    assert (
        "| Tiny_Lib | 1.2 | MIT | licenses/LICENSE |"
        in (tmp_path / "doc" / "licences.md").read_text()
    )


def test_the_same_tree_gives_the_same_document(tmp_path: Path) -> None:
    tree, wheels = _tree(tmp_path)
    for doc in ("one", "two"):
        materials.write("pack", tree, tmp_path / doc, 1_700_000_000, wheels)
    one, two = ((tmp_path / doc / "sbom.cdx.json").read_bytes() for doc in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("said", "is_it"),
    [
        ("License: Apache 2.0", "Apache-2.0"),
        ("Classifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License-Expression: MPL-2.0 AND MIT", "MPL-2.0 AND MIT"),
        ("License: BSD-3-Clause", "BSD-3-Clause"),
    ],
)
def test_a_licence_is_told_in_spdx_however_it_was_written(said: str, is_it: str) -> None:
    told = email.parser.Parser().parsestr(f"Name: x\nVersion: 1\n{said}\n")
    assert materials.licence(told) == is_it


def test_a_licence_that_nobody_has_looked_at_stops_the_build(tmp_path: Path) -> None:
    tree, wheels = _tree(tmp_path, "License: do what you like")
    with pytest.raises(SystemExit, match=r"Tiny_Lib 1\.2: .* 'do what you like'"):
        materials.components(tree, wheels)
