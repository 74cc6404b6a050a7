"""When to adapt: while the self-supervised loss is above what it was in the training environment."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 8
"""Decisions over which the loss is averaged: one alone says little."""
QUANTILE = 0.99


@dataclass(frozen=True)
class Calibration:
    """What the self-supervised loss of an agent is like in the environment that it was trained in."""

    mean_loss: float
    """Of single transitions."""
    usual_loss: float
    """Which the running average exceeds in one of a hundred decisions there."""
    episodes: int
    """In which it was measured."""

    @classmethod
    def of(cls, episodes: Sequence[Sequence[float]]) -> "Calibration":
        """From the losses of some episodes, decision by decision."""
        running = [average for losses in episodes for average in _averages(losses)]
        mean = float(np.mean([loss for losses in episodes for loss in losses]))
        return cls(mean, float(np.quantile(running, QUANTILE)), len(episodes))


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
    """Open while the running loss exceeds `factor` times the usual one."""

    def __init__(self, calibration: Calibration, factor: float) -> None:
        self.threshold = factor * calibration.usual_loss
        self._running = RunningLoss()

    def reset(self) -> None:
        """A new episode begins."""
        self._running.reset()

    def is_open(self, loss: float) -> bool:
        """Whether to learn, given the newest transition's loss. A loss that is no number keeps it shut."""
        if not np.isfinite(loss):
            return False
        return self._running.add(loss) > self.threshold
