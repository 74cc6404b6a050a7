"""Cloning of a trained expert by the pixel agent, as a phase of training."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from pad.agent import Agent
from pad.cloning import Cloning
from pad.disguise import Disguise
from pad.expert import Expert
from pad.replay_buffer import ReplayBuffer
from pad.seeding import training_seed
from pad.strong import LAYERED
from pad.training.augmentation import make_augmenter, weakly_augmented_batch
from pad.training.collection import Collector, MakeEnv, Pending, Plan
from pad.training.config import TrainingConfig
from pad.training.phase import Advance
from pad.types import Batch, Metrics


class ClonePhase:
    """Record an episode, driven by the expert or by the agent; label it by the expert; learn; repeat.

    An episode is recorded while the one before it is learned from, so its driver is one episode younger.
    """

    name, unit, trains_agent = "clone", "updates", True

    def __init__(
        self,
        agent: Agent,
        expert: Expert,
        state_size: int,
        make_env: MakeEnv,
        training: TrainingConfig,
        replay: ReplayBuffer,
        seed: int,
    ) -> None:
        config = training.clone
        self.total, self.done = config.updates, 0
        self._agent, self._expert, self._config, self._seed = agent, expert, config, seed
        self._weak = training.weak_augmentation
        self._strong = make_augmenter(agent, training, config.augmentations)
        self._collector = Collector(make_env, training.recording == "process", LAYERED in config.augmentations)
        self._cloning = Cloning(agent, state_size, config, training.precision, expert.critic)
        self._replay = replay
        self._episode = 0
        self._driver: Agent | None = None
        """The agent that acts in the episode that is next learned from; None: as it is now."""
        self._pending: Pending | None = None

    def run_episode(self, advance: Advance) -> Metrics:
        if self._pending is None:  # the first episode, and the first after a resume
            self._pending = self._begin(self._driver or self._agent, self._episode)
        trajectory = self._pending.result(lambda: advance(0))
        self._driver = deepcopy(self._agent)
        last = self._updates_due(self._episode + 1) >= self._config.updates
        self._pending = None if last else self._begin(self._driver, self._episode + 1)
        self._replay.begin(trajectory.first_obs)
        for transition in trajectory.transitions:
            self._replay.append(**transition)
        self._episode += 1
        metrics = {"student_return" if trajectory.by_student else "expert_return": trajectory.episode_return}
        while self.done < self._updates_due(self._episode):
            batch = self._replay.sample(self._config.batch_size, self._agent.device)
            seen = weakly_augmented_batch(self._augmented(batch), self._agent, self._weak, self._config.centered_share)
            metrics |= self._cloning.update(seen)
            self.done += 1
            advance(1)
        return metrics

    def _begin(self, driver: Agent, episode: int) -> Pending:
        noise_seed = (self._seed, 2, episode)
        rng = np.random.default_rng([*noise_seed, 1])  # a zero at the end of a seed would change nothing
        by_student = episode >= self._config.expert_episodes and rng.uniform() < self._config.student_share
        noise = self._config.action_noise * rng.uniform() ** 2
        episode_seed, length = training_seed(self._seed, episode), self._config.max_episode_steps
        disguise = self._disguise(rng) if by_student and self._config.disguised_share else None
        plan = Plan(episode_seed, noise_seed, bool(by_student), float(noise), length, disguise)
        return self._collector.begin(driver, self._expert, plan)

    def _disguise(self, rng: np.random.Generator) -> Disguise | None:
        if rng.uniform() >= self._config.disguised_share:
            return None
        names, pictures = self._strong.names, self._strong.pictures
        name, seed = names[rng.integers(len(names))], int(rng.integers(2**63))
        if pictures is not None:  # one is enough, and quickly sent
            pictures = pictures[rng.integers(len(pictures))][None]
        return Disguise(name, self._agent.frame_channels, LAYERED in names, seed, pictures)

    def _augmented(self, batch: Batch) -> Batch:
        obs, next_obs = self._strong.transitions(batch.obs, batch.next_obs, self._config.augmented_share)
        return replace(batch, obs=obs, next_obs=next_obs)

    def _updates_due(self, episodes: int) -> int:
        config = self._config
        learning_episodes = config.episodes - config.expert_episodes + 1
        share = (episodes - config.expert_episodes + 1) / learning_episodes
        return min(config.updates, max(0, round(config.updates * share)))

    def act(self, obs: np.ndarray) -> np.ndarray:
        return self._agent.act(obs)

    def note_evaluation(self, mean_return: float) -> None:
        """The learning rate ends near zero, so the last agent is kept."""

    def flush(self) -> None:
        self._replay.flush()

    def close(self) -> None:
        self._collector.close()

    def state_dict(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "episode": self._episode,
            "expert": self._expert.state_dict(),
            "agent": self._agent.state_dict(),
            "driver": (self._driver or self._agent).state_dict(),
            "cloning": self._cloning.state_dict(),
            "replay": self._replay.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done, self._episode = state["done"], state["episode"]
        self._expert.load_state_dict(state["expert"])
        self._agent.load_state_dict(state["agent"])
        self._driver, self._pending = deepcopy(self._agent), None
        self._driver.load_state_dict(state["driver"])
        self._cloning.load_state_dict(state["cloning"])
        self._replay.load_state_dict(state["replay"])
