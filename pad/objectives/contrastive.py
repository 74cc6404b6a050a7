"""Two crops of one picture are more alike than crops of others (CURL, Laskin et al., 2020)."""

import torch
import torch.nn.functional as F
from torch import nn

from pad.encoder import Projection
from pad.objectives.objective import Objective
from pad.objectives.views import Views
from pad.types import Scalar


class Contrastive(Objective):
    """Picks the second window of a picture, given the first, among those of all pictures, by a bilinear product.

    The second windows are encoded without gradient by the same networks, in place of the paper's slow copy of them:
    at deployment there is no time in which a copy could lag.
    """

    def __init__(self, branch: nn.Sequential, projection: Projection, features: int) -> None:
        super().__init__()
        self.branch, self.projection = branch, projection
        self.bilinear = nn.Linear(features, features, bias=False)

    def loss(self, views: Views) -> Scalar:
        """Cross-entropy of picking each picture's second window, averaged over pictures.

        Zero where fewer than two pictures are seen through two windows each: there is nothing to tell apart.
        """
        projected = views.projected(self.branch, self.projection)
        query, key = (projected[number.to(views.device)] for number in views.pairs())
        if len(query) < 2:
            return 0 * projected.sum()
        logits = self.bilinear(query) @ key.detach().T
        return F.cross_entropy(logits, torch.arange(len(logits), device=views.device))
