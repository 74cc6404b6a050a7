"""Things between the camera and the robot."""

import mujoco
import numpy as np

from envs.scene import Scene
from envs.shifts.base import Shift, Wobble
from envs.view import View

_SPHERES, _PATCHES, _BARS = 6, 4, 3


class Spheres(Shift):
    """Red spheres drift around the robot, before and behind it; the strength is their size."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._home = rng.uniform((-0.35, -0.3, -0.25), (0.35, 0.35, 0.15), (_SPHERES, 3))
        self._radius = rng.uniform(0.03, 0.06, _SPHERES)
        self._shade = rng.uniform(0.6, 1.0, _SPHERES)
        self._path = Wobble(rng, 3 * _SPHERES, 0.02)

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength == 0:
            return
        places = self._home + 0.2 * self._path.at(agent_step).reshape(_SPHERES, 3)
        focus = view.focus
        axes = np.stack([view.right, view.up, view.forward])
        for place, radius, shade in zip(places, self._radius, self._shade, strict=True):
            size = self.strength * radius * view.distance
            color = (shade, 0.08 * shade, 0.08 * shade, 1.0)
            view.add(mujoco.mjtGeom.mjGEOM_SPHERE, (size,), focus + view.distance * place @ axes, color, np.eye(3))


class Patches(Shift):
    """Rectangles stick to the lens; the strength is the length of their sides."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._centre = rng.uniform(0.05, 0.95, (_PATCHES, 2))
        self._size = rng.uniform(0.15, 0.3, (_PATCHES, 2))
        self._color = rng.integers(256, size=(_PATCHES, 3), dtype=np.uint8)

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        covered = picture.copy()
        for centre, size, color in zip(self._centre, self._size, self._color, strict=True):
            _cover(covered, centre - self.strength * size / 2, centre + self.strength * size / 2, color)
        return covered


class Bars(Shift):
    """Upright bars pass slowly before the camera; the strength is their width."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._place = (np.arange(_BARS) + rng.uniform(0.2, 0.8, _BARS)) / _BARS
        self._width = rng.uniform(0.04, 0.08, _BARS)
        self._shade = rng.integers(20, 120, _BARS)
        self._speed = rng.uniform(0.001, 0.004) * rng.choice([-1, 1])

    def apply(self, picture: np.ndarray, agent_step: int) -> np.ndarray:
        covered = picture.copy()
        for place, width, shade in zip(self._place, self._width, self._shade, strict=True):
            middle, half = (place + self._speed * agent_step) % 1, self.strength * width / 2
            _cover(covered, np.array([0, middle - half]), np.array([1, middle + half]), shade)
        return covered


def _cover(picture: np.ndarray, start: np.ndarray, stop: np.ndarray, color: np.ndarray) -> None:
    """Paint a rectangle whose corners (row, column) are shares of the picture, in place."""
    scale = np.array(picture.shape[:2])
    (top, left), (bottom, right) = (np.clip(np.rint(scale * corner).astype(int), 0, scale) for corner in (start, stop))
    picture[top:bottom, left:right] = np.resize(color, picture.shape[2])
