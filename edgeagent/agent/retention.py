"""``[retention]``: what has become too old goes, without anybody asking.

Ages are those of `store.age`: a clock that can't be trusted makes nothing go early. Numbers of the
outbox are told by milestones, the rest by its own times.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.config.units import seconds
from edgeagent.errors import EdgeAgentError

if TYPE_CHECKING:
    from edgeagent.config.privacy import Retention as Rules
    from edgeagent.privacy.purge import Hands, Purged
    from edgeagent.store.age import Limit, Stamp
    from edgeagent.store.milestones import Milestones

log = logging.getLogger("edgeagent.retention")

_LONGEST_S = 600.0
"""At least so often it is looked."""
_SHORTEST_S = 1.0


class Retention:
    """The rules of one agent. `tick` by the main thread, `enforce` on the one for long work.

    Args:
        rules: ``[retention]``.
        hands: through what is written.
        submit: has long work done on another thread.
        boot: of the machine.
    """

    def __init__(
        self, rules: Rules, hands: Callable[[], Hands],
        submit: Callable[[Callable[[], None]], None], boot: str,
    ) -> None:  # fmt: skip
        named = {name: getattr(rules, name) for name in rules.__struct_fields__}
        self.ages = {name: seconds(age) for name, age in named.items() if age is not None}
        self._hands = hands
        self._submit = submit
        self._boot = boot
        self._stones: Milestones | None = None
        self._next = time.monotonic()
        self._due = False
        self._gone: dict[str, int] = {}
        self._last = self._fault = ""

    def told(self) -> dict[str, Any]:
        """For people: rules, and what they have done since the start."""
        return {
            "rules_s": self.ages, "last": self._last, "gone": dict(self._gone),
            "fault": self._fault,
        }  # fmt: skip

    def tick(self) -> None:
        """Have it looked where it is time to."""
        if not self.ages or self._due or time.monotonic() < self._next:
            return
        self._due = True
        self._submit(self.enforce)

    def enforce(self) -> None:
        """Look once. What can't be done now is tried again."""
        from edgeagent.store.milestones import PARTS

        try:
            self._look()
            self._fault = ""
        except EdgeAgentError as error:
            if not self._fault:
                log.error("what is too old can't be taken out: %s", error)
            self._fault = str(error)
        finally:  # whatever goes wrong, the rules hold on
            every_s = min(self.ages.values()) / PARTS
            self._next = time.monotonic() + min(max(every_s, _SHORTEST_S), _LONGEST_S)
            self._due = False

    def _look(self) -> None:
        from edgeagent.privacy.purge import purge
        from edgeagent.store.age import Limit, Now
        from edgeagent.store.erase import RETENTION
        from edgeagent.store.milestones import KEY, PARTS, Milestones

        hands, now = self._hands(), Now.read(boot=self._boot)
        outbox = hands.outbox
        if self._stones is None:
            self._stones = Milestones.decoded(outbox.recall(KEY))
        stones = self._stones
        of_outbox = [self.ages[name] for name in ("records", "evidence") if name in self.ages]
        if of_outbox and stones.note(outbox.epoch, outbox.last_seq, now, min(of_outbox) / PARTS):
            outbox.remember(KEY, stones.encoded())
        for name, age_s in self.ages.items():
            # A milestone tells the least age of what lies before it, the one before the most.
            limit = Limit.of_age(now, age_s * (1 - 1 / PARTS), careful=True)
            upto = stones.reached(limit)
            if name in ("records", "evidence") and not upto:
                continue
            done = purge(
                hands, frozenset((name,)), limit, undelivered=True, reason=RETENTION,
                old=partial(_old, upto, limit), upto=upto,
            )  # fmt: skip
            self._count(name, done)
        if of_outbox:
            stones.forget(stones.reached(
                Limit.of_age(now, max(of_outbox) * (1 + 1 / PARTS), careful=True)
            ))  # fmt: skip

    def _count(self, name: str, done: Purged) -> None:
        its = done.outbox
        gone = {
            "records": its.records + its.dead_letters, "evidence": its.evidence,
            "answers": done.answers, **done.others,
        }  # fmt: skip
        if not any(gone.values()):
            return
        for what, count in gone.items():
            if count:
                self._gone[what] = self._gone.get(what, 0) + count
        self._last = clock.rfc3339(clock.wall_ns())
        said = ", ".join(f"{count} {what}" for what, count in gone.items() if count)
        log.info("retention.%s: %s older than %g s are gone", name, said, self.ages[name])


def _old(upto: int, limit: Limit, seq: int, its: Stamp) -> bool:
    """By the milestones; what is of another epoch has no number here, and its own time."""
    return 0 < seq <= upto or (not seq and limit.reached(its))
