"""Record what a policy sees and does in the environment that it was trained in, to fit a self-supervised head to it.

    python scripts/record.py --checkpoint CHECKPOINT --output episodes
    python scripts/record.py --policy my_robot:make_policy --env my_robot:make_env --output episodes

`make_policy()` returns anything whose `act(obs)` gives an action, or a TorchPolicy; `make_env()` a Gymnasium
environment. Ctrl-C ends it and keeps the episodes that are over. Then: scripts/fit_head.py.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli
import gymnasium as gym
import torch
from episodes import trained_env
from own import check_actions, make_env

import envs
from pad.checkpoint import load_checkpoint
from pad.deployment import FrozenPolicy
from pad.deployment.model import Model
from pad.deployment.recordings import action_space_of, record_episodes
from pad.tracking import say


@dataclass(frozen=True)
class RecordConfig:
    """Record episodes of a policy in the environment that it was trained in, as .npz files."""

    output: Path
    """Folder for the episodes."""
    checkpoint: str | None = None
    """An agent of this package: a run, a checkpoint folder, or the name of one that ships."""
    policy: str | None = None
    """Or a policy of yours: module:function, where the function returns what has `act(obs)`, or a TorchPolicy."""
    env: str | None = None
    """A Gymnasium id, or module:function. Default with a checkpoint: the environment that it was trained in."""
    episodes: int = 40
    seed: int = 0
    """Which episodes; no evaluation repeats one."""
    noise: float = 0.2
    """Share of random actions. Some show the head what the policy does not do; too many, what it never sees."""
    limit: int | None = None
    """Ends an episode after so many decisions. Default: when the environment ends it."""
    device: str = "cpu"
    """For a checkpoint."""

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.policy is None):
            raise ValueError("name either a checkpoint or a policy")
        if self.policy is not None and self.env is None:
            raise ValueError("a policy needs an env: a Gymnasium id, or module:function")


class Told:
    """A policy of the user's, whose errors are told by what failed."""

    def __init__(self, policy: Any) -> None:
        self._policy, self.action_space = policy, action_space_of(policy)
        if isinstance(policy, Model):
            self._policy = FrozenPolicy(policy)

    def reset(self) -> None:
        """Tell the policy that an episode begins, if it wants to know."""
        if callable(reset := getattr(self._policy, "reset", None)):
            self._call(reset)

    def act(self, obs: Any) -> Any:
        """Its action."""
        return self._call(self._policy.act, obs)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (TypeError, ValueError) as error:  # of a TorchPolicy in other words than its own
            raise cli.UsersError(f"the policy failed: {error}") from error
        except Exception as error:
            raise cli.UsersError(f"the policy failed: {error!r}") from error


def main() -> None:
    config = cli.parse(RecordConfig, sys.argv[1:])
    torch.set_num_threads(1)  # two beside a busy process are many times slower than one
    policy, env = load(config)
    try:
        record_episodes(config.output, env, policy, config.episodes, config.seed, config.noise, config.limit)
    finally:
        env.close()
    named = f"--checkpoint {config.checkpoint}" if config.checkpoint else f"--policy {config.policy}"
    say(f"wrote {config.output}; next: python scripts/fit_head.py {named} --episodes {config.output} --output head")


def load(config: RecordConfig) -> tuple[Any, gym.Env]:
    """The policy and the environment that were named."""
    if config.checkpoint is None:
        assert config.env is not None
        assert config.policy is not None
        policy = cli.call_function(config.policy)  # first: its module may register the environment
        if not callable(getattr(policy, "act", None)):
            raise cli.BadInput(f"{config.policy} must return what has act(obs), got {type(policy).__name__}")
        env = make_env(config.env)
        check_actions(config.env, env, policy)
        return Told(policy), env
    env = None if config.env is None else make_env(config.env)
    loaded = load_checkpoint(config.checkpoint, cli.check_device(config.device))
    if env is None:
        env = envs.make(trained_env(config.checkpoint, loaded.env))
    return loaded.agent, env


if __name__ == "__main__":
    cli.run(main)
