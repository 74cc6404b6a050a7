"""Train a shipped agent again from its own settings, evaluate it on its own episodes, and compare.

    python scripts/reproduce.py walker_walk
    python scripts/reproduce.py walker_walk --only evaluation --episodes 10

Interrupted it goes on where it was when it is called again. Training is not the same to the last bit on another
processor or beside other settings of PyTorch; the returns should be alike.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import cli
import tyro
from episodes import is_as_named, shifts_of
from zoo import describe, format_returns, shipped

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
    """For each shift and arm. Default: as many as in the agent's own evaluation."""
    workers: int | None = None
    """Processes that run episodes. Default: one for each core."""
    folder: Path = Path("runs/reproduced")
    """Where the run and its evaluation go."""


def main() -> None:
    config = cli.parse(ReproduceConfig, sys.argv[1:])
    agent = describe(shipped(config.name))
    run = config.folder / config.name
    if config.only != "training":
        if not agent["shifts"]:
            raise cli.BadInput(f"{config.name} has no evaluation.json to compare with: --only training trains it again")
        if not is_as_named(agent["evaluation"]):
            raise cli.BadInput(f"{config.name} was evaluated with other settings than their name stands for now")
    if config.only != "evaluation":
        train(shipped(config.name), run)
    if config.only != "training":
        checkpoint = config.name if config.only == "evaluation" else str(run)
        output = config.folder / f"{config.name}.json"
        call(evaluation_command(agent, checkpoint, output, config))
        print(format_both(agent["shifts"], shifts_of(json.loads(output.read_text()))))


def train(folder: Path, run: Path) -> None:
    """From the settings beside the agent; a run that is there already goes on."""
    if (run / "config.yaml").is_file():
        call(["train.py", "--resume", str(run)])
    else:
        call(["train.py", "--config", str(folder / "training.yaml"), "--run", str(run)])
    find_checkpoint(run)


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
    """Another of these scripts, in a process of its own.

    Raises:
        BadInput: when it fails.
        KeyboardInterrupt: when it was interrupted.
    """
    say(f"python scripts/{' '.join(command)}")
    code = subprocess.run([sys.executable, str(SCRIPTS / command[0]), *command[1:]]).returncode  # noqa: S603
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise cli.BadInput(f"scripts/{command[0]} ended with exit code {code}")


def format_both(shipped_cells: dict[str, Any], cells: dict[str, Any]) -> str:
    """Returns as shipped and as reproduced."""
    lines = [f"{'shift':12}{'shipped':>16}{'reproduced':>16}   (frozen > adapted)"]
    lines += [f"{s:12}{format_returns(shipped_cells[s]):>16}{format_returns(cells[s]):>16}" for s in cells]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
