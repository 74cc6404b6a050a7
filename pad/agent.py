"""The agent: networks that act from pixels and infer actions from pixels, on one shared encoder."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn

from pad.augmentations import center_crop
from pad.calibration import Calibration
from pad.encoder import Branch, Encoder, EncoderConfig, Projection, output_size
from pad.networks import Actor, Critic, initialize
from pad.objectives import Alignment, HeadName, InverseDynamics, Networks, Objective, ObjectiveName, Views, make_head
from pad.settings import check_fields
from pad.types import Images, Scalar, Vectors


@dataclass(frozen=True)
class AgentConfig:
    """Which networks an agent has, and how large they are. The defaults are the paper's."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    hidden: int = 1024
    """Units in each of the two hidden layers of every head."""
    self_supervised: bool = True
    """Train the inverse-dynamics head that adaptation needs."""
    heads: tuple[HeadName, ...] = ()
    """Heads of further self-supervised objectives: scripts/fit_head.py --heads adds them to a trained agent."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {self.hidden}")
        if len(set(self.heads)) < len(self.heads):
            raise ValueError(f"heads must differ, got {', '.join(self.heads)}")


class Agent(Networks):
    """Encoder, actor, critic and inverse dynamics.

    `encoder` holds the convolutions that all heads share; `control` holds the convolutions that only actor and critic
    share. `critic` is None in an agent that was cloned, `inverse_dynamics` in one that was trained
    without self-supervision. `calibration` says what the self-supervised loss is like where the agent
    was trained; None where nobody has measured it.
    """

    def __init__(
        self,
        obs_shape: tuple[int, int, int],
        action_size: int,
        config: AgentConfig,
        frame_channels: int = 3,
        critic: bool = True,
    ) -> None:
        super().__init__()
        shape, hidden = config.encoder, config.hidden
        if min(obs_shape[1:]) < shape.crop_size:
            raise ValueError(f"crop_size {shape.crop_size} exceeds the observation {obs_shape}")
        self.config, self.obs_shape, self.action_size = config, tuple(obs_shape), action_size
        self.frame_channels = frame_channels
        self.calibration: Calibration | None = None
        shared, own = shape.strides[: shape.shared_layers], shape.strides[shape.shared_layers :]
        inputs = shape.filters * output_size(shape.crop_size, shape.strides) ** 2

        def projection() -> Projection:
            return Projection(inputs, shape.projection)

        self.encoder = Encoder(obs_shape[0], frame_channels, shape.filters, shared)
        self.control = Branch(shape.filters, own)
        self.actor = Actor(projection(), shape.projection, action_size, hidden)
        self.critic = Critic(projection(), shape.projection, action_size, hidden) if critic else None
        self.inverse_dynamics = (
            InverseDynamics(Branch(shape.filters, own), projection(), shape.projection, action_size, hidden)
            if config.self_supervised
            else None
        )
        branch = partial(Branch, shape.filters, own)
        self.heads = nn.ModuleDict(
            {name: make_head(name, branch, projection, shape.projection, action_size, hidden) for name in config.heads}
        )
        self.apply(partial(initialize, delta=shape.initialization == "delta"))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
        for parameter in (self.encoder.color_matrix, self.encoder.color_offset):
            parameter.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return self.encoder.color_matrix.device

    @property
    def actor_projection(self) -> Projection:
        """The actor's projection of the flat features (batch, features)."""
        assert isinstance(self.actor.projection, Projection)
        return self.actor.projection

    def objective(self, name: ObjectiveName) -> Callable[[Views], Scalar]:
        """The loss of a self-supervised objective, as a function of random views of transitions.

        Raises:
            ValueError: when the agent lacks the head or the calibration that the objective needs.
        """
        if name == "alignment":
            if self.calibration is None or self.calibration.features is None:
                raise ValueError(
                    "alignment needs the features of training: scripts/calibrate.py CHECKPOINT measures them"
                )
            return Alignment(self.calibration.features).to(self.device).loss
        if name in ("inverse_dynamics", "shuffled_actions"):
            if self.inverse_dynamics is None:
                raise ValueError("this agent has no self-supervised head: it was trained with self_supervised: false")
            return self.inverse_dynamics.loss if name == "inverse_dynamics" else self.inverse_dynamics.shuffled_loss
        if name not in self.heads:
            has = ", ".join(self.heads) or "none"
            raise ValueError(
                f"this agent has no head for {name}, only {has}: scripts/fit_head.py --heads {name} adds it"
            )
        head = self.heads[name]
        assert isinstance(head, Objective)
        return head.loss

    def features(self, images: Images) -> Vectors:
        """Flat features (batch, features) that actor and critic project, of images (batch, channels, size, size).

        The size is that of the crop.
        """
        return self.control(self.encoder(images))

    def checked(self, obs: np.ndarray) -> np.ndarray:
        """The observation, unchanged, if it is uint8 of the shape (channels, height, width) that the agent acts on.

        Raises:
            ValueError: when it has another shape or dtype than in training.
        """
        if obs.shape != self.obs_shape or obs.dtype != np.uint8:
            raise ValueError(f"observation must be uint8 {self.obs_shape}, got {obs.dtype} {obs.shape}")
        return obs

    @torch.no_grad()
    def act(self, obs: np.ndarray, sample: bool = False) -> np.ndarray:
        """Action (action,) in [-1, 1] for one observation, uint8 (channels, height, width).

        It is the most likely one, or with `sample` one drawn at random.

        Raises:
            ValueError: when the observation has another shape or dtype.
        """
        images = torch.from_numpy(np.ascontiguousarray(self.checked(obs)))[None].to(self.device)
        features = self.features(center_crop(images, self.config.encoder.crop_size))
        action = self.actor.sample(features).action if sample else self.actor.mean(features)
        return action[0].cpu().numpy()
