"""Goal relabelling: learning from transitions under other goals than those that were acted for.

Where physics do not depend on the goal, a transition is as true under any other: an episode that meets no reward
teaches what it would have been worth under other goals. Hindsight experience replay (Andrychowicz et al., 2017) takes
these from states that the episode reached; here the environment draws them, as its task does when an episode begins.
"""

from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from pad.types import Batch


@runtime_checkable
class Goals(Protocol):
    """How an environment relabels transitions with other goals: its attribute `goals`."""

    def redraw(
        self, states: np.ndarray, next_states: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """States, next states and rewards of the same transitions under goals drawn anew: float32 (batch, ...)."""


class GoalRelabelling:
    """Relabels the first `share` of a batch with goals drawn anew; which transitions come first is chance already.

    Args:
        share: of each batch, from 0 to 1.
        seed: decides which goals are drawn.
    """

    def __init__(self, goals: Goals, share: float, seed: int) -> None:
        self._goals, self._share, self._rng = goals, share, np.random.default_rng([seed, 2])

    def __call__(self, batch: Batch) -> Batch:
        """A relabelled copy of a batch of states: obs and next_obs (batch, state), reward (batch,)."""
        count = round(self._share * len(batch.obs))
        obs, next_obs, reward = (part.clone() for part in (batch.obs, batch.next_obs, batch.reward))
        relabelled = self._goals.redraw(obs[:count].cpu().numpy(), next_obs[:count].cpu().numpy(), self._rng)
        for part, values in zip((obs, next_obs, reward), relabelled, strict=True):
            part[:count] = torch.from_numpy(values)
        return replace(batch, obs=obs, next_obs=next_obs, reward=reward)

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
