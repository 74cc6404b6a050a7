"""Any PyTorch policy behind the interface of deployment, with an inverse-dynamics head of its own."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pad.augmentations import random_shift
from pad.deployment.camera import Camera
from pad.deployment.config import AdaptationConfig
from pad.deployment.model import Model, Seen, Transition
from pad.encoder import Projection
from pad.networks import mlp
from pad.precision import autocast
from pad.types import Scalar

Act = Callable[[Tensor, Mapping[str, Any]], Any]
"""Features with a batch dimension of one, and the entries of the observation that are no pixels, to an action."""


class ColorTransform(nn.Module):
    """A matrix and an offset over the colours of each frame, the same for all frames; the identity at first."""

    def __init__(self, camera: Camera) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(camera.frame_channels))
        self.offset = nn.Parameter(torch.zeros(camera.frame_channels))

    def forward(self, pictures: Tensor) -> Tensor:
        frames = pictures.unflatten(1, (-1, len(self.offset)))
        return (torch.einsum("cd,btdhw->btchw", self.matrix, frames) + self.offset[:, None, None]).flatten(1, 2)


class ActionHead(nn.Module):
    """Infers the action between two observations from the features of both (Pathak et al., 2017).

    Continuous actions by mean squared error on their range scaled to [-1, 1], discrete ones by cross-entropy.
    """

    def __init__(self, features: int, space: gym.Space, projection: int = 100, hidden: int = 256) -> None:
        super().__init__()
        self.discrete = isinstance(space, gym.spaces.Discrete)
        outputs = int(space.n) if isinstance(space, gym.spaces.Discrete) else int(np.prod(space.shape or ()))
        self.projection = Projection(features, projection)
        self.head = mlp(2 * projection, hidden, outputs)

    def loss(self, features: Tensor, action: Tensor, next_features: Tensor) -> Scalar:
        """Of a batch of transitions; actions as `TorchPolicy.action` gives them."""
        both = self.projection(torch.cat([features.flatten(1), next_features.flatten(1)]))
        inferred = self.head(torch.cat(both.chunk(2), dim=-1))
        if self.discrete:
            return F.cross_entropy(inferred, action)
        return F.mse_loss(torch.tanh(inferred), action)


class TorchPolicy(Model):
    """A policy of yours: the encoder, which adaptation may move, and the rest, which it never does.

    Args:
        encoder: pictures (batch, channels, height, width), float, to features of any shape; where there are several
            cameras, a dictionary of them by their keys. Copied, never changed.
        act: features and the other entries of the observation to an action as the environment takes it, most likely
            one first: `lambda features, rest: my_head(features)[0].numpy()`.
        cameras: how the pixels look in an observation. One without a key is the whole observation.
        action_space: bounded Box, or Discrete.
        input_range: what the encoder takes for black and white.
        padding: pictures are shifted by up to so many pixels when the policy learns (random shift, Kostrikov et al.,
            2021).

    Raises:
        ValueError: when the action space is not one of these, or the encoder does not take what the cameras show.
    """

    def __init__(
        self,
        encoder: nn.Module,
        act: Act,
        cameras: Camera | Sequence[Camera],
        action_space: gym.Space,
        input_range: tuple[float, float] = (0.0, 1.0),
        padding: int = 4,
    ) -> None:
        self.cameras = (cameras,) if isinstance(cameras, Camera) else tuple(cameras)
        keys = [camera.key for camera in self.cameras]
        if not keys or (len(keys) > 1 and (None in keys or len(set(keys)) < len(keys))):
            raise ValueError(f"several cameras need a key each, got {keys}")
        self._act, self._space, self._input_range, self._padding = act, action_space, input_range, padding
        self.discrete = isinstance(action_space, gym.spaces.Discrete)
        if isinstance(action_space, gym.spaces.Box):
            self._low, self._high = (np.asarray(bound, np.float32) for bound in (action_space.low, action_space.high))
        if not self.discrete and not (isinstance(action_space, gym.spaces.Box) and action_space.is_bounded()):
            raise ValueError(f"action_space must be Discrete or a bounded Box, got {action_space}")
        self.calibration = None
        device = next(encoder.parameters()).device
        colors = nn.ModuleList(ColorTransform(camera) for camera in self.cameras).to(device)
        self.network: nn.ModuleDict = nn.ModuleDict({"color": colors, "encoder": deepcopy(encoder).eval()})
        features = self._dry_run(device)
        self.network["head"] = ActionHead(features, action_space).to(device)

    @torch.no_grad()
    def _dry_run(self, device: torch.device) -> int:
        pictures = [torch.zeros(1, *self._channels_first(c), device=device) for c in self.cameras]
        try:
            return int(np.prod(self._encode(pictures).shape[1:]))
        except Exception as error:  # whatever a user's network says
            shapes = [tuple(picture.shape) for picture in pictures]
            raise ValueError(f"the encoder does not take pictures of {shapes}: {error}") from error

    @staticmethod
    def _channels_first(camera: Camera) -> tuple[int, ...]:
        return camera.shape if camera.layout == "CHW" else (camera.shape[2], *camera.shape[:2])

    @property
    def encoder(self) -> nn.Module:
        """The policy's own copy of the user's encoder."""
        return self.network["encoder"]

    @property
    def head(self) -> ActionHead:
        """Infers actions; untrained until `fit_head` or `load_head`."""
        head = self.network["head"]
        assert isinstance(head, ActionHead)
        return head

    def copy(self) -> "TorchPolicy":
        # What acts on the features is shared: it never changes, and a function cannot be copied.
        other = copy(self)
        other.network = deepcopy(self.network)
        return other

    def moving(self, config: AdaptationConfig) -> dict[str, nn.Parameter]:
        named = dict(self.network.named_parameters())
        if config.moves == "color":
            return {name: p for name, p in named.items() if name.startswith("color.")}
        encoder = self.encoder
        holders = [name for name, module in encoder.named_modules() if list(module.parameters(recurse=False))]
        layers = len(holders) if config.layers is None else config.layers
        if layers > len(holders):
            raise ValueError(f"layers must be at most {len(holders)} for this policy, got {layers}")
        prefixes = [f"encoder.{holder}." if holder else "encoder." for holder in holders[:layers]]
        if config.moves == "convolutions_and_head":
            prefixes.append("head.")
        return {n: p for n, p in named.items() if n.startswith(tuple(prefixes)) and p.is_floating_point()}

    def action(self, action: Any) -> Tensor:
        array = np.asarray(action)
        if array.shape != (self._space.shape or ()):
            raise ValueError(f"action must have shape {self._space.shape or ()}, got {array.shape}")
        if self.discrete:
            return torch.tensor(int(array) - int(getattr(self._space, "start", 0)), device=self.device)
        scaled = 2 * (array.astype(np.float32) - self._low) / (self._high - self._low) - 1
        return torch.tensor(scaled.reshape(-1), device=self.device)

    def _encode(self, pictures: Sequence[Tensor]) -> Tensor:
        low, high = self._input_range
        shown: dict[str | None, Tensor] = {}
        colors = self.network["color"]
        assert isinstance(colors, nn.ModuleList)
        for camera, picture, color in zip(self.cameras, pictures, colors, strict=True):
            unit = (picture.float() - camera.low) / (camera.high - camera.low)
            shown[camera.key] = low + (high - low) * color(unit)
        return self.encoder(shown if len(shown) > 1 else next(iter(shown.values())))

    def encode(self, seen: Seen) -> Tensor:
        return self._encode([picture[None] for picture in seen.pictures])

    def act(self, features: Tensor, seen: Seen) -> Any:
        return self._act(features, seen.rest)

    def loss_between(self, features: Tensor, action: Tensor, next_features: Tensor) -> Scalar:
        return self.head.loss(features, action[None], next_features)

    def loss(
        self, transitions: Sequence[Transition], picks: Tensor, config: AdaptationConfig, generator: torch.Generator
    ) -> Scalar:
        chosen = [transitions[pick] for pick in picks.tolist()]
        actions = torch.stack([transition.action for transition in chosen])
        pictures = []
        for camera in range(len(self.cameras)):
            seen = [t.obs.pictures[camera] for t in chosen] + [t.next_obs.pictures[camera] for t in chosen]
            pictures.append(random_shift(torch.stack(seen), self._padding, generator))
        with autocast(config.precision, self.device):
            features = self._encode(pictures).float()
        before, after = features.chunk(2)
        return self.head.loss(before, actions, after)
