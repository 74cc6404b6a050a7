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
    """The simulator's, after the last reset or step; None where the environment does not tell it."""

    def reset(self, seed: int) -> np.ndarray:
        """The first observation of an episode."""

    def begin(self, action: np.ndarray) -> None:
        """Start a step."""

    def finish(self) -> tuple[np.ndarray, float, bool, bool]:
        """What came of it: next observation, reward, terminated, truncated.

        Raises:
            ChildProcessError: when the environment's process died.
        """

    def close(self) -> None:
        """Let go of the environment."""


def make_stepper(make_env: MakeEnv, observation: str, own_process: bool) -> Stepper:
    """In a process of its own, or in this one, where the step is made at its end."""
    return ProcessStepper(make_env, observation) if own_process else InlineStepper(make_env(observation))


def shape_of_actions(space: gym.Space) -> tuple[int, ...]:
    """Of the actions that an agent of this package may take.

    Raises:
        ValueError: when they do not span -1 to 1.
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
    """In this process: the step waits until it is finished, and is then made."""

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
    """In a process of its own, through Gymnasium's asynchronous environment."""

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
    """Turns the ways in which a dead process shows itself into one."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        if isinstance(error, EOFError | ConnectionError):
            raise ChildProcessError("the process that simulates died; --resume goes on") from error
