"""The Distracting Control Suite's three families, after its paper and code.

Stone, Ramirez, Konolige and Jonschkowski, 2021 (arXiv 2101.02722), and `distracting_control` in google-research's
repository. A strength is the suite's own scale: 0.1 is its *easy*, 0.2 its *medium*, 0.3 its *hard*. Films are ours, or
those of `--shift-data`; the suite's own are DAVIS 2017. Each family comes moving, and standing still within an episode.
"""

import numpy as np

from envs.scene import Scene
from envs.shifts.base import Shift
from envs.shifts.video import Videos
from envs.view import View

_SKY = 256  # pixels: a film on the sky is shown at that size
_EASY, _MEDIUM = 0.1, 0.2
# The suite's speeds, 0.4 metres a decision at four metres and pi / 50, as shares of the quarter turn that angles span.
_FASTEST, _ROLLING = 0.1 / (np.pi / 2), 0.04


class _Walk(Shift):
    """A random walk that goes on one step a decision; pictures may be asked for twice."""

    def __init__(self, moving: bool = True) -> None:
        self._moving = moving

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        self._rng, self._step = rng, 0
        self._place: np.ndarray | None = None

    def _at(self, agent_step: int) -> np.ndarray:
        if self._place is None:
            self._place = self._first()
        while self._moving and self._step < agent_step:
            self._place, self._step = self._next(self._place), self._step + 1
        return self._place

    def _first(self) -> np.ndarray:
        raise NotImplementedError

    def _next(self, last: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class DistractingColor(_Walk):
    """The colour of every material differs by up to the strength in each channel, and walks at random.

    Steps have a standard deviation of 3 % of the strength.
    """

    _MATERIALS = 64

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength == 0:
            return
        walk = (1 + self._at(agent_step)) / 2
        for thing in view.things:
            if thing.matid >= 0:
                *color, opacity = np.array(thing.rgba, float)
                low, high = (np.clip(np.array(color) + reach, 0, 1) for reach in (-self.strength, self.strength))
                thing.rgba = (*(low + walk[thing.matid % self._MATERIALS] * (high - low)), opacity)

    def _first(self) -> np.ndarray:
        return self._rng.uniform(-1, 1, (self._MATERIALS, 3))

    def _next(self, last: np.ndarray) -> np.ndarray:
        return np.clip(last + self._rng.normal(0, 0.03, last.shape), -1, 1)


class DistractingBackground(Shift):
    """A film on all sides of the sky, seen through a floor that is part transparent, played to and fro.

    The strength says from how many films one is drawn: 4 up to 0.1, 8 up to 0.2, above that all. The floor's opacity is
    the suite's for each task: 1 for walker and cheetah, 0 for reacher, else 0.3.
    """

    def __init__(self, videos: Videos, task: str, moving: bool = True) -> None:
        self._videos, self._moving = videos, moving
        domain = task.split("_")[0]
        self._opacity = {"walker": 1.0, "cheetah": 1.0, "reacher": 0.0}.get(domain, 0.3)

    def begin(self, scene: Scene, rng: np.random.Generator) -> None:
        # Drawn whatever the strength, which may change: the film is among those that the strength admits.
        self._draw, self._start, self._backwards = rng.uniform(), rng.uniform(), bool(rng.integers(2))

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength == 0:
            return
        admitted = 4 if self.strength <= _EASY else 8 if self.strength <= _MEDIUM else len(self._videos)
        film = self._videos.frames(int(self._draw * min(admitted, len(self._videos))), _SKY)
        view.sky = film[self._frame(len(film), agent_step)]
        for ground in view.grounds:
            ground.rgba = (*ground.rgba[:3], self._opacity)

    def _frame(self, length: int, agent_step: int) -> int:
        """To the last frame, back to the first, and so on."""
        start = int(self._start * length)
        if not self._moving:
            return start
        place = (start + (-agent_step if self._backwards else agent_step)) % max(1, 2 * (length - 1))
        return min(place, 2 * (length - 1) - place)


class DistractingCamera(_Walk):
    """The camera stands elsewhere on a sphere around the robot, nearer or farther, rolled, and wanders.

    Angles differ by up to a quarter turn times the strength, the distance by -50 % to +150 % times the strength; speeds
    follow a random walk. A camera that sees from the side stays on its side and above the ground.
    """

    def arrange(self, view: View, agent_step: int) -> None:
        if self.strength == 0:
            return
        yaw, pitch, zoom, roll = self._at(agent_step)[:4]
        view.orbit(np.pi / 2 * self.strength * yaw, np.pi / 2 * self.strength * pitch)
        focus = view.focus
        factor = 1 + self.strength * (0.5 + zoom)
        view.distance *= factor
        view.place_camera(focus - view.distance * view.forward, view.forward, view.up)
        view.turn(0, 0, np.pi / 2 * self.strength * roll)

    def _first(self) -> np.ndarray:
        direction = self._rng.normal(size=3)
        speed = self._rng.uniform(0, _FASTEST) * direction / np.linalg.norm(direction)
        return np.concatenate([self._rng.uniform(-1, 1, 4), speed, self._rng.uniform(-_ROLLING, _ROLLING, 1)])

    def _next(self, last: np.ndarray) -> np.ndarray:
        place, speed = last[:4], last[4:] + self._rng.normal(size=4) * (*[_FASTEST / 4] * 3, _ROLLING / 6)
        speed[:3] *= min(1.0, _FASTEST / float(np.linalg.norm(speed[:3])))
        speed[3] = np.clip(speed[3], -_ROLLING, _ROLLING)
        moved = np.clip(place + speed, -1, 1)
        return np.concatenate([moved, moved - place])
