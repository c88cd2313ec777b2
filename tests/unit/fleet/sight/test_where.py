"""``--where``: what it means, and that it can do nothing else."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeagent.errors import UsageError
from edgeagent.fleet.sight.where import parse

DOOR: dict[str, Any] = {
    "device": "door-7", "name": "Door 7", "site": "hall 2", "state": "degraded", "online": True,
    "profile": "rpi4", "arch": "aarch64", "version": "0.10.1", "groups": ["canary", "doors"],
    "reasons": ["cam0: covered"], "config": "applied", "held": [], "rev": 12,
    "model": {"parts": "1.2.10", "line-3": "2.0.0-rc.1"}, "tags": {"line": "3"},
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "", "online", 'site == "hall 2" and model.parts < "1.3"', 'model.parts > "1.2.9"',
        'model.parts == "1.2.10"', 'model["line-3"] < "2"', 'version >= "0.9"',
        'not (site == "hall 1") and "canary" in groups', 'profile in ["rpi4", "rpi5"]',
        'tags.line == "3"', "rev > 11 and rev <= 12", '"hall" in site',
        '"1.2" < model.parts < "1.3"', 'model.parts in ["1.2.10", "1.3"]', "held == []",
        'tags.none == ""', 'model.none != "1.0"', 'state != "online"', "True",
    ],
)  # fmt: skip
def test_it_holds(text: str) -> None:
    assert parse(text)(DOOR)


@pytest.mark.parametrize(
    "text",
    [
        "not online", 'model.parts < "1.2.9"', 'model.none < "9"', 'model.none >= "0"',
        'tags.none < "5"', 'site < 5', "False", 'profile not in ["rpi4"]', 'name == "door 7"',
        '"canary" not in groups', "rev < 12 < rev",
    ],
)  # fmt: skip
def test_it_does_not_hold(text: str) -> None:
    assert not parse(text)(DOOR)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('siet == "x"', "did you mean \"site\"?"), ("site = 'x'", "can't be read at column"),
        ("model < '1'", "asked with a name"), ("site.x == 'y'", "has no parts"),
        ("__import__('os').system('true')", "column 1: a comparison"),
        ("site == open('x')", "column 9"), ("site is 'x'", "compare with"),
        ("[x for x in groups] == []", "column 1"), ("(lambda: 1) == 1", "column"),
        ("site == f'{name}'", "column 9"), ("model[rev] == '1'", "column"),
        ("1 +", "can't be read"),
        ("'x'", "a comparison was expected"), ("(" * 300 + "online" + ")" * 300, "can't be read"),
        ("online and " * 1000 + "online", "longer than"), ("\0", "can't be read"),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(").replace("?", r"\?")):
        parse(text)


words = st.sampled_from(
    ["site", "model.parts", "tags['a']", "and", "or", "not", "in", "==", "<", "(", ")", "[", "]",
     "'x'", '"1.2"', "5", "-", ",", "online", "lambda", ":", ".", "__class__", "groups", "if",
     "else", "await", "yield", "**", "~", "None"]
)  # fmt: skip


@given(
    st.one_of(st.lists(words, max_size=12).map(" ".join), st.text(string.printable, max_size=40))
)
@example("-site == 5")
@example("[[1]] == [[1]]")
def test_any_text_is_a_test_or_a_fault(text: str) -> None:
    try:
        test = parse(text)
    except UsageError:
        return
    assert test(DOOR) in (True, False)
