"""Put a trained run among the agents that ship: half precision, its settings, and its curve.

    python scripts/ship.py runs/cartpole_swingup_clone_s1 cartpole_swingup "python scripts/train.py --config ..."

The last argument is the command that made the run, kept for whoever wants to make it again.
"""

import shutil
import sys
from pathlib import Path

import cli
from episodes import hardware

from pad.checkpoint import ZOO, Checkpoint, load_checkpoint, save_checkpoint
from pad.tracking import say


def main() -> None:
    if len(sys.argv) != 4 or {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        if len(sys.argv) != 4:
            raise cli.BadInput(f"ship.py takes a run, a name and a command, got {len(sys.argv) - 1} arguments")
        return
    run, name, command = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    loaded = load_checkpoint(run)
    about = {**loaded.about, "command": command, "hardware": hardware()}
    save_checkpoint(ZOO / name, Checkpoint(loaded.agent, loaded.env, about), half=True)
    for file in ("metrics.jsonl", "config.yaml"):
        shutil.copy(run / file, ZOO / name / ("training.yaml" if file == "config.yaml" else file))
    size = sum(path.stat().st_size for path in (ZOO / name).iterdir())
    say(f"{ZOO / name}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    cli.run(main)
