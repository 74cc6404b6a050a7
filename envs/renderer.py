"""Pictures of a MuJoCo scene.

dm_control's renderer builds a scene for every picture and shares one large buffer. This one keeps
its scene and its buffer, so a small picture costs little, and holds its context by itself, so that
closing one environment cannot blind another.
"""

import weakref
from enum import IntEnum
from typing import Literal, get_args

import mujoco
import numpy as np
from dm_control.mujoco import Physics

from envs import graphics
from envs.view import GROUND, Arrange, View

Quality = Literal["fast", "standard"]
"""`standard`: dm_control's own pixels. `fast`: no shadows and no multisampling, tens of times quicker."""


class Layer(IntEnum):
    """What a pixel shows, from front to back."""

    THING = 0
    GROUND = 1
    SKY = 2


_MAX_GEOMS = 1000  # dm_control's own limit for a scene
_SHADOW_SIZE = 1024  # texels of a shadow map in fast pictures, whose own lamps cast none


def check_quality(quality: str) -> None:
    """Raises ValueError for an unknown one."""
    if quality not in get_args(Quality):
        raise ValueError(f"unknown quality {quality!r}; known: {', '.join(get_args(Quality))}")


def find_camera(physics: Physics, camera: int | str) -> int:
    """The number of a camera of the model.

    Raises:
        ValueError: when there is none of that number or name.
    """
    model = physics.model.ptr
    names = [model.camera(index).name for index in range(model.ncam)]
    if isinstance(camera, str) and camera in names:
        return names.index(camera)
    number = isinstance(camera, int | np.integer) and not isinstance(camera, bool)
    if not (number and 0 <= camera < len(names)):  # type: ignore[operator]
        known = ", ".join(f"{index} ({name})" for index, name in enumerate(names)) or "none"
        raise ValueError(f"unknown camera {camera!r}; known: {known}")
    return int(camera)


class Renderer:
    """Renders one camera of a physics at one size, until closed.

    Several may look at the same physics. Textures and height fields that were changed in the model reach the
    picture after `upload`.

    Args:
        shadows: whether lamps that a view adds may cast shadows in fast pictures too.

    Raises:
        ValueError: for an unknown quality or camera.
        OpenGLUnavailable: when this machine cannot render.
    """

    def __init__(
        self,
        physics: Physics,
        height: int,
        width: int,
        camera: int | str,
        quality: Quality,
        shadows: bool = False,
    ) -> None:
        check_quality(quality)
        if min(height, width) < 1:
            raise ValueError(f"a picture has at least one pixel, got {height} x {width}")
        self._model, self._data = physics.model.ptr, physics.data.ptr
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = find_camera(physics, camera)
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._picture = np.empty((height, width, 3), np.uint8)
        self._context = graphics.call(lambda: self._open_context(height, width, quality, shadows))
        # A renderer that nobody closes: its context must still be freed on its own thread.
        self._finalizer = weakref.finalize(self, graphics.post, self._context.free)
        self._finalizer.atexit = False
        self._scene = mujoco.MjvScene(self._model, maxgeom=_MAX_GEOMS)
        self._standard, self._film = quality == "standard", False
        self._option = mujoco.MjvOption()
        self._perturb = mujoco.MjvPerturb()

    def _open_context(self, height: int, width: int, quality: Quality, shadows: bool) -> graphics.Context:
        visual, quality_settings = self._model.vis.global_, self._model.vis.quality
        previous = visual.offwidth, visual.offheight, quality_settings.offsamples, quality_settings.shadowsize
        if quality == "fast":
            visual.offwidth, visual.offheight = width, height
            quality_settings.offsamples, quality_settings.shadowsize = 0, _SHADOW_SIZE * shadows
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

    def render(self, arrange: Arrange | None = None, distance: float = 1.0) -> np.ndarray:
        """Picture of the present state: uint8 (height, width, 3), a new array.

        Args:
            arrange: changes what is seen before it is drawn.
            distance: from the camera to what it looks at, for the view.
        """
        sky = self._look(arrange, distance)
        graphics.call(lambda: self._draw(sky))
        return np.ascontiguousarray(self._picture[::-1])

    def layers(self, arrange: Arrange | None, distance: float) -> np.ndarray:
        """What each pixel of the same picture shows: uint8 (height, width), a number of `Layer`.

        Pixels on the edge of a thing show the thing.
        """
        self._look(arrange, distance)
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = True
        graphics.call(lambda: self._draw(None))
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = False
        # MuJoCo writes one plus a thing's number into the three bytes of a pixel, and zero for the sky.
        seen = self._picture[::-1].astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        things = self._scene.geoms[: self._scene.ngeom]
        planes = [geom.segid + 1 for geom in things if geom.type in GROUND]
        layers = np.where(seen == 0, np.uint8(Layer.SKY), np.uint8(Layer.THING))
        layers[np.isin(seen, planes)] = Layer.GROUND
        return layers

    def _look(self, arrange: Arrange | None, distance: float) -> np.ndarray | None:
        """The scene of the present state, arranged; returns the sky to show instead of the model's."""
        scene = self._scene
        mujoco.mjv_updateScene(
            self._model, self._data, self._option, self._perturb, self._camera, mujoco.mjtCatBit.mjCAT_ALL, scene
        )
        scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = self._standard
        if arrange is None:
            return None
        view = View(scene, distance)
        arrange(view)
        return view.sky

    def _draw(self, sky: np.ndarray | None) -> None:
        self._context.make_current()
        if sky is not None:
            self._upload_sky(sky)
        elif self._film:
            mujoco.mjr_uploadTexture(self._model, self._context.mjr, self._sky_texture())
        self._film = sky is not None
        mujoco.mjr_render(self._viewport, self._scene, self._context.mjr)
        mujoco.mjr_readPixels(self._picture, None, self._viewport, self._context.mjr)

    def _upload_sky(self, sky: np.ndarray) -> None:
        """Show one picture on each side of the sky; the model is as it was afterwards."""
        model, index = self._model, self._sky_texture()
        start, size = model.tex_adr[index], sky.shape[0]
        texels, shape = model.tex_data[start : start + sky.size], (model.tex_width[index], model.tex_height[index])
        kept = texels.copy()
        # MuJoCo takes a texture as high as wide for all six sides.
        texels[:], model.tex_width[index], model.tex_height[index] = sky.ravel(), size, size
        mujoco.mjr_uploadTexture(model, self._context.mjr, index)
        texels[:], model.tex_width[index], model.tex_height[index] = kept, *shape

    def _sky_texture(self) -> int:
        skies = np.flatnonzero(self._model.tex_type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
        if not len(skies):
            raise ValueError("this task's model has no sky to show a film on")
        return int(skies[0])

    def close(self) -> None:
        """Free the graphics memory. Closing twice is harmless."""
        self._finalizer.detach()
        graphics.call(self._context.free)
