"""What the training loop asks of a phase.

A phase advances by whole episodes, so that its state between two of them is all that a
checkpoint needs: the environment is reseeded for each.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pad.types import Metrics

Advance = Callable[[int], None]
"""Called with the units of a phase that were done since its last call; raises where the run is to stop."""


@runtime_checkable
class Phase(Protocol):
    """A part of a training run, of `total` units, `done` so far."""

    name: str
    unit: str
    total: int
    done: int
    trains_agent: bool
    """Whether the pixel agent is worth evaluating in this phase."""

    def run_episode(self, advance: Advance) -> Metrics:
        """Act in one episode and learn from it or beside it; returns the latest metrics and the episode's return."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """The most likely action, in [-1, 1], of the policy that is being trained."""

    def note_evaluation(self, mean_return: float) -> None:
        """Take note of the mean return of an evaluation of `act` that was just made."""

    def flush(self) -> None:
        """Write replay to disk."""

    def close(self) -> None:
        """Let go of what the phase holds; it is not run again."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
