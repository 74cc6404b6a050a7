"""Another body, other ground, weaker or later actuators. The only shifts that the physics feels."""

from collections import deque

import numpy as np

from envs.scene import Scene
from envs.shifts.base import Shift, signed_share

_PUSH, _DELAY = 0.25, 4


class _Scaled(Shift):
    """Multiplies a part of the physics by up to `most`, or divides it."""

    part: str
    most: float

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._sign = signed_share(rng)

    def change(self, scene: Scene) -> None:
        scene.dynamics.scale(self.part, self.most ** float(self.strength * self._sign))


class Mass(_Scaled):
    """Every body is up to twice as heavy, or half, inertia with it."""

    part, most = "mass", 2.0


class Friction(_Scaled):
    """Contacts slide, and joints turn, with up to 3 times the friction, or a third."""

    part, most = "friction", 3.0


class ActuatorGain(_Scaled):
    """Actuators are up to 1.7 times as strong, or as weak."""

    part, most = "gain", 1.7


class Force(Shift):
    """A constant force from one side, of up to a quarter of the robot's weight."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._sign = signed_share(rng)

    def change(self, scene: Scene) -> None:
        scene.dynamics.push(_PUSH * self.strength * self._sign)


class ActionDelay(Shift):
    """Actions arrive up to 4 decisions late, a strength above 0 at least one; until then nothing is done."""

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._waiting: deque[np.ndarray] = deque(maxlen=_DELAY + 1)

    def act(self, action: np.ndarray, agent_step: int) -> np.ndarray:
        self._waiting.append(action.copy())
        late = int(np.ceil(_DELAY * self.strength))
        return self._waiting[-1 - late] if late < len(self._waiting) else np.zeros_like(action)
