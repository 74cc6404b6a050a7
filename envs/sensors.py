"""The sensor's shifts in front of anybody's environment that shows pictures."""

from typing import Any, cast

import gymnasium as gym
import numpy as np

from envs.scene import Scene
from envs.shifts import SHIFTS, Composition, make_shift

_BEFORE_THE_LENS = ("patches", "bars")


def sensor_shifts() -> list[str]:
    """Names of the shifts that need nothing but pictures."""
    return [n for n, kind in SHIFTS.items() if kind.group == "sensor" or n in _BEFORE_THE_LENS]


class SensorShift(gym.Wrapper):
    """An environment of pictures seen through a worse, a differently set, or a partly covered camera.

    Episode `reset(seed=s)` meets the same shift whatever ran before. Rewards and physics are the environment's own. Put
    it below frame stacking: an observation is one picture.

    Args:
        env: shows uint8 pictures with 1 or 3 channels, (height, width, channels) or (channels, height, width).
        shift: for instance "noise:0.5 + blur:0.2", "none@0, dropped_frames@100"; see `envs.shifts.schedule`.
        horizon: steps in an episode, over which a strength such as "0..1" grows. Default: what the environment's `spec`
            says of them.

    Raises:
        ValueError: for another kind of observation, for a shift that needs more than pictures, and for a strength that
            grows until the end of an episode of unknown length.
    """

    def __init__(self, env: gym.Env, shift: str, horizon: int | None = None) -> None:
        super().__init__(env)
        if horizon is not None and horizon < 1:
            raise ValueError(f"horizon must be at least 1 step, got {horizon}")
        space = env.observation_space
        shape = space.shape or ()
        if not isinstance(space, gym.spaces.Box) or space.dtype != np.uint8 or len(shape) != 3:
            raise ValueError(f"observations must be uint8 pictures with three axes, got {space}")
        if shape[2] not in (1, 3) and shape[0] not in (1, 3):
            raise ValueError(
                f"pictures must have 1 or 3 channels, first or last, got {shape}; "
                "wrap the environment below its frame stacking"
            )
        self._channels_first = shape[2] not in (1, 3)
        self._shift, self._horizon, self._agent_steps = _make(shift), _length(env, horizon, shift), 0
        # The same sensor for those who watch: it may keep what it has shown, which must not depend on being watched.
        self._watched = _make(shift)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            # Beside the environment's own stream, which must draw what it draws without this wrapper.
            self._rng = np.random.default_rng([seed, *b"sensor"])
        elif not hasattr(self, "_rng"):
            self._rng = np.random.default_rng()
        self._agent_steps = 0
        scene, drawn = cast(Scene, _Nothing(self._horizon)), int(self._rng.integers(2**32))
        self._shift.begin(scene, drawn)
        self._watched.begin(scene, drawn)
        return self._seen(obs), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._agent_steps += 1
        self._shift.advance(self._agent_steps)
        self._watched.advance(self._agent_steps)
        return self._seen(obs), reward, terminated, truncated, info

    def render(self) -> Any:
        """The environment's own picture, through the same sensor where it is uint8 (height, width, 3)."""
        picture = self.env.render()
        if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3:
            return self._watched.apply(picture.copy()).copy()
        return picture

    def _seen(self, obs: np.ndarray) -> np.ndarray:
        # A copy: some environments write the next picture into the same memory, and a shift may keep this one.
        picture = np.array(obs.transpose(1, 2, 0) if self._channels_first else obs, order="C")
        shown = self._shift.apply(picture)
        return np.array(shown.transpose(2, 0, 1) if self._channels_first else shown)


class _Nothing:
    """In place of a scene, for shifts that need none."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon

    def restore(self) -> None:
        """There is nothing to bring back."""


def _length(env: gym.Env, horizon: int | None, shift: str) -> int:
    """Steps in an episode, or any number where no strength depends on it."""
    known = horizon or (env.spec.max_episode_steps if env.spec is not None else None)
    timetable = make_shift(shift).timetable
    for number, segment in enumerate(timetable.segments):
        grows = any(part.start != part.end for part in segment.parts)
        if known is None and grows and timetable.length(number, 1) != timetable.length(number, 10**9):
            raise ValueError(f"{shift!r} grows until the episode ends: say by horizon after how many steps")
    return known or 1


def _make(text: str) -> Composition:
    shift = make_shift(text)
    known = sensor_shifts()
    if wrong := [name for name in shift.timetable.names if name not in known]:
        raise ValueError(f"{', '.join(wrong)} needs the simulator; of pictures alone: {', '.join(known)}")
    return shift
