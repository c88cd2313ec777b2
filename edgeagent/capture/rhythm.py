"""How fast a source is, and what follows from it: patience, pauses, thinning.

A fixed limit kills slow cameras and is too long for fast ones, so silence is measured in the
source's own frame times. Pauses between attempts grow with the outage instead of doubling
without memory: a camera that was away for ten seconds is back within about one.
"""

from __future__ import annotations

from collections import deque

LEAST_SILENCE_S = 5.0
FRAMES_OF_SILENCE = 10
MOST_LEARNED_S = 120.0

LOCAL_PAUSE_S = (0.1, 2.0)
NETWORK_PAUSE_S = (0.5, 30.0)
_SHARE_OF_OUTAGE = 0.1

FLAPPING_LOSSES = 3
FLAPPING_SPAN_S = 600.0

PACE_SAMPLES = 10
PACE_USUAL_S = 1800.0
SLOW = 1.6
"""So many times the usual frame time is slow."""

DAMAGE_SPAN_S = 10.0
DAMAGED = 0.05
"""Share of damaged samples that is worth a complaint."""


class Rhythm:
    """The rate of one source, as promised and as measured.

    The measured frame time is an exponential mean over about ten intervals. Only the larger
    one of both counts for patience, because a promise of 25 fps is often broken at night.

    Args:
        least_s: silence that is always allowed, where it is more than five seconds.
    """

    def __init__(self, least_s: float = 0.0) -> None:
        self._least_s = least_s
        self._promised_s = 0.0
        self._measured_s = 0.0
        self._intervals = 0
        self._last: float | None = None
        self._learned_s = 0.0

    @property
    def frame_s(self) -> float:
        """Seconds from one sample to the next; 0 = not known yet."""
        return max(self._promised_s, self._measured_s)

    @property
    def measured_hz(self) -> float:
        """Samples per second as they come; 0 = not known yet."""
        return 1.0 / self._measured_s if self._measured_s > 0 else 0.0

    @property
    def silence_s(self) -> float:
        """How long the source may be silent before it counts as lost."""
        own_s = FRAMES_OF_SILENCE * self.frame_s
        return max(LEAST_SILENCE_S, self._least_s, own_s, self._learned_s)

    def promise(self, rate_hz: float) -> None:
        """What the source says of itself; nonsense (0, 90000) is not believed."""
        self._promised_s = 1.0 / rate_hz if 0.001 <= rate_hz <= 1000.0 else 0.0

    def tick(self, now: float) -> float:
        """A sample came at ``now`` (monotonic seconds). Returns the interval before it."""
        interval = 0.0
        if self._last is not None:
            interval = now - self._last
            self._intervals += 1
            weight = 1.0 / min(self._intervals, 10)
            self._measured_s += weight * (interval - self._measured_s)
            if self._intervals >= 3:
                self._learned_s = 0.0
        self._last = now
        return interval

    def pause(self) -> None:
        """The source was closed: the time until the next sample is no interval."""
        self._last = None

    def lost_in_silence(self) -> None:
        """Silence ended this session. A source whose rate was never seen may just be slow,
        so it gets twice the time at the next attempt."""
        if self._intervals < 3:
            self._learned_s = min(2.0 * self.silence_s, MOST_LEARNED_S)


def reopen_pause(outage_s: float, *, network: bool, chance: float) -> float:
    """Seconds to wait before the next attempt, ``outage_s`` after the last good sample.

    A tenth of the outage within the limits of the kind; ``chance`` (0..1, random) spreads
    attempts by a quarter either way, so that cameras behind one switch don't come at once.
    """
    least, most = NETWORK_PAUSE_S if network else LOCAL_PAUSE_S
    spread = 0.75 + 0.5 * chance
    return min(most, max(least, _SHARE_OF_OUTAGE * outage_s) * spread)


class Losses:
    """When the source was lost, to tell an accident from flapping."""

    def __init__(self) -> None:
        self.total = 0
        self._times: deque[float] = deque(maxlen=64)

    def add(self, now: float) -> None:
        """Count a loss at ``now`` (monotonic seconds)."""
        self.total += 1
        self._times.append(now)

    def recent(self, now: float) -> int:
        """Losses within the last ten minutes."""
        return sum(now - time <= FLAPPING_SPAN_S for time in self._times)

    def flapping(self, now: float) -> bool:
        """Whether it is lost again and again."""
        return self.recent(now) >= FLAPPING_LOSSES


class Pace:
    """Whether a live source is slower than it usually is.

    The usual frame time follows the measured one slowly: what has lasted for some ten minutes,
    as a camera's longer exposure at night does, has become usual.
    """

    def __init__(self) -> None:
        self._usual_s = 0.0
        self._recent_s = 0.0
        self._count = 0
        self.complaint = ""
        """That it is slow, in plain words, as it began; empty = it is not."""

    def tick(self, interval_s: float) -> None:
        """A sample came so long after the one before; 0 = after a pause, which is no interval."""
        if interval_s <= 0:
            return
        self._count += 1
        self._recent_s += (interval_s - self._recent_s) / min(self._count, PACE_SAMPLES)
        settled = self._count > 3 * PACE_SAMPLES
        weight = min(1.0, interval_s / PACE_USUAL_S) if settled else 1.0 / self._count
        self._usual_s += weight * (interval_s - self._usual_s)

        if self._count <= PACE_SAMPLES or self._recent_s < SLOW * self._usual_s:
            self.complaint = ""
        elif not self.complaint:
            self.complaint = f"slow: fewer than {1 / (SLOW * self._usual_s):.2g} of the usual "
            self.complaint += f"{1 / self._usual_s:.2g} samples a second"


class Damage:
    """How many samples of the last ten seconds came damaged."""

    def __init__(self) -> None:
        self._seen = 0
        self._times: deque[float] = deque(maxlen=256)

    def count(self, corrupt: int, now: float) -> None:
        """``corrupt`` since the beginning, as of ``now``."""
        self._times.extend([now] * min(corrupt - self._seen, 256))
        self._seen = corrupt

    def complaint(self, now: float, rate_hz: float) -> str:
        """That there are many, in plain words; empty = few or none."""
        recent = sum(now - time <= DAMAGE_SPAN_S for time in self._times)
        if recent < max(3, DAMAGED * rate_hz * DAMAGE_SPAN_S):
            return ""
        return f"damaged: more than {DAMAGED:.0%} of its samples are broken"


class Thinner:
    """Keeps about ``rate_hz`` samples a second, evenly, of a faster stream."""

    def __init__(self, rate_hz: float) -> None:
        self._period = 1.0 / rate_hz
        self._due: float | None = None

    def retune(self, rate_hz: float) -> None:
        """Keep so many from now on."""
        self._period = 1.0 / rate_hz

    def takes(self, time_s: float) -> bool:
        """Whether the sample of this time is one to keep. Times may not go back."""
        if self._due is None:
            self._due = time_s
        # Half a percent of slack: a stream at exactly the wanted rate is left whole.
        if time_s < self._due - 0.005 * self._period:
            return False
        behind = time_s - self._due >= self._period
        self._due = time_s + self._period if behind else self._due + self._period
        return True
