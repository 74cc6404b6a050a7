"""Actor and twin critic, on features that they do not compute themselves."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pad.types import Actions, Projected, Scalars, Vectors

LOG_STD_RANGE = (-10.0, 2.0)


class ActionSample(NamedTuple):
    """An action drawn from a squashed Gaussian at each observation, and its log density."""

    action: Actions
    log_prob: Scalars


def mlp(inputs: int, hidden: int, outputs: int, norm: bool = False) -> nn.Sequential:
    """Two hidden layers with ReLU, and with `norm` a layer norm before each."""
    layers: list[nn.Module] = []
    for size in (inputs, hidden):
        layers += [nn.Linear(size, hidden), *([nn.LayerNorm(hidden)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class Actor(nn.Module):
    """Squashed Gaussian policy."""

    def __init__(self, projection: nn.Module, features: int, actions: int, hidden: int, norm: bool = False) -> None:
        super().__init__()
        self.projection = projection
        self.policy = mlp(features, hidden, 2 * actions, norm)

    def forward(self, features: Vectors) -> tuple[Tensor, Tensor]:
        """Mean before squashing, and log standard deviation: each (batch, action)."""
        mean, log_std = self.policy(self.projection(features)).chunk(2, dim=-1)
        low, high = LOG_STD_RANGE
        return mean, low + (high - low) / 2 * (torch.tanh(log_std) + 1)

    def mean(self, features: Vectors) -> Actions:
        """The most likely action."""
        return self.mean_of(self.projection(features))

    def mean_of(self, projected: Projected) -> Actions:
        """The most likely action, from features that are projected already."""
        return torch.tanh(self.policy(projected).chunk(2, dim=-1)[0])

    def sample(self, features: Vectors) -> ActionSample:
        """An action drawn at random, differentiable in the parameters."""
        mean, log_std = self(features)
        noise = torch.randn_like(mean)
        unsquashed = mean + noise * log_std.exp()
        log_prob = (-0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
        # log(1 - tanh(x)^2) in a form that does not underflow for large x.
        log_prob = log_prob - (2 * (math.log(2) - unsquashed - F.softplus(-2 * unsquashed))).sum(-1)
        return ActionSample(torch.tanh(unsquashed), log_prob)


class Critic(nn.Module):
    """Two Q functions on one projection."""

    def __init__(self, projection: nn.Module, features: int, actions: int, hidden: int, norm: bool = False) -> None:
        super().__init__()
        self.projection = projection
        self.q1 = mlp(features + actions, hidden, 1, norm)
        self.q2 = mlp(features + actions, hidden, 1, norm)

    def forward(self, features: Vectors, action: Actions) -> tuple[Scalars, Scalars]:
        x = torch.cat([self.projection(features), action], dim=-1)
        return self.q1(x).squeeze(-1), self.q2(x).squeeze(-1)


def initialize(module: nn.Module, delta: bool = True) -> None:
    """Orthogonal linear layers, zero biases; convolutions delta-orthogonal (Xiao et al., 2018), or orthogonal.

    A delta-orthogonal convolution begins with the middle of its kernel alone. After a few strides it
    then looks at so few of the pixels that a thin limb can fall between them.
    """
    if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and not delta):
        nn.init.orthogonal_(module.weight, nn.init.calculate_gain("relu") if isinstance(module, nn.Conv2d) else 1.0)
        _zero_bias(module)
    elif isinstance(module, nn.Conv2d):
        nn.init.zeros_(module.weight)
        middle = module.kernel_size[0] // 2
        nn.init.orthogonal_(module.weight.data[:, :, middle, middle], nn.init.calculate_gain("relu"))
        _zero_bias(module)


def _zero_bias(layer: nn.Linear | nn.Conv2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
