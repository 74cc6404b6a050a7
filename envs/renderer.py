"""Pictures of a MuJoCo scene.

dm_control's renderer builds a scene for every picture and shares one large buffer. This one keeps
its scene and its buffer, so a small picture costs little, and holds its context by itself, so that
closing one environment cannot blind another.
"""

import weakref
from typing import Literal, get_args

import mujoco
import numpy as np
from dm_control.mujoco import Physics

from envs import graphics

Quality = Literal["fast", "standard"]
"""`standard`: dm_control's own pixels. `fast`: no shadows and no multisampling, tens of times quicker."""

_MAX_GEOMS = 1000  # dm_control's own limit for a scene


class Renderer:
    """Renders one camera of a physics at one size, until closed.

    Several may look at the same physics. Textures and height fields that were changed in the model reach the
    picture after `upload`.

    Raises:
        ValueError: for an unknown quality or camera.
        OpenGLUnavailable: when this machine cannot render.
    """

    def __init__(self, physics: Physics, height: int, width: int, camera: int | str, quality: Quality) -> None:
        if quality not in get_args(Quality):
            raise ValueError(f"unknown quality {quality!r}; known: {', '.join(get_args(Quality))}")
        self._model, self._data = physics.model.ptr, physics.data.ptr
        self._camera = self._find_camera(camera)
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._picture = np.empty((height, width, 3), np.uint8)
        self._context = graphics.call(lambda: self._open_context(height, width, quality))
        # A renderer that nobody closes: its context must still be freed on its own thread.
        self._finalizer = weakref.finalize(self, graphics.post, self._context.free)
        self._finalizer.atexit = False
        self._scene = mujoco.MjvScene(self._model, maxgeom=_MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = quality == "standard"
        self._option = mujoco.MjvOption()
        self._perturb = mujoco.MjvPerturb()

    def _find_camera(self, camera: int | str) -> mujoco.MjvCamera:
        names = [self._model.camera(index).name for index in range(self._model.ncam)]
        if isinstance(camera, str) and camera in names:
            camera = names.index(camera)
        if not isinstance(camera, int) or not 0 <= camera < len(names):
            known = ", ".join(f"{index} ({name})" for index, name in enumerate(names)) or "none"
            raise ValueError(f"unknown camera {camera!r}; known: {known}")
        view = mujoco.MjvCamera()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, camera
        return view

    def _open_context(self, height: int, width: int, quality: Quality) -> graphics.Context:
        visual, quality_settings = self._model.vis.global_, self._model.vis.quality
        previous = visual.offwidth, visual.offheight, quality_settings.offsamples, quality_settings.shadowsize
        if quality == "fast":
            visual.offwidth, visual.offheight = width, height
            quality_settings.offsamples = quality_settings.shadowsize = 0
        else:
            visual.offwidth, visual.offheight = max(width, visual.offwidth), max(height, visual.offheight)
        try:
            return graphics.Context(self._model)
        finally:
            # The model is shared with other renderers, which choose for themselves.
            visual.offwidth, visual.offheight, quality_settings.offsamples, quality_settings.shadowsize = previous

    def upload(self, textures: list[int]) -> None:
        """Send changed textures of the model, and its height fields, to the graphics memory."""
        graphics.call(lambda: self._upload(textures))

    def _upload(self, textures: list[int]) -> None:
        self._context.make_current()
        for field in range(self._model.nhfield):
            mujoco.mjr_uploadHField(self._model, self._context.mjr, field)
        for texture in textures:
            mujoco.mjr_uploadTexture(self._model, self._context.mjr, texture)

    def render(self) -> np.ndarray:
        """Picture of the present state: uint8 (height, width, 3), a new array."""
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, self._perturb, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        graphics.call(self._draw)
        return np.ascontiguousarray(self._picture[::-1])

    def _draw(self) -> None:
        self._context.make_current()
        mujoco.mjr_render(self._viewport, self._scene, self._context.mjr)
        mujoco.mjr_readPixels(self._picture, None, self._viewport, self._context.mjr)

    def close(self) -> None:
        """Free the graphics memory. Closing twice is harmless."""
        self._finalizer.detach()
        graphics.call(self._context.free)
