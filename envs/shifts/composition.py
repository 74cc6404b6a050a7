"""Shifts that act together and one after the other, as a timetable says."""

from collections.abc import Sequence

import numpy as np

from envs.scene import Scene
from envs.shifts.base import Shift
from envs.shifts.schedule import Timetable
from envs.view import View

_LEVELS = 50
"""A strength that changes does so in this many steps: some shifts send textures to the graphics memory."""
_PUBLISHED = ("color_easy", "color_hard", "video_easy", "video_hard")


class Composition:
    """All that differs in an episode: the shifts of each segment of a timetable, in the order in which they act.

    Each shift draws from a stream of its own, which depends on the episode's seed, the segment and the shift's name:
    what else acts beside it changes nothing in it. (The four published ones share the episode's own stream in the first
    segment, as they had it before there were others: of two of them the one's draw tells the other's.) Its steps are
    those since its segment began.

    Args:
        segments: the shifts of each segment, in the timetable's order of its parts.
    """

    def __init__(self, timetable: Timetable, segments: Sequence[Sequence[Shift]]) -> None:
        self.timetable, self._segments, self._number, self._since = timetable, segments, -1, 0

    @property
    def shadows(self) -> bool:
        """Whether a shift adds a lamp that casts shadows."""
        return any(shift.shadows for shifts in self._segments for shift in shifts)

    def begin(self, scene: Scene, seed: int) -> None:
        """A new episode starts; `scene` is as in training."""
        self._scene, self._seed, self._number = scene, seed, -1
        self.advance(0)
        scene.arrange = self.arrange

    def advance(self, agent_step: int) -> None:
        """Go on to that step: other shifts, other strengths."""
        number, since = self.timetable.find(agent_step)
        entered = number != self._number or (since == 0 and agent_step > 0)
        if entered and agent_step > 0:
            self._scene.restore()
        self._number, self._since = number, since
        length, recolored = self.timetable.length(number, self._scene.horizon), False
        for part, shift in zip(self.timetable.segments[number].parts, self._segments[number], strict=True):
            progress = round(_LEVELS * min(1.0, since / length)) / _LEVELS
            strength = part.end if progress == 1 else part.start + progress * (part.end - part.start)
            changed, shift.strength = strength != shift.strength, strength
            if entered:
                shift.begin(self._scene, self._stream(number, part.name))
            if not (entered or changed):
                continue
            if shift.recolors:
                recolored |= strength > 0 if entered else changed  # where it is entered all is as in training
            else:
                shift.change(self._scene)
        if recolored:
            self._recolor()

    def _recolor(self) -> None:
        """Put on all colours of the segment anew, in their order."""
        self._scene.appearance.restore()
        for shift in self._active:
            if shift.recolors and shift.strength > 0:
                shift.change(self._scene)

    def act(self, action: np.ndarray) -> np.ndarray:
        """What reaches the actuators."""
        for shift in self._active:
            action = shift.act(action, self._since)
        return action

    def arrange(self, view: View) -> None:
        """Change what is about to be drawn."""
        for shift in self._active:
            shift.arrange(view, self._since)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """The drawn picture as the policy gets it: uint8 (height, width, 3)."""
        for shift in self._active:
            picture = shift.apply(picture, self._since)
        return picture

    @property
    def _active(self) -> Sequence[Shift]:
        return self._segments[self._number]

    def _stream(self, number: int, name: str) -> np.random.Generator:
        # Published shifts came first, when there was one an episode: they keep the stream that they had.
        if number == 0 and name in _PUBLISHED:
            return np.random.default_rng(self._seed)
        return np.random.default_rng([self._seed, number, *name.encode()])
