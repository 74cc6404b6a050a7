"""Soft actor-critic, from pixels or from states, as a phase of training."""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from pad.agent import Agent
from pad.expert import Expert
from pad.replay_buffer import ReplayBuffer
from pad.seeding import training_seed
from pad.training.phase import Advance
from pad.training.stepping import Stepper
from pad.types import Metrics


@runtime_checkable
class Learner(Protocol):
    """What improves the networks that act, from the experience that they collect."""

    def update(self, replay: ReplayBuffer) -> Metrics:
        """One update on a batch drawn from the replay buffer."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Schedule:
    """How long a phase of soft actor-critic takes, in decisions."""

    steps: int
    random_steps: int
    """Decisions at random before learning begins."""
    max_episode_steps: int | None = None
    """Decisions after which an episode is cut short; None: only the environment ends it."""


class SACPhase:
    """Act at random first, then with the policy that is being learned; one update per decision.

    The update is made while the environment steps, so the newest transition is first learned from a decision later.

    Args:
        networks: act here and are trained, in place, by `learner`.
    """

    name, unit, trains_agent = "sac", "steps", True

    def __init__(
        self,
        networks: Agent | Expert,
        env: Stepper,
        learner: Learner,
        replay: ReplayBuffer,
        schedule: Schedule,
        seed: int,
    ) -> None:
        self.total, self.done = schedule.steps, 0
        self._networks, self._env, self._learner, self._replay = networks, env, learner, replay
        self._random_steps, self._max_episode_steps = schedule.random_steps, schedule.max_episode_steps or math.inf
        self._seed, self._episode = seed, 0
        self._rng = np.random.default_rng([seed, 1])

    def run_episode(self, advance: Advance) -> Metrics:
        obs = self._env.reset(training_seed(self._seed, self._episode))
        state = self._env.state
        self._replay.begin(obs)
        metrics: Metrics = {}
        episode_return, decisions, over = 0.0, 0, False
        while not over:
            action = self._act(obs)
            self._env.begin(action)
            self.done += 1
            if self.done > max(self._random_steps, 1) and len(self._replay):
                metrics |= self._learner.update(self._replay)
            obs, reward, terminated, truncated = self._env.finish()
            next_state = self._env.state
            self._replay.append(action, reward, terminated, obs, **self._extras(state, next_state))
            state = next_state
            decisions += 1
            over = terminated or truncated or decisions >= self._max_episode_steps
            episode_return += reward
            advance(1)
        self._episode += 1
        return metrics | {"episode_return": episode_return}

    def _act(self, obs: np.ndarray) -> np.ndarray:
        if self.done < self._random_steps:
            return self._rng.uniform(-1, 1, self._env.action_shape).astype(np.float32)
        return self._networks.act(obs, sample=True)

    def _extras(self, state: np.ndarray | None, next_state: np.ndarray | None) -> dict[str, np.ndarray]:
        if not self._replay.extras:
            return {}
        if state is None or next_state is None:
            raise ValueError("the environment tells its state in info['state'] at reset, but not at every step")
        return {"state": state, "next_state": next_state}

    def act(self, obs: np.ndarray) -> np.ndarray:
        return self._networks.act(obs)

    def note_evaluation(self, mean_return: float) -> None:
        """The last agent is kept, however well an earlier one did."""

    def flush(self) -> None:
        self._replay.flush()

    def close(self) -> None:
        self._env.close()

    def state_dict(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "episode": self._episode,
            "networks": self._networks.state_dict(),
            "learner": self._learner.state_dict(),
            "replay": self._replay.state_dict(),
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done, self._episode = state["done"], state["episode"]
        self._networks.load_state_dict(state["networks"])
        self._learner.load_state_dict(state["learner"])
        self._replay.load_state_dict(state["replay"])
        self._rng.bit_generator.state = state["rng"]
