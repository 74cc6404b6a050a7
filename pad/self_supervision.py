"""Loss of the inverse-dynamics head on observations of a deployed agent (Hansen et al., 2021)."""

import math

import torch
from torch import Tensor

from pad.agent import Agent
from pad.encoder import Projection
from pad.losses import inverse_dynamics_loss
from pad.precision import Precision, autocast
from pad.types import Actions, Batch, Scalar, Sources
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


def self_supervised_loss_on_windows(
    agent: Agent, images: Sources, windows: Windows, action: Actions, precision: Precision = "float32"
) -> Scalar:
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
    # Few places and many draws: what is drawn twice is encoded and projected once.
    once, index = windows.unique()
    projection = head.projection
    assert isinstance(projection, Projection)
    linear, *normalize = projection
    with autocast(precision, agent.device):
        projected = linear(flatten(encode_windows(encode, stride, images, once))).float()
    for layer in normalize:
        projected = layer(projected)
    projected = projected.index_select(0, index.to(action.device))
    return inverse_dynamics_loss(head.infer_projected(*projected.chunk(2)), action)
