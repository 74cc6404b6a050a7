"""Policies and environments of the user's own, by their names."""

import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli
import gymnasium as gym
import numpy as np

from pad.agent import Agent
from pad.deployment import FrozenPolicy
from pad.deployment.camera import Observation
from pad.deployment.head_folder import load_head
from pad.deployment.model import Model
from pad.deployment.recordings import action_space_of
from pad.deployment.torch_policy import TorchPolicy
from pad.tracking import say

REPEATED = 5
"""Decisions that are made twice, to see whether a seed brings the same episode."""


@dataclass(frozen=True)
class OwnPolicy:
    """A policy of the user's: made in every process that runs its episodes."""

    function: str
    """module:function, where the function returns a TorchPolicy or another `Model`."""
    head: str | None = None
    """Folder of the self-supervised head that scripts/fit_head.py wrote; None where the function brings one."""

    def __str__(self) -> str:
        return self.function

    def load(self) -> Model:
        """The policy with its head.

        Raises:
            BadInput: when there is no such function, or it returns something else.
            UsersError: when it fails.
            FileNotFoundError, ValueError: when there is no head at the folder, or it is of another policy.
        """
        policy = cli.call_function(self.function)
        wanted = Model if self.head is None else TorchPolicy
        if not isinstance(policy, wanted):
            raise cli.BadInput(f"{self.function} must return a TorchPolicy, got {type(policy).__name__}")
        return policy if self.head is None else load_head(Path(self.head), policy)


