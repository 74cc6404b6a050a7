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
        self._arrange: Arrange | None = None
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

    def picture(self, size: int, arrange: Arrange | None = None) -> np.ndarray:
        """What the camera sees, arranged: uint8 (size, size, 3)."""
        eye = self.eye(size)
        if eye.version != self.appearance.version:
            eye.renderer.upload(self.appearance.textures)
            eye.version = self.appearance.version
        self._arrange = arrange
        return eye.renderer.render(arrange, self._distance)

    def layers(self, size: int) -> np.ndarray:
        """What each pixel of the last picture shows: uint8 (size, size), a number of `Layer`."""
        return self.eye(size).renderer.layers(self._arrange, self._distance)

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
        self._arrange = None  # which knows this scene: together they would stay until the next full collection

    def _open(self, size: int) -> Renderer:
        return Renderer(self._physics, size, size, self._camera, self._quality, self._shadows)
