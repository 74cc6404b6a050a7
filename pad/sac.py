"""Soft actor-critic with automatic temperature (Haarnoja et al., 2018), on pixels or on state.

It learns on any networks with `features`, `actor` and `critic`: the pixel agent, whose features come
from an encoder that the critic trains, or the state expert, whose features are the state itself.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pad import losses
from pad.optimization import adam, load_optimizer, step
from pad.precision import Precision, autocast
from pad.recorded import Recorded
from pad.settings import check_finite
from pad.types import Batch, Metrics


@dataclass(frozen=True)
class SACConfig:
    """How actor and critic learn. The defaults are the paper's."""

    learning_rate: float = 1e-3
    """Adam step size of actor, critic and self-supervision."""
    temperature_learning_rate: float = 1e-4
    """Adam step size of the temperature."""
    initial_temperature: float = 0.1
    """Weight of the entropy at first."""
    target_entropy: float = -1.0
    """Entropy that the temperature holds the policy at, in nats for each dimension of the action; less is surer."""
    discount: float = 0.99
    """Worth of a reward one decision later."""
    critic_tau: float = 0.01
    """Share of the critic that its target takes over at each update."""
    encoder_tau: float = 0.05
    """The same for the encoder and the critic's projection."""
    actor_every: int = 2
    """Critic updates between updates of actor, temperature and targets."""

    def __post_init__(self) -> None:
        check_finite(self)
        for name in ("learning_rate", "temperature_learning_rate", "initial_temperature", "actor_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("discount", "critic_tau", "encoder_tau"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")


