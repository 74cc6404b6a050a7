"""What deployment needs of a policy that is to adapt, and how a PAD agent answers it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pad.agent import Agent
from pad.augmentations import center_crop
from pad.deployment.camera import Camera, Observation
from pad.deployment.config import AdaptationConfig, Moves
from pad.deployment.detail import DetailFilter
from pad.gate import Calibration
from pad.losses import inverse_dynamics_loss
from pad.objectives import Views
from pad.types import Scalar
from pad.windows import Windows


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
    """Of each camera the filter that its pictures go through first; None while nothing asks for one. No weights of
    the policy: no checkpoint holds them."""

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def copy(self) -> "Model":
        """Another one that learns by itself."""
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
        """Features of one observation, as the policy acts on it, with a batch dimension of one."""

    @abstractmethod
    def act(self, features: Tensor, seen: Seen) -> Any:
        """The most likely action, as the control loop takes it."""

    @abstractmethod
    def loss_between(self, features: Tensor, action: Tensor, next_features: Tensor) -> Scalar:
        """Self-supervised loss of one transition, from the features of both observations."""

    @abstractmethod
    def loss(
        self, transitions: Sequence[Transition], picks: Tensor, config: AdaptationConfig, generator: Any
    ) -> Scalar:
        """Self-supervised loss to learn from: a random view of `transitions[pick]` for each pick."""

    def channels(self, features: Tensor) -> np.ndarray:
        """The average of each channel of the features over the picture: what the gate compares with training."""
        return features[0].flatten(1).mean(1).double().cpu().numpy() if features.dim() > 2 else _row(features)

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
        return {name: np.array(value) for name, value in obs.items() if name not in keys}

    def transition(self, obs: Observation, action: Any, next_obs: Observation) -> Transition:
        """The same of a whole transition."""
        return Transition(self.see(obs), self.action(action), self.see(next_obs))

    def measure(self, transition: Transition) -> float:
        """Self-supervised loss of one transition as the policy sees it, without augmentation."""
        return self.look(transition)[0]

    @torch.no_grad()
    def look(self, transition: Transition) -> tuple[float, np.ndarray]:
        """The same, with the channels of the next observation's features."""
        features, next_features = self.encode(transition.obs), self.encode(transition.next_obs)
        loss = self.loss_between(features, transition.action, next_features).item()
        return loss, self.channels(next_features)


def _row(features: Tensor) -> np.ndarray:
    return features[0].flatten().double().cpu().numpy()


