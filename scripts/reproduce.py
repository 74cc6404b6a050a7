"""Train a shipped agent again from its own settings, evaluate it on its own episodes, and compare.

    python scripts/reproduce.py walker_walk
    python scripts/reproduce.py walker_walk --only evaluation --episodes 10

Interrupted its training goes on where it was when it is called again; an evaluation begins anew. Training is not the
same to the last bit on another processor or beside other settings of PyTorch; the returns should be alike.
"""

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, Literal

import cli
import tyro
from evaluations import is_as_named, shifts_of
from train import TrainConfig
from zoo import describe, shipped

from pad import settings
from pad.checkpoint import find_checkpoint
from pad.tracking import say

SCRIPTS = Path(__file__).parent


@dataclass(frozen=True)
class ReproduceConfig:
    """Train and evaluate a shipped agent again."""

    name: Annotated[str, tyro.conf.Positional]
    """Of an agent that ships: scripts/zoo.py list."""
    only: Literal["training", "evaluation"] | None = None
    """training: stop after it. evaluation: that of the agent as it ships."""
    episodes: int | None = None
    """The first so many, for each shift and arm. Default: as many as in the agent's own evaluation."""
    workers: int | None = None
    """Processes that run episodes. Default: one for each core."""
    folder: Path = Path("runs/reproduced")
    """Where the run and its evaluation go."""

    def __post_init__(self) -> None:
        for name in ("episodes", "workers"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


def main() -> None:
    config = cli.parse(ReproduceConfig, sys.argv[1:])
    agent = describe(shipped(config.name))
    run = config.folder / config.name
    if config.only != "training":
        if not agent["shifts"]:
            raise cli.BadInput(f"{config.name} has no evaluation.json to compare with: --only training trains it again")
        if not is_as_named(agent["evaluation"]):
            raise cli.BadInput(f"{config.name} was evaluated with other settings than their name stands for now")
        if config.episodes is not None and config.episodes > agent["evaluation"]["episodes"]:
            raise cli.BadInput(
                f"{config.name} was evaluated on {agent['evaluation']['episodes']} episodes, to which "
                f"{config.episodes} cannot be compared"
            )
    if config.only != "evaluation":
        train(shipped(config.name), run)
    if config.only != "training":
        checkpoint = str(shipped(config.name)) if config.only == "evaluation" else str(run)
        output = config.folder / f"{config.name}.json"
        call(evaluation_command(agent, checkpoint, output, config))
        print(format_both(agent["shifts"], shifts_of(json.loads(output.read_text()))))


def train(folder: Path, run: Path) -> None:
    """From the settings beside the agent; a run that is there already goes on.

    Raises:
        BadInput: when that is of other settings, or training fails.
    """
    if (run / "config.yaml").is_file():
        there, wanted = (_compared(path) for path in (run / "config.yaml", folder / "training.yaml"))
        if there != wanted:
            raise cli.BadInput(f"{run} holds a run of other settings than {folder / 'training.yaml'}: move it away, or "
                               "name another --folder")  # fmt: skip
        call(["train.py", "--resume", str(run)])
    else:
        call(["train.py", "--config", str(folder / "training.yaml"), "--run", str(run)])
    find_checkpoint(run)


def _compared(path: Path) -> TrainConfig:
    """Settings of a run without those that do not decide its result."""
    config = settings.read_yaml(TrainConfig, path).deciding
    return dataclasses.replace(config, training=dataclasses.replace(config.training, precision="auto"))


def evaluation_command(agent: dict[str, Any], checkpoint: str, output: Path, config: ReproduceConfig) -> list[str]:
    """That of the agent's own evaluation, for another checkpoint."""
    done = agent["evaluation"]
    command = ["eval.py", "--checkpoint", checkpoint, "--adapt", "--adaptation", done["adaptation"],
               "--shift", *agent["shifts"], "--seed", str(done["seed"]), "--episodes",
               str(config.episodes or done["episodes"]), "--wandb", "disabled", "--output", str(output)]  # fmt: skip
    for name, value in (("shift-data", done.get("shift_data")), ("shift-split", done.get("shift_split")),
                        ("quality", done.get("quality")), ("workers", config.workers)):  # fmt: skip
        command += [] if value is None else [f"--{name}", str(value)]
    return command


def call(command: list[str]) -> None:
    """Another of these scripts, in a process of its own; an interrupt is handed on, and it has the time to save.

    Raises:
        BadInput: when it fails.
        KeyboardInterrupt: when it was interrupted.
    """
    say(f"python scripts/{' '.join(command)}")
    # In a session of its own, so that Ctrl-C reaches it once: a second one would end it before it has saved.
    process = subprocess.Popen([sys.executable, str(SCRIPTS / command[0]), *command[1:]], start_new_session=True)  # noqa: S603
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.wait()
        except KeyboardInterrupt:  # who asks twice does not want to wait
            process.kill()
            process.wait()
        raise
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise cli.BadInput(f"scripts/{command[0]} ended with exit code {code}")


def format_both(shipped_cells: dict[str, Any], cells: dict[str, Any]) -> str:
    """Returns as shipped and as reproduced, of the same episodes."""
    lines = [f"{'shift':12}{'shipped':>16}{'reproduced':>16}   (frozen > adapted)"]
    for shift, cell in cells.items():
        seeds = cell["frozen"]["seeds"]
        lines.append(f"{shift:12}{returns_of(shipped_cells[shift], seeds):>16}{returns_of(cell, seeds):>16}")
    return "\n".join(lines)


def returns_of(cell: dict[str, Any], seeds: list[int]) -> str:
    """Mean returns of some of a cell's episodes, frozen and adapted."""
    means = []
    for arm in ("frozen", "adapted"):
        by_seed = dict(zip(cell[arm]["seeds"], cell[arm]["returns"], strict=True))
        means.append(mean(by_seed[seed] for seed in seeds))
    return "{:.0f} > {:.0f}".format(*means)


if __name__ == "__main__":
    cli.run(main)
