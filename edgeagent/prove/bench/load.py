"""The four ways in which queries come, as MLPerf defines them.

Source: MLPerf Inference rules ("Scenarios") and LoadGen (mlcommons/inference, loadgen). In all
of them the order of the samples is drawn beforehand with a fixed seed, with replacement, and
nothing is remembered between queries.

* single stream: the next query, of one sample, when the last is answered
* multi stream: the same with 8 samples a query
* server: queries of one sample at random times (Poisson) at a given rate, whether the last is
  answered or not; a query's latency counts from its time
* offline: all samples at once
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from msgspec import Struct, field

from edgeagent.prove.bench.plan import SAMPLES, Turn

if TYPE_CHECKING:
    from edgeagent.prove.bench.subject import Subject

_OFFLINE = 16
"""Samples between two looks at the clock."""


class Taken(Struct):
    """What one turn took. Times in seconds."""

    latencies: list[float] = field(default_factory=list)
    """Of each query; offline: of each sample, on average over the turn."""
    prepare: list[float] = field(default_factory=list)
    infer: list[float] = field(default_factory=list)
    interpret: list[float] = field(default_factory=list)
    """Of each sample, where they go one by one."""
    samples: int = 0
    seconds: float = 0.0
    """All of the turn."""
    cpu: float = 0.0
    """Processor time of all threads."""


def run_turn(subject: Subject, turn: Turn) -> Taken:
    """Queries until the turn's time is over and its least number is reached, or its most."""
    rng = random.Random(turn.seed)
    taken = Taken()
    cpu, began = time.process_time(), time.perf_counter()
    if turn.scenario == "server":
        _arrivals(subject, turn, rng, taken)
    elif turn.scenario == "offline":
        _offline(subject, turn, rng, taken)
    else:
        _in_turn(subject, turn, rng, taken, SAMPLES[turn.scenario])
    taken.seconds = time.perf_counter() - began
    taken.cpu = time.process_time() - cpu
    return taken


def warm_up(subject: Subject, seconds: float, least: int = 5) -> float:
    """The first runs plan memory and repack weights. Seconds of the very first."""
    began = time.perf_counter()
    first = sum(subject.step(0))
    runs = 1
    while runs < least or time.perf_counter() - began < seconds:
        if subject.together > 1:
            subject.batch([0] * subject.together)
        subject.step(runs % subject.samples)
        runs += 1
    return first


def _in_turn(subject: Subject, turn: Turn, rng: random.Random, taken: Taken, each: int) -> None:
    end = time.perf_counter() + turn.seconds
    last = time.perf_counter() + turn.most_s
    while True:
        numbers = [rng.randrange(subject.samples) for _ in range(each)]
        if subject.together > 1:
            taken.latencies.append(subject.batch(numbers))
        else:
            taken.latencies.append(sum(_step(subject, number, taken) for number in numbers))
        taken.samples += each
        now = time.perf_counter()
        if now > last or (now > end and len(taken.latencies) >= turn.least):
            return


def _step(subject: Subject, number: int, taken: Taken) -> float:
    prepare, infer, interpret = subject.step(number)
    taken.prepare.append(prepare)
    taken.infer.append(infer)
    taken.interpret.append(interpret)
    return prepare + infer + interpret


def _offline(subject: Subject, turn: Turn, rng: random.Random, taken: Taken) -> None:
    end = time.perf_counter() + turn.seconds
    spent = 0.0
    count = -(-_OFFLINE // subject.together) * subject.together
    while not taken.samples or time.perf_counter() < end:
        numbers = [rng.randrange(subject.samples) for _ in range(count)]
        spent += subject.batch(numbers)
        taken.samples += count
    taken.latencies.append(spent / taken.samples)


def _arrivals(subject: Subject, turn: Turn, rng: random.Random, taken: Taken) -> None:
    began = time.perf_counter()
    due, last = began, began + turn.most_s
    while True:
        due += rng.expovariate(turn.rate)
        number = rng.randrange(subject.samples)
        wait = due - time.perf_counter()
        if due > last:
            return
        if wait > 0:
            time.sleep(wait)
        _step(subject, number, taken)
        now = time.perf_counter()
        taken.latencies.append(now - due)
        taken.samples += 1
        if now > last or (now - began > turn.seconds and len(taken.latencies) >= turn.least):
            return
