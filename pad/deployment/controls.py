"""Controls beside an adapting policy: the same motion without the signal, and colours without learning."""

from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from pad.agent import Agent
from pad.colors import ColorStatistics
from pad.deployment.agent_model import as_model
from pad.deployment.camera import Observation
from pad.deployment.config import AdaptationConfig
from pad.deployment.model import Model
from pad.types import Metrics


class PerturbedPolicy:
    """A frozen policy whose weights are moved at random as far as adaptation moved them: the same motion, no signal.

    Args:
        drifts: distance from the trained weights at each decision of an episode, as a share of their norm.
        seed: of the direction, which is the same for the whole episode.
    """

    def __init__(self, policy: Agent | Model, config: AdaptationConfig, drifts: Sequence[float], seed: int) -> None:
        self._model = as_model(policy).copy()
        self._parameters = list(self._model.moving(config).values())
        self._trained = [parameter.detach().clone() for parameter in self._parameters]
        generator = torch.Generator().manual_seed(seed)
        directions = [torch.randn(home.shape, generator=generator).to(home.device) for home in self._trained]
        length = sum(float(direction.square().sum()) for direction in directions) ** 0.5
        norm = sum(float(home.square().sum()) for home in self._trained) ** 0.5
        self._directions = [direction * norm / length for direction in directions]
        self._drifts = list(drifts)
        self.reset()

    def reset(self) -> None:
        """A new episode begins."""
        self._step = 0

    @torch.no_grad()
    def act(self, obs: Observation) -> Any:
        """The most likely action of the perturbed weights."""
        drift = self._drifts[min(self._step - 1, len(self._drifts) - 1)] if self._drifts and self._step else 0.0
        self._step += 1
        for parameter, home, direction in zip(self._parameters, self._trained, self._directions, strict=True):
            parameter.data = home if drift == 0 else home + drift * direction
        seen = self._model.see(obs)
        return self._model.act(self._model.encode(seen), seen)

    def observe(self, obs: Observation, action: Any, next_obs: Observation) -> Metrics:
        """Take no note of the transition: this policy learns nothing."""
        return {}


class ColorMatchedPolicy:
    """A frozen policy behind a map of colours that gives recent pictures the mean and covariance of those of training.

    No gradient and no objective: what statistics of colours alone can do.

    Args:
        window: pictures whose statistics count as recent.

    Raises:
        ValueError: when the policy's calibration does not hold the colours of training.
    """

    def __init__(self, policy: Agent, window: int = 32) -> None:
        if policy.calibration is None or policy.calibration.colors is None:
            raise ValueError("no colours of training: scripts/calibrate.py CHECKPOINT measures them")
        self._colors = policy.calibration.colors
        self._agent, self._window = deepcopy(policy), window
        self.reset()

    def reset(self) -> None:
        """A new episode begins."""
        self._recent: deque[np.ndarray] = deque(maxlen=self._window)

    @torch.no_grad()
    def act(self, obs: np.ndarray) -> np.ndarray:
        """The most likely action, in [-1, 1]."""
        self._recent.append(np.array(self._agent.checked(obs)[-self._agent.frame_channels :, ::2, ::2]))
        matrix, offset = ColorStatistics.of(self._recent).map_to(self._colors)
        encoder = self._agent.encoder
        encoder.color_matrix.copy_(torch.from_numpy(matrix))
        encoder.color_offset.copy_(torch.from_numpy(offset))
        return self._agent.act(obs)

    def observe(self, obs: Observation, action: Any, next_obs: Observation) -> Metrics:
        """Take no note of the transition: this policy learns nothing."""
        return {}
