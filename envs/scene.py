"""A task's model as a shift may change it, and the cameras that look at it."""

from dataclasses import dataclass

import numpy as np
from dm_control.mujoco import Physics

from envs.appearance import Appearance
from envs.dynamics import Dynamics
from envs.renderer import Quality, Renderer
from envs.view import Arrange

_NEAREST = 0.1  # metres: no camera of the suite is nearer to its robot


@dataclass
class _Eye:
    renderer: Renderer
    version: int


class Scene:
    """Colours, physics and pictures of one task, and the way back to those of training.

    Args:
        camera: of the model, by number or name.
        horizon: decisions in an episode.
        shadows: whether lamps that a shift adds may cast shadows in fast pictures too.
    """

    def __init__(
        self, physics: Physics, camera: int | str, quality: Quality, horizon: int, shadows: bool = False
    ) -> None:
        self.appearance, self.dynamics, self.horizon = Appearance(physics), Dynamics(physics), horizon
        self._physics, self._camera, self._quality, self._shadows = physics, camera, quality, shadows
        self._eyes = dict[int, _Eye]()
        self._arrange: Arrange | None = None
        self._distance: float | None = None

    def restore(self) -> None:
        """Bring back what the training environment looks like and obeys."""
        self.appearance.restore()
        self.dynamics.restore()

    def begin(self) -> None:
        """A new episode has begun: the physics is in its first state."""
        self._distance = None
        for eye in self._eyes.values():
            eye.renderer.upload([])  # some tasks draw a terrain

    def picture(self, size: int, arrange: Arrange | None = None) -> np.ndarray:
        """What the camera sees, arranged: uint8 (size, size, 3)."""
        eye = self.eye(size)
        if eye.version != self.appearance.version:
            eye.renderer.upload(self.appearance.textures)
            eye.version = self.appearance.version
        self._arrange = arrange
        return eye.renderer.render(arrange, self._look_distance(eye.renderer))

    def backdrop(self, size: int, ground: bool) -> np.ndarray:
        """Where the last picture shows the sky, and with `ground` the floor too: bool (size, size)."""
        renderer = self.eye(size).renderer
        return renderer.backdrop(ground, self._arrange, self._look_distance(renderer))

    def eye(self, size: int) -> _Eye:
        """The renderer of pictures of that size, made when it is first asked for."""
        if size not in self._eyes:
            self._eyes[size] = _Eye(self._open(size), self.appearance.version)
        return self._eyes[size]

    def close(self) -> None:
        """Free the graphics memory. Closing twice is harmless."""
        for eye in self._eyes.values():
            eye.renderer.close()
        self._eyes.clear()

    def _open(self, size: int) -> Renderer:
        return Renderer(self._physics, size, size, self._camera, self._quality, self._shadows)

    def _look_distance(self, renderer: Renderer) -> float:
        """From the camera to the robot when the episode began, so that a fixed camera does not swing with the robot."""
        if self._distance is None:
            robot = self._physics.data.subtree_com[1]
            self._distance = max(_NEAREST, float(np.linalg.norm(renderer.camera_position() - robot)))
        return self._distance
