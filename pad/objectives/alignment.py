"""Feature alignment: features shall be distributed as in training (after TTT++, Liu et al., 2021)."""

import torch
from torch import Tensor

from pad.calibration import FeatureRange, reduction
from pad.objectives.objective import Objective
from pad.objectives.views import Views
from pad.types import Scalar


class Alignment(Objective):
    """Squared Mahalanobis distance of the shared features' channels from those of training, averaged over the windows.

    Divided by the number of channels, so that it is about 1 in training, as the gate has it: up to constants the
    negative log-likelihood under the normal distribution of training. The paper matches mean and covariance of a
    queue of samples; the frames of a control loop are too alike for a covariance.

    Args:
        features: mean and whitening of the channels as measured in training.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, features: FeatureRange) -> None:
        super().__init__()
        whitening, mean = (torch.tensor(values) for values in (features.whitening, features.mean))
        self.register_buffer("whitening", whitening)
        self.register_buffer("mean", mean)

    def loss(self, views: Views) -> Scalar:
        channels = views.channels()
        if (combinations := reduction(channels.shape[1])) is not None:
            channels = channels @ torch.tensor(combinations, dtype=channels.dtype, device=views.device)
        return ((channels - self.mean) @ self.whitening.T).square().mean()
