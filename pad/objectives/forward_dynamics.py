"""Forward dynamics in latent space: which features the policy will act on next (after Schwarzer et al., 2021)."""

import torch
import torch.nn.functional as F

from pad.networks import mlp
from pad.objectives.objective import Objective
from pad.objectives.views import Views
from pad.types import Scalar


class ForwardDynamics(Objective):
    """Predicts the change of the policy's features from the features and the action.

    The features are the policy's own, which it was trained to act on, and the target is without gradient: no head of
    its own could make them all alike.
    """

    def __init__(self, features: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.head = mlp(features + actions, hidden, features)

    def loss(self, views: Views) -> Scalar:
        """Mean squared error of the predicted features of the next observations."""
        before, after = views.latents().chunk(2)
        return F.mse_loss(before + self.head(torch.cat([before, views.action], 1)), after.detach())
