"""The interface of self-supervised objectives."""

from abc import ABC, abstractmethod

from torch import nn

from pad.objectives.views import Views
from pad.types import Scalar


class Objective(nn.Module, ABC):
    """A loss that needs no reward, with the head that it is computed by."""

    @abstractmethod
    def loss(self, views: Views) -> Scalar:
        """The loss, averaged over a batch of random views of transitions."""
