"""How unusual a policy finds what it sees, and how often its gate would let it learn: before it adapts at all.

    python scripts/gate.py --checkpoints cheetah_run walker_walk --shift none color_hard
    python scripts/gate.py --policy my_robot:make_policy --head my_head --env my_robot:make_env my_robot:at_dusk

The frozen policy acts, and nothing is learned. In the training environment the gate should be open hardly ever, and
where the picture has changed most of the time. Features and colours (and with --gate the loss) are told as multiples of
what one of a hundred decisions exceeds in training; the gate is open where each exceeds its factor.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cli
import numpy as np
import torch
from episodes import hardware, make_scene, read_adaptation, trained_env
from own import check_env, check_names, load_modules, modules_of, own_policy

from pad.checkpoint import load_checkpoint
from pad.deployment import AdaptationConfig, FrozenPolicy
from pad.deployment.agent_model import as_model
from pad.deployment.camera import Observation
from pad.deployment.learner import make_gate
from pad.deployment.model import Model
from pad.evaluation import run_episode
from pad.seeding import episode_seed
from pad.tracking import progress_bar, say
from pad.types import Metrics


@dataclass(frozen=True)
class GateConfig:
    """See how unusual a policy finds what it sees, and how often its gate would be open."""

    checkpoints: tuple[str, ...] = ("cartpole_swingup",)
    """Runs, checkpoint folders, or names of agents that ship."""
    policy: str | None = None
    """Or a policy of yours: module:function, where the function returns a TorchPolicy. It meets what --env names."""
    head: Path | None = None
    """With --policy: folder of the head that scripts/fit_head.py wrote. Default: the function brings one."""
    env: tuple[str, ...] = ()
    """In place of shifts, environments of yours: module:function, or Gymnasium ids."""
    shift: tuple[str, ...] = ("none", "color_hard", "video_easy")
    """What they meet. scripts/shifts.py list names all shifts."""
    episodes: int = 5
    """Episodes of each policy under each shift."""
    seed: int = 0
    """Which episodes."""
    adaptation: str = "default"
    """Whose gate: default, light, or a YAML file."""
    output: Path | None = None
    """JSON file for the figures."""

    def __post_init__(self) -> None:
        if min(self.episodes, len(self.checkpoints), len(self.shift)) < 1 or self.seed < 0:
            raise ValueError("episodes, checkpoints and shifts must be at least 1, and the seed at least 0")
        check_names(self.policy, self.head, self.env, self.shift)
        if self.policy is not None and self.checkpoints != GateConfig.checkpoints:
            raise ValueError("checkpoints are agents of this package, and --policy names yours")
        if self.env and self.shift != GateConfig.shift:
            raise ValueError("a shift is of our environments, and --env names yours")


class Watching:
    """A frozen policy beside a gate that is asked at each decision."""

    def __init__(self, model: Model, adaptation: AdaptationConfig) -> None:
        gate = make_gate(model, adaptation)
        if gate is None:
            raise cli.BadInput("these settings have no gate")
        self._model, self._gate, self._frozen = model, gate, FrozenPolicy(model)
        self.opened: list[bool] = []
        self.excess: list[dict[str, float]] = []

    def reset(self) -> None:
        self._gate.reset()
        self._frozen.reset()

    def act(self, obs: Observation) -> Any:
        return self._frozen.act(obs)

    def observe(self, obs: Observation, action: Any, next_obs: Observation) -> Metrics:
        seen, loss = self._model.see(next_obs), None
        if self._gate.needs_loss:
            loss, channels = self._model.look(self._model.transition(obs, action, next_obs))
        else:
            with torch.no_grad():
                channels = self._model.channels(self._model.encode(seen))
        self.opened.append(self._gate.update(loss, channels, colors=self._model.color_moments(seen)))
        self.excess.append(self._gate.excess)
        return {}


def main() -> None:
    config = cli.parse(GateConfig, sys.argv[1:])
    adaptation = read_adaptation(config.adaptation)
    cli.check_outputs(config.output)
    torch.set_num_threads(1)  # two beside a busy process are many times slower than one
    load_modules(modules_of((config.policy or "", *config.env)))
    rows: list[dict[str, Any]] = []
    try:
        for name, model, scene, env in scenes(config):
            with contextlib.closing(env):
                rows.append(
                    {"policy": name, "scene": scene, **watch(model, env, adaptation, config, f"{name}, {scene}")}
                )
            print(format_row(rows[-1]), flush=True)
    except KeyboardInterrupt:
        if config.output and rows:
            write(cli.partial(config.output), config, rows)
        raise
    if config.output:
        write(config.output, config, rows)


def scenes(config: GateConfig) -> Iterator[tuple[str, Model, str, Any]]:
    """Each policy with each thing that it meets: names, model and environment."""
    if config.policy is not None:
        model = own_policy(config.policy, config.head, adapts=True)[1]
        for name in config.env:
            env = make_scene(name)
            check_env(name, env, model, film=False)
            yield config.policy, model, name, env
        return
    for checkpoint in config.checkpoints:
        loaded = load_checkpoint(checkpoint)
        for scene in config.env or config.shift:
            known = scene if config.env else dataclasses.replace(trained_env(checkpoint, loaded.env), shift=scene)
            yield checkpoint, as_model(loaded.agent), scene, make_scene(known)


def watch(model: Model, env: Any, adaptation: AdaptationConfig, config: GateConfig, title: str) -> dict[str, Any]:
    """Figures of some episodes, over all their decisions."""
    policy = Watching(model, adaptation)
    with progress_bar(title, config.episodes, 0, "episodes") as bar:
        for number in range(config.episodes):
            run_episode(env, policy, episode_seed(config.seed, number))
            bar.update(1)
    guards = adaptation.guards
    factors = {"loss": guards.gate, "features": guards.gate_features, "colors": guards.gate_colors}
    parts = {}
    for name in policy.excess[0]:
        values, factor = np.array([excess[name] for excess in policy.excess]), factors[name]
        figures = {"beyond": np.mean(values > factor), "smallest": values.min(), "median": np.median(values),
                   "largest": values.max()}  # fmt: skip
        parts[name] = {"factor": factor, **{key: float(f"{value:.4g}") for key, value in figures.items()}}
    return {"decisions": len(policy.opened), "open": round(float(np.mean(policy.opened)), 4), "parts": parts}


def format_row(row: dict[str, Any]) -> str:
    parts = [
        f"{name} {figures['median']:.3g} ({figures['smallest']:.3g} to {figures['largest']:.3g}), "
        f"beyond {figures['factor']:g} at {figures['beyond']:.0%}"
        for name, figures in row["parts"].items()
    ]
    opened = f"open at {row['open']:.1%} of {row['decisions']} decisions"
    return f"{row['policy']}, {row['scene']}: {opened}; {'; '.join(parts)}"


def format_gates(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table: a row for each scene, over all policies that met it."""
    heads = ("shift", "agents", "decisions", "features beyond their limit", "colours beyond theirs",
             "colours, times the usual")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for scene in dict.fromkeys(row["scene"] for row in rows):
        met = [row for row in rows if row["scene"] == scene]
        features, colors = ([row["parts"][name] for row in met] for name in ("features", "colors"))
        shares = [
            f"{min(part['beyond'] for part in parts):.0%} to {max(part['beyond'] for part in parts):.0%}"
            for parts in (features, colors)
        ]
        spread = f"{min(part['smallest'] for part in colors):.2g} to {max(part['largest'] for part in colors):.2g}"
        decisions = sum(row["decisions"] for row in met)
        lines.append(f"| {scene} | {len(met)} | {decisions} | {' | '.join(shares)} | {spread} |")
    return "\n".join(lines)


def write(path: Path, config: GateConfig, rows: list[dict[str, Any]]) -> None:
    record = {"command": cli.typed(), "hardware": hardware(), "episodes": config.episodes, "seed": config.seed,
              "gates": rows}  # fmt: skip
    cli.write_text(path, json.dumps(record, indent=1) + "\n")
    say(f"wrote {path}")


if __name__ == "__main__":
    cli.run(main)
