"""When to adapt: while loss, features and colours are not what they were in the training environment."""

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from pad.calibration import PHASES, Calibration, FeatureRange, RunningAverage


class Gate:
    """Open while the running loss exceeds `factor` times the usual one, and the distance of features and colours too.

    Each of the three is left out when its factor is None. The loss says that the policy is confused, which an
    unusual pose can do too; the features say that it sees something else than in training; the colours say that the
    picture is another one, whatever the pose.

    Raises:
        ValueError: when the calibration does not hold what is asked for.
    """

    def __init__(
        self,
        calibration: Calibration,
        factor: float | None,
        feature_factor: float | None = None,
        color_factor: float | None = None,
    ) -> None:
        self._loss = None if factor is None else _Watch(calibration.usual_loss, factor)
        self._features = _watch(calibration.features, feature_factor, "features")
        self._colors = _watch(calibration.frames, color_factor, "colours of single frames")
        self._count = 0
        self.excess: dict[str, float] = {}
        """How many times the usual value each of `loss`, `features` and `colors` was at the last update, where it
        counts: it must exceed its factor."""

    @property
    def needs_loss(self) -> bool:
        """Whether the loss counts at all."""
        return self._loss is not None

    @property
    def needs_features(self) -> bool:
        """Whether the features count."""
        return self._features is not None

    @property
    def needs_colors(self) -> bool:
        """Whether the colours count."""
        return self._colors is not None

    def reset(self) -> None:
        """A new episode begins."""
        self._count, self.excess = 0, {}
        for watch in (self._loss, self._features, self._colors):
            if watch is not None:
                watch.reset()

    def update(
        self,
        loss: float | None,
        channels: np.ndarray | None = None,
        decision: int | None = None,
        colors: np.ndarray | None = None,
    ) -> bool:
        """Take note of the newest transition's loss, features and colours, where they count; says whether to learn.

        What is no number keeps it shut and leaves no trace.

        Args:
            decision: its number in the episode, from 0. Default: one after the other, as the gate is asked.
        """
        phase = bisect_right(PHASES, self._count if decision is None else decision) - 1
        told = {"loss": (self._loss, loss), "features": (self._features, channels), "colors": (self._colors, colors)}
        watches = {name: watch for name, (watch, _) in told.items() if watch is not None}
        measured = {name: watch.measure(told[name][1]) for name, watch in watches.items()}
        if not all(map(math.isfinite, measured.values())):
            return False
        self._count += 1
        self.excess = {name: watch.add(measured[name], phase) for name, watch in watches.items()}
        return all(self.excess[name] > watch.factor for name, watch in watches.items())


class _Watch:
    """A running average beside what is usual at each phase of an episode."""

    def __init__(self, usual: Sequence[float], factor: float, known: FeatureRange | None = None) -> None:
        self._usual, self.factor, self._known = usual, factor, known
        self._average = RunningAverage()

    def reset(self) -> None:
        self._average.reset()

    def measure(self, value: float | np.ndarray | None) -> float:
        """The value itself, or its distance from the range; what was not told is not unusual."""
        if value is None:
            return 0.0
        return float(value) if self._known is None else self._known.distance(np.asarray(value))

    def add(self, value: float, phase: int) -> float:
        """Take in one more value; returns how many times the usual one the average is."""
        average, usual = self._average.add(value), self._usual[phase]
        return average / usual if usual else math.inf * average if average else 0.0


def _watch(known: FeatureRange | None, factor: float | None, what: str) -> _Watch | None:
    if factor is None:
        return None
    if known is None:
        raise ValueError(
            f"the calibration holds no {what}: scripts/calibrate.py CHECKPOINT measures them, for a policy of yours "
            "fit_head"
        )
    return _Watch(known.usual_distance, factor, known)
