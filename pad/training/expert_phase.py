"""Training of the privileged expert by soft actor-critic on states, as a phase of training."""

import math
from typing import Any

import torch

from pad.expert import Expert
from pad.replay_buffer import ReplayBuffer
from pad.training.sac_phase import Learner, SACPhase, Schedule
from pad.training.stepping import Stepper


class ExpertPhase(SACPhase):
    """Soft actor-critic of an expert, which ends with the weights of its best evaluation.

    An expert is only as good as the moment at which it is copied, and its last update may be a bad one.
    """

    name, trains_agent = "expert", False

    def __init__(
        self,
        expert: Expert,
        env: Stepper,
        learner: Learner,
        replay: ReplayBuffer,
        schedule: Schedule,
        seed: int,
    ) -> None:
        super().__init__(expert, env, learner, replay, schedule, seed)
        self._best_return, self._best_weights = -math.inf, dict[str, torch.Tensor]()

    def note_evaluation(self, mean_return: float) -> None:
        if mean_return > self._best_return:
            self._best_return = mean_return
            self._best_weights = {n: v.detach().clone() for n, v in self._networks.state_dict().items()}
        if self.done >= self.total:
            self._networks.load_state_dict(self._best_weights)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "best_return": self._best_return, "best_networks": self._best_weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._best_return, self._best_weights = state["best_return"], state["best_networks"]
