"""Draw the README's picture: what the camera sees in each shift, and the returns of both arms below.

python scripts/overview.py pad/zoo/walker_walk/evaluation.json docs/overview.png
"""

import dataclasses
from pathlib import Path
from typing import Any

import cli
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from evaluations import check_compared, read_evaluation, shifts_of
from figures import COLORS

import envs
from pad import settings
from pad.seeding import episode_seed


def main() -> None:
    evaluation, picture = cli.positional(__doc__, "EVALUATION", "PICTURE")
    record = read_evaluation(Path(evaluation))
    check_compared(record, evaluation)
    cells = shifts_of(record)
    figure, axes = plt.subplots(
        2, len(cells), figsize=(2.4 * len(cells), 4.6), height_ratios=(1.2, 1), sharey="row", squeeze=False
    )
    for column, (shift, cell) in enumerate(cells.items()):
        draw_view(axes[0][column], scene_of(record, shift), record["settings"]["seed"], shift)
        draw_returns(axes[1][column], cell)
    axes[1][0].set_ylabel("episode return")
    figure.tight_layout()
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def scene_of(record: dict[str, Any], shift: str) -> envs.EnvConfig:
    """The environment that an evaluation met under a shift."""
    chosen, trained = record["settings"], settings.from_dict(envs.EnvConfig, record["env"], "env")
    return dataclasses.replace(
        trained,
        shift=shift,
        shift_data=None if shift == "none" else chosen.get("shift_data"),
        shift_split=chosen.get("shift_split") or trained.shift_split,
        quality=chosen.get("quality") or trained.quality,
    )


def draw_view(axis: plt.Axes, config: envs.EnvConfig, seed: int, shift: str) -> None:
    """The first picture of the first episode."""
    env = envs.make(config, render_size=256)
    env.reset(seed=episode_seed(seed, 0))
    axis.imshow(np.asarray(env.render()))
    axis.set_title("training environment" if shift == "none" else shift, fontsize=10)
    axis.axis("off")
    env.close()


def draw_returns(axis: plt.Axes, cell: dict) -> None:
    """Means with 95 % intervals over episodes."""
    arms = ("frozen", "adapted")
    for position, name in enumerate(arms):
        interval = cell["comparison"][name]
        errors = [[interval["mean"] - interval["low"]], [interval["high"] - interval["mean"]]]
        axis.bar(position, interval["mean"], yerr=errors, color=COLORS[name], capsize=4, width=0.7)
        axis.annotate(f"{interval['mean']:.0f}", (position, 15), ha="center", fontsize=9)
    axis.set_xticks(range(len(arms)), arms)
    axis.set_ylim(0, 1000)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    cli.run(main)
