"""When to adapt: while self-supervised loss and features are not what they were in the training environment."""

import math
from bisect import bisect_right

import numpy as np

from pad.calibration import PHASES, Calibration, RunningAverage


class Gate:
    """Open while the running loss exceeds `factor` times the usual one, and the features' distance too.

    Either half is left out when its factor is None. The loss says that the policy is confused, which an
    unusual pose can do too; the features say that it sees something else than in training.

    Raises:
        ValueError: when the calibration does not hold what is asked for.
    """

    def __init__(self, calibration: Calibration, factor: float | None, feature_factor: float | None = None) -> None:
        if feature_factor is not None and calibration.features is None:
            raise ValueError("the calibration holds no features: scripts/calibrate.py CHECKPOINT measures them")
        self._features = None if feature_factor is None else calibration.features
        self.needs_loss = factor is not None
        """Whether the loss counts at all."""
        self._usual_loss = [(factor or 0.0) * value for value in calibration.usual_loss]
        distances = () if self._features is None else self._features.usual_distance
        self._usual_distance = [(feature_factor or 0.0) * value for value in distances]
        self._loss, self._distance = RunningAverage(), RunningAverage()

    def reset(self) -> None:
        """A new episode begins."""
        self._loss.reset()
        self._distance.reset()

    def update(self, loss: float | None, channels: np.ndarray | None = None, decision: int | None = None) -> bool:
        """Take note of the newest transition's loss and features, where they count; says whether to learn.

        What is no number keeps it shut and leaves no trace.

        Args:
            decision: its number in the episode, from 0. Default: one after the other, as the gate is asked.
        """
        distance = 0.0 if self._features is None or channels is None else self._features.distance(channels)
        loss = 0.0 if loss is None or not self.needs_loss else loss
        if not math.isfinite(loss) or not math.isfinite(distance):
            return False
        phase = bisect_right(PHASES, self._loss.count if decision is None else decision) - 1
        running_loss, running_distance = self._loss.add(loss), self._distance.add(distance)
        confused = not self.needs_loss or running_loss > self._usual_loss[phase]
        return confused and (self._features is None or running_distance > self._usual_distance[phase])
