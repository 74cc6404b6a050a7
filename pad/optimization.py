"""Optimizers and gradient steps that every learner shares."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def adam(parameters: Iterable[Tensor], learning_rate: float, beta1: float = 0.9) -> torch.optim.Adam:
    """Adam on those of the parameters that require a gradient; on CUDA its steps can be part of a CUDA graph."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    on_cuda = any(parameter.is_cuda for parameter in trainable)
    return torch.optim.Adam(trainable, lr=learning_rate, betas=(beta1, 0.999), fused=True, capturable=on_cuda)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One gradient step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over a saved state, perhaps of another device: whether steps can be captured is not part of it."""
    capturable = [group.get("capturable") for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, value in zip(optimizer.param_groups, capturable, strict=True):
        if value is not None:
            group["capturable"] = value


def states_of(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, dict[str, Any]]:
    """The state of each optimizer, by its name."""
    return {name: optimizer.state_dict() for name, optimizer in optimizers.items()}


def load_optimizers(optimizers: Mapping[str, torch.optim.Optimizer], states: Mapping[str, dict[str, Any]]) -> None:
    """Take over the saved state of each optimizer, as `load_optimizer` does.

    Raises:
        KeyError: when one has no saved state.
    """
    for name, optimizer in optimizers.items():
        load_optimizer(optimizer, states[name])
