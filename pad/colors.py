"""Mean and covariance of the colours of pictures: of many, the map from one to another, and of a single one."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

SHRINKAGE = 1e-4
"""Added to each variance (colours are from 0 to 1): a colour that never appears is not stretched without end."""


@dataclass(frozen=True)
class ColorStatistics:
    """Mean and covariance of the colours of many pixels, each colour from 0 to 1."""

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, frames: Iterable[np.ndarray]) -> "ColorStatistics":
        """Measure frames (colors, height, width), uint8 or floats from 0 to 255, each with the same weight."""
        moments = [_moments(frame) for frame in frames]
        mean = np.mean([first for first, _ in moments], 0)
        covariance = np.mean([second for _, second in moments], 0) - np.outer(mean, mean)
        return cls(tuple(map(float, mean.round(6))), tuple(tuple(map(float, row)) for row in covariance.round(7)))

    def map_to(self, other: "ColorStatistics") -> tuple[np.ndarray, np.ndarray]:
        """Matrix and offset that give colours of this mean and covariance those of another.

        The smallest such change of normally distributed colours (optimal transport between Gaussians; for pictures
        Pitie and Kokaram, 2007).
        """
        here, there = (np.array(each.covariance) + SHRINKAGE * np.eye(len(each.mean)) for each in (self, other))
        root, inverse = _root(here), np.linalg.inv(_root(here))
        matrix = inverse @ _root(root @ there @ root) @ inverse
        return matrix, np.array(other.mean) - matrix @ np.array(self.mean)


def color_moments(frame: np.ndarray) -> np.ndarray:
    """Mean and covariance of the colours of one frame (colors, height, width), values from 0 to 255, in one row."""
    mean, second = _moments(frame)
    return np.concatenate([mean, (second - np.outer(mean, mean))[np.triu_indices(len(mean))]])


def _moments(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels = frame.reshape(len(frame), -1).astype(np.float64) / 255
    return pixels.mean(1), pixels @ pixels.T / pixels.shape[1]


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
