"""Soft actor-critic with automatic temperature (Haarnoja et al., 2018), on pixels or on state.

It learns on any networks with `features`, `actor` and `critic`: the pixel agent, whose features come
from an encoder that the critic trains, or the state expert, whose features are the state itself.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from pad import losses
from pad.agent import Agent
from pad.cuda_graph import CapturedFunction
from pad.networks import Actor, Critic
from pad.optimization import adam, load_optimizers, states_of, step
from pad.precision import Precision, autocast
from pad.settings import check_fields
from pad.temperature import Temperature
from pad.types import Batch, Metrics, Scalars, Vectors, read


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
    """Target of the policy's entropy per dimension of the action, in nats: the temperature holds the entropy of a whole
    action at this times the action's dimensions. Less is surer."""
    discount: float = 0.99
    """Worth of a reward one decision later."""
    critic_tau: float = 0.01
    """Share of the critic that its target takes over at each update."""
    encoder_tau: float = 0.05
    """Share of the encoder and of the critic's projection that their targets take over at each update."""
    actor_every: int = 2
    """Critic updates between updates of actor, temperature and targets."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("learning_rate", "temperature_learning_rate", "initial_temperature", "actor_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("discount", "critic_tau", "encoder_tau"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")


@runtime_checkable
class ActorCritic(Protocol):
    """Networks that soft actor-critic learns on: a torch module with features, an actor and a critic."""

    @property
    def actor(self) -> Actor: ...

    @property
    def critic(self) -> Critic | None: ...

    def features(self, obs: Tensor, /) -> Tensor:
        """What actor and critic read: (batch, features) of images (batch, channels, size, size) or of states."""

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def requires_grad_(self, requires_grad: bool = True) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


class SAC:
    """Owns the target networks, the temperature and the optimizers of the networks that it trains, in place.

    Inverse dynamics is trained beside the critic where the networks have it: the sum of both losses
    moves the encoder (Hansen et al., 2021).

    Args:
        action_size: dimensions of an action; the policy's target entropy is `config.target_entropy` times these.

    Raises:
        ValueError: when the networks have no critic.
    """

    def __init__(
        self, networks: ActorCritic, action_size: int, config: SACConfig, precision: Precision = "float32"
    ) -> None:
        self.networks, self.config, self._critic = networks, config, _critic_of(networks)
        self.target_networks = deepcopy(networks)
        self.target_networks.requires_grad_(False)
        self._target_critic = _critic_of(self.target_networks)
        # The encoder is what the actor and the critic both read; only the critic trains it.
        self._encoder, self._target_encoder = _encoder_of(networks), _encoder_of(self.target_networks)
        self._precision, self._device = precision, next(networks.parameters()).device
        self._action_size, self._updates = action_size, 0
        self.temperature = Temperature(
            config.initial_temperature,
            config.temperature_learning_rate,
            config.target_entropy * action_size,
            self._device,
        )
        self._captured: dict[tuple[bool, bool], CapturedFunction[dict[str, Tensor]]] = {}
        head = networks.inverse_dynamics if isinstance(networks, Agent) else None
        supervised = [] if head is None else head.parameters()
        critic = [*self._encoder.parameters(), *self._critic.parameters(), *supervised]
        self.optimizers = {
            "critic": adam(critic, config.learning_rate),
            "actor": adam(networks.actor.parameters(), config.learning_rate),
            "temperature": self.temperature.optimizer,
        }

    @property
    def updates(self) -> int:
        """Updates made so far."""
        return self._updates

    def set_learning_rate(self, rate: float) -> None:
        """Set the Adam step size of actor, critic and self-supervision. On CUDA updates are captured anew."""
        groups = [group for name in ("critic", "actor") for group in self.optimizers[name].param_groups]
        if any(group["lr"] != rate for group in groups):
            for group in groups:
                group["lr"] = rate
            self._captured.clear()

    def set_target_entropy(self, entropy: float) -> None:
        """Set the target entropy in nats per dimension of the action. On CUDA updates are captured anew."""
        if self.temperature.target_entropy != entropy * self._action_size:
            self.temperature.target_entropy = entropy * self._action_size
            self._captured.clear()

    def update(self, batch: Batch, self_supervise: bool = False, augmented: Tensor | None = None) -> Metrics:
        """One step of the critic and, every `actor_every` calls, of actor, temperature and targets.

        Each observation is encoded once for all losses, and once more by the target's encoder. On CUDA the update is
        captured as a CUDA graph and replayed.

        Args:
            batch: observations are images of the crop's size, or states.
            self_supervise: also train inverse dynamics, which only an agent has.
            augmented: the batch's observations under strong augmentation. Q learns from both in equal parts, towards
                the value of the clean ones, and the actor from the clean ones alone (SVEA, Hansen et al., 2021).
        """
        kind = self_supervise, self._updates % self.config.actor_every == 0
        if kind not in self._captured:
            self._captured[kind] = CapturedFunction(self._device)
        inputs = batch.obs, batch.action, batch.reward, batch.terminated, batch.next_obs
        strong = () if augmented is None else (augmented,)
        measured = self._captured[kind](partial(self._update, *kind), (*inputs, *strong))
        self._updates += 1
        return read(measured)

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
            features, next_features, inferred = self._encode_for_all(batch)
            supervision = losses.inverse_dynamics_loss(inferred, action)
            measured["inverse_dynamics_loss"] = supervision.detach()
        else:
            features = self._encode(self.networks, obs)
            supervision = torch.zeros((), device=self._device)
            with torch.no_grad():
                next_features = self._encode(self.networks, next_obs)
        target = self.td_target(batch, next_features)
        if augmented is None:
            measured |= self._update_critic(features, target, action, supervision)
        else:
            both = torch.cat([features, self._encode(self.networks, augmented)])
            measured |= self._update_critic(both, target.repeat(2), action.repeat(2, 1), supervision)
        if act:
            measured |= self._update_actor(features.detach())
            self._update_target()
        return measured

    def _encode(self, networks: ActorCritic, obs: Tensor) -> Tensor:
        with autocast(self._precision, self._device):
            return networks.features(obs).float()

    def _encode_for_all(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Features of obs, features of next_obs without gradient, each (batch, features), and the inferred actions."""
        agent = self.networks
        assert isinstance(agent, Agent)
        assert agent.inverse_dynamics is not None
        with autocast(self._precision, self._device):
            maps = agent.encoder(torch.cat([batch.obs, batch.next_obs]))
            features = agent.control(maps[: len(batch.obs)])
            with torch.no_grad():
                next_features = agent.control(maps[len(batch.obs) :])
            branched = agent.inverse_dynamics.branch(maps)
        inferred = agent.inverse_dynamics.infer(*branched.float().chunk(2))
        return features.float(), next_features.float(), inferred

    @torch.no_grad()
    def td_target(self, batch: Batch, next_features: Vectors) -> Scalars:
        """The values (batch,) that Q is trained towards, from the features (batch, features) of the next observations.

        The policy acts in the next observations; the target networks encode them anew to tell what that is worth.
        """
        target_features = self._encode(self.target_networks, batch.next_obs)
        target_critic = partial(self._target_critic, target_features)
        policy = self.networks.actor
        return soft_td_target(batch, policy, next_features, target_critic, self.temperature, self.config.discount)

    def _update_critic(
        self, features: Tensor, target: Tensor, action: Tensor, supervision: Tensor
    ) -> dict[str, Tensor]:
        q1, q2 = self._critic(features, action)
        loss = losses.critic_loss(q1, q2, target)
        step(self.optimizers["critic"], loss + supervision)
        return {"critic_loss": loss.detach(), "q_value": target.mean()}

    def _update_actor(self, features: Tensor) -> dict[str, Tensor]:
        policy = self.networks.actor.sample(features)
        with frozen(self._critic) as critic:
            q1, q2 = critic(features, policy.action)
            loss = losses.actor_loss(q1, q2, policy.log_prob, self.temperature.alpha)
            step(self.optimizers["actor"], loss)
        self.temperature.update(policy.log_prob)
        return {
            "actor_loss": loss.detach(),
            "temperature": self.temperature.alpha,
            "entropy": -policy.log_prob.detach().mean(),
        }

    @torch.no_grad()
    def _update_target(self) -> None:
        critic, target = self._critic, self._target_critic
        for online, slow, tau in (
            (self._encoder, self._target_encoder, self.config.encoder_tau),
            (critic.projection, target.projection, self.config.encoder_tau),
            (critic.q1, target.q1, self.config.critic_tau),
            (critic.q2, target.q2, self.config.critic_tau),
        ):
            targets: list[Tensor] = list(slow.parameters())
            sources: list[Tensor] = list(online.parameters())
            if targets:
                torch._foreach_lerp_(targets, sources, tau)

    def state_dict(self) -> dict[str, Any]:
        return {
            "target": self.target_networks.state_dict(),
            "log_alpha": self.temperature.log_alpha.detach().clone(),
            "updates": self._updates,
            "optimizers": states_of(self.optimizers),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.target_networks.load_state_dict(state["target"])
        self.temperature.load(state["log_alpha"])
        self._updates = state["updates"]
        load_optimizers(self.optimizers, state["optimizers"])
        self._captured.clear()  # the optimizers' state is elsewhere now


def _critic_of(networks: ActorCritic) -> Critic:
    if networks.critic is None:
        raise ValueError("soft actor-critic needs an agent with a critic; this one was cloned without")
    return networks.critic


def _encoder_of(networks: ActorCritic) -> nn.ModuleList:
    return nn.ModuleList([networks.encoder, networks.control] if isinstance(networks, Agent) else [])


@torch.no_grad()
def soft_td_target(
    batch: Batch,
    actor: Actor,
    next_features: Vectors,
    target_critic: Callable[[Tensor], tuple[Tensor, Tensor]],
    temperature: Temperature,
    discount: float,
) -> Scalars:
    """The values (batch,) that Q is trained towards, with a next action that the policy draws.

    Args:
        next_features: what the actor reads in the next observations, (batch, features).
        target_critic: both target Q functions of an action (batch, action) in the next observations, each (batch,).
    """
    policy = actor.sample(next_features)
    next_q1, next_q2 = target_critic(policy.action)
    return losses.soft_target(
        batch.reward, batch.terminated, next_q1, next_q2, policy.log_prob, temperature.alpha, discount
    )


@contextmanager
def frozen(critic: Critic) -> Iterator[Critic]:
    """A critic that is given no gradients, for the actor's loss, and that learns again afterwards."""
    critic.requires_grad_(False)
    try:
        yield critic
    finally:  # a capture may fail inside, and the update is then made without one
        critic.requires_grad_(True)
