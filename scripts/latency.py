"""How long a control loop waits for its action: frozen, learning inline, and learning in the background.

    python scripts/latency.py --output results/latency.json
    python scripts/latency.py --policy my_robot:make_policy --head my_head --env my_robot:make_env --rate 50

A loop at a fixed rate shows recorded observations to each policy in turn, in blocks side by side. As each one arrives
the policy observes the transition that ended with it, and acts: both are the time that a robot waits. The learning ones
have their gate open all the time and all other guards on: a policy never has more to do. What counts is the ratio of
the 99th percentiles within a pair of blocks. It needs an idle machine with two cores, or a GPU and --device cuda.
"""

import contextlib
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import cli
import numpy as np
import torch
from episodes import hardware, make_scene, read_adaptation, trained_env
from own import check_env, check_names, own_policy

import envs
from pad import settings
from pad.agent import Agent
from pad.checkpoint import load_checkpoint
from pad.deployment import AdaptationConfig, AdaptivePolicy, FrozenPolicy
from pad.deployment.camera import Observation
from pad.deployment.model import Model
from pad.memory import keep_pages
from pad.tracking import progress_bar, say

WARM_UP = 50
"""Ticks of each block that do not count."""
RECORDED = 250
"""Transitions that are shown again and again, at most."""
Transition = tuple[Observation, np.ndarray, Observation]


@dataclass(frozen=True)
class LatencyConfig:
    """Measure how long a control loop waits for its action."""

    checkpoint: str = "walker_walk"
    policy: str | None = None
    """Or a policy of yours: module:function, where the function returns a TorchPolicy. It meets what --env names."""
    head: Path | None = None
    """With --policy: folder of the head that scripts/fit_head.py wrote. Default: the function brings one."""
    shift: str = "video_easy"
    """In which the observations are recorded."""
    env: str | None = None
    """Or an environment of yours in which they are: module:function, or a Gymnasium id."""
    rate: float = 20.0
    """Decisions a second."""
    ticks: int = 1_000
    """Decisions in a block."""
    pairs: int = 10
    """Blocks of each policy."""
    policies: tuple[str, ...] = ("frozen", "background")
    """Those to compare with the first: frozen, inline, background."""
    adaptation: str = "default"
    """Settings of the learning ones, but for their gate: default, light, unguarded, paper, or a YAML file."""
    device: str = "cpu"
    """For a checkpoint."""
    output: Path | None = None
    """JSON file for the figures of every block."""

    def __post_init__(self) -> None:
        if unknown := set(self.policies) - {"frozen", "inline", "background"}:
            raise ValueError(f"policies must be of frozen, inline, background; got {', '.join(sorted(unknown))}")
        if min(self.rate, self.ticks, self.pairs, len(self.policies)) <= 0:
            raise ValueError("rate, ticks, pairs and policies must be positive")
        check_names(self.policy, self.head, () if self.env is None else (self.env,), (self.shift,))
        if self.policy is not None and (self.checkpoint != LatencyConfig.checkpoint or self.device != "cpu"):
            raise ValueError("checkpoint and device are for an agent of this package, and --policy names yours")
        if self.env is not None and self.shift != LatencyConfig.shift:
            raise ValueError("a shift is of our environments, and --env names yours")


@dataclass(frozen=True)
class Block:
    """One policy for some ticks; times in milliseconds."""

    policy: str
    median: float
    p99: float
    longest: float
    answer_median: float
    answer_p99: float
    """From the arrival of an observation to the action: of `observe` and `act`; the three before of `act` alone."""
    late_ticks: int
    """Ticks that began later than the loop wanted."""
    updates_per_second: float
    weights_age_seconds: float | None
    dropped: int


def main() -> None:
    config = cli.parse(LatencyConfig, sys.argv[1:])
    cli.check_outputs(config.output)
    torch.set_num_threads(1)
    keep_pages()
    adaptation = learning_always(read_adaptation(config.adaptation))
    subject, scene = find(config)
    transitions = record(subject, scene)
    blocks: list[list[Block]] = []
    total = config.pairs * len(config.policies)
    with progress_bar("measuring", total, 0, "blocks") as bar:
        for number in range(config.pairs):
            # Every second pair the other way round, so that a drift of the machine hits both.
            order = config.policies if number % 2 == 0 else config.policies[::-1]
            met = {}
            for name in order:
                bar.set_postfix_str(name)
                met[name] = run_block(name, make_policy(name, subject, adaptation), config, transitions)
                bar.update(1)
            blocks.append([met[name] for name in config.policies])
    print(format_blocks(config, blocks))
    if config.output:
        record_ = {
            "command": cli.typed(), "hardware": hardware(str(subject.device)),
            "settings": described(config),
            "ratios": ratios(blocks), "blocks": [[dataclasses.asdict(block) for block in pair] for pair in blocks],
        }  # fmt: skip
        cli.write_text(config.output, json.dumps(record_, indent=1) + "\n")
        say(f"wrote {config.output}")


def described(config: LatencyConfig) -> dict[str, object]:
    """The settings for JSON, and null for what was not used."""
    unused = (("checkpoint",) if config.policy else ()) + (("shift",) if config.env else ())
    head = None if config.head is None else str(config.head)
    return {
        **settings.to_dict(dataclasses.replace(config, output=None, head=None)),
        "head": head,
        **dict.fromkeys(unused),
    }


