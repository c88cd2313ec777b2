"""What a package of libraries is made of: an SBOM (CycloneDX 1.6, JSON) and a report of licences.

Made from the tree that is shipped, not from what was asked for: each distribution with the hash of
the wheel that it came in, each native library that a wheel brings along with its own hash.
"""

from __future__ import annotations

import email.message
import email.parser
import hashlib
import json
import re
import time
import uuid
from pathlib import Path
from typing import Any

from packaging.tags import parse_tag
from packaging.utils import canonicalize_name, parse_wheel_filename

_LICENCE_TEXTS = ("LICEN", "COPYING", "NOTICE", "AUTHORS")
_SPDX = {
    # What authors wrote into `License:`, or only as a classifier.
    "Apache Software License": "Apache-2.0", "Apache 2.0": "Apache-2.0",
    "MIT License": "MIT", "BSD License": "BSD-3-Clause", "BSD": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause", "new BSD": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC", "Apache License, Version 2.0": "Apache-2.0",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-only",
    "EPL-2.0 OR BSD-3-Clause": "EPL-2.0 OR BSD-3-Clause",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
}  # fmt: skip


def write(package: str, tree: Path, doc: Path, at: int, wheels: Path) -> None:
    """Write ``sbom.cdx.json`` and ``licences.md`` into a package's folder of documents.

    Args:
        package: its name.
        tree: its libraries, as they are shipped.
        doc: the folder, made where it is missing.
        at: the time of the build, seconds.
        wheels: where the wheels lie that the tree was filled from.
    """
    doc.mkdir(parents=True, exist_ok=True)
    parts = components(tree, wheels)
    content = json.dumps(parts, sort_keys=True)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # Of the content: the same build gives the same document.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, package + content)}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)),
            "component": {"type": "application", "name": package, "bom-ref": package},
        },
        "components": parts,
    }
    (doc / "sbom.cdx.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (doc / "licences.md").write_text(report(package, tree), encoding="utf-8")


def components(tree: Path, wheels: Path) -> list[dict[str, Any]]:
    """Distributions, and the native libraries in them."""
    found: list[dict[str, Any]] = []
    for info in sorted(tree.glob("*.dist-info")):
        told = _metadata(info)
        name, version = canonicalize_name(told["Name"]), told["Version"]
        purl = f"pkg:pypi/{name}@{version}"
        part: dict[str, Any] = {
            "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
            "licenses": [{"expression": licence(told)}],
        }  # fmt: skip
        wheel = _wheel_of(info, name, version, wheels)
        part["hashes"] = [{"alg": "SHA-256", "content": _sha256(wheel)}]
        part["properties"] = [{"name": "wheel", "value": wheel.name}]
        found.append(part)
    for file in sorted(tree.glob("*.libs/*")):
        found.append({
            "type": "file", "bom-ref": f"file:{file.relative_to(tree)}", "name": file.name,
            "hashes": [{"alg": "SHA-256", "content": _sha256(file)}],
            "properties": [{"name": "path", "value": str(file.relative_to(tree))}],
        })  # fmt: skip
    return found


def licence(told: email.message.Message) -> str:
    """The licence of a distribution as an SPDX expression.

    Raises:
        SystemExit: its metadata tells none that is known here: a person has to look.
    """
    expression = told.get("License-Expression")
    if expression:
        return str(expression)
    classified = [
        value.split(" :: ")[-1]
        for value in told.get_all("Classifier", [])
        if value.startswith("License :: OSI Approved ::")
    ]
    for said in [(told.get("License") or "").strip(), *classified]:
        if said in _SPDX or said in _SPDX.values():
            return _SPDX.get(said, said)
        if (
            re.fullmatch(r"[A-Za-z0-9.-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.-]+)*", said)
            and "-" in said
        ):
            return said
    raise SystemExit(
        f"{told['Name']} {told['Version']}: its licence is told as {told.get('License')!r} and "
        f"{classified}; add it to packaging/deb/materials.py once somebody has read it"
    )


def report(package: str, tree: Path) -> str:
    """A table of the licences, with the files that hold their texts."""
    lines = [
        f"# Licences of {package}\n",
        "| library | version | licence | texts |",
        "|---|---|---|---|",
    ]
    for info in sorted(tree.glob("*.dist-info")):
        told = _metadata(info)
        texts = sorted(
            str(file.relative_to(info))
            for file in info.rglob("*")
            if file.is_file() and file.name.upper().startswith(_LICENCE_TEXTS)
        )
        lines.append(
            f"| {told['Name']} | {told['Version']} | {licence(told)} | {', '.join(texts) or '–'} |"
        )
    lines.append("\nThe texts lie in `site-packages/NAME-VERSION.dist-info/`.\n")
    return "\n".join(lines)


def _metadata(info: Path) -> email.message.Message:
    return email.parser.Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))


def _wheel_of(info: Path, name: str, version: str, wheels: Path) -> Path:
    told = email.parser.Parser().parsestr((info / "WHEEL").read_text(encoding="utf-8"))
    tags = {tag for line in told.get_all("Tag", []) for tag in parse_tag(line)}
    for wheel in sorted(wheels.glob("*.whl")):
        its, number, _, offered = parse_wheel_filename(wheel.name)
        if its == name and str(number) == version and offered & tags:
            return wheel
    raise SystemExit(f"{wheels} has no wheel of {name} {version} any more; remove the trees")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
