"""Operators' signatures: what counts, and everything that must not."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import NotPermitted, Untrusted, UsageError
from edgeagent.fleet.keys import PrivateKey
from edgeagent.update import signatures
from edgeagent.update.signatures import COMMAND, DESIRED, Operators

ORDER = {"device": "d1", "type": "restart", "id": "a1", "at": "2026-11-24T10:00:00Z"}
ALICE = PrivateKey.new()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ALICE.save(tmp_path / "alice.pem")
    return tmp_path


def envelope(document: Any = ORDER, kind: str = COMMAND, key: PrivateKey = ALICE) -> Any:
    return json.loads(key.envelope(document, kind))


def test_what_an_operator_signed_is_opened(folder: Path) -> None:
    signed = Operators(folder).open(envelope(), COMMAND)
    assert signed.by == "alice"
    found = signatures.addressed(signed.payload, device="d1", type="restart", id="a1")
    assert found == ORDER


def test_the_signature_is_that_of_the_protocol(tmp_path: Path) -> None:
    """OpenSSL, which shares no code with us, checks the same bytes."""
    ALICE.save(tmp_path / "k.pem")
    whole = envelope()
    payload = base64.b64decode(whole["payload"])
    (tmp_path / "said").write_bytes(
        b"DSSEv1 %d %s %d %s" % (len(COMMAND), COMMAND.encode(), len(payload), payload)
    )
    (tmp_path / "sig").write_bytes(base64.b64decode(whole["signatures"][0]["sig"]))
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "k.pub", "-rawin", "-in", "said",
         "-sigfile", "sig"], cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(payload=base64.b64encode(b'{"device":"d2"}').decode()),
        lambda e: e["signatures"][0].update(sig=base64.b64encode(b"x" * 64).decode()),
        lambda e: e["signatures"][0].update(sig="AAAA"),
        lambda e: e["signatures"][0].update(sig="not base64!"),
        lambda e: e["signatures"][0].update(keyid="00"),
        lambda e: e.update(signatures=[]),
        lambda e: e.update(payloadType=DESIRED),
        lambda e: e.update(payload="%"),
        lambda e: e.pop("payload"),
        lambda e: e.update(signatures=[{"keyid": "x", "sig": "AAAA"}] * 20 + e["signatures"]),
    ],
)
def test_nothing_else_counts(folder: Path, change: Any) -> None:
    whole = envelope()
    change(whole)
    with pytest.raises(Untrusted):
        Operators(folder).open(whole, COMMAND)


@given(st.integers(0, 400), st.integers(1, 255))
def test_no_changed_byte_of_the_payload_passes(position: int, difference: int) -> None:
    payload = bytearray(base64.b64decode(envelope()["payload"]))
    payload[position % len(payload)] ^= difference
    whole = {**envelope(), "payload": base64.b64encode(bytes(payload)).decode()}
    operators = Operators(None)
    operators.keys = lambda: {signatures.keyid(ALICE.public): ("alice", ALICE.public)}  # type: ignore[method-assign]
    with pytest.raises(Untrusted):
        operators.open(whole, COMMAND)


def test_a_key_that_is_taken_away_counts_no_more(folder: Path) -> None:
    operators = Operators(folder)
    operators.open(envelope(), COMMAND)
    (folder / "alice.pub").unlink()
    with pytest.raises(Untrusted, match="no operator whom this device knows"):
        operators.open(envelope(), COMMAND)


def test_operators_come_from_the_signed_list_too(tmp_path: Path) -> None:
    listed = tmp_path / "operators.json"
    listed.write_text(json.dumps({"operators": {"ann": {"key": ALICE.public.hex()}}}))
    assert Operators(None, listed).open(envelope(), COMMAND).by == "ann"
    listed.write_text('{"operators": {"ann": {"key": "zz"}}}')
    assert Operators(None, listed).keys() == {}
    listed.write_text("nonsense")
    assert Operators(None, listed).keys() == {}


def test_files_that_are_no_keys_give_nobody_a_right(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
    (tmp_path / "b.pub").write_bytes(b"\xff" * 100)
    (tmp_path / "c.pub").mkdir()
    (tmp_path / "d.txt").write_text(ALICE.public.hex())
    (tmp_path / "e.pub").write_text(ALICE.public.hex() + "\n")
    assert [name for name, _ in Operators(tmp_path).keys().values()] == ["e"]


@pytest.mark.parametrize(
    "expected",
    [
        {"device": "d2", "type": "restart", "id": "a1"},
        {"device": "d1", "type": "restart", "id": "a2"},
        {"device": "d1", "type": "ping", "id": "a1"},
        {"group": "d1", "type": "restart", "id": "a1"},
    ],
)
def test_a_signed_order_can_t_be_sent_elsewhere(expected: dict[str, str]) -> None:
    with pytest.raises(Untrusted, match="it was signed for"):
        signatures.addressed(json.dumps(ORDER).encode(), **expected)


def test_one_for_a_device_and_a_group_is_for_neither() -> None:
    both = json.dumps({**ORDER, "group": "canary"}).encode()
    with pytest.raises(Untrusted):
        signatures.addressed(both, device="d1", type="restart", id="a1")


@pytest.mark.parametrize("payload", [b"[]", b"\xff", b"{", b"[" * 10000])
def test_what_was_signed_must_be_an_object(payload: bytes) -> None:
    with pytest.raises(Untrusted):
        signatures.addressed(payload, device="d1")


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    key = PrivateKey.new()
    key.save(tmp_path / "k.pem", "secret")
    assert PrivateKey.load(tmp_path / "k.pem", "secret").public == key.public
    for wrong in ("", "other"):
        with pytest.raises(NotPermitted):
            PrivateKey.load(tmp_path / "k.pem", wrong)
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="never written over"):
        key.save(tmp_path / "k.pem")
