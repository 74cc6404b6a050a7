"""A PAD agent, as deployment sees it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pad.agent import Agent
from pad.augmentations import center_crop
from pad.calibration import Calibration
from pad.deployment.camera import Camera
from pad.deployment.config import AdaptationConfig, Moves
from pad.deployment.model import CapturableModel, Model, Seen, Transition, within_bounds
from pad.losses import inverse_dynamics_loss
from pad.objectives import Views
from pad.types import Scalar
from pad.windows import Windows


class AgentModel(CapturableModel):
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

    @property
    def calibration(self) -> Calibration | None:
        """What loss and features are like where the agent was trained: the agent's own calibration."""
        return self.agent.calibration

    @calibration.setter
    def calibration(self, calibration: Calibration | None) -> None:
        self.agent.calibration = calibration

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
        self, transitions: Sequence[Transition], picks: Tensor, config: AdaptationConfig, generator: torch.Generator
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
        images, actions = self._stacked(chosen)
        windows = self._windows(index, len(chosen), config, generator)
        # What one transition led to is mostly what the following one began with.
        shown = [id(seen) for seen in (*(t.obs for t in chosen), *(t.next_obs for t in chosen))]
        same = torch.tensor([shown.index(picture) for picture in shown])
        drawn = actions[index.to(actions.device)]
        return Views(self.agent, self.filtered(images), windows, drawn, config.precision, same, generator)

    def is_capturable(self, config: AdaptationConfig) -> bool:
        return config.objectives == ("inverse_dynamics",)  # others ask which pictures are the same

    def inputs(
        self, transitions: Sequence[Transition], picks: Tensor, config: AdaptationConfig, generator: torch.Generator
    ) -> tuple[Tensor, ...]:
        used, index = picks.unique(return_inverse=True)
        count = min(config.batch_size, config.transitions or config.batch_size, config.memory)
        numbers = used.tolist()
        numbers += [numbers[-1]] * (count - len(numbers))  # no window shows these
        images, actions = self._stacked([transitions[number] for number in numbers])
        windows = self._windows(index, count, config, generator)
        return images, actions, torch.stack([windows.image, windows.top, windows.left])

    def loss_of(self, inputs: tuple[Tensor, ...], config: AdaptationConfig) -> Scalar:
        images, actions, (image, top, left) = inputs
        windows = Windows(image, top, left, self.agent.config.encoder.crop_size)
        drawn = actions.index_select(0, image[: len(image) // 2])
        pictures, grid = self.filtered(images), self._grid(config)
        return self._head.loss(Views(self.agent, pictures, windows, drawn, config.precision, grid=grid))

    def _stacked(self, chosen: Sequence[Transition]) -> tuple[Tensor, Tensor]:
        """Pictures of all first observations and then of all next ones, and the actions between them."""
        pictures = [t.obs.pictures[0] for t in chosen] + [t.next_obs.pictures[0] for t in chosen]
        images = torch.stack([picture.permute(1, 2, 0) for picture in pictures]).permute(0, 3, 1, 2)
        return images, torch.stack([t.action for t in chosen])

    def _windows(self, index: Tensor, count: int, config: AdaptationConfig, generator: torch.Generator) -> Windows:
        """Two random windows for each draw of one of `count` transitions."""
        extents = self.agent.obs_shape[1:]
        top, left = (self._offsets(extent, 2 * len(index), config, generator) for extent in extents)
        return Windows(torch.cat([index, index + count]), top, left, self.agent.config.encoder.crop_size)

    def _offsets(self, extent: int, count: int, config: AdaptationConfig, generator: torch.Generator) -> Tensor:
        grid = self._grid(config)
        places = (extent - self.agent.config.encoder.crop_size) // grid + 1
        return grid * torch.randint(places, (count,), generator=generator)

    def _grid(self, config: AdaptationConfig) -> int:
        """The number of pixels at whose multiples windows begin."""
        return math.prod(self.agent.config.encoder.strides) if config.crop_grid == "stride" else 1


def as_model(policy: Agent | Model) -> Model:
    """The model of an agent; a model is returned as it is.

    Raises:
        TypeError: when it is neither an agent of this package nor a model.
    """
    if isinstance(policy, Model):
        return policy
    if not isinstance(policy, Agent):
        raise TypeError(f"a policy must be an agent of this package, or TorchPolicy(...), got {type(policy).__name__}")
    return AgentModel(policy)
