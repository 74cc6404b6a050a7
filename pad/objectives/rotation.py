"""Rotation prediction: by how many quarter turns a picture was rotated (Gidaris et al., 2018; Sun et al., 2020)."""

import torch
import torch.nn.functional as F
from torch import nn

from pad.encoder import Projection
from pad.networks import mlp
from pad.objectives.objective import Objective
from pad.objectives.views import Views
from pad.types import Scalar

TURNS = 4


class Rotation(Objective):
    """Classifies by how many quarter turns each window of the observations was rotated; each is rotated at random.

    Args:
        features: numbers that the projection gives for each image.
    """

    def __init__(self, branch: nn.Sequential, projection: Projection, features: int, hidden: int) -> None:
        super().__init__()
        self.branch, self.projection = branch, projection
        self.head = mlp(features, hidden, TURNS)

    def loss(self, views: Views) -> Scalar:
        """Cross-entropy of the number of quarter turns, averaged over the windows of the first observations."""
        crops = views.crops()[: len(views.action)]
        turns = torch.randint(TURNS, (len(crops),), generator=views.generator)
        turned = torch.cat([torch.rot90(crops[turns == turn], turn, (2, 3)) for turn in range(TURNS)])
        labels = turns.sort(stable=True).values.to(views.device)
        projected = self.projection(self.branch(views.encode(turned).float()))
        return F.cross_entropy(self.head(projected), labels)
