"""What deployment needs of a policy that is to adapt."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pad.calibration import Calibration
from pad.colors import color_moments
from pad.deployment.camera import Camera, Observation
from pad.deployment.config import AdaptationConfig
from pad.deployment.detail import DetailFilter
from pad.types import Scalar


@dataclass(frozen=True, eq=False)
class Seen:
    """An observation as tensors on the policy's device: a picture (channels, height, width) for each camera."""

    pictures: tuple[Tensor, ...]
    rest: dict[str, Any] = field(default_factory=dict)
    """Entries that are no pixels: a policy may act on them, nothing is learned from them."""


@dataclass(frozen=True, eq=False)
class Transition:
    """What one decision showed."""

    obs: Seen
    action: Tensor
    next_obs: Seen
    decision: int | None = None
    """Number of the decision in the episode, from 0, those that nothing is learned from included; None where nobody
    counts."""


def step_of(transition: Transition, cameras: Sequence[Camera]) -> float:
    """Mean difference of a transition's newest frames, as a share of the range, for the camera that differs most."""
    found = 0.0
    for camera, before, after in zip(cameras, transition.obs.pictures, transition.next_obs.pictures, strict=True):
        moved = after[-camera.frame_channels :].float() - before[-camera.frame_channels :].float()
        found = max(found, float(moved.abs().mean()) / (camera.high - camera.low))
    return found


class Model(ABC):
    """A policy with a self-supervised head, as deployment sees it.

    A subclass says how its observations look, what may move, and how it acts and infers actions from features.
    """

    network: nn.Module
    """All weights, those of the policy and those of the head."""
    cameras: tuple[Camera, ...]
    calibration: Calibration | None
    discrete: bool = False
    """Whether actions are numbers of choices."""
    details: nn.ModuleList | None = None
    """Filters that pictures go through first, one for each camera; None while nothing asks for them. They are no
    weights of the policy: no checkpoint holds them."""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def copy(self) -> "Model":
        """A copy of the model whose weights are its own."""
        return deepcopy(self)

    @abstractmethod
    def moving(self, config: AdaptationConfig) -> dict[str, nn.Parameter]:
        """The parameters that a setting lets move, by name.

        Raises:
            ValueError: when this policy does not have what the setting moves.
        """

    def moving_detail(self) -> dict[str, nn.Parameter]:
        """The parameters of a filter for each camera, which are made when they are first asked for."""
        if self.details is None:
            filters = (DetailFilter(camera.frame_channels) for camera in self.cameras)
            self.details = nn.ModuleList(filters).to(self.device)
        return {f"details.{name}": parameter for name, parameter in self.details.named_parameters()}

    def filtered(self, pictures: Tensor, camera: int = 0) -> Tensor:
        """Pictures (batch, channels, height, width) of one camera, through its filter if there is one."""
        return pictures if self.details is None else self.details[camera](pictures)

    def check(self, config: AdaptationConfig) -> None:
        """Whether this policy can learn by the objectives of a setting.

        Raises:
            ValueError: when it cannot, saying what it lacks.
        """
        if config.objectives != ("inverse_dynamics",):
            raise ValueError(f"this policy learns by inverse_dynamics alone, got {', '.join(config.objectives)}")

    @abstractmethod
    def action(self, action: Any) -> Tensor:
        """An action as the control loop has it, as the head infers it.

        Raises:
            ValueError: when it has another shape than the policy's actions, or is far out of their range.
        """

    def compared(self, action: Any) -> np.ndarray:
        """An action as guards compare it with another, by the mean squared difference.

        Scaled to [-1, 1]; of two discrete ones that differ it is one.
        """
        return self.action(action).cpu().numpy()

    @abstractmethod
    def encode(self, seen: Seen) -> Tensor:
        """Features of one observation, as the policy acts on it: (1, channels, rows, columns), (1, tokens, channels) or
        (1, features).
        """

    @abstractmethod
    def act(self, features: Tensor, seen: Seen) -> Any:
        """The most likely action, as the control loop takes it.

        Args:
            features: of one observation, as `encode` gives them, with their batch dimension of one.
            seen: that observation, for entries that are no pixels.
        """

    @abstractmethod
    def loss_between(self, features: Tensor, action: Tensor, next_features: Tensor) -> Scalar:
        """Self-supervised loss of one transition.

        Args:
            features: of the first observation, as `encode` gives them, with their batch dimension of one.
            action: as `action` gives it, without a batch dimension.
            next_features: of the next observation.
        """

    @abstractmethod
    def loss(
        self, transitions: Sequence[Transition], picks: Tensor, config: AdaptationConfig, generator: torch.Generator
    ) -> Scalar:
        """Self-supervised loss to learn from, as a scalar: over a random view of `transitions[pick]` for each pick.

        Args:
            picks: indices of transitions, int64 (batch,), each as often as it is drawn.
            generator: of random views, on the CPU.
        """

    def channels(self, features: Tensor) -> np.ndarray:
        """The average of each channel of the features over the picture: what the gate compares with training.

        Channels come first, but last after tokens.
        """
        if features.dim() == 3:
            return _row(features.mean(1))
        return features[0].flatten(1).mean(1).double().cpu().numpy() if features.dim() > 2 else _row(features)

    def newest_frames(self, seen: Seen) -> list[np.ndarray]:
        """Every fourth pixel of each camera's newest frame, from 0 to 255."""
        frames = []
        for camera, picture in zip(self.cameras, seen.pictures, strict=True):
            newest = picture[-camera.frame_channels :, ::4, ::4].float().cpu().numpy()
            frames.append(255 * (newest - camera.low) / (camera.high - camera.low))
        return frames

    def color_moments(self, seen: Seen) -> np.ndarray:
        """Mean and covariance of the colours of each camera's newest frame: what the gate compares with training."""
        return np.concatenate([color_moments(frame) for frame in self.newest_frames(seen)])

    def see(self, obs: Observation) -> Seen:
        """An observation as tensors: copies, since a control loop may use its arrays again.

        Raises:
            TypeError: when it is not of the declared kind.
            ValueError: when its pixels have another shape or dtype than declared.
        """
        device = self.device
        pictures = tuple(self.picture(camera.channels_first(camera.checked(obs))).to(device) for camera in self.cameras)
        return Seen(pictures, self.rest(obs))

    def picture(self, pixels: np.ndarray) -> Tensor:
        """A copy of pixels (channels, height, width)."""
        return torch.from_numpy(np.array(pixels, order="C"))

    def rest(self, obs: Observation) -> dict[str, Any]:
        """The entries of an observation that are no pixels; none of what is no observation of several entries."""
        keys = {camera.key for camera in self.cameras}
        if None in keys or not isinstance(obs, Mapping):
            return {}
        return {name: np.asarray(value).copy() for name, value in obs.items() if name not in keys}

    def transition(self, obs: Observation, action: Any, next_obs: Observation) -> Transition:
        """A whole transition as tensors.

        Raises:
            TypeError: when an observation is not of the declared kind.
            ValueError: when pixels have another shape or dtype than declared, or the action is none of this policy.
        """
        return Transition(self.see(obs), self.action(action), self.see(next_obs))

    def measure(self, transition: Transition) -> float:
        """Self-supervised loss of one transition as the policy sees it, without augmentation."""
        return self.look(transition)[0]

    @torch.no_grad()
    def look(self, transition: Transition) -> tuple[float, np.ndarray]:
        """Self-supervised loss of one transition, and its next observation's channels.

        See `measure` and `channels`.
        """
        features, next_features = self.encode(transition.obs), self.encode(transition.next_obs)
        loss = self.loss_between(features, transition.action, next_features).item()
        return loss, self.channels(next_features)


