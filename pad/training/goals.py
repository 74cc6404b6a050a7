"""Experience towards other goals than those that were acted for (Andrychowicz et al., 2017).

Where physics do not depend on the goal, a transition is as true under any other: one episode that meets no reward
teaches what it would have been worth under goals that it did reach.
"""

from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from pad.types import Batch


@runtime_checkable
class Goals(Protocol):
    """An environment's word on its goals, as its attribute `goals`."""

    def redraw(
        self, states: np.ndarray, next_states: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """States, next states and rewards of the same transitions under goals drawn anew: float32 (batch, ...)."""


class GoalRedrawing:
    """Gives the first `share` of a batch other goals; which transitions come first is chance already."""

    def __init__(self, goals: Goals, share: float, seed: int) -> None:
        self._goals, self._share, self._rng = goals, share, np.random.default_rng([seed, 2])

    def __call__(self, batch: Batch) -> Batch:
        count = round(self._share * len(batch.obs))
        obs, next_obs, reward = (part.clone() for part in (batch.obs, batch.next_obs, batch.reward))
        redrawn = self._goals.redraw(obs[:count].cpu().numpy(), next_obs[:count].cpu().numpy(), self._rng)
        for part, values in zip((obs, next_obs, reward), redrawn, strict=True):
            part[:count] = torch.from_numpy(values)
        return replace(batch, obs=obs, next_obs=next_obs, reward=reward)

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
