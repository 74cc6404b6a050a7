"""The method written plainly, equation by equation: what the fast code is compared with, in results and in time.

Every loss encodes for itself, every crop is encoded by itself, every pixel is keyed by itself.
"""

import colorsys
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pad.agent import Agent
from pad.sac import SAC
from pad.types import Batch


class PlainNetworks:
    """The agent's own layers in PyTorch's default memory format, called one after the other."""

    def __init__(self, agent: Agent) -> None:
        self.agent = deepcopy(agent).to(memory_format=torch.contiguous_format)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """Feature maps of the shared convolutions."""
        encoder = self.agent.encoder
        x = images.contiguous().float() / 255
        frames = x.unflatten(1, (-1, len(encoder.color_offset)))
        frames = torch.einsum("cd,btdhw->btchw", encoder.color_matrix, frames)
        x = (frames + encoder.color_offset[:, None, None]).flatten(1, 2)
        for convolution in encoder.convolutions:
            x = F.relu(F.conv2d(x, convolution.weight, convolution.bias, convolution.stride))
        return x

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.agent.control(self.maps(images))

    def inverse_dynamics_loss(self, obs: torch.Tensor, action: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
        head = self.agent.inverse_dynamics
        before, after = (head.projection(head.branch(self.maps(images))) for images in (obs, next_obs))
        return ((torch.tanh(head.head(torch.cat([before, after], 1))) - action) ** 2).mean()


def crop(images: torch.Tensor, top: torch.Tensor, left: torch.Tensor, size: int) -> torch.Tensor:
    """One window of each image."""
    corners = zip(images, top.tolist(), left.tolist(), strict=True)
    return torch.stack([image[:, y : y + size, x : x + size] for image, y, x in corners])


def adaptation_step(
    networks: PlainNetworks, optimizer: torch.optim.Optimizer, transition: tuple[torch.Tensor, ...], top, left
) -> float:
    """One gradient step on a transition repeated under crops; offsets of obs first, then those of next_obs."""
    obs, action, next_obs = transition
    count, size = len(top) // 2, networks.agent.config.encoder.crop_size
    copies = (image[None].repeat(count, 1, 1, 1) for image in (obs, next_obs))
    crops = [crop(images, y, x, size) for images, y, x in zip(copies, top.chunk(2), left.chunk(2), strict=True)]
    loss = networks.inverse_dynamics_loss(crops[0], action.repeat(count, 1), crops[1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class PlainLearner:
    """Soft actor-critic and inverse dynamics on one agent, at the state of a learner that has not yet begun."""

    def __init__(self, agent: Agent, sac: SAC) -> None:
        self.networks, self.target = PlainNetworks(agent), PlainNetworks(sac.target_networks)
        self.config, self.log_alpha = sac.config, sac.temperature.log_alpha.detach().clone().requires_grad_(True)
        agent = self.networks.agent
        parts: list[nn.Module] = [agent.encoder, agent.control, agent.critic, agent.inverse_dynamics]
        trained = [p for part in parts for p in part.parameters() if p.requires_grad]
        self.critic_optimizer = torch.optim.Adam(trained, lr=self.config.learning_rate)
        self.actor_optimizer = torch.optim.Adam(agent.actor.parameters(), lr=self.config.learning_rate)

    def update(self, batch: Batch, self_supervise: bool, update_actor: bool) -> None:
        """One step; temperature and targets stay."""
        networks, agent = self.networks, self.networks.agent
        with torch.no_grad():
            action, log_prob = agent.actor.sample(networks.features(batch.next_obs))
            q1, q2 = self.target.agent.critic(self.target.features(batch.next_obs), action)
            value = torch.minimum(q1, q2) - self.log_alpha.exp() * log_prob
            target = batch.reward + self.config.discount * (~batch.terminated).float() * value
            actor_features = networks.features(batch.obs)
        q1, q2 = agent.critic(networks.features(batch.obs), batch.action)
        loss = ((q1 - target) ** 2).mean() + ((q2 - target) ** 2).mean()
        if self_supervise:
            loss = loss + networks.inverse_dynamics_loss(batch.obs, batch.action, batch.next_obs)
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        if update_actor:
            action, log_prob = agent.actor.sample(actor_features)
            q1, q2 = agent.critic(actor_features, action)
            loss = (self.log_alpha.exp().detach() * log_prob - torch.minimum(q1, q2)).mean()
            self.actor_optimizer.zero_grad()
            loss.backward(inputs=list(agent.actor.parameters()))
            self.actor_optimizer.step()


def is_green(picture: np.ndarray) -> np.ndarray:
    """The published benchmark's chroma key, pixel by pixel."""
    mask = np.zeros(picture.shape[:2], bool)
    for index in np.ndindex(*mask.shape):
        h, s, v = colorsys.rgb_to_hsv(*(float(part) / 255 for part in picture[index]))
        mask[index] = 100 <= h * 360 <= 185 and s * 255 >= 80 and v * 255 >= 70
    return mask
