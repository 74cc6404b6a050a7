"""What a training run consists of: one phase of soft actor-critic, or an expert's and a clone's.

A phase advances by whole episodes, so that its state between two of them is all that a
checkpoint needs: the environment is reseeded for each.
"""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch

from pad.agent import Agent
from pad.asymmetric import AsymmetricSAC
from pad.augmentations import WeakAugmentation, center_crop, weakly_augmented
from pad.cloning import Cloning
from pad.decay import cosine_decay, linear_decay
from pad.disguise import Disguise
from pad.expert import Expert, ExpertConfig
from pad.pictures import load_pictures
from pad.replay_buffer import ReplayBuffer
from pad.sac import SAC
from pad.seeding import training_seed
from pad.strong import LAYERED, StrongAugmentation, StrongAugmentations
from pad.training.config import TrainingConfig
from pad.training.goals import GoalRedrawing, Goals
from pad.training.recording import Layered, MakeEnv, Pending, Plan, Recorder
from pad.training.stepping import InlineStepper, Stepper, make_stepper, shape_of_actions
from pad.types import Batch, Metrics

Advance = Callable[[int], None]
"""Told how much of a phase has been done since the last call."""


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
        """Act in one episode, and learn."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """What the policy that is being trained would do, without noise."""

    def note_evaluation(self, mean_return: float) -> None:
        """How well `act` did just now."""

    def flush(self) -> None:
        """Write replay to disk."""

    def close(self) -> None:
        """Let go of what the phase holds; it is not run again."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def make_phases(agent: Agent, make_env: MakeEnv, config: TrainingConfig, seed: int, folder: Path) -> list[Phase]:
    """The phases of a recipe, first to last; replay is kept below `folder`."""
    if config.recipe == "sac":
        return [_pixel_sac(agent, make_env, config, seed, folder / "replay")]
    state_env = make_env("state")
    (state_size,), action_size = state_env.observation_space.shape or (), agent.action_size
    _check_pixels(make_env("pixels"), state_size, LAYERED in config.clone.augmentations, seed)
    expert = Expert(state_size, action_size, config.expert.hidden).to(agent.device)
    return [
        _expert_sac(expert, state_env, config, seed, folder / "replay_expert"),
        ClonePhase(agent, expert, state_size, make_env, config, seed, folder / "replay"),
    ]


def _check_pixels(env: gym.Env, state_size: int, layered: bool, seed: int) -> None:
    """Whether a clone can be recorded there, which else would be found out when the expert has been trained.

    Raises:
        ValueError: when it cannot.
    """
    try:
        shape_of_actions(env.action_space)
        _, info = env.reset(seed=training_seed(seed, 0))
        if "state" not in info:
            raise ValueError(
                "recipe clone needs an environment that tells its state in info['state']; this one does not"
            )
        if len(info["state"]) != state_size:
            raise ValueError(f"info['state'] has {len(info['state'])} numbers, the observation of states {state_size}")
        if layered and not isinstance(env.unwrapped, Layered):
            raise ValueError("random_background needs an environment that has a method layers(); this one has none")
    finally:
        env.close()


def _pixel_sac(agent: Agent, make_env: MakeEnv, config: TrainingConfig, seed: int, folder: Path) -> "SACPhase":
    capacity = config.replay_capacity or _slots(config.steps)
    stepper = make_stepper(make_env, "pixels", own_process=config.recording == "process")
    state_size = None if config.critic == "pixels" else _state_size(stepper, seed)
    extras = {} if state_size is None else {"state": state_size, "next_state": state_size}
    replay, learner = _image_replay(agent, capacity, folder, seed, extras), PixelLearner(agent, config, state_size)
    return SACPhase("sac", agent, stepper, learner, replay, config.steps, config.random_steps, seed, trains_agent=True)


def _state_size(stepper: Stepper, seed: int) -> int:
    stepper.reset(training_seed(seed, 0))
    if stepper.state is None:
        raise ValueError("critic state needs an environment that tells its state in info['state']; this one does not")
    return len(stepper.state)


