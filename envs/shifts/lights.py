"""Other light: from elsewhere, of another colour, with shadows."""

import numpy as np

from envs.scene import Scene
from envs.shifts.base import Shift
from envs.view import View

_DIMMED = 0.85
"""Share of the camera's own lamp that another lamp takes over at full strength."""


class LightPosition(Shift):
    """The light comes from one side in place of from the camera."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._slope = rng.uniform(0.3, 1.0)
        self._angle = rng.uniform(0, 2 * np.pi)

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength == 0:
            return
        across = np.cos(self._angle) * view.right + np.sin(self._angle) * view.up
        direction = self._slope * view.forward + across
        taken = _dim(view, _DIMMED * self.strength)
        view.add_lamp(direction / np.linalg.norm(direction), 1.2 * taken)


class LightColor(Shift):
    """All light has another colour, and more or less of it."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        tint = rng.uniform(0.25, 1.0, 3)
        self._tint = tint / tint.max() * rng.uniform(0.7, 1.3)

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength == 0:
            return
        factor = 1 + self.strength * (self._tint - 1)
        for lamp in view.lamps:
            lamp.ambient, lamp.diffuse = factor * lamp.ambient, factor * lamp.diffuse
            lamp.specular = factor * lamp.specular


class Shadows(Shift):
    """A lamp high on one side takes over from the camera's own, and casts shadows."""

    shadows = True

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        angle = rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle), -rng.uniform(0.8, 1.6)])
        self._direction = direction / np.linalg.norm(direction)

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength == 0:
            return
        taken = _dim(view, _DIMMED * self.strength)
        view.add_lamp(self._direction, 1.4 * taken, shadows=True)


def _dim(view: View, share: float) -> np.ndarray:
    """Take a share of the camera's own lamp, ambient light too; returns the light (3,) that was taken."""
    own = view.lamps[0]
    taken = share * np.array(own.diffuse, float)
    own.diffuse, own.specular = own.diffuse - taken, (1 - share) * own.specular
    own.ambient = (1 - 0.5 * share) * own.ambient
    return taken
