"""What the self-supervised loss and the features are like where a policy was trained, measured on it as it is."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from pad.agent import Agent
from pad.colors import ColorStatistics
from pad.deployment import FrozenPolicy, Model, as_model
from pad.deployment.model import step_of
from pad.evaluation import run_episode
from pad.gate import Calibration
from pad.types import Metrics


class _Recording:
    """A frozen policy that notes the loss of each transition and its features."""

    def __init__(self, model: Model) -> None:
        self._model, self._policy = model, FrozenPolicy(model)
        self.losses: list[float] = []
        self.channels: list[np.ndarray] = []
        self.frames: list[np.ndarray] = []
        """Newest ones of all episodes, of the first camera."""
        self.largest_step = 0.0

    def reset(self) -> None:
        self.losses, self.channels = [], []

    def act(self, obs: Any) -> Any:
        return self._policy.act(obs)

    def observe(self, obs: Any, action: Any, next_obs: Any) -> Metrics:
        transition = self._model.transition(obs, action, next_obs)
        loss, channels = self._model.look(transition)
        camera = self._model.cameras[0]
        newest = transition.next_obs.pictures[0][-camera.frame_channels :, ::4, ::4].float().cpu().numpy()
        self.frames.append(255 * (newest - camera.low) / (camera.high - camera.low))
        self.largest_step = max(self.largest_step, step_of(transition, self._model.cameras))
        self.losses.append(loss)
        self.channels.append(channels)
        return {}


def calibrate(policy: Agent | Model, env: gym.Env, seeds: Sequence[int]) -> Calibration:
    """From one episode of the training environment for each seed.

    Raises:
        ValueError: when the policy has no self-supervised head.
    """
    recording = _Recording(as_model(policy))
    losses, channels = [], []
    for seed in seeds:
        run_episode(env, recording, seed)
        losses.append(recording.losses)
        channels.append(np.array(recording.channels))
    return Calibration.of(losses, channels, ColorStatistics.of(recording.frames), recording.largest_step)
