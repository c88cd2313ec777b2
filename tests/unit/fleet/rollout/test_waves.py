"""The planner: whoever asks gets the same waves, and each says something about each profile."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edgeagent.fleet.rollout.waves import Candidate, waves

fleets = st.lists(
    st.tuples(st.sampled_from(["pi4", "pi5", "nano", "x86", "rare"]), st.booleans()), max_size=120
).map(lambda found: [Candidate(f"d{n}", p, c and n % 7 == 0) for n, (p, c) in enumerate(found)])
rising = st.lists(st.integers(1, 99), max_size=4, unique=True).map(
    lambda found: [n / 100 for n in sorted(found)] + [1.0]
)


@given(fleets, rising, st.integers(1, 5))
def test_everybody_is_in_exactly_one_wave(
    fleet: list[Candidate], shares: list[float], least: int
) -> None:
    planned = waves(fleet, shares, least=least, seed="s")
    assert sorted(c for wave in planned for c in wave) == sorted(fleet)
    assert all(planned)


@given(fleets, rising, st.integers(1, 5))
def test_each_wave_has_its_share_of_each_profile_and_never_too_few(
    fleet: list[Candidate], shares: list[float], least: int
) -> None:
    planned = waves(fleet, shares, least=least, seed="s")
    whole, seen = Counter(c.profile for c in fleet), Counter[str]()
    canaries = Counter(c.profile for c in fleet if c.canary)
    for number, wave in enumerate(planned):
        left = whole - seen
        here = Counter(c.profile for c in wave)
        for profile in whole:
            assert here[profile] >= min(least, left[profile])
        before = Counter(seen)
        seen += here
        for profile, count in whole.items():
            if len(planned) == len(shares):  # None was left out for being empty.
                assert seen[profile] >= min(count, math.floor(shares[number] * count))
            most = max(math.ceil(shares[number] * count - 1e-6), before[profile] + least)
            if len(planned) == len(shares) and number < len(planned) - 1:
                assert seen[profile] <= max(most, canaries[profile])


@given(fleets, rising)
def test_canaries_come_first(fleet: list[Candidate], shares: list[float]) -> None:
    planned = waves(fleet, shares, least=3, seed="s")
    assert not any(c.canary for wave in planned[1:] for c in wave)


@given(fleets, rising, st.randoms())
def test_the_order_in_which_devices_were_found_says_nothing(
    fleet: list[Candidate], shares: list[float], random: object
) -> None:
    other = list(fleet)
    random.shuffle(other)  # type: ignore[attr-defined]
    planned = waves(fleet, shares, least=3, seed="s")
    assert planned == waves([*other, *other], shares, least=3, seed="s")


@given(fleets, rising, st.integers(1, 4))
def test_the_first_of_a_wave_are_of_all_profiles(
    fleet: list[Candidate], shares: list[float], least: int
) -> None:
    for wave in waves(fleet, shares, least=least, seed="s"):
        whole = Counter(c.profile for c in wave)
        first = sum(min(least, count) for count in whole.values())
        begun = Counter(c.profile for c in wave[:first])
        assert begun == Counter({p: min(least, count) for p, count in whole.items()})


def test_another_seed_asks_others_first() -> None:
    fleet = [Candidate(f"d{n}", "pi4") for n in range(100)]
    one, two = (waves(fleet, [0.1, 1.0], least=3, seed=seed) for seed in "ab")
    assert len(one[0]) == len(two[0]) == 10
    assert one[0] != two[0]
