"""Fit a self-supervised head to a policy that has none, from episodes that scripts/record.py recorded.

    python scripts/fit_head.py --policy my_robot:make_policy --episodes episodes --output head
    python scripts/fit_head.py --checkpoint runs/without_head --episodes episodes --output runs/with_head
    python scripts/fit_head.py --checkpoint walker_walk --heads rotation --episodes episodes --output runs/rotating

`make_policy()` returns a TorchPolicy (or `from_sb3(agent)`). An agent of this package that was trained with
`self_supervised: false` becomes a checkpoint like any other, which can adapt; and any agent gets heads for further
objectives.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import cli
import torch
import tyro

from pad.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pad.deployment.fitting import AgentHead, HeadConfig, fit_agent_heads, fit_head
from pad.deployment.head_folder import save_head
from pad.deployment.recordings import RecordedEpisode, load_episodes
from pad.deployment.torch_policy import TorchPolicy
from pad.tracking import say
from pad.types import Metrics


@dataclass(frozen=True)
class FitConfig:
    """Fit a self-supervised head to a policy that has none, from recorded episodes."""

    episodes: Path
    """Folder of .npz files as scripts/record.py writes them."""
    output: Path
    """Folder for the head, or with --checkpoint for the agent that has it."""
    policy: str | None = None
    """module:function, where the function returns a TorchPolicy."""
    checkpoint: str | None = None
    """Or an agent of this package that lacks one of the heads: a run, a checkpoint folder, or the name of one that
    ships."""
    heads: tuple[AgentHead, ...] = ("inverse_dynamics",)
    """For a checkpoint: which heads it lacks and is to have."""
    head: Annotated[HeadConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=HeadConfig)
    seed: int = 0
    device: str = "cpu"
    """For a checkpoint."""

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.policy is None):
            raise ValueError("name either a checkpoint or a policy")
        if not self.heads or (self.policy is not None and self.heads != ("inverse_dynamics",)):
            raise ValueError(f"heads are one or more for a checkpoint, inverse_dynamics for a policy; got {self.heads}")


def main() -> None:
    config = cli.parse(FitConfig, sys.argv[1:])
    torch.set_num_threads(1)  # two beside a busy process are many times slower than one
    if config.output.exists():
        raise FileExistsError(f"{config.output} is there already: name another folder")
    episodes = load_episodes(config.episodes)
    if config.checkpoint is not None:
        metrics = fit_checkpoint(config, config.checkpoint, episodes)
        following = f"AdaptivePolicy.from_checkpoint({str(config.output)!r})"
    else:
        assert config.policy is not None
        metrics = fit_policy(config, config.policy, episodes)
        function = config.policy.partition(":")[2]
        following = f"AdaptivePolicy(load_head(Path({str(config.output)!r}), {function}()))"
    for name in config.heads:
        if name != "inverse_dynamics":
            print(f"loss of {name} on held-out episodes   {metrics[f'{name}_loss']:.4g}")
    if "loss" in metrics:
        print(f"loss of inferred actions on held-out episodes   {metrics['loss']:.4g}")
        print(f"always inferring the mean action                {metrics['loss_of_mean']:.4g}")
        print(f"change of the policy's actions                  {metrics['action_change']:.4g}")
        if metrics["loss"] > 0.5 * metrics["loss_of_mean"]:
            say("the head infers little: record more episodes, more noise, or fit with --finetune or more --updates")
    print(f"wrote {config.output}; to adapt: {following}")
    if config.policy is not None:
        named = f"--policy {config.policy} --head {config.output}"
        print(f"to compare it with itself frozen: python scripts/eval.py {named} --env YOURS --adapt")


def fit_policy(config: FitConfig, name: str, episodes: list[RecordedEpisode]) -> Metrics:
    policy = cli.call_function(name)
    if not isinstance(policy, TorchPolicy):
        raise cli.BadInput(f"{name} must return a TorchPolicy, got {type(policy).__name__}")
    try:
        metrics = fit_head(policy, episodes, config.head, config.seed)
    except ValueError:  # what it does not take, in words
        raise
    except Exception as error:
        raise cli.UsersError(f"{name} failed while its head was fitted: {error!r}") from error
    save_head(config.output, policy)
    return metrics


def fit_checkpoint(config: FitConfig, name: str, episodes: list[RecordedEpisode]) -> Metrics:
    loaded = load_checkpoint(name, cli.check_device(config.device))
    agent, metrics = fit_agent_heads(loaded.agent, episodes, config.heads, config.head, config.seed)
    about = {**loaded.about, "head": f"fitted to {len(episodes)} recorded episodes of {name}"}
    save_checkpoint(config.output, Checkpoint(agent, loaded.env, about))
    return metrics


if __name__ == "__main__":
    cli.run(main)