def _row(features: Tensor) -> np.ndarray:
    return features[0].flatten().double().cpu().numpy()


class CapturableModel(Model):
    """A model whose loss can be computed in steps that are always the same, from tensors of always the same shapes.

    On CUDA such a step is captured once and replayed, which spares the time of starting its kernels one by one.
    """

    @abstractmethod
    def is_capturable(self, config: AdaptationConfig) -> bool:
        """Whether the loss of a setting can be computed in such steps."""

    @abstractmethod
    def inputs(
        self, transitions: Sequence[Transition], picks: Tensor, config: AdaptationConfig, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        """All tensors that differ between two steps, from the same random draws as those of `loss`."""

    @abstractmethod
    def loss_of(self, inputs: tuple[Tensor, ...], config: AdaptationConfig) -> Scalar:
        """What `loss` computes, from `inputs` on the model's device, with nothing read back from there."""


class OutOfBounds(ValueError):
    """An action is out of range by more than the range."""


def within_bounds(scaled: np.ndarray, action: Any, bounds: Any) -> np.ndarray:
    """An action that is scaled to [-1, 1], held there as the machine holds it; what is not finite stays.

    Raises:
        OutOfBounds: when it is out of range by more than the range: it is in other units.
    """
    finite = np.isfinite(scaled)
    if (np.abs(scaled[finite]) > 3).any():
        raise OutOfBounds(
            f"action must be within {bounds}, got {np.asarray(action)}: clip it, or declare the units that it is in"
        )
    return np.where(finite, np.clip(scaled, -1, 1), scaled)
