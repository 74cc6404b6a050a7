"""An environment that steps while the learner learns.

The next observation is asked for before an update and taken after it. What the update learns from and which action
comes next do not depend on which of the two is ready first, so results depend on the seed alone.
"""

from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from pad.training.collection import MakeEnv, signals_blocked


@runtime_checkable
class Stepper(Protocol):
    """One environment whose step has a beginning and an end."""

    action_shape: tuple[int, ...]
    state: np.ndarray | None
    """The simulator's state after the last reset or step, float32; None where the environment does not tell it."""

    def reset(self, seed: int) -> np.ndarray:
        """Begin an episode and return its first observation."""

    def begin(self, action: np.ndarray) -> None:
        """Start a step with an action in [-1, 1]."""

    def finish(self) -> tuple[np.ndarray, float, bool, bool]:
        """Wait for the step that was started: next observation, reward, terminated, truncated.

        Raises:
            ChildProcessError: when the environment's process died.
        """

    def close(self) -> None:
        """Let go of the environment."""


def make_stepper(make_env: MakeEnv, observation: str, own_process: bool) -> Stepper:
    """A stepper whose environment runs in a process of its own, or in this one.

    Args:
        observation: "pixels" or "state".

    Raises:
        ValueError: when the environment's actions are not a vector that spans -1 to 1.
    """
    return ProcessStepper(make_env, observation) if own_process else InlineStepper(make_env(observation))


def shape_of_actions(space: gym.Space) -> tuple[int, ...]:
    """Shape (action,) of the actions of a space that an agent of this package may act in.

    Raises:
        ValueError: when the actions are not a vector or do not span -1 to 1.
    """
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"an agent's actions are a vector, Box(-1, 1, (n,)); this environment's are {space}")
    if not (np.allclose(space.low, -1) and np.allclose(space.high, 1)):
        raise ValueError(
            f"an agent's actions span -1 to 1, this environment's {space}: gymnasium.wrappers.RescaleAction(env, -1.0, "
            "1.0) scales them"
        )
    return space.shape


class InlineStepper:
    """Steps an environment in this process; `begin` notes the action, and `finish` makes the step."""

    def __init__(self, env: gym.Env) -> None:
        self._env, self._action = env, np.zeros(0)
        self.action_shape = shape_of_actions(env.action_space)
        self.state: np.ndarray | None = None

    def reset(self, seed: int) -> np.ndarray:
        obs, info = self._env.reset(seed=seed)
        self.state = _copied(info.get("state"))
        return obs

    def begin(self, action: np.ndarray) -> None:
        self._action = action

    def finish(self) -> tuple[np.ndarray, float, bool, bool]:
        obs, reward, terminated, truncated, info = self._env.step(self._action)
        self.state = _copied(info.get("state"))
        return obs, float(reward), terminated, truncated

    def close(self) -> None:
        """The environment belongs to whoever made it."""


class ProcessStepper:
    """Steps an environment in a process of its own, through Gymnasium's AsyncVectorEnv."""

    def __init__(self, make_env: MakeEnv, observation: str) -> None:
        with _death_told(), signals_blocked():
            self._envs = AsyncVectorEnv(
                [lambda: make_env(observation)], context="spawn", autoreset_mode=AutoresetMode.DISABLED
            )
        self.action_shape = shape_of_actions(self._envs.single_action_space)
        self.state: np.ndarray | None = None

    def reset(self, seed: int) -> np.ndarray:
        with _death_told():
            obs, info = self._envs.reset(seed=[seed])
        self.state = _copied(info["state"][0]) if "state" in info else None
        return np.array(obs[0])

    def begin(self, action: np.ndarray) -> None:
        with _death_told():
            self._envs.step_async(np.asarray(action)[None])

    def finish(self) -> tuple[np.ndarray, float, bool, bool]:
        with _death_told():
            obs, reward, terminated, truncated, info = self._envs.step_wait()
        self.state = _copied(info["state"][0]) if "state" in info else None
        return np.array(obs[0]), float(reward[0]), bool(terminated[0]), bool(truncated[0])

    def close(self) -> None:
        with suppress(Exception):
            self._envs.close(terminate=True)


def _copied(state: Any) -> np.ndarray | None:
    return None if state is None else np.array(state, np.float32)


class _death_told:  # noqa: N801  # used like a function
    """Turns the errors by which a dead process shows itself into a ChildProcessError."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        if isinstance(error, EOFError | ConnectionError):
            raise ChildProcessError("the process that simulates died; --resume goes on") from error
