"""The camera stands elsewhere, looks elsewhere, or moves."""

import numpy as np

from envs.scene import Scene
from envs.shifts.base import Shift, Wobble, signed_share
from envs.view import View

_ORBIT, _TURN, _ROLL, _ZOOM = np.radians(30), np.radians(7), np.radians(15), 0.35
_SHAKE, _DRIFT = np.radians(1.5), np.radians(25)


class CameraPosition(Shift):
    """The camera stands up to 30 degrees around what it looks at."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._yaw, self._pitch = _direction(rng)

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength > 0:
            view.orbit(_ORBIT * self.strength * self._yaw, _ORBIT * self.strength * self._pitch)


class CameraAngle(Shift):
    """The camera is turned where it stands: up to 7 degrees off its line, and up to 15 degrees around it."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        (self._pan, self._tilt), self._roll = _direction(rng), signed_share(rng)

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength > 0:
            pan, tilt = _TURN * self.strength * self._pan, _TURN * self.strength * self._tilt
            view.turn(pan, tilt, _ROLL * self.strength * self._roll)


class FieldOfView(Shift):
    """The lens shows up to 1.4 times as much of the world, or as little."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._zoom = signed_share(rng)

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength > 0:
            view.widen(float(np.exp(_ZOOM * self.strength * self._zoom)))


class Camera(Shift):
    """Another camera: position, angle and field of view together."""

    def __init__(self) -> None:
        self._parts = (CameraPosition(), CameraAngle(), FieldOfView())

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        for part in self._parts:
            part.begin(scene, rng)

    def arrange(self, view: View, agent_step: int) -> None:
        for part in self._parts:
            part.strength = self.strength
            part.arrange(view, agent_step)


class CameraShake(Shift):
    """The camera trembles, by up to 1.5 degrees."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._path = Wobble(rng, 3, 0.35)

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength > 0:
            view.turn(*(_SHAKE * self.strength * self._path.at(agent_step)))


class CameraMotion(Shift):
    """The camera moves slowly around what it looks at, by up to 25 degrees."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._path = Wobble(rng, 2, 0.008)

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength > 0:
            yaw, pitch = _DRIFT * self.strength * self._path.at(agent_step)
            view.orbit(yaw, pitch)


def _direction(rng: np.random.Generator) -> tuple[float, float]:
    """A point between the circles of radius 0.5 and 1."""
    length, angle = rng.uniform(0.5, 1), rng.uniform(0, 2 * np.pi)
    return length * np.cos(angle), length * np.sin(angle)