def _expert_sac(expert: Expert, env: gym.Env, config: TrainingConfig, seed: int, folder: Path) -> "SACPhase":
    settings, shape = config.expert, env.observation_space.shape or ()
    actions = int(np.prod(env.action_space.shape or ()))
    replay = ReplayBuffer(_slots(settings.steps), shape, actions, dtype=np.float32, folder=folder, seed=seed)
    learner = StateLearner(expert, actions, settings, _redrawing(env, settings.redrawn_goals, seed))
    return SACPhase(
        "expert",
        expert,
        InlineStepper(env),
        learner,
        replay,
        settings.steps,
        settings.random_steps,
        seed,
        trains_agent=False,
        episode_length=settings.episode_length,
    )


def _redrawing(env: gym.Env, share: float, seed: int) -> GoalRedrawing | None:
    if not share:
        return None
    goals = getattr(env.unwrapped, "goals", None)
    if not isinstance(goals, Goals):
        raise ValueError("redrawn_goals need an environment that tells its goals in its attribute goals; this has none")
    return GoalRedrawing(goals, share, seed)


def _image_replay(
    agent: Agent, slots: int, folder: Path, seed: int, extras: Mapping[str, int], layered: bool = False
) -> ReplayBuffer:
    channels, height, width = agent.obs_shape
    stack, frame = channels // agent.frame_channels, (agent.frame_channels + layered, height, width)
    return ReplayBuffer(slots, frame, agent.action_size, stack, extras=extras, folder=folder, seed=seed)


def _slots(steps: int) -> int:
    # A slot for each transition and one more for each episode, however short; files grow only as they fill.
    return 2 * steps + 10_000


class StateLearner:
    """Soft actor-critic of the expert, on batches of states, perhaps towards other goals."""

    def __init__(
        self, expert: Expert, action_size: int, config: ExpertConfig, redrawing: GoalRedrawing | None = None
    ) -> None:
        self._sac, self._config = SAC(expert, action_size, config.sac), config
        self._redrawing = redrawing
        self._device = next(expert.parameters()).device

    def update(self, replay: ReplayBuffer) -> Metrics:
        self._decay()
        batch = replay.sample(self._config.batch_size, self._device)
        return self._sac.update(batch if self._redrawing is None else self._redrawing(batch))

    def _decay(self) -> None:
        config, first = self._config, self._config.sac
        # In a hundred steps: on CUDA each costs a new recording of the update.
        learning = max(config.steps - max(config.random_steps, 1), 1)
        done = 100 * self._sac.updates // learning / 100
        progress = (done - config.decay_start) / (1 - config.decay_start)
        if config.final_learning_rate is not None:
            self._sac.set_learning_rate(cosine_decay(first.learning_rate, config.final_learning_rate, progress))
        if config.final_target_entropy is not None:
            self._sac.set_target_entropy(linear_decay(first.target_entropy, config.final_target_entropy, progress))

    def state_dict(self) -> dict[str, Any]:
        redrawing = {} if self._redrawing is None else {"redrawing": self._redrawing.state_dict()}
        return {**self._sac.state_dict(), **redrawing}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sac.load_state_dict(state)
        if self._redrawing is not None:
            self._redrawing.load_state_dict(state["redrawing"])


