"""Put a trained run among the agents that ship: half precision, its settings, and its curve.

    python scripts/ship.py runs/cartpole_swingup_clone_s1 cartpole_swingup "python scripts/train.py --config ..."

The last argument is the command that made the run, kept for whoever wants to make it again.
"""

import re
import shutil
import tempfile
from pathlib import Path

import cli
from episodes import hardware

from pad.checkpoint import ZOO, Checkpoint, load_checkpoint, save_checkpoint
from pad.files import replace_folder
from pad.tracking import say

KEPT = {"config.yaml": "training.yaml", "metrics.jsonl": "metrics.jsonl"}
"""Files of a run, and their names beside the agent."""


def main() -> None:
    folder, name, command = cli.positional(__doc__, "RUN", "NAME", "COMMAND")
    run = Path(folder)
    for file in ("checkpoint/config.yaml", *KEPT):
        if not (run / file).is_file():
            raise cli.BadInput(f"{run} is no folder of a training run: it has no {file}")
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise cli.BadInput(f"an agent's name has letters, digits and underscores, got {name!r}")
    loaded = load_checkpoint(run)
    calibrated = loaded.agent.inverse_dynamics is None or loaded.agent.calibration is not None
    if not loaded.about.pop("finished", calibrated) or not calibrated:
        raise cli.BadInput(f"{run} is not trained to its end: python scripts/train.py --resume {run}")
    about = {"hardware": hardware(), **loaded.about, "command": command}
    ZOO.mkdir(exist_ok=True)
    # The agent that ships under this name goes only when all of the new one is there.
    with tempfile.TemporaryDirectory(dir=ZOO) as hidden:
        fresh = Path(hidden) / name
        save_checkpoint(fresh, Checkpoint(loaded.agent, loaded.env, about), half=True)
        for file, kept in KEPT.items():
            shutil.copy(run / file, fresh / kept)
        replace_folder(fresh, ZOO / name)
    size = sum(path.stat().st_size for path in (ZOO / name).iterdir())
    say(f"{ZOO / name}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
