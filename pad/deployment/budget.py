"""How much learning fits beside a control loop."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pad.settings import check_value

SAVED = 20
"""Transitions whose unspent time is kept for a step that takes longer."""
OWED = 200
"""Transitions that pay for one that took longer, at most: the system may have kept it waiting for minutes."""


class Budget:
    """Says before each learning opportunity whether there is time for it. What is over the budget is left out.

    Args:
        milliseconds: of learning for each observed transition, on average; None for any number.
        updates_per_second: learning opportunities a second at most; None for any number.
        clock: seconds.

    Raises:
        ValueError: when a number is not positive and finite.
    """

    def __init__(
        self,
        milliseconds: float | None = None,
        updates_per_second: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        for name, value in (("milliseconds", milliseconds), ("updates_per_second", updates_per_second)):
            check_value(name, value, float | None)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive or None, got {value}")
        self._milliseconds, self._rate, self._clock = milliseconds, updates_per_second, clock
        self._unspent, self._due = 0.0, -float("inf")

    def take(self) -> bool:
        """Take the time for one learning opportunity, if there is any; says whether there was."""
        if self._milliseconds is not None and self._unspent < 0:
            return False
        if self._rate is None:
            return True
        now, period = self._clock(), 1 / self._rate
        if now < self._due:
            return False
        # Late by less than a period: the next one may come early by as much, so that the rate is kept.
        self._due = (self._due if now - self._due < period else now) + period
        return True

    @contextmanager
    def spending(self) -> Iterator[None]:
        """A context around whatever is done with one transition, whose time is taken off the budget."""
        started = self._clock()
        try:
            yield
        finally:
            if self._milliseconds is not None:
                self._unspent += self._milliseconds - 1e3 * (self._clock() - started)
                # Nor is one that the system kept waiting paid for by all that come after it.
                self._unspent = max(min(self._unspent, SAVED * self._milliseconds), -OWED * self._milliseconds)
