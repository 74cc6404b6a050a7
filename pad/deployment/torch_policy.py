"""Any PyTorch policy behind the interface of deployment, with an inverse-dynamics head of its own."""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pad import settings
from pad.augmentations import random_shift
from pad.deployment.camera import Camera
from pad.deployment.config import AdaptationConfig
from pad.deployment.model import Model, OutOfBounds, Seen, Transition, within_bounds
from pad.deployment.state import digest
from pad.encoder import Projection
from pad.networks import mlp
from pad.precision import autocast
from pad.types import Scalar

NORMALISATION = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
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

    def begin_anew(self, seed: int) -> None:
        """Random weights, the same for the same seed."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for layer in self.modules():
                if isinstance(layer, nn.Linear | nn.LayerNorm):
                    layer.reset_parameters()

    def loss(self, features: Tensor, action: Tensor, next_features: Tensor) -> Scalar:
        """Loss of inferring the actions of a batch of transitions; actions are as `TorchPolicy.action` gives them."""
        # Whatever number format the encoder computes in.
        both = self.projection(torch.cat([features.flatten(1), next_features.flatten(1)]).float())
        inferred = self.head(torch.cat(both.chunk(2), dim=-1))
        if self.discrete:
            return F.cross_entropy(inferred, action)
        return F.mse_loss(torch.tanh(inferred), action)


class TorchPolicy(Model):
    """A policy of yours: the encoder, which adaptation may move, and the rest, which it never does.

    With `moves="color"` a colour transform before the encoder moves, with `color_and_detail` a filter before this one
    too, with `convolutions` the layers of the encoder, whatever they are, or the first `layers` of those that have
    weights, in the order in which they were declared; with `affine` their biases and the scales of normalisation alone.

    Args:
        encoder: pictures (batch, channels, height, width), float, to features: (batch, channels, height, width),
            (batch, tokens, channels) or (batch, channels), of which the gate compares each channel's average; where
            there are several cameras, a dictionary of them by their keys. Copied in evaluation mode, never changed.
        act: features with a batch dimension of one, and the entries of the observation that are no pixels, to the most
            likely action as the environment takes it: `lambda features, rest: my_head(features)[0].numpy()`. It is
            called without gradients and not copied: leave what it uses in evaluation mode, and do not train it
            meanwhile. With learning in the background two threads call it, at times at once: give it no memory of
            its own, no array that it fills again and again included.
        cameras: how the pixels look in an observation. One without a key is the whole observation.
        action_space: bounded Box, or Discrete.
        input_range: what the encoder takes for black and white; None for the observation's own values.
        padding: pictures are shifted by up to so many pixels when the policy learns (random shift, Kostrikov et al.,
            2021).

    Raises:
        TypeError: when the encoder is no module.
        ValueError: when the action space is not one of these, or the encoder does not take what the cameras show or
            gives features without a gradient.
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        encoder: nn.Module,
        act: Act,
        cameras: Camera | Sequence[Camera],
        action_space: gym.Space,
        input_range: tuple[float, float] | None = (0.0, 1.0),
        padding: int = 4,
    ) -> None:
        self.cameras = (cameras,) if isinstance(cameras, Camera) else tuple(cameras)
        keys = [camera.key for camera in self.cameras]
        if not keys or (len(keys) > 1 and (None in keys or len(set(keys)) < len(keys))):
            raise ValueError(f"several cameras need a key each, got {keys}")
        if not isinstance(encoder, nn.Module) or next(encoder.parameters(), None) is None:
            raise TypeError(f"encoder must be a torch.nn.Module with parameters, got {type(encoder).__name__}")
        if any(isinstance(module, torch.jit.ScriptModule) for module in encoder.modules()):
            raise TypeError("encoder must be a plain torch.nn.Module, got one with scripted or traced parts")
        if padding < 0:
            raise ValueError(f"padding must be at least 0, got {padding}")
        self.fitted = False
        """Whether its head has learned anything."""
        self._act, self.action_space, self._padding = act, action_space, padding
        self._input_range = None if input_range is None else (float(input_range[0]), float(input_range[1]))
        self.discrete = isinstance(action_space, gym.spaces.Discrete)
        if isinstance(action_space, gym.spaces.Box):
            self._low, self._high = (np.asarray(bound, np.float32) for bound in (action_space.low, action_space.high))
        if not self.discrete and not _is_bounded(action_space):
            raise ValueError(f"action_space must be Discrete, or a Box with finite low < high, got {action_space}")
        self.calibration = None
        device = next(encoder.parameters()).device
        colors = nn.ModuleList(ColorTransform(camera) for camera in self.cameras).to(device)
        self.network: nn.ModuleDict = nn.ModuleDict({"color": colors, "encoder": deepcopy(encoder).eval()})
        self.origin = digest(tuple(self.network["encoder"].state_dict().values()))
        self.feature_shape = self._dry_run(device)
        """Of one observation."""
        self.network["head"] = ActionHead(math.prod(self.feature_shape), action_space).to(device)

    @torch.enable_grad()
    def _dry_run(self, device: torch.device) -> tuple[int, ...]:
        pictures = [torch.full((2, *c.picture_shape), c.low, device=device) for c in self.cameras]
        shapes = [tuple(picture.shape) for picture in pictures]
        try:
            features = self._encode(pictures)
        except Exception as error:  # whatever a user's network says
            raise ValueError(f"the encoder does not take pictures of {shapes}: {error}") from error
        if not isinstance(features, Tensor) or features.dim() < 2 or len(features) != 2:
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"the encoder must give a tensor of (batch, ...) of pictures {shapes}, got {got}")
        if not features.requires_grad:
            raise ValueError(
                "the encoder's features have no gradient: does it run under torch.no_grad, or detach them?"
            )
        return tuple(features.shape[1:])

    @property
    def described(self) -> dict[str, Any]:
        """What a head that is fitted to this policy depends on beside its weights: plain containers."""
        space = self.action_space
        actions = ({"first": int(space.start), "choices": int(space.n)} if isinstance(space, gym.spaces.Discrete)
                   else {"low": self._low.tolist(), "high": self._high.tolist()})  # fmt: skip
        cameras = [settings.to_dict(camera) for camera in self.cameras]
        shown = None if self._input_range is None else list(self._input_range)
        features = list(self.feature_shape)
        return {"cameras": cameras, "actions": actions, "input_range": shown, "features": features}

    def check(self, config: AdaptationConfig) -> None:
        super().check(config)
        if not self.fitted:
            raise ValueError("this policy has no self-supervised head yet: fit_head or load_head brings one")

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
        other.network, other.details = deepcopy(self.network), deepcopy(self.details)
        return other

    def moving(self, config: AdaptationConfig) -> dict[str, nn.Parameter]:
        named = dict(self.network.named_parameters())
        if config.moves in ("color", "color_and_detail"):
            colors = {name: p for name, p in named.items() if name.startswith("color.")}
            return {**colors, **self.moving_detail()} if config.moves == "color_and_detail" else colors
        encoder = self.encoder
        holders = [name for name, module in encoder.named_modules() if list(module.parameters(recurse=False))]
        layers = len(holders) if config.layers is None else config.layers
        if layers > len(holders):
            raise ValueError(f"layers must be at most {len(holders)} for this policy, got {layers}")
        weights = {
            f"encoder.{holder}.{name}".replace("..", ".")
            for holder in holders[:layers]
            for name, _ in encoder.get_submodule(holder).named_parameters(recurse=False)
        }
        if config.moves == "affine":
            normalisation = [
                f"encoder.{n}." for n, module in encoder.named_modules() if isinstance(module, NORMALISATION)
            ]
            affine = [
                name
                for name in named
                if name in weights and name.endswith(("bias", *(f"{n}weight" for n in normalisation)))
            ]
            if not affine:
                raise ValueError("this policy's encoder has neither biases nor normalisation that could move")
            return {name: named[name] for name in affine}
        if config.moves == "convolutions_and_head":
            weights |= {name for name in named if name.startswith("head.")}
        return {name: p for name, p in named.items() if name in weights and p.is_floating_point()}

    def action(self, action: Any) -> Tensor:
        array = np.asarray(action)
        if array.shape != (self.action_space.shape or ()):
            raise ValueError(f"action must have shape {self.action_space.shape or ()}, got {array.shape}")
        if isinstance(self.action_space, gym.spaces.Discrete):
            index = int(array) - int(self.action_space.start)
            if not 0 <= index < self.action_space.n or index != array - self.action_space.start:
                raise ValueError(f"action must be one of {self.action_space}, got {action}")
            return torch.tensor(index, device=self.device)
        scaled = 2 * (array.astype(np.float32) - self._low) / (self._high - self._low) - 1
        return torch.tensor(within_bounds(scaled.reshape(-1), action, self.action_space), device=self.device)

    def _encode(self, pictures: Sequence[Tensor]) -> Tensor:
        shown: dict[str | None, Tensor] = {}
        colors = self.network["color"]
        assert isinstance(colors, nn.ModuleList)
        for index, (camera, picture, color) in enumerate(zip(self.cameras, pictures, colors, strict=True)):
            low, high = self._input_range or (camera.low, camera.high)
            unit = self.filtered((picture.float() - camera.low) / (camera.high - camera.low), index)
            # In the usual order in memory, since many networks flatten by view.
            shown[camera.key] = (low + (high - low) * color(unit)).contiguous()
        return self.encoder(shown if len(shown) > 1 else next(iter(shown.values())))

    def encode(self, seen: Seen) -> Tensor:
        return self._encode([picture[None] for picture in seen.pictures])

    def act(self, features: Tensor, seen: Seen) -> Any:
        # A copy: what works in place, as many a ReLU does, must not change the features that guards judge by.
        action = self._act(features.clone(), seen.rest)
        # What the control loop holds does not change when a trial calls it too.
        return action.copy() if isinstance(action, np.ndarray) else action

    def compared(self, action: Any) -> np.ndarray:
        try:
            taken = self.action(action).cpu()
        except OutOfBounds:
            return self.action(np.clip(action, self._low, self._high)).cpu().numpy()
        if not isinstance(self.action_space, gym.spaces.Discrete):
            return taken.numpy()
        # Of two different ones the mean squared difference is one.
        return F.one_hot(taken, int(self.action_space.n)).numpy() * math.sqrt(self.action_space.n / 2)

    def loss_between(self, features: Tensor, action: Tensor, next_features: Tensor) -> Scalar:
        return self.head.loss(features, action[None], next_features)

    def loss(
        self, transitions: Sequence[Transition], picks: Tensor, config: AdaptationConfig, generator: torch.Generator
    ) -> Scalar:
        chosen = [transitions[pick] for pick in picks.tolist()]
        actions = torch.stack([transition.action for transition in chosen])
        pictures = []
        for camera in range(len(self.cameras)):
            # Both observations of a transition move alike: what moved between them is what the head reads.
            pairs = [torch.cat([t.obs.pictures[camera], t.next_obs.pictures[camera]]) for t in chosen]
            pictures.append(torch.cat(random_shift(torch.stack(pairs), self._padding, generator).chunk(2, dim=1)))
        with autocast(config.precision, self.device):
            features = self._encode(pictures).float()
        before, after = features.chunk(2)
        return self.head.loss(before, actions, after)


def _is_bounded(space: gym.Space) -> bool:
    return isinstance(space, gym.spaces.Box) and space.is_bounded() and bool((space.high > space.low).all())
