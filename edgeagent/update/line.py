"""What other threads want done between two states of the engine: in line, each answered once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgeagent.errors import Busy, EdgeAgentError, Unavailable

Step = Callable[[], None]

PATIENCE_S = 30.0
"""How long an order waits for what is at work to be ended for it."""


class Order:
    def __init__(self, step: Step) -> None:
        self.step = step
        self.ended = threading.Event()
        self.error: EdgeAgentError | None = Unavailable(
            "it could not be done", remedy="Why stands in the log of the agent."
        )
        """Until it is done."""


class Line:
    """Orders that wait. Any thread may join; the engine's thread carries them out."""

    def __init__(self) -> None:
        self._orders: list[Order] = []
        self._lock = threading.Lock()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._orders)

    def join(self, step: Step) -> Order:
        """Raises Unavailable: it is closed."""
        order = Order(step)
        with self._lock:
            if self._closed:
                raise _stops()
            self._orders.append(order)
        return order

    def wait(self, order: Order) -> None:
        """Until it is done, and on the medium: who is told so may rely on it through a power cut.

        Raises: what the step raises; Busy: what is at work does not end; Unavailable: the agent
            stops. After any of them it is not done later either.
        """
        if not order.ended.wait(PATIENCE_S) and self._withdrawn(order):
            raise Busy(
                "the change under way does not end; nothing was changed",
                remedy="Ask again. How it goes: edgeagent models list",
            )
        order.ended.wait()
        if order.error is not None:
            raise order.error

    def carry_out(self, *, answered: bool) -> None:
        """All that wait. Without ``answered`` nobody waits for the end: what a step raises is
        raised here."""
        while (order := self._next()) is not None:
            try:
                order.step()
                order.error = None
            except EdgeAgentError as error:
                if not answered:
                    raise
                order.error = error
            finally:
                order.ended.set()

    def close(self) -> None:
        """The agent stops: nobody joins any more, and who waits is told so."""
        with self._lock:
            self._closed = True
            for order in self._orders:
                order.error = _stops()
                order.ended.set()
            self._orders.clear()

    def _next(self) -> Order | None:
        with self._lock:
            return self._orders.pop(0) if self._orders else None

    def _withdrawn(self, order: Order) -> bool:
        """Whether it had not been begun; then it will not be."""
        with self._lock:
            waits = order in self._orders
            if waits:
                self._orders.remove(order)
            return waits


def _stops() -> Unavailable:
    return Unavailable("the agent stops; nothing was changed", remedy="Ask again when it runs.")
