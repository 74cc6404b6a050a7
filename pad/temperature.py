"""The temperature of soft actor-critic, which is learned (Haarnoja et al., 2018)."""

import torch
from torch import Tensor

from pad import losses
from pad.optimization import adam, step
from pad.types import Scalar, Scalars


class Temperature:
    """Weight of the policy's entropy, alpha, raised while the entropy is below its target and lowered above.

    Args:
        initial: alpha at first; positive.
        learning_rate: Adam step size of the logarithm of alpha.
        target_entropy: in nats, of the whole action.
    """

    def __init__(self, initial: float, learning_rate: float, target_entropy: float, device: torch.device) -> None:
        self.log_alpha: Tensor = torch.tensor(initial, device=device).log().requires_grad_(True)
        self.optimizer = adam([self.log_alpha], learning_rate, beta1=0.5)
        self.target_entropy = target_entropy

    @property
    def alpha(self) -> Scalar:
        """The temperature as it is now, without gradient."""
        return self.log_alpha.detach().exp()

    def update(self, log_prob: Scalars) -> None:
        """One gradient step, from the log probabilities (batch,) of actions that the policy drew, in nats."""
        step(self.optimizer, losses.temperature_loss(self.log_alpha, log_prob, self.target_entropy))

    @torch.no_grad()
    def load(self, log_alpha: Tensor) -> None:
        """Take over a saved `log_alpha`, in place, so that the optimizer goes on with it."""
        self.log_alpha.copy_(log_alpha)
