"""A task's model as a shift may change it, and the cameras that look at it."""

from dataclasses import dataclass

import numpy as np
from dm_control.mujoco import Physics

from envs.appearance import Appearance
from envs.dynamics import Dynamics
from envs.renderer import Quality, Renderer, check_quality, find_camera
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

    Raises:
        ValueError: for an unknown quality or camera.
    """

    def __init__(
        self, physics: Physics, camera: int | str, quality: Quality, horizon: int, shadows: bool = False
    ) -> None:
        check_quality(quality)
        self.appearance, self.dynamics, self.horizon = Appearance(physics), Dynamics(physics), horizon
        self._physics, self._camera, self._quality, self._shadows = physics, camera, quality, shadows
        self._eyes = dict[int, _Eye]()
        self.arrange: Arrange | None = None
        """Changes what is about to be drawn."""
        self._number = find_camera(physics, camera)
        self._distance = _NEAREST

    def restore(self) -> None:
        """Bring back what the training environment looks like and obeys."""
        self.appearance.restore()
        self.dynamics.restore()

    def begin(self) -> None:
        """A new episode has begun: the physics is in its first state."""
        self.dynamics.begin()
        # To the robot as it is now, so that a fixed camera does not swing with it.
        away = self._physics.data.cam_xpos[self._number] - self._physics.data.subtree_com[1]
        self._distance = max(_NEAREST, float(np.linalg.norm(away)))
        for eye in self._eyes.values():
            eye.renderer.upload([])  # some tasks draw a terrain

    def picture(self, size: int) -> np.ndarray:
        """What the camera sees, arranged: uint8 (size, size, 3)."""
        eye = self._eye(size)
        if eye.version != self.appearance.version:
            eye.renderer.upload(self.appearance.textures)
            eye.version = self.appearance.version
        return eye.renderer.render(self.arrange, self._distance)

    def layers(self, size: int) -> np.ndarray:
        """What each pixel of that picture shows: uint8 (size, size), a number of `Layer`."""
        return self._eye(size).renderer.layers(self.arrange, self._distance)

    def open(self, size: int) -> None:
        """Have all that pictures of that size need, which is opened for the first of them otherwise."""
        self._eye(size)

    def _eye(self, size: int) -> _Eye:
        if size not in self._eyes:
            renderer = Renderer(self._physics, size, size, self._camera, self._quality, self._shadows)
            self._eyes[size] = _Eye(renderer, self.appearance.version)
        return self._eyes[size]

    def close(self) -> None:
        """Free the graphics memory. Closing twice is harmless."""
        for eye in self._eyes.values():
            eye.renderer.close()
        self._eyes.clear()
        self.arrange = None  # which knows this scene: together they would stay until the next full collection
