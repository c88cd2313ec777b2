"""What keeps a rule from holding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.decide.rules import Facts, because, parse
from edgeagent.decide.rules.clause import comparisons


def lacks(rule: str, **facts: object) -> list[tuple[str, object]]:
    its = Facts("crack", 0.9, "p", **facts)  # type: ignore[arg-type]
    return [(one.text, one.value) for one in because(parse(rule).clause, its)]


@pytest.mark.parametrize(
    ("rule", "lacking"),
    [
        ("label == 'crack'", []),
        ("label == 'whole'", [("label == 'whole'", "crack")]),
        ("label == 'crack' and score > 0.95", [("score > 0.95", 0.9)]),
        ("label == 'whole' and age > 2 s", [("label == 'whole'", "crack"), ("age > 2 s", 0.5)]),
        ("score > 2 or age > 2 s and score > 3", [("score > 2", 0.9)]),
        ("not label == 'crack'", [("not label == 'crack'", "crack")]),
        ("not (label == 'crack' or score > 2)", [("not label == 'crack'", "crack")]),
        ("not (label == 'crack' and score > 0.5)", [("not label == 'crack'", "crack")]),
        ("label in ['whole', 'dent']", [("label in ['whole', 'dent']", "crack")]),
    ],
)
def test_the_comparisons_that_fail(rule: str, lacking: list[tuple[str, object]]) -> None:
    assert lacks(rule, age=0.5) == lacking


_ATOMS = ("label == 'crack'", "label == 'whole'", "score > 0.5", "age > 2 s", "track == 3")


def _rules(depth: int = 3) -> st.SearchStrategy[str]:
    return st.recursive(
        st.sampled_from(_ATOMS),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map(
                lambda its: f"({its[0]}{its[1]}{its[2]})"
            ),
            inner.map(lambda its: f"not ({its})"),
        ),
        max_leaves=6,
    )


@given(
    rule=_rules(), label=st.sampled_from(["crack", "whole", "dent"]), score=st.floats(0, 1),
    age=st.floats(0, 5), track=st.integers(1, 4),
)  # fmt: skip
def test_something_is_lacking_exactly_where_the_rule_does_not_hold(
    rule: str, label: str, score: float, age: float, track: int
) -> None:
    expression = parse(rule)
    facts = Facts(label, score, "p", age=age, track=track)
    lacking = because(expression.clause, facts)
    assert bool(lacking) == (not expression(facts))
    known = {its.text for its in comparisons(expression.clause)}
    assert all(one.text.removeprefix("not ") in known for one in lacking)
