"""The governor by readings and virtual time: never too hot, hardly slower than it must, no to and
fro; and models shed before memory runs out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.heat import BOARDS, figures, run
from edgeagent.device.governor import Governor, Limits, Step
from edgeagent.device.ladder import Ladder
from edgeagent.device.strain import Strain, look
from edgeagent.device.thermostat import PERCENT, Thermostat
from edgeagent.testing.thermal import LIMIT_C, Board


class Giving:
    """An act that is only remembered."""

    def __init__(self, name: str, said: str = "less is done") -> None:
        self.name = name
        self.said = said
        self.taken = False

    def take(self, reason: str) -> str:
        assert reason
        self.taken = bool(self.said)
        return self.said

    def back(self) -> str:
        self.taken = False
        return "as before"


class Governed:
    """A governor on virtual time, fed with the same reading until told otherwise."""

    def __init__(self, heat: list[Giving], memory: list[Giving], **limits: float) -> None:
        self.now = 0.0
        self.shares = [1.0]
        self.steps: list[Step] = []
        self.governor = Governor(
            Limits(degrees=80.0, **limits), self.shares.append, heat, memory, self.steps.append
        )

    def feel(self, seconds: float, **reading: object) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 2.0
            self.governor.tick(self.now, Strain(**reading))  # type: ignore[arg-type]


# --- against the thermal model --------------------------------------------------------------


def test_by_the_files_of_a_board_that_would_throttle(tmp_path: Path) -> None:
    """As it runs on a Raspberry Pi: thermal zone and get_throttled below another root."""
    course = run(BOARDS[1], tmp_path, 1800.0)
    found = figures(course, 900.0)
    assert found["throttled_s"] == 0
    assert found["hottest_c"] < LIMIT_C
    assert found["to_best"] >= 0.9
    assert run(BOARDS[1], None, 1800.0, governed=False).throttled_s > 600


@settings(max_examples=25, deadline=None)
@given(
    ambient=st.floats(10, 45), idle=st.floats(5, 15), sink=st.floats(20, 60), die=st.floats(3, 15),
    sink_s=st.floats(30, 480), die_s=st.floats(2, 15), seed=st.integers(0, 1000),
)  # fmt: skip
def test_below_the_limit_at_nine_tenths_of_the_best(
    ambient: float, idle: float, sink: float, die: float, sink_s: float, die_s: float, seed: int
) -> None:
    board = Board("any", ambient, idle, sink, die, sink_s, die_s)
    room = LIMIT_C - ambient - idle
    if room < 20:  # next to nothing could be done at all
        return
    found = figures(run(board, None, 5400.0, seed=seed), 2700.0)
    assert found["hottest_c"] < LIMIT_C + 0.1
    assert found["throttled_s"] <= 20  # of a burst of noise right below the limit
    assert found["to_best"] >= 0.9
    assert found["late_steps"] <= 2
    assert found["least_to_most"] > 0.8


def test_a_cool_board_is_left_alone() -> None:
    course = run(BOARDS[3], None, 3600.0)
    assert course.steps == []
    assert min(course.shares[900:]) > 0.95


def test_it_recovers_when_the_surroundings_cool_down() -> None:
    course = run(
        BOARDS[0], None, 7200.0, ambient=lambda now: 38.0 if now < 3600 else 15.0
    )  # fmt: skip
    assert max(course.degrees) < LIMIT_C
    assert min(course.shares[:1800]) < 0.8
    assert course.shares[-1] == 1.0
    assert course.steps[-1][1].phase == "end"
    assert len(course.steps) <= 12


# --- step by step ---------------------------------------------------------------------------


def test_the_rate_gives_way_first_then_each_act_in_its_order() -> None:
    acts = [Giving("variant"), Giving("gate", said=""), Giving("pause")]
    board = Governed(acts, [])
    board.feel(60, degrees=70.0, zone="cpu")
    assert board.steps == []
    board.feel(600, degrees=79.5, zone="cpu")
    names = [step.name for step in board.steps]
    first = names.index("variant")
    assert set(names[:first]) == {"rate"}
    assert board.steps[first - 1].share <= 0.6
    assert [name for name in names if name != "rate"] == ["variant", "pause"]
    assert not acts[1].taken
    # Nothing else is left: now the rate goes on.
    assert board.governor.share < 0.5
    reason = board.governor.reason
    assert "less is done" in reason and "cpu is at 80 °C (limit 80 °C)" in reason
    assert board.governor.status()["steps"]


def test_what_gave_way_comes_back_in_the_contrary_order_and_each_time_later() -> None:
    acts = [Giving("variant"), Giving("pause")]
    board = Governed(acts, [])
    board.feel(900, degrees=79.5, zone="cpu")
    assert [act.taken for act in acts] == [True, True]
    board.feel(3600, degrees=60.0, zone="cpu")
    ends = [step.name for step in board.steps if step.phase == "end"]
    assert ends == ["rate", "pause", "variant"]
    assert board.governor.reason == ""
    assert board.governor.share == 1.0


def test_a_lasting_want_makes_steps_rarer() -> None:
    """An act that helps so much that it seems to be needless: at first it is tried again after
    minutes, then after ever longer times."""
    act = Giving("variant")
    board = Governed([act], [])
    for _ in range(6 * 60 * 6):
        board.feel(10, degrees=60.0 if act.taken else 79.9, zone="cpu")
    times = [step for step in board.steps if step.name == "variant" and step.phase == "new"]
    assert 3 <= len(times) <= 11


def test_a_board_that_slows_down_is_helped_whatever_its_thermometer_says() -> None:
    board = Governed([], [])
    board.feel(10, degrees=50.0, zone="cpu")
    board.feel(6, degrees=50.0, zone="cpu", slowed=("under-voltage",), frequency=0.5)
    assert board.governor.share < 0.85
    assert "under-voltage" in board.governor.reason
    assert "50% of its frequency" in board.governor.reason
    board.feel(300, degrees=50.0, zone="cpu")
    assert board.governor.reason == ""


def test_without_a_thermometer_throttle_bits_alone_are_enough() -> None:
    board = Governed([], [])
    board.feel(30, slowed=("throttled",))
    assert board.governor.share < 0.5
    board.feel(600)
    assert board.governor.share == 1.0


def test_a_busy_processor_counts_only_where_it_is_asked_for() -> None:
    board = Governed([], [])
    board.feel(300, cpu=100.0)
    assert board.governor.share == 1.0
    board = Governed([], [], cpu_pressure=60.0)
    board.feel(300, cpu=90.0)
    assert board.governor.share == pytest.approx(0.5)
    assert "waits for a processor 90 %" in board.governor.reason
    board.feel(900, cpu=10.0)
    assert board.governor.share == 1.0


# --- memory -----------------------------------------------------------------------------------


class Machine:
    """Memory with a certain use, as /proc shows it; a kernel that kills at the end of it."""

    def __init__(self, root: Path, models: int) -> None:
        self.root = root
        self.used = 0.70
        self.acts = [Model(self) for _ in range(models)]
        (root / "proc/pressure").mkdir(parents=True)

    def show(self) -> None:
        used = self.used - 0.05 * sum(act.taken for act in self.acts)
        assert used < 0.995, "the OOM killer was first"
        total = 1_000_000
        (self.root / "proc/meminfo").write_text(
            f"MemTotal: {total} kB\nMemAvailable: {round(total * (1 - used))} kB\n"
        )
        stalls = max(0.0, used - 0.94) * 1000
        (self.root / "proc/pressure/memory").write_text(f"some avg10={stalls:.2f} avg60=0.00\n")


class Model(Giving):
    def __init__(self, machine: Machine) -> None:
        super().__init__("shed")


def test_models_are_shed_before_the_oom_killer_and_come_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path, models=4)
    board = Governed([], machine.acts)  # type: ignore[arg-type]

    def live(seconds: float, growth: float) -> None:
        for _ in range(int(seconds / 2)):
            machine.used += growth * 2
            machine.show()
            board.now += 2
            board.governor.tick(board.now, look((), tmp_path))

    live(136, 0.002)  # something else on the device takes a quarter of the memory
    assert sum(act.taken for act in machine.acts) == 1
    live(100, 0.0008)
    assert 2 <= sum(act.taken for act in machine.acts) <= 3
    assert "% of the memory is free" in board.governor.reason
    live(120, 0.0)
    before = len(board.steps)
    live(600, 0.0)
    assert len(board.steps) == before, "to and fro"
    live(100, -0.004)
    live(1200, 0.0)
    assert not any(act.taken for act in machine.acts)
    assert board.governor.reason == ""
    assert {step.cause for step in board.steps} == {"memory"}


# --- the parts ----------------------------------------------------------------------------------


def test_a_long_gap_between_readings_is_no_ease() -> None:
    thermostat = Thermostat(80.0)
    for now in range(0, 400, 2):
        thermostat.feel(float(now), 79.5, least=0.3)
    assert thermostat.share == pytest.approx(0.3)
    thermostat.feel(100_000.0, 70.0, least=0.3)
    assert thermostat.share < 0.9


def test_limits_of_pressure_work_alike() -> None:
    thermostat = Thermostat(50.0, PERCENT)
    for now in range(0, 100, 2):
        thermostat.feel(float(now), 49.0, least=0.2)
    assert 0.2 <= thermostat.share < 1.0


def test_a_ladder_waits_before_each_step() -> None:
    ladder = Ladder(settle_s=10, patience_s=60)
    moves = [ladder.feel(float(now), want=True, ease=False) for now in range(25)]
    assert [n for n, move in enumerate(moves) if move] == [10, 20]
    ladder.depth = 2
    moves = [ladder.feel(25.0 + now, want=False, ease=True) for now in range(200)]
    assert [n for n, move in enumerate(moves) if move == -1] == [60, 121, 182]