def find(config: LatencyConfig) -> tuple[Agent | Model, envs.EnvConfig | str]:
    """The policy, and what it meets."""
    if config.policy is not None:
        assert config.env is not None
        return own_policy(config.policy, config.head, set(config.policies) != {"frozen"})[1], config.env
    checkpoint = load_checkpoint(config.checkpoint, cli.check_device(config.device))
    if config.env is not None:
        return checkpoint.agent, config.env
    trained = trained_env(config.checkpoint, checkpoint.env)
    return checkpoint.agent, dataclasses.replace(trained, shift=config.shift)


def record(subject: Agent | Model, scene: envs.EnvConfig | str) -> list[Transition]:
    """The beginning of one episode, or all of it."""
    policy, met, over = FrozenPolicy(subject), list[Transition](), False
    with contextlib.closing(make_scene(scene)) as env:
        if isinstance(scene, str):
            check_env(scene, env, subject, film=False)
        obs = deepcopy(env.reset(seed=0)[0])  # it may be one array that is filled again and again
        while not over and len(met) < RECORDED:
            action = policy.act(obs)
            next_obs, _, terminated, truncated, _ = deepcopy(env.step(action))
            met.append((obs, action, next_obs))
            obs, over = next_obs, terminated or truncated
    return met


def learning_always(adaptation: AdaptationConfig) -> AdaptationConfig:
    """The settings with the gate open all the time, in one life."""
    guards = dataclasses.replace(adaptation.guards, gate=None, gate_features=None, gate_colors=None, home=False)
    return dataclasses.replace(adaptation, guards=guards, reset="never")


def make_policy(name: str, subject: Agent | Model, adaptation: AdaptationConfig) -> FrozenPolicy | AdaptivePolicy:
    """A fresh one; it learns on a copy."""
    if name == "frozen":
        return FrozenPolicy(subject)
    return AdaptivePolicy(subject, adaptation, adaptation="inline" if name == "inline" else "background")


def run_block(
    name: str, policy: FrozenPolicy | AdaptivePolicy, config: LatencyConfig, transitions: Sequence[Transition]
) -> Block:
    """A loop at the wanted rate."""
    waited, late, updates = [], 0, 0.0
    started = due = time.perf_counter()
    for tick in range(WARM_UP + config.ticks):
        index = tick % len(transitions)
        if (ahead := due - time.perf_counter()) > 0:
            time.sleep(ahead)
        else:  # what arrived meanwhile is lost, and the newest is read
            late += tick >= WARM_UP
            due = time.perf_counter()
        before = time.perf_counter()
        if index:
            updates += policy.observe(*transitions[index - 1]).get("updates", 0)
        observed = time.perf_counter()
        policy.act(transitions[index][0])
        if tick >= WARM_UP:
            waited.append((1e3 * (time.perf_counter() - observed), 1e3 * (time.perf_counter() - before)))
        due += 1 / config.rate
    seconds = time.perf_counter() - started
    report = policy.report() if isinstance(policy, AdaptivePolicy) else {}
    if isinstance(policy, AdaptivePolicy):
        policy.close()
    (median, answer_median), (p99, answer_p99) = np.quantile(waited, [0.5, 0.99], axis=0).tolist()
    age = report.get("weights_age_seconds")
    return Block(name, median, p99, max(act for act, _ in waited), answer_median, answer_p99, late, updates / seconds,
                 age, int(report.get("guards/late", 0)))  # fmt: skip


def ratios(blocks: list[list[Block]]) -> dict[str, dict[str, float]]:
    """Of each policy but the first: median over pairs of its percentiles by the first one's."""
    found = {}
    for index, block in enumerate(blocks[0][1:], 1):
        found[block.policy] = {
            "median": statistics.median(pair[index].median / pair[0].median for pair in blocks),
            "p99": statistics.median(pair[index].p99 / pair[0].p99 for pair in blocks),
            "answer_p99": statistics.median(pair[index].answer_p99 / pair[0].answer_p99 for pair in blocks),
        }
    return found


def format_blocks(config: LatencyConfig, blocks: list[list[Block]]) -> str:
    """Markdown: medians over the blocks."""
    lines = ["| policy | act: median ms | 99th percentile | longest | observe and act: median ms | 99th percentile "
             "| late ticks | updates/s | age of weights, s |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for index, name in enumerate(config.policies):
        mine = [pair[index] for pair in blocks]
        names = ("median", "p99", "answer_median", "answer_p99", "updates_per_second")
        middle = {field: statistics.median(getattr(block, field) for block in mine) for field in names}
        ages = [block.weights_age_seconds for block in mine if block.weights_age_seconds is not None]
        lines.append(
            f"| {name} | {middle['median']:.2f} | {middle['p99']:.2f} | {max(b.longest for b in mine):.1f} "
            f"| {middle['answer_median']:.2f} | {middle['answer_p99']:.2f} "
            f"| {sum(b.late_ticks for b in mine)} | {middle['updates_per_second']:.1f} "
            f"| {f'{statistics.median(ages):.3f}' if ages else ''} |"
        )
    for name, ratio in ratios(blocks).items():
        lines.append(f"\n{name} against {config.policies[0]}, median over {len(blocks)} pairs of {config.ticks} ticks: "
                     f"act's median {ratio['median']:.2f}x, its 99th percentile {ratio['p99']:.2f}x, that of observe "
                     f"and act {ratio['answer_p99']:.2f}x")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
