"""Soft actor-critic whose critic sees the simulator's state while the actor sees pixels (Pinto et al., 2017).

The critic is needed in training alone, where the state is known. What it says of an action does not depend on how the
scene looks, so it learns fast, and the actor may look at the scene under any augmentation.
"""

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pad import losses
from pad.agent import Agent
from pad.networks import Critic, initialize
from pad.optimization import adam, load_optimizers, states_of, step
from pad.precision import Precision, autocast
from pad.sac import SACConfig, frozen, soft_td_target
from pad.temperature import Temperature
from pad.types import Batch, Metrics, read


class AsymmetricSAC:
    """Trains encoder, actor and inverse dynamics of an agent, in place, with a critic of its own.

    The actor's loss moves the encoder, since no critic reads it; with self-supervision the sum of both losses does.

    Args:
        state_size: numbers in the simulator's state, which the critic sees.
    """

    def __init__(self, agent: Agent, state_size: int, config: SACConfig, precision: Precision = "float32") -> None:
        self.agent, self.config, self._precision = agent, config, precision
        size, hidden = agent.action_size, agent.config.hidden
        self.critic = Critic(nn.Identity(), state_size, size, hidden, norm=True).apply(initialize).to(agent.device)
        self._target_critic = deepcopy(self.critic).requires_grad_(False)
        self.temperature = Temperature(
            config.initial_temperature, config.temperature_learning_rate, config.target_entropy * size, agent.device
        )
        self._updates, self._supervision_is_due = 0, False
        head = agent.inverse_dynamics
        acting = [*agent.encoder.parameters(), *agent.control.parameters(), *agent.actor.parameters()]
        self._optimizers = {
            "critic": adam(self.critic.parameters(), config.learning_rate),
            "actor": adam([*acting, *([] if head is None else head.parameters())], config.learning_rate),
            "temperature": self.temperature.optimizer,
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
                torch._foreach_lerp_(list(self._target_critic.parameters()), fast, self.config.critic_tau)
        self._updates += 1
        return metrics

    def _update_critic(self, batch: Batch) -> Metrics:
        with torch.no_grad(), autocast(self._precision, self.agent.device):
            next_features = self.agent.features(batch.next_obs).float()
        target_critic = partial(self._target_critic, batch.extras["next_state"])
        target = soft_td_target(
            batch, self.agent.actor, next_features, target_critic, self.temperature, self.config.discount
        )
        q1, q2 = self.critic(batch.extras["state"], batch.action)
        loss = losses.critic_loss(q1, q2, target)
        step(self._optimizers["critic"], loss)
        return read({"critic_loss": loss, "q_value": target.mean()})

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
        with frozen(self.critic) as critic:
            q1, q2 = critic(batch.extras["state"].repeat(len(shown), 1), policy.action)
            loss = losses.actor_loss(q1, q2, policy.log_prob, self.temperature.alpha)
            measured = {"actor_loss": loss, "entropy": -policy.log_prob.mean()}
            if head is not None and branched is not None:
                inferred = losses.inverse_dynamics_loss(head.infer(*branched.chunk(2)), batch.action)
                measured["inverse_dynamics_loss"] = inferred
                loss = loss + inferred
            step(self._optimizers["actor"], loss)
        self.temperature.update(policy.log_prob)
        return read({**measured, "temperature": self.temperature.alpha})

    def state_dict(self) -> dict[str, Any]:
        return {
            "critic": self.critic.state_dict(),
            "target": self._target_critic.state_dict(),
            "log_alpha": self.temperature.log_alpha.detach().clone(),
            "updates": self._updates,
            "supervision_is_due": self._supervision_is_due,
            "optimizers": states_of(self._optimizers),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.critic.load_state_dict(state["critic"])
        self._target_critic.load_state_dict(state["target"])
        self.temperature.load(state["log_alpha"])
        self._updates, self._supervision_is_due = state["updates"], state.get("supervision_is_due", False)
        load_optimizers(self._optimizers, state["optimizers"])
