"""Soft actor-critic whose critic sees the simulator's state while the actor sees pixels (Pinto et al., 2017).

The critic is needed in training alone, where the state is known. What it says of an action does not depend on how the
scene looks, so it learns fast, and the actor may look at the scene under any augmentation.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from pad import losses
from pad.agent import Agent
from pad.networks import Critic, initialize
from pad.optimization import adam, load_optimizer, step
from pad.precision import Precision, autocast
from pad.sac import SACConfig
from pad.types import Batch, Metrics


class AsymmetricSAC:
    """Trains encoder, actor and inverse dynamics of an agent, in place, with a critic of its own.

    The actor's loss moves the encoder, since no critic reads it; with self-supervision the sum of both losses does.
    """

    def __init__(self, agent: Agent, state_size: int, config: SACConfig, precision: Precision = "float32") -> None:
        self.agent, self.config, self._precision = agent, config, precision
        size, hidden = agent.action_size, agent.config.hidden
        self.critic = Critic(nn.Identity(), state_size, size, hidden, norm=True).apply(initialize).to(agent.device)
        self._target = deepcopy(self.critic).requires_grad_(False)
        initial = torch.tensor(config.initial_temperature, device=agent.device)
        self.log_alpha = initial.log().requires_grad_(True)
        self._target_entropy, self._updates = config.target_entropy * size, 0
        self._supervision_is_due = False
        rate, head = config.learning_rate, agent.inverse_dynamics
        acting = [*agent.encoder.parameters(), *agent.control.parameters(), *agent.actor.parameters()]
        self._optimizers = {
            "critic": adam(self.critic.parameters(), rate),
            "actor": adam([*acting, *([] if head is None else head.parameters())], rate),
            "temperature": adam([self.log_alpha], config.temperature_learning_rate, beta1=0.5),
        }

    def update(self, batch: Batch, self_supervise: bool = False, augmented: Tensor | None = None) -> Metrics:
        """One step of the critic and, every `actor_every` calls, of actor, encoder, temperature and targets.

        Args:
            batch: observations are images of the crop's size; `extras` holds `state` and `next_state`.
            self_supervise: also train inverse dynamics, at the actor's turn, now or next.
            augmented: the batch's observations under strong augmentation, on which the actor learns as well.
        """
        metrics = self._update_critic(batch)
        self._supervision_is_due |= self_supervise
        if self._updates % self.config.actor_every == 0:
            metrics |= self._update_actor(batch, self._supervision_is_due, augmented)
            self._supervision_is_due = False
            with torch.no_grad():
                fast: list[Tensor] = list(self.critic.parameters())
                torch._foreach_lerp_(list(self._target.parameters()), fast, self.config.critic_tau)
        self._updates += 1
        return metrics

    def _update_critic(self, batch: Batch) -> Metrics:
        with torch.no_grad():
            with autocast(self._precision, self.agent.device):
                next_features = self.agent.features(batch.next_obs).float()
            policy = self.agent.actor.sample(next_features)
            next_q1, next_q2 = self._target(batch.extras["next_state"], policy.action)
            target = losses.soft_target(
                batch.reward, batch.terminated, next_q1, next_q2, policy.log_prob, self.log_alpha.exp(),
                self.config.discount,
            )  # fmt: skip
        q1, q2 = self.critic(batch.extras["state"], batch.action)
        loss = losses.critic_loss(q1, q2, target)
        step(self._optimizers["critic"], loss)
        return {"critic_loss": loss.item(), "q_value": target.mean().item()}

    def _update_actor(self, batch: Batch, self_supervise: bool, augmented: Tensor | None) -> Metrics:
        agent, head = self.agent, self.agent.inverse_dynamics if self_supervise else None
        shown = [batch.obs, *([] if augmented is None else [augmented])]
        count = len(batch.obs) * len(shown)
        with autocast(self._precision, agent.device):
            maps = agent.encoder(torch.cat([*shown, *([] if head is None else [batch.next_obs])]))
            features = agent.control(maps[:count]).float()
            pairs = None if head is None else torch.cat([maps[: len(batch.obs)], maps[count:]])
            branched = None if head is None else head.branch(pairs).float()
        policy = agent.actor.sample(features)
        self.critic.requires_grad_(False)
        q1, q2 = self.critic(batch.extras["state"].repeat(len(shown), 1), policy.action)
        loss = losses.actor_loss(q1, q2, policy.log_prob, self.log_alpha.exp().detach())
        metrics: Metrics = {"actor_loss": loss.item(), "entropy": -policy.log_prob.mean().item()}
        if head is not None and branched is not None:
            inferred = losses.inverse_dynamics_loss(head.infer(*branched.chunk(2)), batch.action)
            metrics["inverse_dynamics_loss"] = inferred.item()
            loss = loss + inferred
        step(self._optimizers["actor"], loss)
        self.critic.requires_grad_(True)
        step(self._optimizers["temperature"],
             losses.temperature_loss(self.log_alpha, policy.log_prob, self._target_entropy))  # fmt: skip
        return {**metrics, "temperature": self.log_alpha.exp().item()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "critic": self.critic.state_dict(),
            "target": self._target.state_dict(),
            "log_alpha": self.log_alpha.detach().clone(),
            "updates": self._updates,
            "supervision_is_due": self._supervision_is_due,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.critic.load_state_dict(state["critic"])
        self._target.load_state_dict(state["target"])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])
        self._updates, self._supervision_is_due = state["updates"], state.get("supervision_is_due", False)
        for name, optimizer in self._optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name])
