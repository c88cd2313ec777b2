"""What is wished for, its layers and revs, and what outlives broker and power."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.update import desired
from edgeagent.update.desired import Desired, Layer, Policy, Wish
from edgeagent.update.intent import Intent


def layer(source: str, rev: int, version: str = "", **config: object) -> Layer:
    models = {"parts": Wish(version)} if version else {}
    return Layer(source, rev, Desired(rev, models=models, config=dict(config)))


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"[]", "Expected `object`"),
        (b'{"at": ""}', "missing required field `rev`"),
        (b'{"rev": 0}', "`int` >= 1"),
        (b'{"rev": 1, "models": {"Parts": {"version": "1.0.0"}}}', "matching regex"),
        (b'{"rev": 1, "models": {"../x": {"version": "1.0.0"}}}', "matching regex"),
        (b'{"rev": 1, "models": {"parts": {"version": "../1"}}}', "$.models.parts.version"),
        (
            b'{"rev": 1, "models": {"parts": {"version": "1.0.0", "policy": {"soak_s": -1}}}}',
            ">= 0",
        ),
        (b'{"rev": 1, "config": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}", "deeper"),
        (b"\xff", "malformed"),
        (b" " * 300_000 + b"{}", "300002 bytes"),
    ],
)
def test_what_is_no_desired_state_is_told_with_its_place(payload: bytes, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        desired.read(payload)
    assert said in str(caught.value)


@given(st.binary(max_size=200))
def test_no_bytes_do_any_harm(payload: bytes) -> None:
    try:
        desired.read(payload)
    except ValueError:
        pass


def test_the_device_comes_before_its_groups_in_their_order() -> None:
    layers = {
        its.source: its
        for its in (
            layer("group:all", 9, "1.0.0", a=1, b={"c": 1, "d": None}),
            layer("group:canary", 2, "2.0.0", b={"c": 2}),
            layer("device", 1, "", b={"e": 3}),
            layer("group:other", 5, "9.0.0"),
        )
    }
    counting = desired.in_order(layers, ["canary", "all"])
    assert [its.source for its in counting] == ["device", "group:canary", "group:all"]
    wanted = desired.wishes(counting)["parts"]
    assert (wanted.wish.version, wanted.source, wanted.rev) == ("2.0.0", "group:canary", 2)
    patch = desired.patch(counting)
    assert patch is not None
    assert patch.patch == {"a": 1, "b": {"c": 2, "d": None, "e": 3}}
    assert patch.revs == {"device": 1, "group:canary": 2, "group:all": 9}


def test_only_a_higher_rev_is_news(tmp_path: Path) -> None:
    intent = Intent(tmp_path)
    assert intent.take("device", Desired(5, by="a")) == "new"
    assert intent.take("device", Desired(5, by="a")) == "same"
    assert intent.take("device", Desired(5, by="b")) == "older"
    assert intent.take("device", Desired(4)) == "older"
    assert intent.take("device", None) == "cleared"
    assert intent.take("device", None) == "same"
    again = Intent(tmp_path)
    assert again.take("device", Desired(4)) == "older", "a replay brings nothing back"
    assert again.rev("device") == 5
    assert again.take("device", Desired(5, by="a")) == "new", "put back after it was cleared"


def test_an_unsigned_document_does_not_outbid_a_signed_one_to_come(tmp_path: Path) -> None:
    intent = Intent(tmp_path)
    intent.take("device", Desired(3), signed=True)
    intent.take("device", Desired(2**62))
    assert intent.take("device", Desired(4, by="op"), signed=True) == "new"
    assert intent.take("device", Desired(3), signed=True) == "older", "an old signature, replayed"


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "desired.json").write_bytes(b"\0" * 100)
    assert Intent(tmp_path).take("device", Desired(1)) == "new"


def test_the_same_wish_in_a_later_rev_has_another_key_and_policies_count() -> None:
    one = desired.wishes([layer("device", 1, "1.0.0")])["parts"]
    two = desired.wishes([layer("device", 2, "1.0.0")])["parts"]
    assert one.key != two.key
    assert Wish("1.0.0", Policy(force=True)) != Wish("1.0.0")
