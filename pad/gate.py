"""When to adapt: while self-supervised loss and features are not what they were in the training environment."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 8
"""Decisions over which the loss is averaged: one alone says little."""
QUANTILE = 0.99


@dataclass(frozen=True)
class FeatureRange:
    """What an agent's features are like: mean and standard deviation of each channel's average over the picture."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    usual_distance: float
    """Which the running average of the distance exceeds in one of a hundred decisions."""

    @classmethod
    def of(cls, episodes: Sequence[np.ndarray]) -> "FeatureRange":
        """From the channels' averages of some episodes, each (decisions, channels)."""
        everything = np.concatenate(episodes)
        mean, deviation = everything.mean(0), everything.std(0)
        measured = cls(tuple(mean.tolist()), tuple(deviation.tolist()), 0.0)
        running = [average for rows in episodes for average in _averages(measured.distance(row) for row in rows)]
        return cls(measured.mean, measured.deviation, float(np.quantile(running, QUANTILE)))

    def distance(self, channels: np.ndarray) -> float:
        """Mean squared distance of the channels' averages in standard deviations; about 1 where they were measured."""
        deviation = np.array(self.deviation)
        # A channel that never moves would make the smallest change infinite.
        deviation = np.maximum(deviation, 0.1 * deviation.mean() + 1e-8)
        return float(np.mean(np.square((channels - np.array(self.mean)) / deviation)))


@dataclass(frozen=True)
class Calibration:
    """What the self-supervised loss and the features of an agent are like in the environment that it was trained in."""

    mean_loss: float
    """Of single transitions."""
    usual_loss: float
    """Which the running average exceeds in one of a hundred decisions there."""
    episodes: int
    """In which it was measured."""
    features: FeatureRange | None = None
    """None where only the loss was measured."""

    @classmethod
    def of(cls, episodes: Sequence[Sequence[float]], features: Sequence[np.ndarray] | None = None) -> "Calibration":
        """From the losses of some episodes, decision by decision, and their features' channels."""
        running = [average for losses in episodes for average in _averages(losses)]
        mean = float(np.mean([loss for losses in episodes for loss in losses]))
        found = None if features is None else FeatureRange.of(features)
        return cls(mean, float(np.quantile(running, QUANTILE)), len(episodes), found)


class RunningLoss:
    """Average of the losses so far, recent ones counting most."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget them."""
        self.value, self._count = 0.0, 0

    def add(self, loss: float) -> float:
        """The average with one more loss in it."""
        self._count += 1
        self.value += (loss - self.value) / min(self._count, WINDOW)
        return self.value


def _averages(losses: Iterable[float]) -> list[float]:
    running = RunningLoss()
    return [running.add(loss) for loss in losses]


class Gate:
    """Open while the running loss exceeds `factor` times the usual one, and the features' running distance too.

    Either half is left out when its factor is None. The loss says that the policy is confused, which an
    unusual pose can do too; the features say that the picture is another.

    Raises:
        ValueError: when the calibration does not hold what is asked for.
    """

    def __init__(self, calibration: Calibration, factor: float | None, feature_factor: float | None = None) -> None:
        if feature_factor is not None and calibration.features is None:
            raise ValueError("the calibration holds no features: scripts/calibrate.py CHECKPOINT measures them")
        self.threshold = -math.inf if factor is None else factor * calibration.usual_loss
        self._features = None if feature_factor is None else calibration.features
        self._feature_threshold = 0.0
        if feature_factor is not None and calibration.features is not None:
            self._feature_threshold = feature_factor * calibration.features.usual_distance
        self._loss, self._distance = RunningLoss(), RunningLoss()

    def reset(self) -> None:
        """A new episode begins."""
        self._loss.reset()
        self._distance.reset()

    def is_open(self, loss: float, channels: np.ndarray | None = None) -> bool:
        """Whether to learn, given the newest transition's loss, and its features' channels where they count.

        What is no number keeps it shut and leaves no trace.
        """
        distance = math.inf if self._features is None or channels is None else self._features.distance(channels)
        if not math.isfinite(loss) or (self._features is not None and not math.isfinite(distance)):
            return False
        confused = self._loss.add(loss) > self.threshold
        return confused and (self._features is None or self._distance.add(distance) > self._feature_threshold)
