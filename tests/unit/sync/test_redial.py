"""Pauses, versions and several brokers: what comes after a connection that ended."""

from __future__ import annotations

import random
import statistics

from edgeagent.sync import reasons
from edgeagent.sync.backoff import RANGES, Backoff
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.reasons import Reason
from edgeagent.sync.redial import BELIEVED_S, Attempt, Redial

A, B = Endpoint("a"), Endpoint("b")
UNREACHABLE = Attempt(reasons.DOWN, reached=False, answered=False, up_s=None)
HUNG_UP = Attempt(reasons.LOST, reached=True, answered=False, up_s=None)
TOO_NEW = Attempt(reasons.of_code(0x84), reached=True, answered=False, up_s=None)


def redial(*endpoints: Endpoint, **extra: object) -> Redial:
    return Redial(LinkSettings("d", endpoints or (A,), **extra))  # type: ignore[arg-type]


def lost(reason: Reason = reasons.LOST, up_s: float = 1.0) -> Attempt:
    return Attempt(reason, True, True, up_s)


def test_pauses_grow_to_the_limit_and_never_leave_it() -> None:
    plan = redial()
    pauses = [plan.pause(UNREACHABLE, 0.0) for _ in range(40)]
    for row, pause in enumerate(pauses):
        step = min(30.0, 0.5 * 2**row)
        assert step / 5 <= pause <= step
    assert max(pauses[10:]) > 20


def test_a_fleet_spreads_out() -> None:
    """200 clients that lose a broker at one instant: no tenth of the time gets a third of them."""
    pauses = []
    for client in range(200):
        one = Backoff(source=random.Random(client))
        pauses.append(sum(one.next("network") for _ in range(4)))
    shares = [
        sum(1 for p in pauses if low <= p < low + 0.6) for low in (x * 0.6 for x in range(13))
    ]
    assert max(shares) < 66
    assert statistics.stdev(pauses) > 0.8


def test_a_connection_that_held_ends_the_row_and_a_short_one_does_not() -> None:
    plan = redial()
    for _ in range(6):
        plan.pause(lost(up_s=1.0), 0.0)
    assert plan.pause(lost(up_s=1.0), 0.0) > 30 / 5 - 1e-9
    assert plan.pause(lost(up_s=60.0), 0.0) <= 0.5


def test_refusals_that_only_a_person_can_cure_wait_longer() -> None:
    assert redial().pause(Attempt(reasons.of_code(0x87), True, False, None), 0.0) >= 2.0
    assert RANGES["denied"][1] >= 300
    assert redial().pause(lost(reasons.TAKEN), 0.0) >= 12.0


def test_a_lost_fight_is_not_forgotten_by_a_short_success() -> None:
    plan = redial()
    first = plan.pause(lost(reasons.TAKEN, up_s=20.0), 0.0)
    assert plan.rival
    # The link came up again, the other device threw us out again: no code this time.
    second = plan.pause(lost(reasons.LOST, up_s=first), 0.0)
    assert second >= 120 / 5
    assert plan.rival
    plan.pause(lost(reasons.LOST, up_s=3600.0 * 4), 0.0)
    assert not plan.rival


def test_an_older_broker_is_spoken_to_in_its_version_at_once() -> None:
    plan = redial()
    assert plan.next(0.0) == (A, True)
    assert plan.pause(TOO_NEW, 0.0) == 0.0
    assert plan.next(0.0) == (A, False)
    plan.pause(lost(), 0.0)
    assert plan.next(1e9) == (A, False)


def test_a_silent_end_is_believed_for_an_hour_only() -> None:
    plan = redial()
    assert plan.pause(HUNG_UP, 0.0) == 0.0
    assert plan.next(0.0) == (A, False)
    plan.pause(lost(), 0.0)
    assert plan.next(BELIEVED_S - 1) == (A, False)
    assert plan.next(BELIEVED_S + 1) == (A, True)


def test_a_broker_that_hangs_up_on_both_versions_gets_pauses() -> None:
    plan = redial()
    plan.pause(HUNG_UP, 0.0)
    assert plan.pause(HUNG_UP, 0.0) > 0.0
    assert plan.next(0.0) == (A, True)


def test_a_fixed_version_stays() -> None:
    plan = redial(version="5")
    assert plan.pause(TOO_NEW, 0.0) > 0
    assert plan.next(0.0) == (A, True)
    assert redial(version="3.1.1").next(0.0) == (A, False)


def test_brokers_in_order_and_the_first_again_after_a_loss() -> None:
    plan = redial(A, B)
    assert plan.next(0.0)[0] == A
    assert plan.pause(UNREACHABLE, 0.0) == 0.0
    assert plan.next(0.0)[0] == B
    assert plan.pause(UNREACHABLE, 0.0) > 0.0
    assert plan.next(0.0)[0] == A
    plan.pause(UNREACHABLE, 0.0)
    plan.pause(lost(), 0.0)
    assert plan.next(0.0)[0] == A


def test_changed_certificates_reconnect_without_a_pause() -> None:
    assert redial().pause(Attempt(reasons.RENEWED, True, True, 5.0), 0.0) == 0.0


def test_every_reason_has_a_range() -> None:
    kinds = {reasons.of_code(code).kind for code in range(0x80, 0xA3)}
    assert kinds <= set(RANGES)
