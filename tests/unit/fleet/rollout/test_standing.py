"""What a device says and does not say, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.fleet.rollout.standing import BAD, ENDED, Said, ask, move, recall

NEW, OLD = "2.0.0", "1.0.0"


def said(**more: Any) -> Said:
    known: dict[str, Any] = {"online": True, "own_rev": 5, "rev": 5, "version": OLD, "wanted": NEW}
    return Said(**{**known, **more})


def asked(drawn: Any, **more: Any) -> Any:
    return ask(drawn.row(**more), 5, OLD, "", 100.0)


@pytest.mark.parametrize(
    ("says", "at", "standing"),
    [
        (said(wanted="", own_rev=4), 100.1, "asked"),
        (said(state="fetching"), 101, "under-way"),
        (said(state="failed", reason="prove: golden"), 101, "failed"),
        (said(state="rolled-back"), 101, "rolled-back"),
        (said(state="rejected", reason="downgrade"), 101, "rejected"),
        (said(state="superseded"), 101, "cancelled"),
        (said(state="failed", rev=4, own_rev=4), 101, "asked"),  # an earlier question's end
        (said(state="committed", version=NEW), 101, "committed"),
        (said(state="down", version=NEW, detail="no runtime"), 101, "failed"),
        (said(state="requested", held="by ann"), 101, "held"),
        (said(wanted="", own_rev=4, refused="protected: mqtt.host"), 101, "rejected"),
        (said(online=False, wanted=""), 100.9, "asked"),
        (said(online=False, wanted=""), 101.1, "unreached"),  # reach_s = 1
        (said(wanted="", own_rev=4), 106, "asked"),  # reached only now: its time begins
        (said(state="requested", reason="schedule"), 4000, "under-way"),
    ],
)
def test_moves(drawn: Any, says: Said, at: float, standing: str) -> None:
    assert move(asked(drawn), says, drawn.plan(), at).standing == standing


def test_a_device_that_was_reached_and_does_not_end_is_timed_out(drawn: Any) -> None:
    plan = drawn.plan()
    row = move(asked(drawn), said(wanted=""), plan, 100.1)
    assert move(row, said(wanted=""), plan, 105.2).standing == "timed-out"
    row = move(row, said(state="proving"), plan, 101)
    assert move(row, said(state="proving"), plan, 105).standing == "under-way"
    row = move(row, said(state="proving", online=False), plan, 105.2)
    assert (row.standing, row.detail) == ("timed-out", "in proving after 5 s, and it is away")
    # We were away ourselves: its time begins anew.
    row = move(asked(drawn), said(state="proving"), plan, 101)
    assert move(row, said(state="proving", watched=104), plan, 108).standing == "under-way"
    # Late is not never.
    late = move(move(row, said(), plan, 200), said(state="committed", version=NEW), plan, 201)
    assert late.standing == "committed" and late.ended == 0


def test_committed_and_then_never_heard_of_again(drawn: Any) -> None:
    plan = drawn.plan()
    done = said(state="committed", version=NEW, heard=101)
    row = move(asked(drawn), done, plan, 101)
    gone = said(state="committed", version=NEW, heard=101, online=False)
    assert move(row, gone, plan, 102.9).standing == "committed"
    row = move(row, gone, plan, 103.2)
    assert row.standing == "silent" and row.standing in BAD
    assert move(row, gone, plan, 104) == row  # its old report says nothing new
    back = said(state="committed", version=NEW, heard=110)
    assert move(row, back, plan, 110).standing == "committed"


def test_a_connection_is_no_sign_of_life_of_one_that_used_to_send_more(drawn: Any) -> None:
    plan = drawn.plan()
    row = move(asked(drawn), said(state="committed", version=NEW), plan, 101)
    quiet = said(state="committed", version=NEW, heard=101, chatty=False)
    assert move(row, quiet, plan, 101.2).standing == "well"
    frozen = said(state="committed", version=NEW, heard=101, chatty=True)
    assert move(row, frozen, plan, 101.2).standing == "committed"
    assert move(row, frozen, plan, 103.2).standing == "silent"
    # Nobody listened meanwhile: that is no silence.
    unheard = said(state="committed", version=NEW, heard=101, chatty=True, watched=103)
    assert move(row, unheard, plan, 104).standing == "committed"


def test_called_back(drawn: Any) -> None:
    plan = drawn.plan()
    row = recall(move(asked(drawn), said(state="proving"), plan, 101), 6)
    assert move(row, said(state="proving", own_rev=5), plan, 102).standing == "under-way"
    assert move(row, said(state="proving", own_rev=6), plan, 102).standing == "cancelled"
    assert move(row, said(state="committed", version=NEW, own_rev=5), plan, 102).standing == (
        "committed"
    )
    returning = recall(drawn.row(standing="well", rev=5, was=OLD, asked=90.0), 7)
    assert (returning.standing, returning.ended) == ("under-way", 0.0)
    on_it = said(state="committed", version=NEW, own_rev=7)
    assert move(returning, on_it, plan, 91).standing == "under-way"
    back = move(returning, said(version=OLD, wanted=OLD, own_rev=7, state="committed"), plan, 92)
    assert (back.standing, back.reason) == ("cancelled", "returned")
    no = said(version=NEW, wanted=OLD, own_rev=7, state="rejected", detail="not signed")
    assert move(returning, no, plan, 92).reason == "not returned"


sayings = st.builds(
    Said, online=st.booleans(), heard=st.floats(0, 200), watched=st.floats(0, 200),
    chatty=st.booleans(), own_rev=st.integers(0, 9), refused=st.sampled_from(["", "no"]),
    version=st.sampled_from([OLD, NEW, ""]), wanted=st.sampled_from([OLD, NEW, ""]),
    rev=st.integers(0, 9), held=st.sampled_from(["", "", "by ann"]),
    state=st.sampled_from(["", "requested", "fetching", "proving", "probation", "committed",
                           "failed", "rolled-back", "rejected", "cancelled", "down"]),
)  # fmt: skip


@given(st.lists(st.tuples(sayings, st.floats(0, 3)), max_size=25))
def test_whatever_it_says_it_ends_in_time_and_its_times_agree(
    drawn: Any, story: list[tuple[Said, float]]
) -> None:
    plan, row, now = drawn.plan(), asked(drawn), 100.0
    for says, passed in story:
        now += passed
        before, row = row, move(row, says, plan, now)
        assert row.device == before.device and row.rev == before.rev
        assert bool(row.ended) == (row.standing in ENDED)
        assert row.standing != "waiting"
        if row.standing == "well" != before.standing:
            assert says.version == NEW and row.committed
    silence = Said(version=row.standing and OLD, wanted="")
    for _ in range(4):
        now += plan.timeout_s + plan.silent_s
        row = move(row, silence, plan, now)
    assert row.standing in ENDED
