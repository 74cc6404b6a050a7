"""What a camera is about to see, and the ways to change it.

A view is made anew for every picture from the state of the physics, which never reads it: whatever is moved, lit or
added here is seen and has no other effect.
"""

from collections.abc import Callable, Sequence

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from envs.appearance import Color

GROUND = (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD)
"""Kinds of geom that are the ground: planes and terrain."""
_FROM_ABOVE = -0.9  # a camera that looks down more steeply has no side


class View:
    """Pose of the camera, lamps and things of one picture, from just after the physics' state to just before drawing.

    Lengths are metres, angles radians.

    Args:
        scene: as MuJoCo made it of the physics' state.
        distance: from the camera to what it looks at.
    """

    def __init__(self, scene: mujoco.MjvScene, distance: float) -> None:
        self._scene, self.distance = scene, distance
        self.sky: np.ndarray | None = None
        """A picture, uint8 (size, size, 3), on each side of the sky in place of the model's own."""

    @property
    def position(self) -> np.ndarray:
        """Of the camera, (3,)."""
        return np.array(self._scene.camera[0].pos, float)

    @property
    def forward(self) -> np.ndarray:
        """Unit vector (3,) along which the camera looks."""
        return np.array(self._scene.camera[0].forward, float)

    @property
    def up(self) -> np.ndarray:
        """Unit vector (3,) that is up in the picture."""
        return np.array(self._scene.camera[0].up, float)

    @property
    def right(self) -> np.ndarray:
        """Unit vector (3,) that is right in the picture."""
        return np.cross(self.forward, self.up)

    @property
    def focus(self) -> np.ndarray:
        """What the camera looks at, (3,)."""
        return self.position + self.distance * self.forward

    def place_camera(self, position: np.ndarray, forward: np.ndarray, up: np.ndarray) -> None:
        """Move the camera, and with it the lamp that it carries."""
        for camera in self._scene.camera:  # one for each eye; a flat picture is their mean
            camera.pos, camera.forward, camera.up = position, forward, up
        for lamp in self.lamps:
            if lamp.headlight:
                lamp.pos, lamp.dir = position, forward

    def orbit(self, yaw: float, pitch: float) -> None:
        """Move the camera around what it looks at, which stays where it was in the picture.

        A camera that sees from the side is not lowered below the horizon, where the floor would hide the robot.
        """
        if self.forward[2] > _FROM_ABOVE:
            pitch = min(pitch, max(0.0, float(np.arcsin(-self.forward[2]))))
        turn = Rotation.from_rotvec(yaw * self.up) * Rotation.from_rotvec(pitch * self.right)
        focus = self.focus
        self.place_camera(
            focus - self.distance * turn.apply(self.forward), turn.apply(self.forward), turn.apply(self.up)
        )

    def turn(self, pan: float, tilt: float, roll: float) -> None:
        """Turn the camera where it stands: to its left, upwards, and around the line of sight."""
        turn = Rotation.from_rotvec(pan * self.up) * Rotation.from_rotvec(tilt * self.right)
        turn = turn * Rotation.from_rotvec(roll * self.forward)
        self.place_camera(self.position, turn.apply(self.forward), turn.apply(self.up))

    def widen(self, factor: float) -> None:
        """Multiply the tangent of half the field of view."""
        for camera in self._scene.camera:
            camera.frustum_top *= factor
            camera.frustum_bottom *= factor
            camera.frustum_width *= factor
            camera.frustum_center *= factor

    @property
    def lamps(self) -> list[mujoco.MjvLight]:
        """MuJoCo's lights: the camera's own, then those of the model; to be changed in place."""
        return list(self._scene.lights[: self._scene.nlight])

    def add_lamp(self, direction: np.ndarray, color: Color | np.ndarray, shadows: bool = False) -> None:
        """A lamp infinitely far away that shines along `direction`."""
        lamp = self._scene.lights[self._scene.nlight]
        self._scene.nlight += 1
        lamp.headlight, lamp.castshadow = 0, int(shadows)
        lamp.type = int(mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)
        lamp.pos, lamp.dir = self.focus - 4 * self.distance * direction, direction
        lamp.diffuse, lamp.ambient, lamp.specular = color, (0, 0, 0), (0, 0, 0)
        lamp.attenuation, lamp.texid = (1, 0, 0), -1
        if shadows and not self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW]:
            for other in self.lamps[:-1]:
                other.castshadow = 0
            self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = True

    @property
    def things(self) -> list[mujoco.MjvGeom]:
        """Everything that is drawn but the sky; to be changed in place."""
        return list(self._scene.geoms[: self._scene.ngeom])

    @property
    def bodies(self) -> list[mujoco.MjvGeom]:
        """The geoms of the model that can move."""
        moves = int(mujoco.mjtCatBit.mjCAT_DYNAMIC)
        return [g for g in self.things if g.category == moves and g.objtype == mujoco.mjtObj.mjOBJ_GEOM]

    @property
    def grounds(self) -> list[mujoco.MjvGeom]:
        """The planes and the terrain of the model."""
        return [geom for geom in self.things if geom.type in GROUND]

    def add(
        self,
        kind: mujoco.mjtGeom,
        size: Sequence[float],
        position: np.ndarray,
        color: Sequence[float],
        frame: np.ndarray,
    ) -> None:
        """Draw another thing: `size` as MuJoCo's geoms have it, `color` with opacity, `frame` its axes (3, 3)."""
        if self._scene.ngeom == len(self._scene.geoms):
            return
        geom = self._scene.geoms[self._scene.ngeom]
        self._scene.ngeom += 1
        mujoco.mjv_initGeom(geom, kind, np.resize(size, 3), position, np.ravel(frame), np.array(color, np.float32))
        # What `mjv_initGeom` leaves as it was in memory: first the number of the thing in pictures of segments.
        geom.segid = self._scene.ngeom - 1
        geom.objtype, geom.objid, geom.category = 0, -1, int(mujoco.mjtCatBit.mjCAT_DECOR)


Arrange = Callable[[View], None]
"""Changes a view before it is drawn."""
