"""An environment written for the old `gym`, in a Gymnasium loop: `pip install pad-rl[old-gym]`.

Here and not in `envs`, since a robot's environment needs neither MuJoCo nor OpenGL; this module needs no torch either.
"""

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
from gymnasium.utils.step_api_compatibility import convert_to_terminated_truncated_step_api


def from_old_gym(env: Any) -> gymnasium.Env:
    """An environment of gym 0.21 to 0.26, from `gym.make` or a class of yours, as Gymnasium has them.

    Shimmy converts spaces and calls. Decided here, by what the environment does, is what Shimmy wants to be told:
    whether `step` returns four values or five, and whether `reset` takes a seed and returns an info. The checker that
    `gym.make` adds is switched off, since it fails with NumPy 2.

    Raises:
        ImportError: without the extra `old-gym`.
    """
    try:
        import gym
        from shimmy.openai_gym_compatibility import GymV26CompatibilityV0
    except ImportError as error:
        raise ImportError(f"environments of the old gym need the extra old-gym: {error}") from error
    for layer in _layers(env, gym.Wrapper):
        if type(layer).__name__ == "PassiveEnvChecker":
            layer.checked_reset = layer.checked_step = layer.checked_render = True
    return GymV26CompatibilityV0(env=_Straightened(env))


def _layers(env: Any, wrapper: Any) -> Iterator[Any]:
    yield env
    while isinstance(env, wrapper):
        env = env.env
        yield env


class _Straightened:
    """Answers as an environment of gym 0.26 does, whatever version it was written for."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._inner = getattr(env, "unwrapped", env)
        self.render_mode = getattr(env, "render_mode", None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also while a copy is not yet whole
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        taken: dict[str, Any] = {}
        if options is not None and _takes(self._env.reset, "options") and _takes(self._inner.reset, "options"):
            taken["options"] = options
        if seed is not None:
            taken |= self._seed(seed)
        result = self._env.reset(**taken)
        space = self._env.observation_space
        is_observation = type(space).__name__ == "Tuple" and space.contains(result)
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict) and not is_observation:
            return result
        return result, {}

    def _seed(self, seed: int) -> dict[str, Any]:
        """Seed the environment, or say what `reset` is to be given for it."""
        by_name = _takes(self._inner.reset, "seed", by_name=True)
        if by_name and _takes(self._env.reset, "seed"):
            return {"seed": seed}
        if callable(getattr(self._inner, "seed", None)):
            self._inner.seed(seed)
        elif by_name:  # under a wrapper that hands nothing on
            self._inner.reset(seed=seed)
        elif _takes(self._env.reset, "seed") and _takes(self._inner.reset, "seed"):  # it may know one among **kwargs
            return {"seed": seed}
        else:
            warnings.warn(f"{self._inner} takes no seed", RuntimeWarning, stacklevel=4)
        return {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        result: Any = convert_to_terminated_truncated_step_api(self._env.step(action))
        return result

    def render(self) -> Any:
        return self._env.render(mode="rgb_array") if _takes(self._inner.render, "mode") else self._env.render()


def _takes(function: Any, name: str, by_name: bool = False) -> bool:
    """Whether a function can be given that argument; `by_name`: among those that it names, not in **kwargs."""
    parameters = inspect.signature(function).parameters.values()
    found = any(parameter.name == name for parameter in parameters)
    return found or (not by_name and any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters))
