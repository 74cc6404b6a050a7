"""Measure the self-supervised loss and the features of an agent in its training environment, for its gate.

    python scripts/calibrate.py CHECKPOINT

Training does it by itself at its end; this is for agents that were trained otherwise. The result is written into the
checkpoint's config.yaml.
"""

import cli
import torch
from episodes import trained_env

import envs
from pad.checkpoint import find_checkpoint, identity, load_checkpoint, write_calibration
from pad.deployment.calibrator import calibrate
from pad.seeding import episode_seed
from pad.tracking import say

CALIBRATION_SEED, CALIBRATION_EPISODES = 4000, 10
"""Other episodes than those that anything is chosen or reported on."""


def main() -> None:
    (name,) = cli.positional(__doc__, "CHECKPOINT")
    torch.set_num_threads(1)  # two beside a busy process are many times slower than one
    folder = find_checkpoint(name)
    loaded, before = load_checkpoint(folder), identity(folder)
    env = envs.make(trained_env(str(folder), loaded.env))
    calibration = calibrate(loaded.agent, env, calibration_seeds())
    if identity(folder) != before:
        raise cli.BadInput(f"{folder} was replaced meanwhile: its run is not over, and calibrates by itself")
    write_calibration(folder, calibration)
    say(f"{folder}: mean loss {calibration.mean_loss:.4f}, usual loss {calibration.usual_loss[-1]:.4f}")


def calibration_seeds() -> list[int]:
    return [episode_seed(CALIBRATION_SEED, number) for number in range(CALIBRATION_EPISODES)]


if __name__ == "__main__":
    cli.run(main)
