"""Masses, friction and actuators of a loaded model, changed in place and brought back to the bit."""

import numpy as np
from dm_control.mujoco import Physics

_PARTS = {
    # The mass of what hangs on a body is kept beside the body's own: centres of mass are computed from both.
    "mass": ("body_mass", "body_inertia", "body_subtreemass"),
    "friction": ("geom_friction", "dof_damping"),
    "gain": ("actuator_gainprm", "actuator_biasprm"),
}


class Dynamics:
    """What a task's physics is made of.

    Every change is relative to the training environment, and acts from the next simulator step but one.
    """

    def __init__(self, physics: Physics) -> None:
        self._model, self._data = physics.model.ptr, physics.data.ptr
        self._original = {name: getattr(self._model, name).copy() for names in _PARTS.values() for name in names}

    def restore(self) -> None:
        """Bring back the training environment's physics."""
        for name, values in self._original.items():
            getattr(self._model, name)[:] = values
        self._data.xfrc_applied[:] = 0

    def scale(self, part: str, factor: float) -> None:
        """Multiply `mass` (and inertia), `friction` (of contacts, and damping of joints) or `gain` (of actuators)."""
        for name in _PARTS[part]:
            changed = self._original[name].copy()
            # Of a contact's three frictions the first is that of sliding.
            target = changed[:, 0] if name == "geom_friction" else changed
            target *= factor
            getattr(self._model, name)[:] = changed

    def push(self, share: float) -> None:
        """A constant force along the world's x axis on the first body that moves, as a share of the robot's weight."""
        body = int(np.flatnonzero(self._model.body_dofnum > 0)[0])
        root = self._model.body_rootid[body]
        weight = self._original["body_subtreemass"][root] * np.linalg.norm(self._model.opt.gravity)
        self._data.xfrc_applied[body, 0] = share * weight
