"""Patience by the source's own rate, pauses by the outage, thinning, flapping."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.rhythm import (
    LEAST_SILENCE_S,
    LOCAL_PAUSE_S,
    NETWORK_PAUSE_S,
    Damage,
    Losses,
    Pace,
    Rhythm,
    Thinner,
    reopen_pause,
)


def ticked(rhythm: Rhythm, interval: float, count: int, start: float = 100.0) -> float:
    for number in range(count):
        rhythm.tick(start + number * interval)
    return start + count * interval


def test_a_fast_source_is_given_five_seconds() -> None:
    rhythm = Rhythm()
    rhythm.promise(25.0)
    ticked(rhythm, 0.04, 50)
    assert rhythm.silence_s == LEAST_SILENCE_S
    assert rhythm.measured_hz == pytest.approx(25.0)


def test_more_patience_can_be_asked_for_but_not_less() -> None:
    assert Rhythm(30.0).silence_s == 30.0
    assert Rhythm(0.1).silence_s == LEAST_SILENCE_S


def test_a_slow_source_is_given_ten_frame_times() -> None:
    rhythm = Rhythm()
    ticked(rhythm, 4.0, 5)
    assert rhythm.silence_s == pytest.approx(40.0)


def test_a_broken_promise_does_not_shorten_patience() -> None:
    rhythm = Rhythm()
    rhythm.promise(25.0)
    ticked(rhythm, 2.0, 20)
    assert rhythm.silence_s == pytest.approx(20.0)


@pytest.mark.parametrize("rate", [0.0, -1.0, 90000.0, float("inf"), float("nan")])
def test_nonsense_is_not_believed(rate: float) -> None:
    rhythm = Rhythm()
    rhythm.promise(rate)
    assert rhythm.silence_s == LEAST_SILENCE_S
    assert rhythm.frame_s == 0.0


def test_a_slow_source_that_was_cut_off_gets_more_time_until_it_is_known() -> None:
    rhythm = Rhythm()
    rhythm.tick(0.0)
    rhythm.lost_in_silence()
    assert rhythm.silence_s == 10.0
    rhythm.lost_in_silence()
    assert rhythm.silence_s == 20.0
    for _ in range(10):
        rhythm.lost_in_silence()
    assert rhythm.silence_s == 120.0
    rhythm.pause()
    ticked(rhythm, 0.1, 4)
    assert rhythm.silence_s == LEAST_SILENCE_S


def test_a_known_source_gets_no_more_time() -> None:
    rhythm = Rhythm()
    ticked(rhythm, 0.1, 10)
    rhythm.lost_in_silence()
    assert rhythm.silence_s == LEAST_SILENCE_S


def test_a_pause_is_no_interval() -> None:
    rhythm = Rhythm()
    end = ticked(rhythm, 0.1, 10)
    rhythm.pause()
    assert rhythm.tick(end + 1000.0) == 0.0
    assert rhythm.frame_s == pytest.approx(0.1)


@given(st.floats(0, 1e6), st.booleans(), st.floats(0, 1))
def test_pauses_stay_within_their_limits(outage: float, network: bool, chance: float) -> None:
    pause = reopen_pause(outage, network=network, chance=chance)
    least, most = NETWORK_PAUSE_S if network else LOCAL_PAUSE_S
    assert 0.75 * least <= pause <= most


@given(st.floats(0, 40), st.floats(0, 1))
def test_after_a_short_outage_the_next_attempt_is_near(outage: float, chance: float) -> None:
    assert reopen_pause(outage, network=True, chance=chance) <= 5.0


def test_pauses_grow_to_their_limits() -> None:
    assert reopen_pause(3600, network=True, chance=0.5) == 30.0
    assert reopen_pause(3600, network=False, chance=0.5) == 2.0


def test_flapping_is_three_losses_in_ten_minutes() -> None:
    losses = Losses()
    for now in (0.0, 300.0):
        losses.add(now)
    assert not losses.flapping(300.0)
    losses.add(590.0)
    assert losses.flapping(590.0)
    assert losses.recent(590.0) == 3
    assert not losses.flapping(1000.0)
    assert losses.total == 3


@given(
    st.floats(0.5, 120),
    st.floats(1.0, 30.0),
    st.lists(st.floats(-0.3, 0.3), min_size=200, max_size=200),
)
def test_thinning_keeps_the_wanted_rate(wanted: float, ratio: float, jitter: list[float]) -> None:
    """Of a faster stream with jitter, the wanted number is kept; never two at once."""
    period = 1.0 / (wanted * ratio)
    thinner = Thinner(wanted)
    times = sorted((number + wobble) * period for number, wobble in enumerate(jitter))
    kept = [time for time in times if thinner.takes(time)]
    span = times[-1] - times[0]
    # Frames only come when they come: half a frame of a period is lost at most.
    assert len(kept) <= span * wanted + 2
    if ratio >= 3:
        assert len(kept) >= span * wanted * 0.8 - 1


def test_a_stream_at_the_wanted_rate_is_left_whole() -> None:
    thinner = Thinner(15.0)
    assert all(thinner.takes(number / 15.0) for number in range(1000))


def test_thinning_goes_on_evenly_after_a_hole() -> None:
    thinner = Thinner(1.0)
    assert thinner.takes(0.0)
    assert thinner.takes(10.0)
    assert not thinner.takes(10.5)
    assert thinner.takes(11.0)


def paced(pace: Pace, interval: float, count: int) -> None:
    for _ in range(count):
        pace.tick(interval)


def test_half_the_rate_is_told_within_ten_frames_and_has_become_usual_later() -> None:
    pace = Pace()
    paced(pace, 0.1, 200)
    assert pace.complaint == ""
    paced(pace, 0.2, 20)
    assert pace.complaint == "slow: fewer than 6.2 of the usual 10 samples a second"
    paced(pace, 0.2, 9000)
    assert pace.complaint == ""


def test_jitter_is_not_slow() -> None:
    pace = Pace()
    for number in range(600):
        pace.tick(0.02 if number % 3 else 0.26)
        assert pace.complaint == ""


def test_pauses_are_no_intervals() -> None:
    pace = Pace()
    paced(pace, 0.1, 100)
    paced(pace, 0.0, 100)
    assert pace.complaint == ""


def test_a_few_damaged_samples_are_no_complaint_and_many_are() -> None:
    damage = Damage()
    damage.count(2, 100.0)
    assert damage.complaint(100.0, 10.0) == ""
    damage.count(9, 101.0)
    assert damage.complaint(101.0, 10.0) == "damaged: more than 5% of its samples are broken"
    assert damage.complaint(112.0, 10.0) == ""
    # At a thousand a second nine are few.
    assert damage.complaint(101.0, 1000.0) == ""


def test_a_thinner_can_be_given_another_rate() -> None:
    thinner = Thinner(10.0)
    kept = [n / 30 for n in range(90) if thinner.takes(n / 30)]
    assert len(kept) == 30
    thinner.retune(5.0)
    # Being told the same again and again does not let more pass.
    later = []
    for number in range(90, 180):
        thinner.retune(5.0)
        if thinner.takes(number / 30):
            later.append(number)
    assert 14 <= len(later) <= 16
