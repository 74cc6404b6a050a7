"""Which action led from one observation to the next (Pathak et al., 2017; for deployment Hansen et al., 2021)."""

import torch
from torch import Tensor, nn

from pad.encoder import Projection
from pad.losses import inverse_dynamics_loss
from pad.networks import mlp
from pad.objectives.objective import Objective
from pad.objectives.views import Views
from pad.types import Actions, Projected, Scalar, Vectors


class InverseDynamics(Objective):
    """The head that infers actions, with its own branch of convolutions.

    Args:
        features: numbers that the projection gives for each image.
        actions: dimensions of an action.
    """

    def __init__(self, branch: nn.Sequential, projection: Projection, features: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.branch = branch
        self.projection = projection
        self.head = mlp(2 * features, hidden, actions)

    def loss(self, views: Views) -> Scalar:
        """Mean squared error of the actions inferred from the views of successive observations."""
        return inverse_dynamics_loss(self._inferred(views), views.action)

    def shuffled_loss(self, views: Views) -> Scalar:
        """Inverse-dynamics loss against the action of another transition: a control, in which no signal is left.

        It moves the weights about as far as `loss`. With one transition alone it is `loss` itself.
        """
        return inverse_dynamics_loss(self._inferred(views), views.action.roll(1, 0))

    def _inferred(self, views: Views) -> Actions:
        return self.infer_projected(*views.projected(self.branch, self.projection).chunk(2))

    def forward(self, features: Tensor, next_features: Tensor) -> Actions:
        """Actions (batch, action) in [-1, 1], from shared feature maps (batch, filters, rows, columns) of both."""
        return self.infer(*self.branch(torch.cat([features, next_features])).chunk(2))

    def infer(self, branched: Vectors, next_branched: Vectors) -> Actions:
        """Actions (batch, action) in [-1, 1], from the branch's features (batch, features) of both observations."""
        return self.infer_projected(*self.projection(torch.cat([branched, next_branched])).chunk(2))

    def infer_projected(self, projected: Projected, next_projected: Projected) -> Actions:
        """Actions (batch, action) in [-1, 1], from projected features (batch, projected) of both observations."""
        return torch.tanh(self.head(torch.cat([projected, next_projected], dim=-1)))
