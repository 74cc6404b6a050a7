"""A pixel agent that imitates an expert on states that the agent itself visits.

Imitation of a privileged teacher by dataset aggregation (Ross et al., 2011; for pixels from a
state expert SECANT, Fan et al., 2021). The inverse-dynamics head learns from the same batches,
through the same encoder. What an error costs is known too: the expert's critic tells it.
"""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pad.agent import Agent
from pad.decay import cosine_decay
from pad.losses import cloning_loss, inverse_dynamics_loss, regret_loss
from pad.networks import Critic
from pad.precision import Precision, autocast
from pad.settings import check_fields
from pad.strong import AugmentationName
from pad.types import Batch, Metrics, read


@dataclass(frozen=True)
class CloneConfig:
    """How the pixel agent learns from the expert."""

    episodes: int = 120
    """Episodes that are recorded."""
    expert_episodes: int = 10
    """Episodes at first in which the expert acts alone, before learning begins."""
    max_episode_steps: int | None = None
    """Decisions after which a recorded episode is cut short: more beginnings among as many pictures. Default: whole
    episodes."""
    student_share: float = 0.5
    """Share of the later episodes in which the pixel agent acts; in the others the expert does."""
    disguised_share: float = 0.0
    """Share of the agent's own episodes in which it sees the scene under a strong augmentation, the same for the whole
    episode, while what is recorded is the scene as it is. It errs more under a shift, and learns what to do where that
    leads."""
    action_noise: float = 1.0
    """Largest standard deviation of the noise on the driver's actions. Each episode has its own, from 0 to this, small
    ones more often: noise shows more states, but hides those in which the agent by itself would be stuck."""
    updates: int = 6_000
    """Gradient steps, spread evenly over the episodes."""
    batch_size: int = 64
    augmentations: tuple[AugmentationName, ...] = ()
    """Strong augmentations beside random crops (SECANT, Fan et al., 2021): the agent imitates what the expert does in
    the unchanged scene. Makes it lose less under shifts, and needs more updates."""
    augmented_share: float = 0.5
    """Share of each batch under strong augmentations, if there are any."""
    centered_share: float = 0.0
    """Chance of each transition to be seen through the center crop, as the agent acts; else through random windows.
    What is small is found sooner where it does not move, and found nowhere else."""
    learning_rate: float = 1e-3
    """Adam step size at first."""
    final_learning_rate: float = 5e-5
    """Adam step size at the end of its cosine decay."""
    averaging: float = 0.998
    """Weight of the past in the running average of the weights that acts, is evaluated and is kept (Polyak averaging;
    0: the weights themselves). Nearly bang-bang labels make the last steps noisy, and returns with them."""
    both_ends: bool = False
    """Whether the agent also imitates what the expert would do next, in the next observation, which inverse dynamics
    has encoded anyway: twice the examples for the price of the heads."""
    regret_weight: float = 0.0
    """Weight of the regret beside the imitation loss: what the expert's critic expects the agent's action to cost, as a
    share of what one at random costs (AggreVaTe, Ross and Bagnell, 2014; Sun et al., 2017). Most errors cost next to
    nothing and a few cost much; imitation alone counts them alike."""
    inverse_dynamics_weight: float = 1.0
    """Weight of the inverse-dynamics loss beside the imitation loss."""
    state_weight: float = 1.0
    """Weight of an auxiliary loss: a linear layer on the actor's projection infers the simulator's state. It is
    thrown away after training. The expert's nearly bang-bang actions alone teach the convolutions little at first."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.updates < 1 or self.batch_size < 2:
            raise ValueError(f"updates must be at least 1 and batch_size 2, got {self.updates} and {self.batch_size}")
        for name in ("learning_rate", "final_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} of the clone must be positive, got {getattr(self, name)}")
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(f"max_episode_steps must be at least 1, got {self.max_episode_steps}")
        if not 1 <= self.expert_episodes <= self.episodes:
            raise ValueError(
                f"expert_episodes must be from 1 to episodes ({self.episodes}), got {self.expert_episodes}"
            )
        if not 0 <= self.averaging < 1:
            raise ValueError(f"averaging must be at least 0 and below 1, got {self.averaging}")
        for name in ("action_noise", "regret_weight", "inverse_dynamics_weight", "state_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("student_share", "disguised_share", "augmented_share", "centered_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.augmented_share != CloneConfig.augmented_share and not self.augmentations:
            raise ValueError("augmented_share is a share of what is seen under augmentations: name augmentations too")
        if self.disguised_share and not self.augmentations:
            raise ValueError("disguised_share is a share of episodes under an augmentation: name augmentations too")


class Cloning:
    """Trains a copy of the agent; the agent itself becomes the running average of the copy's weights.

    Args:
        state_size: numbers in the simulator's state.
        critic: the expert's critic, on states; it learns nothing here. Needed where there is a `regret_weight`.

    Raises:
        ValueError: when there is a `regret_weight` and no critic.
    """

    def __init__(
        self,
        agent: Agent,
        state_size: int,
        config: CloneConfig,
        precision: Precision = "float32",
        critic: Critic | None = None,
    ) -> None:
        if config.regret_weight and critic is None:
            raise ValueError(f"regret_weight {config.regret_weight} needs the expert's critic; none was given")
        self._average, self._agent, self._critic = agent, deepcopy(agent), critic
        self._config, self._precision, self.updates = config, precision, 0
        # Each batch is normalized by its own statistics.
        self._normalize = nn.BatchNorm1d(state_size, affine=False, track_running_stats=False).to(agent.device)
        self._infer_state = nn.Linear(agent.config.encoder.projection, state_size).to(agent.device)
        parameters = [p for p in self._agent.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(
            [*parameters, *self._infer_state.parameters()], lr=config.learning_rate, fused=True
        )

    def update(self, batch: Batch) -> Metrics:
        """One gradient step on crops.

        Args:
            batch: observations are crops, (batch, channels, size, size). Its extras hold the expert's action in each
                observation and in the next, "expert_action" and "next_expert_action", (batch, action), and the
                simulator's state at both, "state" and "next_state", (batch, state).
        """
        agent, config = self._agent, self._config
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        head, inverse = agent.inverse_dynamics, torch.zeros((), device=agent.device)
        alone = head is None and not config.both_ends
        with autocast(self._precision, agent.device):
            maps = agent.encoder(batch.obs if alone else torch.cat([batch.obs, batch.next_obs]))
            features = agent.control(maps if config.both_ends else maps[: len(batch.obs)]).float()
            branched = None if head is None else head.branch(maps).float()
        if head is not None and branched is not None:
            inverse = inverse_dynamics_loss(head.infer(*branched.chunk(2)), batch.action)
        projected = agent.actor.projection(features)
        action, states = agent.actor.mean_of(projected), self._labels(batch, "state")
        expert_action = self._labels(batch, "expert_action")
        imitation, regret = cloning_loss(action, expert_action), self._regret(states, action, expert_action)
        state = F.mse_loss(self._infer_state(projected), self._normalize(states))
        loss = imitation + config.inverse_dynamics_weight * inverse + config.state_weight * state
        self._optimizer.zero_grad()
        (loss if regret is None else loss + config.regret_weight * regret).backward()
        self._optimizer.step()
        self.updates += 1
        self._accumulate()
        measured = {"cloning_loss": imitation, "inverse_dynamics_loss": inverse, "state_loss": state}
        return read(measured if regret is None else {**measured, "regret": regret})

    def _regret(self, states: Tensor, action: Tensor, expert_action: Tensor) -> Tensor | None:
        if not self._config.regret_weight or self._critic is None:
            return None
        critic = self._critic.requires_grad_(False)
        with torch.no_grad():
            others = expert_action, torch.rand_like(expert_action) * 2 - 1
            expert_value, random_value = (torch.minimum(*critic(states, other)) for other in others)
        return regret_loss(torch.minimum(*critic(states, action)), expert_value, random_value)

    def _labels(self, batch: Batch, name: str) -> Tensor:
        ends = [batch.extras[name]]
        if self._config.both_ends:
            ends.append(batch.extras[f"next_{name}"])
        return torch.cat(ends)

    @torch.no_grad()
    def _accumulate(self) -> None:
        # Young averages forget faster, so that the random weights of the beginning leave no trace.
        past = min(self._config.averaging, self.updates / (self.updates + 10)) if self._config.averaging else 0.0
        torch._foreach_lerp_(list(self._average.parameters()), list(self._agent.parameters()), 1 - past)

    def _learning_rate(self) -> float:
        config = self._config
        return cosine_decay(config.learning_rate, config.final_learning_rate, self.updates / config.updates)

    def state_dict(self) -> dict[str, Any]:
        return {
            "agent": self._agent.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "normalize": self._normalize.state_dict(),
            "infer_state": self._infer_state.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._agent.load_state_dict(state["agent"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._normalize.load_state_dict(state["normalize"])
        self._infer_state.load_state_dict(state["infer_state"])
        self.updates = state["updates"]
