"""What soft actor-critic learns from a replay buffer: the expert from states, the agent from images."""

from typing import Any

from pad.agent import Agent
from pad.asymmetric import AsymmetricSAC
from pad.augmentations import weakly_augmented
from pad.decay import cosine_decay, linear_decay
from pad.expert import Expert, ExpertConfig
from pad.replay_buffer import ReplayBuffer
from pad.sac import SAC
from pad.training.augmentation import make_augmenter, weakly_augmented_batch
from pad.training.config import TrainingConfig
from pad.training.goals import GoalRelabelling
from pad.types import Metrics


class StateLearner:
    """Soft actor-critic of the expert, in place, on batches of states (batch, state).

    Learning rate and target entropy move as `config` says, with the share of updates that are done.

    Args:
        relabelling: gives a share of each batch other goals; None where goals stay.
    """

    def __init__(
        self, expert: Expert, action_size: int, config: ExpertConfig, relabelling: GoalRelabelling | None = None
    ) -> None:
        self._sac, self._config = SAC(expert, action_size, config.sac), config
        self._relabelling = relabelling
        self._device = next(expert.parameters()).device

    def update(self, replay: ReplayBuffer) -> Metrics:
        """One update of critic, actor and temperature on a batch that the buffer draws."""
        self._decay()
        batch = replay.sample(self._config.batch_size, self._device)
        return self._sac.update(batch if self._relabelling is None else self._relabelling(batch))

    def _decay(self) -> None:
        config, first = self._config, self._config.sac
        # In a hundred steps: on CUDA each costs a new capture of the update.
        learning = max(config.steps - max(config.random_steps, 1), 1)
        done = 100 * self._sac.updates // learning / 100
        progress = (done - config.decay_start) / (1 - config.decay_start)
        if config.final_learning_rate is not None:
            self._sac.set_learning_rate(cosine_decay(first.learning_rate, config.final_learning_rate, progress))
        if config.final_target_entropy is not None:
            self._sac.set_target_entropy(linear_decay(first.target_entropy, config.final_target_entropy, progress))

    def state_dict(self) -> dict[str, Any]:
        relabelling = {} if self._relabelling is None else {"redrawing": self._relabelling.state_dict()}
        return {**self._sac.state_dict(), **relabelling}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sac.load_state_dict(state)
        if self._relabelling is not None:
            self._relabelling.load_state_dict(state["redrawing"])


class PixelLearner:
    """Soft actor-critic and self-supervision of the agent, in place, on shared random crops (Hansen et al., 2021).

    Args:
        state_size: numbers in the simulator's state where the critic sees that; None where it sees the actor's images.
    """

    def __init__(self, agent: Agent, config: TrainingConfig, state_size: int | None = None) -> None:
        self._agent, self._config, self._updates = agent, config, 0
        self._sac: SAC | AsymmetricSAC
        if state_size is None:
            self._sac = SAC(agent, agent.action_size, config.sac, config.precision)
        else:
            self._sac = AsymmetricSAC(agent, state_size, config.sac, config.precision)
        self._weak, self._strong = config.weak_augmentation, make_augmenter(agent, config, config.augmentations)

    def update(self, replay: ReplayBuffer) -> Metrics:
        """One update of the critic, and where they are due of actor, temperature and inverse dynamics."""
        whole, agent, weak = replay.sample(self._config.batch_size, self._agent.device), self._agent, self._weak
        batch = weakly_augmented_batch(whole, agent, weak)
        augmented = None
        if self._strong.names:
            augmented = weakly_augmented(self._strong.observations(whole.obs), agent.config.encoder.crop_size, weak)
        supervise = agent.inverse_dynamics is not None and self._updates % self._config.self_supervise_every == 0
        metrics = self._sac.update(batch, supervise, augmented)
        self._updates += 1
        return metrics

    def state_dict(self) -> dict[str, Any]:
        return {"sac": self._sac.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sac.load_state_dict(state["sac"])
        self._updates = state["updates"]