class AgentModel(Model):
    """A PAD agent.

    Raises:
        ValueError: when the agent was trained without the self-supervised head.
    """

    def __init__(self, agent: Agent) -> None:
        if agent.inverse_dynamics is None:
            raise ValueError("this agent cannot adapt: it was trained without a self-supervised head")
        self.network = self.agent = agent
        self._head = agent.inverse_dynamics
        channels, height, width = agent.obs_shape
        self.cameras = (Camera((channels, height, width), frame_channels=agent.frame_channels),)
        self.calibration = agent.calibration

    def moving(self, config: AdaptationConfig) -> dict[str, nn.Parameter]:
        count = len(self.agent.encoder.convolutions)
        layers = count if config.layers is None else config.layers
        if layers > count:
            raise ValueError(f"layers must be at most {count} for this agent, got {layers}")
        convolutions = tuple(f"encoder.convolutions.{index}." for index in range(layers))
        prefixes: dict[Moves, tuple[str, ...]] = {
            "color": ("encoder.color_",),
            "color_and_detail": ("encoder.color_",),
            "affine": tuple(f"{convolution}bias" for convolution in convolutions),
            "convolutions": convolutions,
            "convolutions_and_head": (
                *convolutions,
                "inverse_dynamics.",
                *(f"heads.{name}." for name in config.objectives),
            ),
        }
        found = {n: p for n, p in self.agent.named_parameters() if n.startswith(prefixes[config.moves])}
        return {**found, **self.moving_detail()} if config.moves == "color_and_detail" else found

    def check(self, config: AdaptationConfig) -> None:
        for name in config.objectives:
            self.agent.objective(name)

    def action(self, action: Any) -> Tensor:
        array = np.asarray(action, np.float32)
        if array.shape != (self.agent.action_size,):
            raise ValueError(f"action must have shape {(self.agent.action_size,)}, got {array.shape}")
        return torch.tensor(within_bounds(array, action, "[-1, 1]"), device=self.device)

    def picture(self, pixels: np.ndarray) -> Tensor:
        # With channels last in memory, as its convolutions read them.
        return super().picture(pixels.transpose(1, 2, 0)).permute(2, 0, 1)

    def encode(self, seen: Seen) -> Tensor:
        pictures = self.filtered(seen.pictures[0][None])
        return self.agent.encoder(center_crop(pictures, self.agent.config.encoder.crop_size))

    def act(self, features: Tensor, seen: Seen) -> np.ndarray:  # an agent acts on pixels alone
        return self.agent.actor.mean(self.agent.control(features))[0].cpu().numpy()

    def loss_between(self, features: Tensor, action: Tensor, next_features: Tensor) -> Scalar:
        return inverse_dynamics_loss(self._head(features, next_features), action[None])

    def loss(
        self, transitions: Sequence[Transition], picks: Tensor, config: AdaptationConfig, generator: Any
    ) -> Scalar:
        views = self.draw(transitions, picks, config, generator)
        return sum(
            (self.agent.objective(name)(views) for name in config.objectives), torch.zeros((), device=self.device)
        )

    def draw(
        self, transitions: Sequence[Transition], picks: Tensor, config: AdaptationConfig, generator: torch.Generator
    ) -> Views:
        """Random crops of picked transitions, every observation under one of its own."""
        used, index = picks.unique(return_inverse=True)
        chosen = [transitions[number] for number in used.tolist()]
        pictures = [t.obs.pictures[0] for t in chosen] + [t.next_obs.pictures[0] for t in chosen]
        images = torch.stack([picture.permute(1, 2, 0) for picture in pictures]).permute(0, 3, 1, 2)
        top, left = (self._offsets(extent, 2 * len(picks), config, generator) for extent in images.shape[2:])
        windows = Windows(torch.cat([index, index + len(used)]), top, left, self.agent.config.encoder.crop_size)
        actions = torch.stack([t.action for t in chosen])
        # What one transition led to is mostly what the following one began with.
        shown = [id(seen) for seen in (*(t.obs for t in chosen), *(t.next_obs for t in chosen))]
        same = torch.tensor([shown.index(picture) for picture in shown])
        drawn = actions[index.to(actions.device)]
        return Views(self.agent, self.filtered(images), windows, drawn, config.precision, same, generator)

    def _offsets(self, extent: int, count: int, config: AdaptationConfig, generator: torch.Generator) -> Tensor:
        encoder = self.agent.config.encoder
        step = math.prod(encoder.strides) if config.crop_grid == "stride" else 1
        places = (extent - encoder.crop_size) // step + 1
        return step * torch.randint(places, (count,), generator=generator)


def within_bounds(scaled: np.ndarray, action: Any, bounds: Any) -> np.ndarray:
    """An action that is scaled to [-1, 1], held there as the machine holds it; what is not finite stays.

    Raises:
        ValueError: when it is out of range by more than the range: it is in other units.
    """
    finite = np.isfinite(scaled)
    if (np.abs(scaled[finite]) > 3).any():
        raise ValueError(f"action must be within {bounds}, got {np.asarray(action)}")
    return np.where(finite, np.clip(scaled, -1, 1), scaled)


def as_model(policy: Agent | Model) -> Model:
    """What deployment works on; a model is itself."""
    return policy if isinstance(policy, Model) else AgentModel(policy)
