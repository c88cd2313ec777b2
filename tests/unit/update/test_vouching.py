"""Whose code runs: signed by whom, for what, and what is said where it is not."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config.load import Loaded
from edgeagent.config.model import Config, Pipeline, Plugins, Trust
from edgeagent.diagnose.checks import handlers
from edgeagent.diagnose.context import Context
from edgeagent.errors import NotFound, NotPermitted, PackageError, Untrusted
from edgeagent.fleet.keys import PrivateKey
from edgeagent.manifest import Package, load_package
from edgeagent.packaged import permit
from edgeagent.prove.lint import lint
from edgeagent.testing.onnxgraph import echo_package
from edgeagent.update.protected import protected
from edgeagent.update.signatures import DESIRED
from edgeagent.update.vouching import CODE, SIGNATURE, permit_of, statement

CODE_TEXT = "def decode(outputs, about):\n    return []\n"


@pytest.fixture
def key(tmp_path: Path) -> PrivateKey:
    made = PrivateKey.new()
    made.save(tmp_path / "keys" / "alice.pem")
    return made


@pytest.fixture
def package(tmp_path: Path) -> Package:
    folder = echo_package(tmp_path / "models", "m")
    (folder / "handler.py").write_text(CODE_TEXT)
    return load_package(folder)


def config(tmp_path: Path, *, packaged: bool = True) -> Config:
    return Config(
        plugins=Plugins(packaged=packaged, timeout="2 s", memory="64 MiB"),
        trust=Trust(operators=str(tmp_path / "keys")),
    )


def sign(package: Package, key: PrivateKey, what: bytes = b"", kind: str = CODE) -> None:
    envelope = key.envelope(what or statement(package), kind)
    (package.folder / SIGNATURE).write_bytes(envelope)


def test_an_operator_vouches_for_these_bytes(
    package: Package, key: PrivateKey, tmp_path: Path
) -> None:
    check = permit_of(config(tmp_path), tmp_path)
    with pytest.raises(Untrusted, match="signed by nobody") as caught:
        check(package)
    assert "edgeagent models sign" in caught.value.remedy
    sign(package, key)
    found = check(package)
    assert found.code == CODE_TEXT.encode() and found.by == "operator alice"
    assert found.terms.timeout_s == 2.0 and found.terms.memory_bytes == 64 << 20
    (package.folder / "handler.py").write_text(CODE_TEXT + "#\n")
    with pytest.raises(Untrusted, match=r"not the one that operator alice has signed"):
        check(package)


def test_it_is_off_unless_asked_for(package: Package, key: PrivateKey, tmp_path: Path) -> None:
    sign(package, key)
    with pytest.raises(NotPermitted, match="this device runs none") as caught:
        permit_of(config(tmp_path, packaged=False), tmp_path)(package)
    assert "packaged = true" in caught.value.remedy
    with pytest.raises(NotPermitted):
        permit.vouched(package)  # as every process begins


def test_a_signature_fits_nothing_else(package: Package, key: PrivateKey, tmp_path: Path) -> None:
    check = permit_of(config(tmp_path), tmp_path)
    other = echo_package(tmp_path / "models", "n")
    shutil.copy(package.folder / "handler.py", other)
    sign(package, key)
    shutil.copy(package.folder / SIGNATURE, other)
    with pytest.raises(Untrusted, match=r"was made for m 1\.0\.0, and this is n 1\.0\.0"):
        check(load_package(other))
    sign(package, PrivateKey.new())
    with pytest.raises(Untrusted, match="no operator whom this device knows"):
        check(package)
    sign(package, key, kind=DESIRED)
    with pytest.raises(Untrusted, match="what is signed is"):
        check(package)
    sign(package, key, b'{"model": 3}')
    with pytest.raises(Untrusted, match="Expected `str`"):
        check(package)
    (package.folder / SIGNATURE).write_bytes(b"\xff\x00")
    with pytest.raises(Untrusted, match="can't be read"):
        check(package)


def test_the_fleets_repository_vouches(package: Package, tmp_path: Path) -> None:
    check = permit_of(config(tmp_path), tmp_path)
    sha256 = hashlib.sha256(CODE_TEXT.encode()).hexdigest()

    def signed(path: str, digest: str) -> None:
        target = {"path": path, "length": 3, "sha256": digest, "custom": {}}
        (tmp_path / "trust").mkdir(exist_ok=True)
        (tmp_path / "trust" / "signed.json").write_text(json.dumps({path: target}))

    signed("models/m/1.0.0/handler.py", sha256)
    assert check(package).by == "the fleet's repository"
    signed("models/m/0.9.0/handler.py", sha256)  # the same code came with an older version
    assert check(package).by == "the fleet's repository"
    signed("models/n/1.0.0/handler.py", sha256)
    with pytest.raises(Untrusted, match="signed by nobody"):
        check(package)
    signed("models/m/1.0.0/handler.py", "0" * 64)
    with pytest.raises(Untrusted, match="fleet's repository has signed: it was changed"):
        check(package)


def test_what_is_listed_otherwise_is_refused(
    package: Package, key: PrivateKey, tmp_path: Path
) -> None:
    sign(package, key)
    lint(package.folder, fix=True)
    text = (package.folder / "model.toml").read_text()
    sha256 = hashlib.sha256(CODE_TEXT.encode()).hexdigest()
    (package.folder / "model.toml").write_text(text.replace(sha256, "1" * 64))
    with pytest.raises(Untrusted, match=r"model\.toml lists"):
        permit_of(config(tmp_path), tmp_path)(load_package(package.folder))


def test_a_child_is_told_what_was_found(package: Package, key: PrivateKey, tmp_path: Path) -> None:
    sign(package, key)
    try:
        permit.use(permit_of(config(tmp_path), tmp_path))
        told = json.loads(json.dumps(permit.told(package.folder)))
        (package.folder / SIGNATURE).unlink()
        refused = json.loads(json.dumps(permit.told(package.folder)))
        permit.use_told(told)
        assert permit.vouched(package).code == CODE_TEXT.encode()
        permit.use_told(refused)
        with pytest.raises(Untrusted, match="signed by nobody"):
            permit.vouched(package)
        permit.use_told({})
        with pytest.raises(NotPermitted):
            permit.vouched(package)
    finally:
        permit.use(permit.nobody)
    (package.folder / "handler.py").unlink()
    assert permit.told(package.folder) == {}
    with pytest.raises(NotFound):
        statement(package)


def test_a_file_that_is_too_large_is_not_even_read(package: Package) -> None:
    (package.folder / "handler.py").write_bytes(b"#" * (permit.MOST_BYTES + 1))
    with pytest.raises(PackageError, match="more than 256 KiB"):
        permit.read(package)


def test_the_fleet_may_not_switch_it_on_unsigned() -> None:
    assert protected({"plugins": {"packaged": False}}, {"plugins": {"packaged": True}}) == [
        "plugins.packaged"
    ]


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def decode(outputs, about)\n", "line 1"),
        ("def decod(outputs, about): ...\n", "no function decode"),
        (None, "it is missing"),
    ],
)
def test_lint_says_what_its_author_must_mend(package: Package, code: str | None, says: str) -> None:
    file = package.folder / "model.toml"
    file.write_text(file.read_text().replace('"none"\n[[', '"handler"\n[['))
    if code is None:
        (package.folder / "handler.py").unlink()
    else:
        (package.folder / "handler.py").write_text(code)
    found = [str(its) for its in lint(package.folder, fix=True)]
    assert any("handler.py" in its and says in its for its in found), found


def test_doctor_tells(package: Package, key: PrivateKey, tmp_path: Path) -> None:
    its = config(tmp_path)
    its.pipelines["p"] = Pipeline(model="m", source="s")

    def told(**status: Any) -> list[tuple[str, str]]:
        context = Context(
            tmp_path,
            Loaded(its, "", (), {}),
            find_model=lambda _name, _version: package,
            ask_agent=lambda: {"pipelines": {"p": status}},
        )
        return [(one.severity, one.what) for one in handlers.signed(context)]

    (refused,) = told()
    assert refused[0] == "failed" and "signed by nobody" in refused[1]
    sign(package, key)
    assert told() == [("ok", "handler.py of m 1.0.0 may run, by operator alice")]
    found = told(handler={"lacks": {"files": "this kernel has no Landlock"}, "aside": "put aside"})
    assert [one[0] for one in found] == ["ok", "problem", "failed"]
