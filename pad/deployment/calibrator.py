"""Measures what loss, features and pictures are like where a policy was trained, with the policy as it is."""

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from pad.agent import Agent
from pad.calibration import Calibration
from pad.colors import ColorStatistics
from pad.deployment.agent_model import as_model
from pad.deployment.camera import Observation
from pad.deployment.model import Model, Transition, step_of
from pad.deployment.policy import FrozenPolicy
from pad.evaluation import run_episode
from pad.types import Metrics


class Calibrator:
    """Collects what a calibration needs of each transition: loss, features, a coarse picture of its newest frame."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._losses: list[list[float]] = []
        self._channels: list[list[np.ndarray]] = []
        self._frames: list[np.ndarray] = []
        self._moments: list[list[np.ndarray]] = []
        self._largest_step = 0.0

    def begin_episode(self) -> None:
        """The transitions that follow are of another episode."""
        self._losses.append([])
        self._channels.append([])
        self._moments.append([])

    def add(self, transition: Transition) -> None:
        """Measure the next transition of the episode."""
        loss, channels = self._model.look(transition)
        self._losses[-1].append(loss)
        self._channels[-1].append(channels)
        self._frames.append(self._model.newest_frames(transition.next_obs)[0])
        self._moments[-1].append(self._model.color_moments(transition.next_obs))
        self._largest_step = max(self._largest_step, step_of(transition, self._model.cameras))

    def calibration(self) -> Calibration:
        """What was measured so far.

        Raises:
            ValueError: when there were too few transitions to say what is usual.
        """
        channels, moments = ([np.array(rows) for rows in rows_of] for rows_of in (self._channels, self._moments))
        colors = ColorStatistics.of(self._frames) if self._frames else None
        return Calibration.of(self._losses, channels, colors, self._largest_step, moments)


def calibrate(policy: Agent | Model, env: gym.Env, seeds: Sequence[int]) -> Calibration:
    """Calibrate a policy on one episode of the training environment for each seed.

    Raises:
        ValueError: when the policy has no self-supervised head.
    """
    model = as_model(policy)
    calibrator = Calibrator(model)
    acting = _Calibrating(model, calibrator)
    for seed in seeds:
        run_episode(env, acting, seed)
    return calibrator.calibration()


def calibrate_on(model: Model, episodes: Iterable[Sequence[Transition]]) -> Calibration:
    """Calibrate a policy on the transitions of recorded episodes.

    Raises:
        ValueError: when there are too few of them to say what is usual.
    """
    calibrator = Calibrator(model)
    for episode in episodes:
        calibrator.begin_episode()
        for transition in episode:
            calibrator.add(transition)
    return calibrator.calibration()


class _Calibrating:
    """A frozen policy whose transitions a calibrator measures."""

    def __init__(self, model: Model, calibrator: Calibrator) -> None:
        self._model, self._policy, self._calibrator = model, FrozenPolicy(model), calibrator

    def reset(self) -> None:
        self._calibrator.begin_episode()

    def act(self, obs: Observation) -> Any:
        return self._policy.act(obs)

    def observe(self, obs: Observation, action: Any, next_obs: Observation) -> Metrics:
        self._calibrator.add(self._model.transition(obs, action, next_obs))
        return {}
