"""The privileged teacher: soft actor-critic on the simulator's state, for the pixel agent to imitate."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pad.networks import Actor, Critic, initialize
from pad.sac import SACConfig
from pad.settings import check_fields


@dataclass(frozen=True)
class ExpertConfig:
    """How the teacher is trained, where the recipe clones one."""

    steps: int = 10_000
    """Decisions in the environment."""
    random_steps: int = 1_000
    """Decisions at random before learning begins."""
    batch_size: int = 256
    hidden: int = 256
    """Units in each of the two hidden layers."""
    max_episode_steps: int | None = None
    """Decisions after which an episode of its training is cut short, as by a time limit: values are bootstrapped past
    it, and the expert meets more beginnings. Default: whole episodes."""
    redrawn_goals: float = 0.0
    """Share of each batch that is relabelled with a goal drawn anew, from 0 to 1 (after Andrychowicz et al., 2017),
    where the environment says how in its attribute `goals`: finger_turn_easy and finger_turn_hard."""
    final_learning_rate: float | None = None
    """Adam step size of actor and critic at the end of a cosine decay. Default: `sac.learning_rate` throughout."""
    final_target_entropy: float | None = None
    """Target of the entropy at the end, to which it moves in a straight line, in nats for each dimension of the action:
    who tries less at random by and by may act ever more exactly. Default: `sac.target_entropy` throughout."""
    decay_start: float = 0.0
    """Share of the updates, from 0 to 1, after which learning rate and target entropy begin to move."""
    sac: SACConfig = field(
        default_factory=lambda: SACConfig(temperature_learning_rate=1e-3, actor_every=1, critic_tau=0.01)
    )

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("steps", "batch_size", "hidden", "max_episode_steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} of the expert must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.random_steps < self.steps:
            raise ValueError(
                f"random_steps of the expert must be at least 0 and fewer than its steps ({self.steps}), or it learns "
                f"nothing; got {self.random_steps}"
            )
        if self.final_learning_rate is not None and not self.final_learning_rate > 0:
            raise ValueError(f"final_learning_rate of the expert must be positive, got {self.final_learning_rate}")
        if not 0 <= self.redrawn_goals <= 1:
            raise ValueError(f"redrawn_goals must be from 0 to 1, got {self.redrawn_goals}")
        if not 0 <= self.decay_start < 1:
            raise ValueError(f"decay_start of the expert must be at least 0 and below 1, got {self.decay_start}")
        if self.decay_start > 0 and self.final_learning_rate is None and self.final_target_entropy is None:
            raise ValueError(
                "decay_start says when something begins to fall: name final_learning_rate or final_target_entropy too"
            )


class Expert(nn.Module):
    """Actor and critic on state vectors, (batch, state).

    With layer norm (as in Ball et al., 2023): positions and velocities differ in scale, and it keeps Q
    from running away.
    """

    def __init__(self, state_size: int, action_size: int, hidden: int) -> None:
        super().__init__()
        self.actor = Actor(nn.Identity(), state_size, action_size, hidden, norm=True)
        self.critic = Critic(nn.Identity(), state_size, action_size, hidden, norm=True)
        self.apply(initialize)

    def features(self, state: Tensor) -> Tensor:
        """The states themselves, (batch, state): actor and critic read them as they are."""
        return state

    @torch.no_grad()
    def act(self, state: np.ndarray, sample: bool = False) -> np.ndarray:
        """Action (action,) in [-1, 1] for one state (state,): the most likely, or with `sample` one drawn at random."""
        features = torch.from_numpy(np.asarray(state, np.float32))[None].to(next(self.parameters()).device)
        action = self.actor.sample(features).action if sample else self.actor.mean(features)
        return action[0].cpu().numpy()
