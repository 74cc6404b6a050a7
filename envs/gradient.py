"""A task without a simulator, for tests and examples: push a point to the middle.

It is seen as a gradient whose colours tell where it is.
"""

from typing import Any, Literal

import gymnasium as gym
import numpy as np


class GradientEnv(gym.Env):
    """Two coordinates in [-1, 1], two actions that move them; the reward is one in the middle and zero at the rim.

    Args:
        observation: `pixels` or `state`.
        tint: what red, green and blue are multiplied with: the camera's shift.
        size: height and width, in pixels.
        layout: of the pixels: channels, height, width, or channels last.
    """

    def __init__(
        self,
        observation: str = "pixels",
        tint: tuple[float, float, float] = (1, 1, 1),
        size: int = 24,
        layout: Literal["CHW", "HWC"] = "CHW",
    ) -> None:
        if observation not in ("pixels", "state") or layout not in ("CHW", "HWC"):
            raise ValueError(f"observation is pixels or state, layout CHW or HWC, got {observation!r} and {layout!r}")
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self._size, self._channels_last = size, layout == "HWC"
        shape = (size, size, 3) if self._channels_last else (3, size, size)
        pixels = gym.spaces.Box(0, 255, shape, np.uint8)
        self.observation_space = pixels if observation == "pixels" else gym.spaces.Box(-1, 1, (2,), np.float32)
        self.observation, self.render_mode = observation, "rgb_array"
        self._tint = np.array(tint)[:, None, None]
        self._ramp = np.linspace(0, 1, size)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._state = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self._look(), {"state": self._state.copy()}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._state = np.clip(self._state + 0.3 * np.asarray(action, np.float32), -1, 1)
        reward = float(1 - np.abs(self._state).mean())
        return self._look(), reward, False, False, {"state": self._state.copy()}

    def _look(self) -> np.ndarray:
        if self.observation == "state":
            return self._state.copy()
        picture = self._picture()
        return picture.transpose(1, 2, 0).copy() if self._channels_last else picture

    def _picture(self) -> np.ndarray:
        x, y = (self._state + 1) / 2
        red = np.abs(self._ramp - x)[None].repeat(self._size, 0)
        green = np.abs(self._ramp - y)[:, None].repeat(self._size, 1)
        picture = np.stack([1 - red, 1 - green, np.full_like(red, 0.5)])
        return (255 * np.clip(picture * self._tint, 0, 1)).astype(np.uint8)

    def render(self) -> np.ndarray:
        blank = np.zeros((self._size, self._size, 3), np.uint8)
        return self._picture().transpose(1, 2, 0) if self.observation == "pixels" else blank


def make_gradient_env(observation: str = "pixels", steps: int = 10, frames: int = 3, **settings: Any) -> gym.Env:
    """Episodes of `steps` steps; where pixels come with channels first, that many frames stacked on channels."""
    env: gym.Env = GradientEnv(observation, **settings)
    if observation == "pixels" and settings.get("layout", "CHW") == "CHW":
        channels, height, width = env.observation_space.shape or ()
        stacked = gym.wrappers.FrameStackObservation(env, frames)
        env = gym.wrappers.ReshapeObservation(stacked, (frames * channels, height, width))
    return gym.wrappers.TimeLimit(env, steps)
