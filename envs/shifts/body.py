"""Another pattern on the robot."""

import mujoco
import numpy as np

from envs.scene import Scene
from envs.shifts.base import Shift
from envs.view import View

_BANDS, _GEOMS = 3, 64
_SWELL = 1.04  # bands lie just above the surface


class BodyTexture(Shift):
    """Bands in random colours around each limb of the robot; the strength is their opacity."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._offset = rng.uniform(-0.8, 0.8, (_GEOMS, _BANDS))
        self._width = rng.uniform(0.06, 0.2, (_GEOMS, _BANDS))
        self._color = rng.uniform(0, 1, (_GEOMS, _BANDS, 3))

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength == 0:
            return
        for index, geom in enumerate(view.bodies):
            for band in range(_BANDS):
                number = index % _GEOMS, band
                shape = _band(geom, self._offset[number], self._width[number])
                if shape is not None:
                    kind, size, along = shape
                    frame = np.array(geom.mat, float).reshape(3, 3)
                    position = np.array(geom.pos, float) + along * frame[:, _axis(geom)]
                    view.add(kind, size, position, (*self._color[number], self.strength), frame)


def _axis(geom: mujoco.MjvGeom) -> int:
    """The axis of the geom around which bands lie."""
    return int(np.argmax(geom.size)) if geom.type == mujoco.mjtGeom.mjGEOM_BOX else 2


def _band(geom: mujoco.MjvGeom, offset: float, width: float) -> tuple[mujoco.mjtGeom, tuple[float, ...], float] | None:
    """A band's geom, size, and distance from the middle; None where the shape has no band (meshes)."""
    size = [float(part) for part in geom.size]
    if geom.type in (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CYLINDER):
        return mujoco.mjtGeom.mjGEOM_CYLINDER, (_SWELL * size[0], width * size[2]), offset * (1 - width) * size[2]
    if geom.type == mujoco.mjtGeom.mjGEOM_SPHERE:
        along = offset * size[0]
        return mujoco.mjtGeom.mjGEOM_CYLINDER, (_SWELL * np.sqrt(size[0] ** 2 - along**2), width * size[0]), along
    if geom.type == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return mujoco.mjtGeom.mjGEOM_ELLIPSOID, (_SWELL * size[0], _SWELL * size[1], width * size[2]), 0.0
    if geom.type == mujoco.mjtGeom.mjGEOM_BOX:
        axis = _axis(geom)
        thin = [_SWELL * part for part in size]
        thin[axis] = width * size[axis]
        return mujoco.mjtGeom.mjGEOM_BOX, tuple(thin), offset * (1 - width) * size[axis]
    return None
