"""Training the inverse-dynamics head, and the shared encoder through it, beside the policy."""

import math
from typing import Any

import torch
from torch import Tensor

from pad.agent import Agent
from pad.losses import inverse_dynamics_loss
from pad.types import Actions, Batch, Metrics, Scalar, Sources
from pad.windows import Windows, encode_windows


def self_supervised_loss(agent: Agent, batch: Batch) -> Scalar:
    """Inverse-dynamics loss of an agent on crops of successive observations.

    Raises:
        ValueError: when the agent was trained without the head.
    """
    if agent.inverse_dynamics is None:
        raise ValueError("this agent has no self-supervised head: it was trained with self_supervised: false")
    features: Tensor = agent.encoder(torch.cat([batch.obs, batch.next_obs]))
    return inverse_dynamics_loss(agent.inverse_dynamics(*features.chunk(2)), batch.action)


def self_supervised_loss_on_windows(agent: Agent, images: Sources, windows: Windows, action: Actions) -> Scalar:
    """The same on windows of images, encoded together where they overlap.

    Args:
        windows: those of the first observations, then those of the next ones.
    """
    head = agent.inverse_dynamics
    if head is None:
        raise ValueError("this agent has no self-supervised head: it was trained with self_supervised: false")
    *convolutions, flatten = head.branch

    def encode(pixels: Tensor) -> Tensor:
        features = agent.encoder(pixels)
        for layer in convolutions:
            features = layer(features)
        return features

    stride = math.prod(agent.config.encoder.strides)
    branched = flatten(encode_windows(encode, stride, images, windows))
    return inverse_dynamics_loss(head.infer(*branched.chunk(2)), action)


class SelfSupervision:
    """Owns the optimizer that trains encoder and inverse dynamics together (Hansen et al., 2021)."""

    def __init__(self, agent: Agent, learning_rate: float) -> None:
        if agent.inverse_dynamics is None:
            raise ValueError("this agent has no self-supervised head")
        self._agent = agent
        parameters = [*agent.encoder.parameters(), *agent.inverse_dynamics.parameters()]
        self._optimizer = torch.optim.Adam([p for p in parameters if p.requires_grad], lr=learning_rate, fused=True)

    def update(self, batch: Batch) -> Metrics:
        """One gradient step on a batch of crops."""
        loss = self_supervised_loss(self._agent, batch)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return {"inverse_dynamics_loss": loss.item()}

    def state_dict(self) -> dict[str, Any]:
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state)