class SAC:
    """Owns the targets, the temperature and the optimizers of the networks that it trains, in place.

    Inverse dynamics is trained beside the critic where the networks have it: the sum of both losses
    moves the encoder (Hansen et al., 2021).
    """

    def __init__(self, networks: Any, action_size: int, config: SACConfig, precision: Precision = "float32") -> None:
        if networks.critic is None:
            raise ValueError("soft actor-critic needs an agent with a critic; this one was cloned without")
        self.networks, self.config = networks, config
        # The encoder is what the actor and the critic both read; only the critic trains it.
        self._encoder = nn.ModuleList(
            m for n in ("encoder", "control") if (m := getattr(networks, n, None)) is not None
        )
        self.target = deepcopy(networks).requires_grad_(False)
        self._target_encoder = nn.ModuleList(
            m for n in ("encoder", "control") if (m := getattr(self.target, n, None)) is not None
        )
        self._precision, self._device = precision, next(networks.parameters()).device
        self.log_alpha = torch.tensor(config.initial_temperature, device=self._device).log().requires_grad_(True)
        self._action_size, self._target_entropy = action_size, config.target_entropy * action_size
        self._updates = 0
        self._recorded: dict[tuple[bool, bool], Recorded[dict[str, Tensor]]] = {}
        rate, head = config.learning_rate, getattr(networks, "inverse_dynamics", None)
        supervised = [] if head is None else head.parameters()
        self.optimizers = {
            "critic": adam([*self._encoder.parameters(), *networks.critic.parameters(), *supervised], rate),
            "actor": adam(networks.actor.parameters(), rate),
            "temperature": adam([self.log_alpha], config.temperature_learning_rate, beta1=0.5),
        }

    @property
    def updates(self) -> int:
        """Updates made so far."""
        return self._updates

    def set_learning_rate(self, rate: float) -> None:
        """Adam step size of actor, critic and self-supervision from now on. On CUDA updates are recorded anew."""
        groups = [group for name in ("critic", "actor") for group in self.optimizers[name].param_groups]
        if any(group["lr"] != rate for group in groups):
            for group in groups:
                group["lr"] = rate
            self._recorded.clear()

    def set_target_entropy(self, entropy: float) -> None:
        """Nats for each dimension of the action, from now on. On CUDA updates are recorded anew."""
        if self._target_entropy != entropy * self._action_size:
            self._target_entropy = entropy * self._action_size
            self._recorded.clear()

    def update(self, batch: Batch, self_supervise: bool = False, augmented: Tensor | None = None) -> Metrics:
        """One step of the critic and, every `actor_every` calls, of actor, temperature and targets.

        Each observation is encoded once for all losses, and once more by the target's encoder. On CUDA the update is
        recorded and replayed.

        Args:
            batch: observations are images of the crop's size, or states.
            self_supervise: also train inverse dynamics.
            augmented: the batch's observations under strong augmentation. Q learns from both in equal parts, towards
                the value of the clean ones, and the actor from the clean ones alone (SVEA, Hansen et al., 2021).
        """
        kind = self_supervise, self._updates % self.config.actor_every == 0
        if kind not in self._recorded:
            self._recorded[kind] = Recorded(self._device)
        inputs = batch.obs, batch.action, batch.reward, batch.terminated, batch.next_obs
        strong = () if augmented is None else (augmented,)
        measured = self._recorded[kind](partial(self._update, *kind), (*inputs, *strong))
        self._updates += 1
        return dict(zip(measured, torch.stack(list(measured.values())).tolist(), strict=True))

    def _update(
        self,
        self_supervise: bool,
        act: bool,
        obs: Tensor,
        action: Tensor,
        reward: Tensor,
        terminated: Tensor,
        next_obs: Tensor,
        augmented: Tensor | None = None,
    ) -> dict[str, Tensor]:
        batch = Batch(obs, action, reward, terminated, next_obs)
        measured: dict[str, Tensor] = {}
        if self_supervise:
            features, next_features, branched = self._encode_for_all(batch)
            inferred = self.networks.inverse_dynamics.infer(*branched.chunk(2))
            supervision = losses.inverse_dynamics_loss(inferred, action)
            measured["inverse_dynamics_loss"] = supervision.detach()
        else:
            features = self._encode(self.networks, obs)
            supervision = torch.zeros((), device=self._device)
            with torch.no_grad():
                next_features = self._encode(self.networks, next_obs)
        target = self.critic_target(batch, next_features)
        if augmented is None:
            measured |= self._update_critic(features, target, action, supervision)
        else:
            both = torch.cat([features, self._encode(self.networks, augmented)])
            measured |= self._update_critic(both, target.repeat(2), action.repeat(2, 1), supervision)
        if act:
            measured |= self._update_actor(features.detach())
            self._update_target()
        return measured

    def _encode(self, networks: Any, obs: Tensor) -> Tensor:
        with autocast(self._precision, self._device):
            return networks.features(obs).float()

    def _encode_for_all(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Features of obs, those of next_obs without gradient, and those of both after the self-supervised branch."""
        networks = self.networks
        with autocast(self._precision, self._device):
            maps = networks.encoder(torch.cat([batch.obs, batch.next_obs]))
            features = networks.control(maps[: len(batch.obs)])
            with torch.no_grad():
                next_features = networks.control(maps[len(batch.obs) :])
            branched = networks.inverse_dynamics.branch(maps)
        return features.float(), next_features.float(), branched.float()

    @torch.no_grad()
    def critic_target(self, batch: Batch, next_features: Tensor) -> Tensor:
        """The value that Q is trained towards."""
        policy = self.networks.actor.sample(next_features)
        next_q1, next_q2 = self.target.critic(self._encode(self.target, batch.next_obs), policy.action)
        return losses.soft_target(
            batch.reward,
            batch.terminated,
            next_q1,
            next_q2,
            policy.log_prob,
            self.log_alpha.exp(),
            self.config.discount,
        )

    def _update_critic(
        self, features: Tensor, target: Tensor, action: Tensor, supervision: Tensor
    ) -> dict[str, Tensor]:
        q1, q2 = self.networks.critic(features, action)
        loss = losses.critic_loss(q1, q2, target)
        step(self.optimizers["critic"], loss + supervision)
        return {"critic_loss": loss.detach(), "q_value": target.mean()}

    def _update_actor(self, features: Tensor) -> dict[str, Tensor]:
        policy = self.networks.actor.sample(features)
        critic = self.networks.critic.requires_grad_(False)
        try:
            q1, q2 = critic(features, policy.action)
            loss = losses.actor_loss(q1, q2, policy.log_prob, self.log_alpha.exp().detach())
            step(self.optimizers["actor"], loss)
        finally:  # a recording may fail here, and the update is then made without one
            critic.requires_grad_(True)
        temperature = losses.temperature_loss(self.log_alpha, policy.log_prob, self._target_entropy)
        step(self.optimizers["temperature"], temperature)
        return {
            "actor_loss": loss.detach(),
            "temperature": self.log_alpha.detach().exp(),
            "entropy": -policy.log_prob.detach().mean(),
        }

    @torch.no_grad()
    def _update_target(self) -> None:
        critic, target = self.networks.critic, self.target.critic
        for online, slow, tau in (
            (self._encoder, self._target_encoder, self.config.encoder_tau),
            (critic.projection, target.projection, self.config.encoder_tau),
            (critic.q1, target.q1, self.config.critic_tau),
            (critic.q2, target.q2, self.config.critic_tau),
        ):
            if parameters := list(slow.parameters()):
                torch._foreach_lerp_(parameters, list(online.parameters()), tau)

    def state_dict(self) -> dict[str, Any]:
        return {
            "target": self.target.state_dict(),
            "log_alpha": self.log_alpha.detach().clone(),
            "updates": self._updates,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.target.load_state_dict(state["target"])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])
        self._updates = state["updates"]
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, state["optimizers"][name])
        self._recorded.clear()  # the optimizers' state is elsewhere now