class PixelLearner:
    """Soft actor-critic and self-supervision of the agent, on the same random crops (Hansen et al., 2021).

    Args:
        state_size: of the simulator's state where the critic sees it; None where it sees what the actor sees.
    """

    def __init__(self, agent: Agent, config: TrainingConfig, state_size: int | None = None) -> None:
        self._agent, self._config, self._updates = agent, config, 0
        self._sac: SAC | AsymmetricSAC
        if state_size is None:
            self._sac = SAC(agent, agent.action_size, config.sac, config.precision)
        else:
            self._sac = AsymmetricSAC(agent, state_size, config.sac, config.precision)
        self._weak, self._strong = config.weak_augmentation, strong_augmentations(agent, config, config.augmentations)

    def update(self, replay: ReplayBuffer) -> Metrics:
        whole, agent, weak = replay.sample(self._config.batch_size, self._agent.device), self._agent, self._weak
        batch = moved(whole, agent, weak)
        augmented = None
        if self._strong.names:
            augmented = weakly_augmented(self._strong.observations(whole.obs), agent.config.encoder.crop_size, weak)
        supervise = agent.inverse_dynamics is not None and self._updates % self._config.self_supervise_every == 0
        metrics = self._sac.update(batch, supervise, augmented)
        self._updates += 1
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {"sac": self._sac.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sac.load_state_dict(state["sac"])
        self._updates = state["updates"]


def moved(batch: Batch, agent: Agent, kind: WeakAugmentation, centered_share: float = 0.0) -> Batch:
    """The batch with each observation, and each next one, under a weak augmentation of its own.

    Args:
        centered_share: chance of a transition to be seen through the middle window instead.
    """
    size = agent.config.encoder.crop_size
    obs, next_obs = (weakly_augmented(images, size, kind) for images in (batch.obs, batch.next_obs))
    if centered_share:  # else nothing is drawn
        centered = (torch.rand(len(obs)) < centered_share).to(obs.device)
        obs[centered], next_obs[centered] = (center_crop(i, size)[centered] for i in (batch.obs, batch.next_obs))
    return replace(batch, obs=obs, next_obs=next_obs)


def strong_augmentations(
    agent: Agent, config: TrainingConfig, names: tuple[StrongAugmentation, ...]
) -> StrongAugmentations:
    """Those of a recipe, with the pictures that they need.

    Raises:
        FileNotFoundError: when there are no pictures in their folder.
        ValueError: when frames do not have the colours that one needs.
    """
    if "color_jitter" in names and agent.frame_channels != 3:
        raise ValueError(f"color_jitter needs three colours, the frames of this agent have {agent.frame_channels}")
    pictures = None
    if config.overlay_pictures is not None:  # goes with augmentations that show it
        pictures = load_pictures(config.overlay_pictures, *agent.obs_shape[1:])
    return StrongAugmentations(names, agent.frame_channels, pictures)


class SACPhase:
    """Act at random first, then with the policy that is being learned; one update per decision.

    The update is made while the environment steps, so the newest transition is first learned from a decision later.
    """

    unit = "steps"

    def __init__(
        self,
        name: str,
        networks: Agent | Expert,
        env: Stepper,
        learner: PixelLearner | StateLearner,
        replay: ReplayBuffer,
        steps: int,
        random_steps: int,
        seed: int,
        trains_agent: bool,
        episode_length: int | None = None,
    ) -> None:
        self._episode_length = episode_length or math.inf
        self.name, self.total, self.done, self.trains_agent = name, steps, 0, trains_agent
        self._networks, self._env, self._learner, self._replay = networks, env, learner, replay
        self._random_steps, self._seed, self._episode = random_steps, seed, 0
        self._rng = np.random.default_rng([seed, 1])
        self._best_return, self._best_networks = -math.inf, dict[str, torch.Tensor]()

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
            extras = {}
            if self._replay.extras:
                if state is None or next_state is None:
                    raise ValueError("the environment tells its state in info['state'] at reset, but not at every step")
                extras = {"state": state, "next_state": next_state}
            self._replay.append(action, reward, terminated, obs, **extras)
            state = next_state
            decisions += 1
            over = terminated or truncated or decisions >= self._episode_length
            episode_return += reward
            advance(1)
        self._episode += 1
        return metrics | {"episode_return": episode_return}

    def _act(self, obs: np.ndarray) -> np.ndarray:
        if self.done < self._random_steps:
            return self._rng.uniform(-1, 1, self._env.action_shape).astype(np.float32)
        return self._networks.act(obs, sample=True)

    def act(self, obs: np.ndarray) -> np.ndarray:
        return self._networks.act(obs)

    def note_evaluation(self, mean_return: float) -> None:
        # An expert is only as good as the moment at which it is copied: its best evaluation counts.
        if self.trains_agent:
            return
        if mean_return > self._best_return:
            self._best_return = mean_return
            self._best_networks = {n: v.detach().clone() for n, v in self._networks.state_dict().items()}
        if self.done >= self.total:
            self._networks.load_state_dict(self._best_networks)

    def flush(self) -> None:
        self._replay.flush()

    def close(self) -> None:
        self._env.close()

    def state_dict(self) -> dict[str, Any]:
        return {
            "done": self.done,
            "episode": self._episode,
            "best_return": self._best_return,
            "best_networks": self._best_networks,
            "networks": self._networks.state_dict(),
            "learner": self._learner.state_dict(),
            "replay": self._replay.state_dict(),
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done, self._episode = state["done"], state["episode"]
        self._best_return, self._best_networks = state["best_return"], state["best_networks"]
        self._networks.load_state_dict(state["networks"])
        self._learner.load_state_dict(state["learner"])
        self._replay.load_state_dict(state["replay"])
        self._rng.bit_generator.state = state["rng"]


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
        seed: int,
        folder: Path,
    ) -> None:
        config = training.clone
        self.total, self.done = config.updates, 0
        self._agent, self._expert, self._config, self._seed = agent, expert, config, seed
        self._weak, self._strong = (
            training.weak_augmentation,
            strong_augmentations(agent, training, config.augmentations),
        )
        layered = LAYERED in config.augmentations
        self._recorder = Recorder(make_env, training.recording == "process", layered)
        self._cloning = Cloning(agent, state_size, config, training.precision, expert.critic)
        # The files grow only as they fill, so the bound need not be tight.
        labels = {"expert_action": agent.action_size, "state": state_size}
        labels |= {f"next_{name}": size for name, size in labels.items()}
        self._replay = _image_replay(agent, 10_000_000, folder, seed, labels, layered)
        self._episode = 0
        self._driver: Agent | None = None
        """The agent that acts in the episode that is next learned from; None: as it is now."""
        self._pending: Pending | None = None

    def run_episode(self, advance: Advance) -> Metrics:
        if self._pending is None:  # the first episode, and the first after a resume
            self._pending = self._begin(self._driver or self._agent, self._episode)
        recording = self._pending.result(lambda: advance(0))
        self._driver = deepcopy(self._agent)
        last = self._updates_due(self._episode + 1) >= self._config.updates
        self._pending = None if last else self._begin(self._driver, self._episode + 1)
        self._replay.begin(recording.first_obs)
        for transition in recording.transitions:
            self._replay.append(**transition)
        self._episode += 1
        metrics = {"student_return" if recording.by_student else "expert_return": recording.episode_return}
        while self.done < self._updates_due(self._episode):
            batch = self._replay.sample(self._config.batch_size, self._agent.device)
            seen = moved(self._augmented(batch), self._agent, self._weak, self._config.centered_share)
            metrics |= self._cloning.update(seen)
            self.done += 1
            advance(1)
        return metrics

    def _begin(self, driver: Agent, episode: int) -> Pending:
        noise_seed = (self._seed, 2, episode)
        rng = np.random.default_rng([*noise_seed, 1])  # a zero at the end of a seed would change nothing
        by_student = episode >= self._config.expert_episodes and rng.uniform() < self._config.student_share
        noise = self._config.action_noise * rng.uniform() ** 2
        episode_seed, length = training_seed(self._seed, episode), self._config.episode_length
        disguise = self._disguise(rng) if by_student and self._config.disguised_share else None
        plan = Plan(episode_seed, noise_seed, bool(by_student), float(noise), length, disguise)
        return self._recorder.begin(driver, self._expert, plan)

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
        self._recorder.close()

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
