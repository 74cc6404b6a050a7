"""Masses, friction and actuators of a loaded model, changed in place and brought back to the bit."""

import copy

import mujoco
import numpy as np
from dm_control.mujoco import Physics

_PARTS = {
    "mass": ("body_mass", "body_inertia"),
    "friction": ("geom_friction", "dof_damping", "dof_frictionloss"),
    "gain": ("actuator_gainprm", "actuator_biasprm"),
}
_DERIVED = ("body_subtreemass", "body_invweight0", "dof_M0", "dof_invweight0", "tendon_invweight0")
"""What MuJoCo computes of masses once, when a model is compiled, and reads in every step."""


class Dynamics:
    """What a task's physics is made of.

    Every change is relative to the training environment, and acts from the next step of MuJoCo, masses from the next
    but one.
    """

    def __init__(self, physics: Physics) -> None:
        self._model, self._data = physics.model.ptr, physics.data.ptr
        self.begin()

    def begin(self) -> None:
        """A new episode has begun: what the task has made of its model is the training environment's physics."""
        names = [name for part in _PARTS.values() for name in part]
        self._original = {name: getattr(self._model, name).copy() for name in (*names, *_DERIVED)}

    def restore(self) -> None:
        """Bring back the training environment's physics."""
        for name, values in self._original.items():
            getattr(self._model, name)[:] = values
        self._data.xfrc_applied[:] = 0

    def scale(self, part: str, factor: float) -> None:
        """Multiply `mass` (and inertia), `friction` (of contacts and joints) or `gain` (of actuators).

        Raises:
            ValueError: when the task has nothing of that kind.
        """
        if not any(self._original[name].any() for name in _PARTS[part]):
            raise ValueError(f"this task has no {part} that could change")
        for name in _PARTS[part]:
            changed = self._original[name].copy()
            # Of a contact's three frictions the first is that of sliding.
            target = changed[:, 0] if name == "geom_friction" else changed
            target *= factor
            getattr(self._model, name)[:] = changed
        if part == "mass":
            self._derive(changed=factor != 1)

    def _derive(self, changed: bool) -> None:
        """Have MuJoCo compute what follows from masses, on a copy: it leaves the state in which it does so."""
        source = self._original
        if changed:
            model = copy.copy(self._model)
            mujoco.mj_setConst(model, mujoco.MjData(model))
            source = {name: getattr(model, name) for name in _DERIVED}
        for name in _DERIVED:
            getattr(self._model, name)[:] = source[name]

    def push(self, share: float) -> None:
        """A constant force along the world's x axis on the first body that moves, as a share of the robot's weight."""
        body = int(np.flatnonzero(self._model.body_dofnum > 0)[0])
        root = self._model.body_rootid[body]
        weight = self._original["body_subtreemass"][root] * np.linalg.norm(self._model.opt.gravity)
        self._data.xfrc_applied[body, 0] = share * weight
