"""The language of `when`."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.decide.rules import CALLS, DEEPEST, LONGEST, NAMES, Facts, Scene, parse
from edgeagent.errors import ConfigError

FACTS = Facts(
    label="crack", score=0.8, pipeline="door", zones=("belt", "left"), age=0.75, track=17,
    count=3, speed=0.2, value=21.5, lines=("gate", "gate:in"), still=12.0, dwell={"belt": 4.5},
    scene=Scene(
        counts={"crack": 3, "dent": 1}, inside={"belt": 4}, crossed={"gate": 7, "gate:in": 5},
        values={"motor": 41.0, "imu.x": -0.2}, time=23 * 3600 + 30 * 60, day="sat",
        clock="synced",
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("label == 'crack'", True),
        ('label == "crack"', True),
        ("label != 'crack'", False),
        ("label in ['dent', 'crack']", True),
        ("label not in ['dent', 'crack']", False),
        ("not label in ['dent']", True),
        ("'crack' == label", True),
        ("zone == 'belt'", True),
        ("zone == 'left'", True),
        ("zone == 'right'", False),
        ("zone != 'right'", True),
        ("zone != 'belt'", False),
        ("'belt' in zones", True),
        ("'right' not in zones", True),
        ("zone in ['right', 'left']", True),
        ("zones not in ['right', 'up']", True),
        ("score > 0.5", True),
        ("score >= 80 %", True),
        ("score > 80%", False),
        ("0.5 < score", True),
        ("score <= .8", True),
        ("score < 8e-1", False),
        ("age > 0.5 s", True),
        ("age > 500ms", True),
        ("age > 800 ms", False),
        ("age < 1 min", True),
        ("age >= 750000 us", True),
        ("track == 17", True),
        ("track in [1, 17]", True),
        ("count > 2", True),
        ("speed >= 20 %", True),
        ("value > -3", True),
        ("value == 21.5", True),
        ("pipeline == 'door'", True),
        ("label == 'crack' and zone == 'belt' and age > 0.5 s", True),
        ("label == 'dent' or label == 'crack'", True),
        ("label == 'dent' or label == 'crack' and score > 0.9", False),
        ("(label == 'dent' or label == 'crack') and score > 0.5", True),
        ("not (label == 'dent' or score > 0.9)", True),
        ("not not score > 0.5", True),
        ("score > 0.1 and score > 0.2 and score > 0.3 and score > 0.9", False),
        ("((((score > 0.1))))", True),
        ("  score>0.1\n and\tlabel=='crack' ", True),
        ("label == zone", False),
        ("line == 'gate'", True),
        ("line == 'gate:in'", True),
        ("line == 'gate:out'", False),
        ("line != 'gate:out'", True),
        ("'gate' in lines", True),
        ("line in ['door', 'gate']", True),
        ("line not in ['door']", True),
        ("still > 10 s", True),
        ("still >= 1 min", False),
        ("dwell('belt') > 4 s", True),
        ("dwell('belt') > 5 s", False),
        ("dwell('left') == 0 s", True),
        ("inside('belt') >= 4", True),
        ("inside('left') > 0", False),
        ("count('dent') == 1", True),
        ("count('person') == 0", True),
        ("crossed('gate') == 7", True),
        ("crossed('gate:in') > crossed('gate:out')", True),
        ("value('motor') > 40", True),
        ("value('imu.x') < 0", True),
        ("value > 20 and value('motor') > 50", False),
        ("time >= 22:00", True),
        ("time < 23:30:01", True),
        ("time in 22:00..06:00", True),
        ("time in 06:00..22:00", False),
        ("time not in 06:00..22:00", True),
        ("time in 23:30..24:00", True),
        ("time in 23:00..23:30", False),
        ("day == 'sat'", True),
        ("day in ['sat', 'sun']", True),
        ("day not in ['mon', 'tue', 'wed', 'thu', 'fri']", True),
        ("clock == 'synced'", True),
        ("label == 'crack' and (time in 22:00..06:00 or clock == 'unsynced')", True),
    ],
)
def test_worked_examples(text: str, true: bool) -> None:
    assert parse(text)(FACTS) is true


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "not the end"),
        ("lable == 'crack'", 1, "did you mean label?"),
        ("label == crack", 10, "there is no crack"),
        ("label = 'crack'", 7, "compare with =="),
        ("label == 'crack", 10, "not closed"),
        ("score > ", 9, "not the end"),
        ("score > 'high'", 7, "can't be compared with a text"),
        ("label > 'a'", 7, "texts have no order"),
        ("age > 0.5", 7, "a duration needs a unit"),
        ("age > 5 %", 7, "a duration needs a unit"),
        ("score > 0.5 s", 7, "can't be compared with a duration"),
        ("age > 0.5 sec", 11, "'sec' is no unit"),
        ("zone > 'a'", 6, "zones are compared by"),
        ("zone == 3", 6, "can't be compared"),
        ("score", 6, "expected a comparison"),
        ("score > 0.1 score < 0.5", 13, "is too much"),
        ("0.1 < score < 0.5", 13, "can't be chained"),
        ("(score > 0.1", 13, "expected ), not the end"),
        ("score > 0.1)", 12, "is too much"),
        ("label in 'crack'", 7, "in needs a list"),
        ("label in ['a', score]", 16, "a list holds texts or numbers"),
        ("label in [['a']]", 11, "a list holds texts or numbers"),
        ("label in ['a', 3]", 7, "can't be compared"),
        ("label in []", 11, "expected a name"),
        ("score in zones", 7, "can't be in zones"),
        ("label not 'a'", 11, "expected in after not"),
        ("1 < 2", 3, "two constants"),
        ("score > $x", 9, "'$' means nothing here"),
        ("__import__('os')", 1, "there is no __import__"),
        ("label.upper == 'A'", 6, "'.' means nothing here"),
        ("score > -", 10, "expected a number after -"),
        ("and score > 1", 1, "expected a name"),
        ("score > 0.1 and", 16, "expected a name"),
        ("label == ['a']", 7, "can't be compared with a list"),
        ("line > 'a'", 6, "lines are compared by"),
        ("score in lines", 7, "can't be in lines: expected a line's name"),
        ("dwell > 3 s", 1, "dwell is asked with a zone: dwell('…')"),
        ("dwell('a') > 3", 14, "a duration needs a unit"),
        ("dwell(a) > 3 s", 7, "with the name of a zone in quotes"),
        ("dwell('a' > 3 s", 11, "expected )"),
        ("inside('a') > 'b'", 13, "can't be compared with a text"),
        ("time > 22", 8, "a time of day is written 22:00"),
        ("time > 22:60", 8, "22:60 is no time of day"),
        ("time > 24:01", 8, "24:01 is no time of day"),
        ("time == 22:00..06:00", 6, "is asked with in"),
        ("time in 22:00", 6, "in needs a list"),
        ("time in 22:00..6", 16, "expected a time such as 06:00"),
        ("age in 22:00..06:00", 5, "can't be in a stretch of time"),
        ("22:00 in 21:00..23:00", 7, "can't be in a stretch of time"),
        ("day == 'saturday'", 8, "day is never 'saturday'"),
        ("day in ['sat', 'son']", 16, "day is never 'son'"),
        ("clock != 'sync'", 10, "clock is never 'sync'"),
        ("still > 3", 9, "a duration needs a unit"),
        ("time > age", 6, "can't be compared"),
        ("crosed('gate') > 1", 1, "did you mean crossed?"),
    ],
)
def test_faults_point_at_the_column(text: str, column: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f"rule, column {column}: ")
    assert words in message
    assert message.splitlines()[-1] == "  " + " " * (column - 1) + "^"


def test_what_it_asks() -> None:
    expression = parse("label in ['a', 'b'] and ('gate' in zones or zone == 'door') and count > 1")
    assert expression.names == {"label", "zones", "zone", "count"}
    assert expression.labels == (("a", 11), ("b", 16))
    assert expression.zones == (("gate", 26), ("door", 53))


def test_what_has_no_value_is_never_above_or_below() -> None:
    facts = Facts("a", 0.5)
    assert math.isnan(facts.value)
    assert not parse("value > 0")(facts) and not parse("value <= 0")(facts)


def test_what_it_asks_of_others() -> None:
    expression = parse("line == 'gate:in' and dwell('hall') > 1 s or value('m.t') > count('a')")
    assert expression.lines == (("gate:in", 9),)
    assert expression.zones == (("hall", 29),)
    assert expression.readings == (("m.t", 52),)
    assert expression.labels == (("a", 67),)
    assert expression.names == {"line", "dwell()", "value()", "count()"}


@pytest.mark.parametrize(
    "text",
    ["time >= 00:00", "time < 24:00", "time != 03:00", "time in 00:00..24:00",
     "time not in 03:00..04:00", "day == 'mon'", "day != 'mon'", "day not in ['mon']",
     "clock == 'synced'"],
)  # fmt: skip
def test_nobody_knows_the_time_by_a_clock_that_is_not_trusted(text: str) -> None:
    assert parse(text)(Facts("a", 0.5)) is False
    assert parse(f"{text} or clock == 'unsynced'")(Facts("a", 0.5)) is True


def test_limits() -> None:
    deep = "(" * (DEEPEST - 1) + "score > 0" + ")" * (DEEPEST - 1)
    assert parse(deep)(FACTS)
    for text in (
        "(" * 900 + "score > 0" + ")" * 900,
        "not " * 400 + "score > 0",
        "score in " + "[" * 900,
    ):
        with pytest.raises(ConfigError):
            parse(text)
    with pytest.raises(ConfigError, match=f"longer than {LONGEST}"):
        parse("score > 0 and " * 200 + "score > 0")


word = st.sampled_from(
    [*NAMES, *CALLS, "..", "22:00", "99:99", "'sat'", "dwell('a')", "and", "or", "not", "in", "==",
     "!=", "<", "<=", "(", ")", "[", "]", ",", "%", "-", "'a'", '"b"', "1", "0.5", "s", "ms", "'",
     "=", "é", "1e999"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(word, max_size=25).map(" ".join)))
@settings(max_examples=600)
def test_any_text_is_a_rule_or_a_fault_at_a_column(text: str) -> None:
    try:
        expression = parse(text)
    except ConfigError as error:
        assert str(error).startswith("rule, column ")
    else:
        assert expression(FACTS) in (True, False)


names = st.sampled_from(["score", "track", "count", "speed", "value"])
numbers = st.integers(0, 40).map(lambda value: value / 4)
signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
atoms = st.tuples(names, signs, numbers).map(lambda each: f"{each[0]} {each[1]} {each[2]}")
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=12,
)


@given(text=expressions)
@settings(max_examples=300)
def test_same_answer_as_python(text: str) -> None:
    names_: dict[str, Any] = {
        "score": FACTS.score, "track": 17, "count": 3, "speed": 0.2, "value": 21.5,
    }  # fmt: skip
    assert parse(text)(FACTS) is eval(text, {"__builtins__": {}}, names_)
