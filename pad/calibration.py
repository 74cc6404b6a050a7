"""What self-supervised loss and features are like where a policy was trained: the data that its gate compares with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from pad.colors import ColorStatistics

WINDOW = 32
"""Decisions over which a measurement is averaged: one alone says little."""
QUANTILE = 0.99
PHASES = (0, 8, 16, 32, 64)
"""Decisions of an episode at which another usual value begins. At its start a policy that has still to swing up or find
its step is confused in training too."""
FEWEST = 5
"""Decisions that a calibration needs at least; a thousand are better."""
DIMENSIONS = 32
"""Features are compared in so many dimensions at most."""
SHRINKAGE = 1e-3
"""Share of the average variance that is added to each: a direction that never moved is not infinitely narrow."""


@dataclass(frozen=True)
class FeatureRange:
    """What a policy's features are like: mean and whitening of its channels' averages over the picture.

    What the colours of single frames are like is told in the same way. The distance is that of Mahalanobis: small steps
    count where the features never moved, however far they swing elsewhere. Features of a policy that was trained under
    strong augmentation change little with colours and backgrounds, and along other directions than with the pose.
    """

    mean: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    """Rows: directions scaled so that the features' variance along each is one."""
    usual_distance: tuple[float, ...]
    """For each phase, which the running average of the distance exceeds in one of a hundred decisions."""

    @classmethod
    def of(cls, episodes: Sequence[np.ndarray]) -> "FeatureRange":
        """Measure the range of the features of some episodes, each (decisions, channels)."""
        reduced = [_reduced(rows) for rows in episodes]
        everything = np.concatenate(reduced)
        mean = everything.mean(0)
        covariance = np.atleast_2d(np.cov(everything.T))
        size = len(covariance)
        covariance += (SHRINKAGE * np.trace(covariance) / size + 1e-12) * np.eye(size)
        values, vectors = np.linalg.eigh(covariance)
        whitening = (vectors / np.sqrt(values)).T
        found = cls(_rounded(mean), tuple(_rounded(row) for row in whitening), ())
        return cls(found.mean, found.whitening, usual([[found.distance(row) for row in rows] for rows in episodes]))

    def distance(self, channels: np.ndarray) -> float:
        """Squared distance of one observation's channels from the mean, about 1 where they were measured."""
        mean, whitening = self._arrays
        return float(np.mean(np.square(whitening @ (_reduced(channels) - mean))))

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.mean), np.array(self.whitening)


def _reduced(channels: np.ndarray) -> np.ndarray:
    """Channels, or where there are many random combinations of them, always the same ones."""
    combinations = reduction(channels.shape[-1])
    return channels if combinations is None else channels @ combinations


@cache
def reduction(count: int) -> np.ndarray | None:
    """What so many channels are multiplied with before they are compared; None where they are few."""
    if count <= DIMENSIONS:
        return None
    return np.random.default_rng(0).normal(size=(count, DIMENSIONS)) / math.sqrt(count)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.6g}") for value in values)


def usual(episodes: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """For each phase of an episode, what the running average exceeds in one of a hundred decisions.

    A phase that no episode reached has the value of the one before.
    """
    running = [_averages(values) for values in episodes]
    found: list[float] = []
    for start, end in zip(PHASES, (*PHASES[1:], None), strict=True):
        inside = [value for averages in running for value in averages[start:end]]
        found.append(float(np.quantile(inside, QUANTILE)) if inside else found[-1])
    return _rounded(np.array(found))


class RunningAverage:
    """Average of the values so far, recent ones counting most."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self.value, self.count = 0.0, 0

    def add(self, value: float) -> float:
        """Take in one more value; returns the average with it."""
        self.count += 1
        self.value += (value - self.value) / min(self.count, WINDOW)
        return self.value


def _averages(values: Sequence[float]) -> list[float]:
    running = RunningAverage()
    return [running.add(value) for value in values]


@dataclass(frozen=True)
class Calibration:
    """What self-supervised loss and features of a policy are like in the environment that it was trained in."""

    mean_loss: float
    """Mean self-supervised loss of single transitions."""
    usual_loss: tuple[float, ...]
    """For each phase, which the running average exceeds in one of a hundred decisions there."""
    episodes: int
    """Number of episodes that it was measured in."""
    features: FeatureRange | None = None
    """Range of the features; None where only the loss was measured."""
    colors: ColorStatistics | None = None
    """Colours of the newest frames, all together; None where they were not measured."""
    largest_step: float | None = None
    """Largest mean difference between two successive frames, as a share of the range from black to white; None where
    it was not measured."""
    frames: FeatureRange | None = None
    """Range of single frames' colour moments; None where it was not measured."""

    @classmethod
    def of(
        cls,
        episodes: Sequence[Sequence[float]],
        features: Sequence[np.ndarray] | None = None,
        colors: ColorStatistics | None = None,
        largest_step: float | None = None,
        moments: Sequence[np.ndarray] | None = None,
    ) -> "Calibration":
        """Make a calibration from the losses of some episodes, decision by decision, their features and colours.

        Raises:
            ValueError: when they are too few to say what is usual.
        """
        decisions = sum(len(losses) for losses in episodes)
        if decisions < FEWEST:
            raise ValueError(f"a calibration needs at least {FEWEST} decisions, got {decisions}")
        mean = float(np.mean([loss for losses in episodes for loss in losses]))
        found, frames = (None if rows is None else FeatureRange.of(rows) for rows in (features, moments))
        return cls(mean, usual(episodes), len(episodes), found, colors, largest_step, frames)
