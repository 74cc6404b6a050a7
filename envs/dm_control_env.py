"""A DeepMind Control task as a Gymnasium environment that sees through a camera, possibly a shifted one."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from envs import tasks
from envs.goals import TurnGoals, goals_of
from envs.renderer import Quality
from envs.scene import Scene
from envs.shifts import make_shift, normalize

LARGEST = 4096
"""Height and width of a picture, in pixels."""


@dataclass(frozen=True)
class EnvConfig:
    """What the agent acts in, and what it sees of it."""

    task: str = "cartpole_swingup"
    """Task of the DeepMind Control Suite, as domain_task."""
    shift: str = "none"
    """What differs from the training environment: color_hard, "color_hard + camera:0.4", "none@0, video_hard@50", or a
    YAML file. scripts/shifts.py list names all shifts."""
    shift_data: str | None = None
    """Folder in the published benchmark's layout (color_easy.pt, video_easy/*.mp4, ...). Default: our own data."""
    shift_split: Literal["test", "validation", "training"] = "test"
    """Which of our own colours and backgrounds: those that are reported, or those that settings are chosen on."""
    action_repeat: int | None = None
    """Control steps of dm_control per decision, each of one or several steps of MuJoCo (walker: ten). Default: the
    paper's for its nine tasks, else 4."""
    frame_stack: int = 3
    """Successive pictures in one observation."""
    image_size: int = 100
    """Height and width of the observation in pixels."""
    camera: int | str = 0
    """Camera of the task's model, by number or name."""
    episode_length: int = 1000
    """Control steps of dm_control in an episode. `envs.make` cuts it there; `DMControlEnv` alone goes on."""
    quality: Quality = "fast"
    """fast: no shadows, no multisampling. standard: dm_control's own pixels, for comparisons with papers."""

    def __post_init__(self) -> None:
        for name in ("action_repeat", "frame_stack", "image_size", "episode_length"):
            if (value := getattr(self, name)) is not None:
                _check_count(name, value, LARGEST if name == "image_size" else None)
        if self.shift_data is not None and self.shift_split != "test":
            raise ValueError(
                f"shift_split {self.shift_split} is one of our own colours and backgrounds; a folder has no splits, "
                f"got {self.shift_data}"
            )
        # Two spellings of a shift are one, and a file's content is what counts.
        object.__setattr__(self, "shift", normalize(self.shift))

    @property
    def steps_per_decision(self) -> int:
        """`action_repeat` with the task's default filled in."""
        return tasks.default_action_repeat(self.task) if self.action_repeat is None else self.action_repeat

    @property
    def decisions(self) -> int:
        """The agent's steps in an episode."""
        return -(-self.episode_length // self.steps_per_decision)


class DMControlEnv(gym.Env[np.ndarray, np.ndarray]):
    """One picture per decision: uint8 (3, image_size, image_size); actions in [-1, 1].

    `reset(seed=s)` starts the same episode whatever ran before, shift included. A shift changes
    what is seen and nothing else, unless it is one of dynamics: physics and rewards are those of the
    training environment.
    `info["state"]` is the simulator's own low-dimensional observation, for a privileged teacher;
    no policy that is deployed may read it.

    With `observation="state"` that vector is the observation and nothing is rendered.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(
        self,
        config: EnvConfig,
        observation: Literal["pixels", "state"] = "pixels",
        render_mode: str | None = "rgb_array",
        render_size: int = 256,
    ) -> None:
        if observation not in ("pixels", "state"):
            raise ValueError(f"observation must be pixels or state, got {observation!r}")
        _check_count("render_size", render_size, LARGEST)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"unknown render_mode {render_mode!r}; known: rgb_array, or None")
        self.config, self.render_mode, self._render_size = config, render_mode, render_size
        self._env = tasks.load(config.task)
        self._shift = make_shift(config.shift, config.shift_data, config.shift_split, config.task)
        self._scene = Scene(
            self._env.physics, config.camera, config.quality, config.decisions, shadows=self._shift.shadows
        )
        self._observation, self._agent_steps = observation, 0
        self._running, self._begun, self._closed = False, False, False

        spec = self._env.action_spec()
        bounded = np.isfinite(spec.minimum) & np.isfinite(spec.maximum)
        self._low, self._high = np.where(bounded, spec.minimum, -1.0), np.where(bounded, spec.maximum, 1.0)
        self.action_space = gym.spaces.Box(-1.0, 1.0, spec.shape, np.float32)
        self.metadata = {**self.metadata, "render_fps": self._frames_per_second()}
        if observation == "pixels":
            self._scene.open(config.image_size)
            shape = (3, config.image_size, config.image_size)
            self.observation_space: gym.spaces.Box = gym.spaces.Box(0, 255, shape, np.uint8)
        else:
            size = sum(int(np.prod(part.shape)) for part in self._env.observation_spec().values())
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._check_open()
        self._running = self._begun = False  # where the first picture fails there is no episode
        super().reset(seed=seed)
        physics_seed, shift_seed = self.np_random.integers(2**32, size=2)
        # The task draws the initial state from a generator of its own, made when it was loaded.
        self._env.task.random.seed(physics_seed)
        self._scene.restore()
        timestep = self._env.reset()
        self._agent_steps = 0
        self._scene.begin()
        self._shift.begin(self._scene, int(shift_seed))
        info = {"state": _flatten(timestep.observation)}
        obs = self._observe(info)
        self._running = self._begun = True
        return obs, info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._check_open()
        if not self._running:
            raise gym.error.ResetNeeded("no episode is running: call reset() before step()")
        action = np.asarray(action, np.float64)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise ValueError(f"action must be finite with shape {self.action_space.shape}, got {action!r}")
        action = self._shift.act(action)
        control = self._low + (np.clip(action, -1, 1) + 1) / 2 * (self._high - self._low)
        reward = 0.0
        repeat = self.config.steps_per_decision
        # The last decision is shorter where the length is no multiple of it.
        left = self.config.episode_length - self._agent_steps * repeat
        for _ in range(min(repeat, left) if left > 0 else repeat):
            timestep = self._env.step(control)
            reward += float(timestep.reward)
            if timestep.last():
                break
        self._running = not timestep.last()
        self._agent_steps += 1
        self._shift.advance(self._agent_steps)
        info = {"state": _flatten(timestep.observation)}
        return self._observe(info), reward, timestep.last(), False, info

    def render(self) -> np.ndarray | None:
        """What the camera sees, at `render_size`: uint8 (render_size, render_size, 3); None with `render_mode` None.

        Of a sensor that holds frames back it shows the last one that was rendered: render every step.
        """
        if self.render_mode is None:
            gym.logger.warn("render() without a render mode shows nothing: make the environment with rgb_array")
            return None
        return self.picture(self._render_size).copy()  # a shift may have kept it

    def picture(self, size: int) -> np.ndarray:
        """What the camera sees through the shift: uint8 (size, size, 3)."""
        self._check_begun()
        return self._shift.apply(self._scene.picture(size))

    def layers(self) -> np.ndarray:
        """What each pixel of the newest observation shows, for training alone: uint8 (image_size, image_size).

        0 the robot and other things, 1 the ground, 2 the sky. Films and what else a shift draws over a picture do not
        count.
        """
        self._check_begun()
        return self._scene.layers(self.config.image_size)

    def close(self) -> None:
        """Free the graphics memory; nothing is run or seen any more. Closing twice is harmless."""
        self._closed = True
        self._scene.close()

    def _check_open(self) -> None:
        if self._closed:
            raise gym.error.ClosedEnvironmentError("the environment is closed: make it anew")

    def _check_begun(self) -> None:
        self._check_open()
        if not self._begun:
            raise gym.error.ResetNeeded("there is nothing to see yet: call reset() before render()")

    @cached_property
    def goals(self) -> TurnGoals | None:
        """How to give recorded states another goal; None for a task that has no such goal."""
        parts, start = dict[str, slice](), 0
        for name, part in self._env.observation_spec().items():
            size = int(np.prod(part.shape))
            parts[name], start = slice(start, start + size), start + size
        return goals_of(self.config.task, parts, self.config.steps_per_decision)

    def _observe(self, info: dict[str, Any]) -> np.ndarray:
        if self._observation == "state":
            return info["state"].copy()
        picture = self._shift.apply(self._scene.picture(self.config.image_size))
        return np.ascontiguousarray(picture.transpose(2, 0, 1))

    def _frames_per_second(self) -> int:
        return max(1, round(1 / (self._env.control_timestep() * self.config.steps_per_decision)))


def _check_count(name: str, value: object, most: int | None) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not (whole and 1 <= value <= (most or value)):  # type: ignore[operator]
        allowed = f"a whole number from 1 to {most}" if most else "a whole number of at least 1"
        raise ValueError(f"{name} must be {allowed}, got {value}")


def _flatten(observation: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in observation.values()]).astype(np.float32)
