"""From an agent of Stable-Baselines3 to one that adapts: train, record, fit a head, compare. A quarter of an hour.

    pip install 'pad-rl[sb3]'
    python scripts/sb3_example.py --output results/sb3.json

The task is `envs/gradient.py`: a picture whose red and green tell where a point is, and a camera whose colours shift.
"""

import dataclasses
import importlib.util
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cli
import gymnasium as gym
import numpy as np
import torch
from episodes import hardware

from envs.gradient import make_gradient_env
from pad import settings
from pad.deployment import (
    ADAPTATIONS,
    AdaptationConfig,
    AdaptivePolicy,
    FrozenPolicy,
    HeadConfig,
    fit_head,
    load_head,
    save_head,
)
from pad.deployment.config import NO_GUARDS
from pad.deployment.recordings import load_episodes, record_episodes
from pad.deployment.sb3 import from_sb3
from pad.evaluation import Episode, compare, run_episode
from pad.seeding import episode_seed
from pad.statistics import mean_interval
from pad.tracking import progress_bar, say, summarize
from pad.types import Policy

TINTS = MappingProxyType(
    {"none": (1, 1, 1), "red": (0.3, 1, 1), "green": (1, 0.5, 1), "deep green": (1, 0.3, 1), "dusk": (0.6, 0.4, 1)}
)
"""What the shifted camera multiplies red, green and blue with. Settings were chosen on others than dusk's."""
CONVOLUTIONS = AdaptationConfig(moves="convolutions", layers=3, learning_rate=1e-3, batch_size=8)
ARMS = MappingProxyType(
    {
        "colour": ADAPTATIONS["default"],
        "colour, unguarded": ADAPTATIONS["unguarded"],
        "convolutions": CONVOLUTIONS,
        "convolutions, unguarded": dataclasses.replace(CONVOLUTIONS, guards=NO_GUARDS),
    }
)
"""Adaptation before the agent's convolutions, and of these themselves."""


@dataclass(frozen=True)
class ExampleConfig:
    """Train an agent of Stable-Baselines3, fit a self-supervised head to it, and compare it frozen and adapting."""

    folder: Path = Path("runs/sb3")
    """Where agent, episodes and head go; what is there already is used again."""
    steps: int = 60_000
    """Of PPO."""
    size: int = 48
    """Height and width of a picture, in pixels."""
    episode_steps: int = 60
    recorded: int = 40
    """Episodes that the head is fitted to and calibrated on."""
    noise: float = 0.3
    """Share of random actions in them."""
    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)
    episodes: int = 30
    """For each tint and arm."""
    seed: int = 0
    output: Path | None = None
    """JSON file for settings, returns and seeds."""


def main() -> None:
    config = cli.parse(ExampleConfig, sys.argv[1:])
    if importlib.util.find_spec("stable_baselines3") is None:
        raise cli.BadInput("stable-baselines3 is not installed: pip install 'pad-rl[sb3]'")
    torch.set_num_threads(1)  # two beside a busy process are many times slower than one
    notes = config.folder / "notes.json"
    known = json.loads(notes.read_text()) if notes.is_file() else {"seconds": {}, "head": {}}
    made_with = settings.to_dict(dataclasses.replace(config, folder="", output=None, episodes=0))  # type: ignore[arg-type]
    if known.setdefault("settings", made_with) != made_with:
        raise cli.BadInput(f"{config.folder} holds what other settings made: name another --folder")
    cli.write_text(notes, json.dumps(known))
    seconds: dict[str, float] = known["seconds"]
    path = config.folder / "agent.zip"
    if not path.is_file():
        timed("train", seconds, lambda: train(config, path))
    agent = load(path)
    policy = from_sb3(agent)
    recordings = config.folder / "episodes"
    if len(list(recordings.glob("*.npz"))) < config.recorded:
        for left in recordings.glob("episode_*.npz"):  # of a run that was interrupted
            left.unlink()
        timed("record", seconds, lambda: record_episodes(
            recordings, make_env(config, "none"), policy, config.recorded, config.seed, config.noise))  # fmt: skip
    head = config.folder / "head"
    if not head.exists():
        known["head"] = timed(
            "fit", seconds, lambda: fit_head(policy, load_episodes(recordings), config.head, config.seed)
        )
        save_head(head, policy)
        cli.write_text(notes, json.dumps(known))
    say(f"head: {summarize(known['head'])}")
    policy = load_head(head, from_sb3(agent))
    episodes = timed("compare", seconds, lambda: run_all(config, policy))
    print(table(episodes))
    if config.output is not None:
        about = {**settings.to_dict(dataclasses.replace(config, folder="", output=None)), "tints": dict(TINTS)}  # type: ignore[arg-type]
        record = {
            "settings": about,
            "adaptation": {arm: settings.to_dict(adaptation) for arm, adaptation in ARMS.items()},
            "head": known["head"],
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "hardware": hardware(),
            "command": cli.typed(),
            "rows": [
                {"tint": tint, "policy": arm, **summary(met, arms["frozen"])}
                for tint, arms in episodes.items()
                for arm, met in arms.items()
            ],
        }
        cli.write_text(config.output, json.dumps(record, indent=1) + "\n")
        say(f"wrote {config.output}")


