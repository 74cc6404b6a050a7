"""Optimizers whose steps can be recorded on CUDA, and their state. It knows no network and no loss."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def adam(parameters: Iterable[Tensor], learning_rate: float, beta1: float = 0.9) -> torch.optim.Adam:
    """Adam over those of some parameters that learn, so that on CUDA its steps can be recorded."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    on_cuda = any(parameter.is_cuda for parameter in trainable)
    return torch.optim.Adam(trainable, lr=learning_rate, betas=(beta1, 0.999), fused=True, capturable=on_cuda)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take over a saved state, perhaps of another device: whether steps can be recorded is not part of it."""
    capturable = [group.get("capturable") for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, value in zip(optimizer.param_groups, capturable, strict=True):
        if value is not None:
            group["capturable"] = value


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One gradient step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