class OwnEnv(gym.Wrapper):
    """An environment of the user's that tells where it failed."""

    def __init__(self, env: gym.Env, name: str) -> None:
        super().__init__(env)
        self._name, self._where = name, "before the first episode"
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._where, self._step = f"in reset(seed={seed})", 0
        found = self._call(super().reset, seed=seed, options=options)
        self._check(found, "reset", "obs, info")
        self._where = f"in the episode of seed {seed}"
        return found

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        found = self._call(super().step, action)
        self._check(found, "step", "obs, reward, terminated, truncated, info")
        return found

    def render(self) -> Any:
        return self._call(super().render)

    def close(self) -> None:
        try:
            super().close()
        except Exception as error:  # what was measured is worth more
            say(f"{self._name} failed in close(): {error!r}")

    def _check(self, found: Any, method: str, wanted: str) -> None:
        count = len(wanted.split(", "))
        if not isinstance(found, tuple) or len(found) != count:
            got = f"{len(found)} values" if isinstance(found, tuple) else type(found).__name__
            raise cli.BadInput(
                f"{method} of {self._name} must return ({wanted}), got {got}; pad.old_gym.from_old_gym takes an "
                "environment of the old gym"
            )

    def _call(self, function: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except Exception as error:  # whatever a user's environment says
            step = f", step {self._step}" if self._step else ""
            raise cli.UsersError(f"{self._name} failed {self._where}{step}: {error!r}") from error


def check_names(policy: str | None, head: Path | None, env: Sequence[str], shift: Sequence[str]) -> None:
    """What a command was told of policies and environments of the user's goes together.

    Raises:
        ValueError: when it does not.
    """
    for what, names in (("shift", shift), ("env", env)):
        if len(set(names)) < len(names):
            raise ValueError(f"each {what} can be named once, got {' '.join(names)}")
    if policy is not None and not env:
        raise ValueError("a policy needs an env or several: Gymnasium ids, or module:function")
    if head is not None and policy is None:
        raise ValueError("a head goes with --policy: a checkpoint has its own")


def own_policy(function: str, head: Path | None, adapts: bool) -> tuple[OwnPolicy, Model]:
    """A policy of the user's, and as it is when it is made now.

    Raises:
        BadInput: when it is none, or is to adapt and has no head.
    """
    own = OwnPolicy(function, None if head is None else str(head.absolute()))
    policy = own.load()
    if adapts and isinstance(policy, TorchPolicy) and not policy.fitted:
        raise cli.BadInput(f"{function} has no self-supervised head: name by --head what scripts/fit_head.py wrote")
    return own, policy


def modules_of(names: Iterable[str]) -> tuple[str, ...]:
    """The modules among names like module:function and module:Id-v0, which may register what the others name."""
    return tuple(dict.fromkeys(name.partition(":")[0] for name in names if ":" in name))


def load_modules(modules: Iterable[str]) -> None:
    """Import them all.

    Raises:
        BadInput: when there is none of a name.
        UsersError: when one fails.
    """
    for module in modules:
        cli.load_module(module)


def make_env(name: str, film: bool = False) -> gym.Env:
    """The environment of a Gymnasium id, or the one that `module:function` returns.

    Args:
        film: whether it is to give pictures for people; a function decides that by itself.

    Raises:
        BadInput: when there is none of that name, or the function returns something else.
        UsersError: when the function fails.
    """
    if ":" in name and not re.search(r"-v\d+$", name):
        made = cli.call_function(name)
        if not isinstance(made, gym.Env):
            raise cli.BadInput(
                f"{name} must return a gymnasium environment, got {type(made).__name__}; pad.old_gym.from_old_gym "
                "takes one of the old gym"
            )
        return OwnEnv(made, name)
    load_modules(modules_of([name]))
    try:
        return OwnEnv(gym.make(name, render_mode="rgb_array") if film else gym.make(name), name)
    except gym.error.Error as error:
        unknown = isinstance(error, gym.error.NameNotFound | gym.error.NamespaceNotFound)
        hint = "; module:Id-v0 names the module that registers it" if unknown and ":" not in name else ""
        raise cli.BadInput(f"cannot make the environment {name!r}: {error}{hint}") from error
    except Exception as error:
        raise cli.UsersError(f"making the environment {name} failed: {error!r}") from error


def check_env(name: str, env: gym.Env, policy: Agent | Model, film: bool) -> tuple[Observation, Any]:
    """Begin an episode twice and act in it a few times; what cannot be evaluated is found out here.

    Returns:
        The first observation, and the policy's action.

    Raises:
        BadInput: when the policy cannot act there, or there is nothing to film.
        UsersError: when the environment fails.
    """
    if isinstance(policy, Agent) and env.observation_space.shape != policy.obs_shape:
        raise cli.BadInput(f"the policy sees {policy.obs_shape}, {name} shows {env.observation_space}")
    check_actions(name, env, policy)
    obs = deepcopy(env.reset(seed=0)[0])  # it may be one array that is filled again and again
    try:
        action, second = (FrozenPolicy(policy).act(deepcopy(obs)) for _ in range(2))
    except (TypeError, ValueError) as error:
        raise cli.BadInput(f"the policy cannot act in {name}: {error}") from error
    except Exception as error:
        raise cli.UsersError(f"the policy failed on the first observation of {name}: {error!r}") from error
    if not _close(action, second):
        raise cli.BadInput(f"the policy gives {action} and then {second} for one observation: let act give the most "
                           "likely action")  # fmt: skip
    seen = [deepcopy(env.step(action))]
    picture = env.render() if film else None
    while len(seen) < REPEATED and not (seen[-1][2] or seen[-1][3]):
        seen.append(deepcopy(env.step(action)))
    again, _ = env.reset(seed=0)
    if not _same(obs, again) or not all(_same(step[:4], env.step(action)[:4]) for step in seen):
        say(f"{name}: the same seed brings another episode, so frozen and adapting do not meet the same ones")
    if film and not (isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.shape[2:] == (3,)):
        got = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise cli.BadInput(
            f"{name} gives no picture for a video: its render() must return uint8 (height, width, 3), got {got}; "
            "render_mode is rgb_array?"
        )
    return obs, action


def check_actions(name: str, env: gym.Env, policy: Any) -> None:
    """Actions must mean the same to the policy and the environment.

    Raises:
        BadInput: when they do not.
    """
    given = action_space_of(policy)
    if given is not None and not _takes(env.action_space, given):
        raise cli.BadInput(f"{name} takes actions of {env.action_space}, the policy gives them in {given}")


def check_policy(own: OwnPolicy, policy: Agent | Model, obs: Observation, action: Any) -> None:
    """Every process makes the policy anew: one that acts otherwise then cannot be compared with itself.

    Raises:
        BadInput: when it does.
    """
    other = own.load()
    differs = isinstance(policy, TorchPolicy) and isinstance(other, TorchPolicy) and policy.origin != other.origin
    if differs or not _close(FrozenPolicy(other).act(deepcopy(obs)), action):
        raise cli.BadInput(
            f"{own.function} returns another policy each time it is called, which acts otherwise: load its weights, "
            "or seed them"
        )


def _takes(space: gym.Space, given: gym.Space) -> bool:
    """Whether actions mean the same in both; a range without end says nothing about units."""
    if isinstance(space, gym.spaces.Box) and isinstance(given, gym.spaces.Box):
        bounds = ((space.low, given.low), (space.high, given.high))
        return space.shape == given.shape and all(bool(np.all(np.isclose(a, b) | np.isinf(a))) for a, b in bounds)
    return space == given


def _close(one: Any, other: Any) -> bool:
    return bool(np.allclose(np.asarray(one, float), np.asarray(other, float), atol=1e-4))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    a, b = np.asarray(one), np.asarray(other)
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f"))