def timed(name: str, seconds: dict[str, float], function: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    result = function()
    seconds[name] = time.perf_counter() - started
    return result


def make_env(config: ExampleConfig, tint: str) -> gym.Env:
    return make_gradient_env(steps=config.episode_steps, size=config.size, layout="HWC", tint=TINTS[tint])


def load(path: Path) -> Any:
    from stable_baselines3 import PPO

    return PPO.load(path, device="cpu")


def train(config: ExampleConfig, path: Path) -> None:
    """Train an agent as Stable-Baselines3 does; nothing here is made for adaptation."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    environments = make_vec_env(lambda: make_env(config, "none"), 8, seed=config.seed)
    agent = PPO("CnnPolicy", environments, n_steps=64, batch_size=128, n_epochs=6, gamma=0.9, learning_rate=5e-4,
                seed=config.seed, device="cpu")  # fmt: skip
    with progress_bar("training", config.steps, 0, "steps") as bar:

        class Progress(BaseCallback):
            def _on_step(self) -> bool:
                bar.update(environments.num_envs)
                return True

        agent.learn(config.steps, callback=Progress())
    path.parent.mkdir(parents=True, exist_ok=True)
    agent.save(path)


def run_all(config: ExampleConfig, policy: Any) -> dict[str, dict[str, list[Episode]]]:
    """Every arm on the same episodes of every tint."""
    found: dict[str, dict[str, list[Episode]]] = {}
    with progress_bar("comparing", config.episodes * len(TINTS) * (1 + len(ARMS)), 0, "episodes") as bar:
        for tint in TINTS:
            env = make_env(config, tint)
            learning = {arm: AdaptivePolicy(policy, adaptation, config.seed) for arm, adaptation in ARMS.items()}
            arms: dict[str, Policy] = {"frozen": FrozenPolicy(policy), **learning}
            found[tint] = {arm: [] for arm in arms}
            for arm, acting in arms.items():
                for number in range(config.episodes):
                    found[tint][arm].append(run_episode(env, acting, episode_seed(config.seed, number)))
                    bar.update(1)
    return found


def summary(met: list[Episode], frozen: list[Episode]) -> dict[str, Any]:
    """What a JSON file keeps of an arm."""
    comparison = {} if met is frozen else {"comparison": dataclasses.asdict(compare(frozen, met))}
    return {
        "seeds": [episode.seed for episode in met],
        "returns": [round(episode.episode_return, 3) for episode in met],
        "updates": [episode.updates for episode in met],
        "guards": dict(sum((episode.guards for episode in met), Counter())),
        "milliseconds_per_step": round(1e3 * float(np.mean([episode.seconds / episode.steps for episode in met])), 2),
        **comparison,
    }


def table(episodes: dict[str, dict[str, list[Episode]]]) -> str:
    lines = [f"{'tint':10}  {'frozen':13} {'adaptation':23}  {'adapted':13} {'difference':16} won/lost/tied  regret"]
    for tint, arms in episodes.items():
        for arm in ARMS:
            found = compare(arms["frozen"], arms[arm])
            frozen = mean_interval([episode.episode_return for episode in arms["frozen"]])
            lines.append(f"{tint:10}  {frozen!s:13} {arm:23}  {found.adapted!s:13} {found.difference.format('+'):16} "
                         f"{f'{found.won}/{found.lost}/{found.tied}':13}  {found.regret:.1f}")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
