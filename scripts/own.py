"""Policies and environments of the user's own, by their names."""

import re
from dataclasses import dataclass
from pathlib import Path

import cli
import gymnasium as gym

from pad.deployment.head import load_head
from pad.deployment.model import Model
from pad.deployment.torch_policy import TorchPolicy


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
            FileNotFoundError, ValueError: when there is no head at the folder, or it is of another policy.
        """
        policy = cli.load_function(self.function)()
        wanted = Model if self.head is None else TorchPolicy
        if not isinstance(policy, wanted):
            raise cli.BadInput(f"{self.function} must return a TorchPolicy, got {type(policy).__name__}")
        return policy if self.head is None else load_head(Path(self.head), policy)


def make_env(name: str) -> gym.Env:
    """The environment of a Gymnasium id, or the one that `module:function` returns.

    Raises:
        BadInput: when there is none of that name, or the function returns something else.
    """
    if ":" in name and not re.search(r"-v\d+$", name):
        made = cli.load_function(name)()
        if not all(callable(getattr(made, method, None)) for method in ("reset", "step")):
            raise cli.BadInput(f"{name} must return a gymnasium environment, got {type(made).__name__}")
        return made
    cli.look_here()
    try:
        return gym.make(name)
    except (gym.error.Error, ImportError) as error:
        raise cli.BadInput(f"cannot make the environment {name!r}: {error}") from error
